//! A rule over one matrix, and how burn gets to use it.
//!
//! A rule knows neither burn nor files: it is a function of weights, gradient and memory over row-major slices, so that it can be computed in `f64` and
//! held against a closed form. [`Matrices`] is the one adapter between all of them and burn. The rejected alternative, every rule over burn's tensors,
//! needs a backend of `f64` for such tests, and an element-wise chain of tensors keeps each of its intermediates.
//!
//! Weights lie as the model has them: `[rows, cols]` are `[inputs, outputs]`, `y = x W`, and the gradient of one token is `x δᵀ` with the local surprise
//! `δ = ∂L/∂y`. Papers write the transpose.

use std::fmt;

use burn::{
    optim::{AdamW, AdamWState, LearningRate, Optimizer, RecordState, StateSink, StateSource},
    tensor::{Device, Tensor, TensorData},
};

use super::{adam::Peak, real::Real};
use crate::tensors;

/// A row-major matrix of an optimizer's memory; empty where the settings have no use for it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Matrix<T> {
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub cols: usize,
    /// Values.
    pub data: Vec<T>,
}

impl<T: Real> Matrix<T> {
    /// Nothing but zeros.
    pub fn zeros(rows: usize, cols: usize) -> Self {
        Self { rows, cols, data: vec![T::default(); rows * cols] }
    }

    /// `self ← keep · self + share · x`
    pub(super) fn blend(&mut self, keep: T, share: T, x: &[T]) {
        self.data.iter_mut().zip(x).for_each(|(m, x)| *m = keep * *m + share * *x);
    }
}

/// Visits the parts of a memory, each under a name that stays what it is.
pub trait Visitor<T> {
    /// A matrix.
    fn matrix(&mut self, name: &'static str, matrix: &mut Matrix<T>);
    /// A number of steps.
    fn count(&mut self, name: &'static str, count: &mut u64);
}

/// What a rule remembers about one matrix of weights. The default is what lies between two visits of a restoration.
pub trait Memory<T>: Clone + Default + Send + Sync + 'static {
    /// Shows every part, in an order that never changes.
    fn visit(&mut self, visitor: &mut dyn Visitor<T>);
}

/// A rule without memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Nothing;

impl<T> Memory<T> for Nothing {
    fn visit(&mut self, _: &mut dyn Visitor<T>) {}
}

/// How a matrix of weights follows its gradients.
pub trait Rule<T: Real>: Clone + fmt::Debug + Send + Sync + 'static {
    /// What it remembers.
    type Memory: Memory<T>;

    /// The memory before the first step for weights `[rows, cols]`.
    fn begin(&self, rows: usize, cols: usize) -> Self::Memory;

    /// Takes a step at a share `scale` of the peak rate. At rate zero the memory takes the gradient in, and no bit of the weights changes.
    fn step(&self, scale: f64, weights: &mut [T], gradient: &[T], extents: (usize, usize), memory: &mut Self::Memory);
}

/// `weights ← (1 - rate · decay) weights - rate · stretch · update`
pub(super) fn descend<T: Real>(weights: &mut [T], update: &[T], rate: f64, stretch: T, decay: T) {
    // Zero times an update would still turn -0 into 0, and keep what is not finite.
    if rate == 0.0 {
        return;
    }
    let rate = T::of(rate);
    let (keep, stretch) = (T::of(1.0) - rate * decay, rate * stretch);
    weights.iter_mut().zip(update).for_each(|(w, u)| *w = *w * keep - stretch * *u);
}

