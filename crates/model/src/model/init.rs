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
    /// Nothing is drawn: parameters have extents and take no memory until somebody asks for their values, which are zeros.
    outlines: bool,
}

impl<'a> Init<'a> {
    pub(crate) fn new(seed: u64, device: &'a Device) -> Self {
        Self { rng: ChaCha8Rng::seed_from_u64(seed), device, outlines: false }
    }

    /// For a model whose every value is still to come.
    pub(crate) fn outlines(device: &'a Device) -> Self {
        Self { outlines: true, ..Self::new(0, device) }
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
        if self.outlines {
            let zeros = move |device: &Device, _| Tensor::zeros(shape, device);
            return Param::uninitialized(ParamId::new(), zeros, self.device.clone(), false, shape.into());
        }
        let values = draw(self);
        Param::from_tensor(Tensor::from_data(TensorData::new(values, shape.to_vec()), self.device))
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
