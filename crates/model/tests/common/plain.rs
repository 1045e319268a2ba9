//! Equations once more in double precision, one token after another: what the model is held against.

use std::sync::Arc;

use burn::{
    module::{Module, ModuleMapper, Param},
    tensor::{DType, Device, Tensor},
};
use nocturne_model::{ModelConfig, kernels::norm::EPSILON, model::SlowBank, ops::Way, params, tensors::Tensors};

pub(crate) const WIDTH: usize = 16;
pub(crate) const HEADS: usize = 2;
pub(crate) const HEAD: usize = WIDTH / HEADS;
const TOKENS: u32 = 23;

pub(crate) type Row = Vec<f64>;

/// What is read, of a vocabulary of 40.
pub(crate) fn ids() -> Vec<u32> {
    (0..TOKENS).map(|n| n * n * 7 % 40).collect()
}

/// How far the model's hidden states after the last norm are from these, on both ways.
pub(crate) fn off(config: &ModelConfig, tensors: &Tensors, expected: &[f64]) -> [(Way, f64); 2] {
    [Way::Fused, Way::Composed].map(|way| {
        let model = params::load(config, "test", tensors, &Device::flex()).unwrap().by(way);
        let hidden: Vec<f32> = model.hidden(&Arc::new(ids()), 1, SlowBank::On).into_data().try_to_vec().unwrap();
        assert_eq!(hidden.len(), expected.len());
        (way, hidden.iter().zip(expected).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max))
    })
}

/// The same of the model in double precision, whose operations are burn's.
pub(crate) fn off_in_double(config: &ModelConfig, tensors: &Tensors, expected: &[f64]) -> f64 {
    let model = params::load(config, "test", tensors, &Device::flex()).unwrap().by(Way::Composed).map(&mut Wide);
    let hidden: Vec<f64> = model.hidden(&Arc::new(ids()), 1, SlowBank::On).into_data().try_to_vec().unwrap();
    assert_eq!(hidden.len(), expected.len());
    hidden.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

/// Makes parameters wide.
struct Wide;

impl ModuleMapper for Wide {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|values| values.cast(DType::F64))
    }
}

/// The parameters of a model, and those of its first block's mixer.
pub(crate) struct Params<'a>(pub(crate) &'a Tensors);

impl Params<'_> {
    pub(crate) fn get(&self, name: &str) -> Row {
        self.0[name].data.iter().map(|x| f64::from(*x)).collect()
    }

    pub(crate) fn mixer(&self, name: &str) -> Row {
        self.get(&format!("blocks.0.mixer.{name}"))
    }

    /// `x W`
    pub(crate) fn through(&self, x: &[f64], name: &str) -> Row {
        through(x, &self.mixer(name))
    }

    /// RMS norm in groups as long as the gain.
    pub(crate) fn norm(&self, x: &[f64], name: &str) -> Row {
        let gain = self.get(name);
        let group = |x: &[f64]| -> Row {
            let scale = (x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64 + f64::from(EPSILON)).sqrt().recip();
            x.iter().zip(&gain).map(|(x, gain)| x * scale * gain).collect()
        };
        x.chunks(gain.len()).flat_map(group).collect()
    }

    /// The convolution over the last of `rows` and those before it, and what follows it.
    pub(crate) fn convolved(&self, rows: &[Row]) -> Row {
        let (kernel, channels) = (self.mixer("conv"), rows[0].len());
        let taps = kernel.len() / channels;
        let channel = |c: usize| -> f64 {
            let tap = |j: usize| (rows.len() + j).checked_sub(taps).map_or(0.0, |t| kernel[j * channels + c] * rows[t][c]);
            (0..taps).map(tap).sum()
        };
        (0..channels).map(channel).map(silu).collect()
    }

    /// Norm, gate if there is one, and projection of what was read about `x`.
    pub(crate) fn leave(&self, x: &[f64], read: &[f64]) -> Row {
        let read = self.norm(read, "blocks.0.mixer.norm");
        let gated = self.0.contains_key("blocks.0.mixer.gate");
        let open: Row = if gated { self.through(x, "gate").into_iter().map(silu).collect() } else { vec![1.0; read.len()] };
        self.through(&times(&read, &open), "out")
    }
}

pub(crate) fn sigmoid(x: f64) -> f64 {
    (1.0 + (-x).exp()).recip()
}

pub(crate) fn silu(x: f64) -> f64 {
    x * sigmoid(x)
}

pub(crate) fn plus(a: &[f64], b: &[f64]) -> Row {
    a.iter().zip(b).map(|(a, b)| a + b).collect()
}

pub(crate) fn times(a: &[f64], b: &[f64]) -> Row {
    a.iter().zip(b).map(|(a, b)| a * b).collect()
}

pub(crate) fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// `x W`
pub(crate) fn through(x: &[f64], w: &[f64]) -> Row {
    let out = w.len() / x.len();
    (0..out).map(|o| x.iter().enumerate().map(|(i, x)| x * w[i * out + o]).sum()).collect()
}

pub(crate) fn unit(x: &[f64]) -> Row {
    // The same guard against rows of zeros as the model's.
    let norm = (dot(x, x) + 1e-6).sqrt();
    x.iter().map(|x| x / norm).collect()
}