/// Extents of every matrix of a memory that is not empty, by name.
pub(super) fn layout<T: Real, M: Memory<T>>(memory: &mut M) -> Vec<(&'static str, [usize; 2])> {
    struct Extents(Vec<(&'static str, [usize; 2])>);
    impl<T> Visitor<T> for Extents {
        fn matrix(&mut self, name: &'static str, matrix: &mut Matrix<T>) {
            if !matrix.data.is_empty() {
                self.0.push((name, [matrix.rows, matrix.cols]));
            }
        }

        fn count(&mut self, _: &'static str, _: &mut u64) {}
    }
    let mut extents = Extents(Vec::new());
    memory.visit(&mut extents);
    extents.0
}

/// The rule on matrices, AdamW on parameters of any other rank, as an optimizer of burn's.
#[derive(Clone)]
pub struct Matrices<R> {
    pub(super) rule: R,
    pub(super) others: Peak<AdamW>,
}

/// What is remembered about one parameter.
#[derive(Clone)]
pub enum Held<M, const D: usize> {
    /// By the rule.
    Matrix(M),
    /// By AdamW.
    Other(Box<AdamWState<D>>),
}

impl<R: Rule<f32>> Optimizer for Matrices<R> {
    type State<const D: usize> = Held<R::Memory, D>;

    fn step<const D: usize>(
        &self,
        scale: LearningRate,
        parameter: Tensor<D>,
        gradient: Tensor<D>,
        state: Option<Self::State<D>>,
    ) -> (Tensor<D>, Option<Self::State<D>>) {
        if D != 2 {
            let state = state.and_then(|held| if let Held::Other(state) = held { Some(*state) } else { None });
            let (parameter, state) = self.others.step(scale, parameter, gradient, state);
            return (parameter, state.map(|state| Held::Other(Box::new(state))));
        }
        let (shape, device) = (parameter.dims(), parameter.device());
        let (rows, cols) = (shape[0], shape[D - 1]);
        let mut memory = self.rule.begin(rows, cols);
        if let Some(Held::Matrix(mut held)) = state {
            // A memory of other settings or of another matrix would be read beyond its end.
            if layout(&mut held) == layout(&mut memory) {
                memory = held;
            }
        }
        let mut weights = tensors::floats(parameter);
        self.rule.step(scale, &mut weights, &tensors::floats(gradient), (rows, cols), &mut memory);
        (Tensor::from_data(TensorData::new(weights, shape.to_vec()), &device), Some(Held::Matrix(memory)))
    }

    fn to_device<const D: usize>(state: Self::State<D>, device: &Device) -> Self::State<D> {
        match state {
            Held::Matrix(memory) => Held::Matrix(memory),
            Held::Other(state) => Held::Other(Box::new(AdamW::to_device(*state, device))),
        }
    }
}

struct Flatten<'a> {
    prefix: &'a str,
    sink: &'a mut StateSink,
}

impl Visitor<f32> for Flatten<'_> {
    fn matrix(&mut self, name: &'static str, matrix: &mut Matrix<f32>) {
        if !matrix.data.is_empty() {
            let data = TensorData::new(matrix.data.clone(), vec![matrix.rows, matrix.cols]);
            self.sink.push_tensor(self.prefix, name, data);
        }
    }

    fn count(&mut self, name: &'static str, count: &mut u64) {
        self.sink.push_scalar(self.prefix, name, (*count).into());
    }
}

struct Restore<'a> {
    prefix: &'a str,
    source: &'a mut StateSource,
}

impl Visitor<f32> for Restore<'_> {
    fn matrix(&mut self, name: &'static str, matrix: &mut Matrix<f32>) {
        let Some(data) = self.source.take_tensor(self.prefix, name) else { return };
        if let (&[rows, cols], Ok(data)) = (&data.shape()[..], data.clone().try_to_vec()) {
            *matrix = Matrix { rows, cols, data };
        }
    }

    fn count(&mut self, name: &'static str, count: &mut u64) {
        let found = self.source.take_scalar(self.prefix, name);
        *count = found.and_then(|scalar| u64::try_from(scalar).ok()).unwrap_or(0);
    }
}

impl<M: Memory<f32>, const D: usize> RecordState for Held<M, D> {
    fn state_flatten(&self, prefix: &str, sink: &mut StateSink) {
        match self {
            Self::Matrix(memory) => memory.clone().visit(&mut Flatten { prefix, sink }),
            Self::Other(state) => state.state_flatten(prefix, sink),
        }
    }

    fn state_unflatten(prefix: &str, source: &mut StateSource, device: &Device) -> Option<Self> {
        if D != 2 {
            return AdamWState::state_unflatten(prefix, source, device).map(|state| Self::Other(Box::new(state)));
        }
        let mut memory = M::default();
        memory.visit(&mut Restore { prefix, source });
        Some(Self::Matrix(memory))
    }
}
