//! Optimizers: Muon for weight matrices, AdamW for the rest, through burn's group interface.
//!
//! burn has a Muon of its own; this one orthogonalizes with the fused products of [`crate::kernels::gemm`], which takes a third of the time here, and
//! has the decoupled weight decay and the norm control that a chain of nights needs.

use burn::{
    grad_clipping::GradientClippingConfig,
    module::ParamGroup,
    optim::{
        AdamWConfig, LearningRate, ModuleOptimizer, Optimizer,
        momentum::{Momentum, MomentumConfig, MomentumState},
    },
    tensor::{Device, Tensor, TensorData},
};
use serde::{Deserialize, Serialize};

use crate::kernels::gemm::{Factor, Write, product};

/// Settings of Muon.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MuonSettings {
    /// Peak learning rate; the schedule multiplies it.
    pub rate: f64,
    /// Momentum, Nesterov style.
    pub momentum: f32,
    /// Decoupled weight decay, multiplied by the learning rate.
    pub weight_decay: f32,
}

/// Momentum whose update is orthogonalized by five Newton-Schulz iterations (Jordan et al., Muon, 2024).
#[derive(Clone)]
pub struct Muon {
    settings: MuonSettings,
    momentum: Momentum,
}

impl Muon {
    /// An optimizer with these settings.
    pub fn new(settings: MuonSettings) -> Self {
        let momentum = MomentumConfig { momentum: f64::from(settings.momentum), dampening: 0.0, nesterov: true };
        Self { settings, momentum: Momentum::new(&momentum) }
    }
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_to_vec().unwrap_or_default()
}

fn tensor<const D: usize>(values: Vec<f32>, shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values, shape.to_vec()), device)
}

impl Optimizer for Muon {
    type State<const D: usize> = MomentumState<D>;

    fn step<const D: usize>(
        &self,
        scale: LearningRate,
        parameter: Tensor<D>,
        gradient: Tensor<D>,
        state: Option<Self::State<D>>,
    ) -> (Tensor<D>, Option<Self::State<D>>) {
        let (shape, device) = (parameter.dims(), parameter.device());
        let (rows, cols) = (shape[0], shape[D - 1]);
        let (gradient, momentum) = self.momentum.transform(gradient, state);
        let update = orthogonalize(values(gradient), rows, cols);
        let rate = (scale * self.settings.rate) as f32;
        let stretch = rate * (rows as f32 / cols as f32).max(1.0).sqrt();
        let keep = 1.0 - rate * self.settings.weight_decay;
        let mut parameter = values(parameter);
        for (p, u) in parameter.iter_mut().zip(&update) {
            *p = *p * keep - stretch * u;
        }
        (tensor(parameter, shape, &device), Some(momentum))
    }

    fn to_device<const D: usize>(state: Self::State<D>, device: &Device) -> Self::State<D> {
        state.to_device(device)
    }
}

/// Coefficients of the quintic iteration.
const QUINTIC: (f32, f32, f32) = (3.4445, -4.775, 2.0315);
const ITERATIONS: usize = 5;

/// The nearest matrix with unit singular values, roughly; `g` is `[rows, cols]`.
fn orthogonalize(g: Vec<f32>, rows: usize, cols: usize) -> Vec<f32> {
    let tall = rows > cols;
    let (short, long) = if tall { (cols, rows) } else { (rows, cols) };
    let mut x = if tall { transpose(&g, rows, cols) } else { g };
    let norm = x.iter().map(|v| v * v).sum::<f32>().sqrt().max(1e-7);
    x.iter_mut().for_each(|v| *v /= norm);
    let (a, b, c) = QUINTIC;
    let (mut gram, mut square, mut moved) = (vec![0.0; short * short], vec![0.0; short * short], vec![0.0; short * long]);
    for _ in 0..ITERATIONS {
        let wide = Factor::new(&x, short, long);
        product(&mut gram, Write::Set, wide, wide.t());
        let factor = Factor::new(&gram, short, short);
        product(&mut square, Write::Set, factor, factor);
        square.iter_mut().zip(&gram).for_each(|(s, g)| *s = b * g + c * *s);
        product(&mut moved, Write::Set, Factor::new(&square, short, short), wide);
        x.iter_mut().zip(&moved).for_each(|(x, m)| *x = a * *x + m);
    }
    if tall { transpose(&x, cols, rows) } else { x }
}

fn transpose(x: &[f32], rows: usize, cols: usize) -> Vec<f32> {
    let mut out = vec![0.0; x.len()];
    for r in 0..rows {
        for c in 0..cols {
            out[c * rows + r] = x[r * cols + c];
        }
    }
    out
}

/// Multiplies the schedule's factor by a peak rate before it reaches an optimizer of burn's.
#[derive(Debug, Clone)]
pub struct Peak<O> {
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
        self.inner.step(scale * self.rate, tensor, grad, state)
    }

    fn to_device<const D: usize>(state: Self::State<D>, device: &Device) -> Self::State<D> {
        O::to_device(state, device)
    }
}

/// Muon on every matrix but the embedding, AdamW with peak rate `adam_rate` on the rest. The `step` of the result takes the schedule's factor in [0, 1].
pub fn for_base(muon: MuonSettings, adam_rate: f64) -> ModuleOptimizer {
    let adam = AdamWConfig::new().with_beta_2(0.98).with_weight_decay(0.0).build();
    ModuleOptimizer::from(Peak { rate: adam_rate, inner: adam }).with_group(matrices(), Muon::new(muon), None)
}

/// Projections and perceptrons of blocks; what gates, convolutions and memories begin with is no map from activations to activations.
fn matrices() -> ParamGroup {
    let paths = [r"\.(qkv|out|up|down)$", r"(outlet|Perceptron)\.gate$"];
    ParamGroup::from_any_regexes(paths.to_vec()).unwrap_or_else(|_| unreachable!("both patterns are sound"))
}

/// `AdamW` on everything, for comparisons; the `step` of the result takes the learning rate itself.
pub fn for_comparison() -> ModuleOptimizer {
    let adam = AdamWConfig::new().with_beta_2(0.98).with_weight_decay(0.01).build();
    ModuleOptimizer::from(adam).with_grad_clipping(GradientClippingConfig::Norm(1.0).init())
}

/// Muon on the slow banks; nothing else has gradients by night.
pub fn for_night(muon: MuonSettings) -> ModuleOptimizer {
    ModuleOptimizer::from(Muon::new(muon))
}

/// Share of the peak rate at a step: linear warm-up, constant, then linear to zero.
pub fn schedule(step: u64, steps: u64, warm_up: u64, decay_from: f64) -> f64 {
    let warm = if warm_up == 0 { 1.0 } else { ((step + 1) as f64 / warm_up as f64).min(1.0) };
    let from = decay_from * steps as f64;
    let left = (steps as f64 - step as f64) / (steps as f64 - from).max(1.0);
    warm * left.clamp(0.0, 1.0)
}
