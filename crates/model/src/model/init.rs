//! First values of parameters, drawn from one stream of a seed, or only their extents.

use burn::{
    module::{Param, ParamId},
    tensor::{Device, Tensor, TensorData},
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Draws parameters onto a device.
pub(crate) struct Init<'a> {
    rng: ChaCha8Rng,
    device: &'a Device,
    kept: Kept,
    /// Whether what is drawn now belongs to a nightly bank.
    nightly: bool,
}

/// Which parameters get values; the others have extents and take no memory until somebody asks for their values, which are zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kept {
    All,
    /// Those of nightly banks. The rest is drawn and dropped: what comes after it in the stream must not depend on who asks.
    Nightly,
    /// None, and nothing is drawn.
    Nothing,
}

impl<'a> Init<'a> {
    pub(crate) fn new(seed: u64, device: &'a Device) -> Self {
        Self { rng: ChaCha8Rng::seed_from_u64(seed), device, kept: Kept::All, nightly: false }
    }

    /// The nightly banks of the model that this seed gives.
    pub(crate) fn nightly(seed: u64, device: &'a Device) -> Self {
        Self { kept: Kept::Nightly, ..Self::new(seed, device) }
    }

    /// For a model whose every value is still to come.
    pub(crate) fn outlines(device: &'a Device) -> Self {
        Self { kept: Kept::Nothing, ..Self::new(0, device) }
    }

    /// Draws a part of the model that a night trains, or does not.
    pub(crate) fn within<R>(&mut self, nightly: bool, draw: impl FnOnce(&mut Self) -> R) -> R {
        let before = std::mem::replace(&mut self.nightly, nightly);
        let drawn = draw(self);
        self.nightly = before;
        drawn
    }

    pub(crate) fn gaussian(&mut self) -> f32 {
        let (u, v): (f32, f32) = (self.rng.random_range(f32::EPSILON..1.0), self.rng.random());
        (-2.0 * u.ln()).sqrt() * (std::f32::consts::TAU * v).cos()
    }

    pub(crate) fn values<const D: usize>(
        &mut self,
        shape: [usize; D],
        draw: impl FnOnce(&mut Self) -> Vec<f32>,
    ) -> Param<Tensor<D>> {
        if self.kept != Kept::Nothing {
            let values = draw(self);
            if self.kept == Kept::All || self.nightly {
                return Param::from_tensor(Tensor::from_data(TensorData::new(values, shape.to_vec()), self.device));
            }
        }
        let zeros = move |device: &Device, _| Tensor::zeros(shape, device);
        Param::uninitialized(ParamId::new(), zeros, self.device.clone(), false, shape.into())
    }

    pub(crate) fn normal<const D: usize>(&mut self, shape: [usize; D], std: f32) -> Param<Tensor<D>> {
        self.values(shape, |init| (0..shape.iter().product()).map(|_| init.gaussian() * std).collect())
    }

    pub(crate) fn constant<const D: usize>(&mut self, shape: [usize; D], value: f32) -> Param<Tensor<D>> {
        self.values(shape, |_| vec![value; shape.iter().product()])
    }

    /// A projection that keeps the scale of its input.
    pub(crate) fn weight(&mut self, inputs: usize, outputs: usize) -> Param<Tensor<2>> {
        self.normal([inputs, outputs], (inputs as f32).sqrt().recip())
    }

    /// A projection back into the residual stream: half of that scale, so that many blocks do not drown the first.
    pub(crate) fn quiet_weight(&mut self, inputs: usize, outputs: usize) -> Param<Tensor<2>> {
        self.normal([inputs, outputs], 0.5 * (inputs as f32).sqrt().recip())
    }

    /// A convolution that at first hardly looks back.
    pub(crate) fn conv(&mut self, taps: usize, channels: usize) -> Param<Tensor<2>> {
        self.values([taps, channels], |init| {
            let mut values = vec![0.0; taps * channels];
            values[(taps - 1) * channels..].fill(1.0);
            for value in &mut values {
                *value += 0.05 * init.gaussian();
            }
            values
        })
    }

    /// Logarithms of decay rates uniform in [1, 16), and biases of time steps log-uniform in [1e-3, 1e-1), as Gated DeltaNet starts them.
    ///
    /// Each head has its own part of both ranges, the slowest first: of two heads that are drawn freely, often neither remembers for more than some tokens, and a
    /// small model then learns what recall needs late or never.
    pub(crate) fn decays(&mut self, heads: usize) -> Vec<(f32, f32)> {
        let mut share = |head: usize| (head as f32 + self.rng.random_range(0.0_f32..1.0)) / heads as f32;
        let rates: Vec<f32> = (0..heads).map(|head| share(head).mul_add(15.0, 1.0).ln()).collect();
        let mut step = |head| {
            let dt = 1e-3 * 100_f32.powf(share(head));
            dt + (-(-dt).exp_m1()).ln()
        };
        rates.into_iter().enumerate().map(|(head, rate)| (rate, step(head))).collect()
    }

    /// The same as two parameters.
    pub(crate) fn decay(&mut self, heads: usize) -> (Param<Tensor<1>>, Param<Tensor<1>>) {
        let (rates, steps) = self.decays(heads).into_iter().unzip();
        (self.values([heads], |_| rates), self.values([heads], |_| steps))
    }
}

#[cfg(test)]
mod tests {
    use nocturne_wire::manifest::Period;

    use super::*;
    use crate::{Model, config::BankConfig, kernels::mlp::Activation, params, presets, tensors::SLOW};

    #[test]
    fn nightly_banks_alone_are_those_of_the_whole_model() {
        let device = Device::flex();
        for mixer in ["hope", "titans", "attention"] {
            let mixer = presets::mixer(mixer, 32, 2).expect("a known mixer");
            let mut config = presets::model("test", &mixer, 50, 32, 3, 24);
            let slow = BankConfig::perceptron("slow", Period::Night, 16, Activation::Silu);
            config.blocks.iter_mut().for_each(|block| block.cms.banks.insert(0, slow.clone()));
            let slow = |model: &Model| params::collect_some(&config, model, &|name| name.contains(SLOW));
            let alone = slow(&Model::nightly(&config, 7, &device));
            assert!(!alone.is_empty() && alone.values().any(|values| values.data.iter().any(|x| *x != 0.0)));
            assert_eq!(alone, slow(&Model::new(&config, 7, &device)));
        }
    }
}
