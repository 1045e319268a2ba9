//! burn's AdamW under the settings and the schedule of this crate.

use burn::{
    optim::{AdamW, AdamWConfig, LearningRate, Optimizer},
    tensor::{Device, Tensor},
};
use serde::{Deserialize, Serialize};

/// Settings of AdamW.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdamSettings {
    /// Peak learning rate (.003); the schedule multiplies it.
    pub rate: f64,
    /// What the mean of gradients keeps a step (.9).
    pub beta_1: f32,
    /// What the mean of their squares keeps (.98).
    pub beta_2: f32,
    /// Floor of the divisor (1e-5).
    pub epsilon: f32,
    /// Decoupled weight decay, multiplied by the learning rate (0).
    pub weight_decay: f32,
}

impl Default for AdamSettings {
    fn default() -> Self {
        Self { rate: 0.003, beta_1: 0.9, beta_2: 0.98, epsilon: 1e-5, weight_decay: 0.0 }
    }
}

impl AdamSettings {
    pub(super) fn optimizer(self) -> Peak<AdamW> {
        let config = AdamWConfig::new().with_beta_1(self.beta_1).with_beta_2(self.beta_2);
        Peak { rate: self.rate, inner: config.with_epsilon(self.epsilon).with_weight_decay(self.weight_decay).build() }
    }
}

/// Multiplies the schedule's factor by a peak rate before it reaches an optimizer of burn's.
#[derive(Debug, Clone)]
pub(super) struct Peak<O> {
    rate: f64,
    inner: O,
}

impl<O: Optimizer> Optimizer for Peak<O> {
    type State<const D: usize> = O::State<D>;

    fn step<const D: usize>(
        &self,
        scale: LearningRate,
        tensor: Tensor<D>,
        grad: Tensor<D>,
        state: Option<Self::State<D>>,
    ) -> (Tensor<D>, Option<Self::State<D>>) {
        let rate = scale * self.rate;
        let before = (rate == 0.0).then(|| tensor.clone());
        let (after, state) = self.inner.step(rate, tensor, grad, state);
        // Zero times an update would still turn -0 into 0, and keep what is not finite.
        (before.unwrap_or(after), state)
    }

    fn to_device<const D: usize>(state: Self::State<D>, device: &Device) -> Self::State<D> {
        O::to_device(state, device)
    }
}
