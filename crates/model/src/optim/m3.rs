//! M3, multi-scale momentum Muon: a fast and a slow momentum, both orthogonalized (Nested Learning, Algorithm 1).
//!
//! Printed: `M₁ ← M₁ + β₁ g`, `V ← V + β₂ g²` every step, `M₂ ← M₂ + β₃ Σ g` over a chunk at its end, and `W ← W - η (NS(M₁) + α NS(M₂)) / (√V + ε)`.
//! What departs from that, and why:
//!
//! * `M₁`, `M₂` and `V` are exponential means. As printed they are sums that nothing ever leaves, so that the rate falls as AdaGrad's does and the first
//!   gradients weigh as much as the last. Newton-Schulz divides by the norm, so that sum or mean of a chunk makes no difference.
//! * `V` is off unless asked for. Newton-Schulz has already made the update's scale independent of the gradient's; dividing it by `√V` makes it grow as
//!   gradients shrink. Where `V` is on, it shapes the update, which keeps its Frobenius norm, and
//!   `ε` is a tenth of the root mean square of `√V`.
//! * The slow update is computed at the end of a chunk and used during the next one, as printed; steps of the chunk and the sum over it are part of the memory.
//! * Updates of tall matrices are stretched as Muon's are. Vectors are AdamW's, which is what [`super::rule::Matrices`] does with them under every rule.

use serde::{Deserialize, Serialize};

use super::{
    muon::{orthogonalize, stretch},
    real::{Real, square_sum},
    rule::{Matrix, Memory, Rule, Visitor, descend},
};

/// Settings of M3.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct M3Settings {
    /// Peak learning rate (.02); the schedule multiplies it.
    pub rate: f64,
    /// `β₁`, what the fast momentum keeps a step (.95).
    pub fast_retention: f64,
    /// `β₂`, what the mean of squares keeps a step; none, and no such mean, unless given.
    pub square_retention: Option<f64>,
    /// `β₃`, what the slow momentum keeps a chunk (.9).
    pub slow_retention: f64,
    /// `α`, weight of the slow update (1).
    pub slow_weight: f64,
    /// Steps of a slow chunk (100), at least one.
    pub slow_chunk_steps: u64,
    /// Whether the fast update looks ahead as Nesterov does (false).
    pub nesterov: bool,
    /// Decoupled weight decay, multiplied by the learning rate (0).
    pub weight_decay: f64,
}

impl Default for M3Settings {
    fn default() -> Self {
        Self {
            rate: 0.02,
            fast_retention: 0.95,
            square_retention: None,
            slow_retention: 0.9,
            slow_weight: 1.0,
            slow_chunk_steps: 100,
            nesterov: false,
            weight_decay: 0.0,
        }
    }
}

/// What M3 remembers; all matrices are `[rows, cols]`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Scales<T> {
    /// `M₁`
    pub fast: Matrix<T>,
    /// `M₂`
    pub slow: Matrix<T>,
    /// Sum of the gradients of the chunk so far.
    pub chunk: Matrix<T>,
    /// `NS(M₂)` of the last chunk's end.
    pub slow_update: Matrix<T>,
    /// `V`; empty without.
    pub squares: Matrix<T>,
    /// Steps of the chunk so far.
    pub chunk_steps: u64,
}

impl<T: Real> Memory<T> for Scales<T> {
    fn visit(&mut self, visitor: &mut dyn Visitor<T>) {
        visitor.matrix("fast", &mut self.fast);
        visitor.matrix("slow", &mut self.slow);
        visitor.matrix("chunk", &mut self.chunk);
        visitor.matrix("slow_update", &mut self.slow_update);
        visitor.matrix("squares", &mut self.squares);
        visitor.count("chunk_steps", &mut self.chunk_steps);
    }
}

/// Floor of the divisor, as a share of its root mean square. Newton-Schulz moves entries that have no gradient, too: divided by next to nothing they would be
/// all of an update that keeps its norm.
const FLOOR: f64 = 0.1;

impl M3Settings {
    /// The fast update, before it is orthogonalized.
    fn fast<T: Real>(&self, gradient: &[T], memory: &mut Scales<T>) -> Vec<T> {
        let (keep, share) = (T::of(self.fast_retention), T::of(1.0 - self.fast_retention));
        memory.fast.blend(keep, share, gradient);
        if !self.nesterov {
            return memory.fast.data.clone();
        }
        memory.fast.data.iter().zip(gradient).map(|(m, g)| *m * keep + *g * share).collect()
    }

    /// Divides an update by the root of the mean of squares and gives it back its norm.
    fn shape<T: Real>(&self, update: &mut [T], gradient: &[T], memory: &mut Scales<T>) {
        let Some(keep) = self.square_retention else { return };
        let squares: Vec<T> = gradient.iter().map(|g| *g * *g).collect();
        memory.squares.blend(T::of(keep), T::of(1.0 - keep), &squares);
        let mean = memory.squares.data.iter().copied().sum::<T>() / T::of(update.len() as f64);
        let before = square_sum(update);
        if mean <= T::default() || before <= T::default() {
            return;
        }
        // The mean's bias towards its beginning at zero is one factor, which the norm takes out.
        let floor = T::of(FLOOR) * mean.root();
        update.iter_mut().zip(&memory.squares.data).for_each(|(u, v)| *u /= v.root() + floor);
        let back = (before / square_sum(update)).root();
        update.iter_mut().for_each(|u| *u *= back);
    }

    /// Takes a gradient into the chunk, and ends it when it is full.
    fn slow<T: Real>(&self, gradient: &[T], (rows, cols): (usize, usize), memory: &mut Scales<T>) {
        memory.chunk.blend(T::of(1.0), T::of(1.0), gradient);
        memory.chunk_steps += 1;
        if memory.chunk_steps < self.slow_chunk_steps {
            return;
        }
        let share = (1.0 - self.slow_retention) / memory.chunk_steps as f64;
        let chunk = std::mem::replace(&mut memory.chunk, Matrix::zeros(rows, cols));
        memory.slow.blend(T::of(self.slow_retention), T::of(share), &chunk.data);
        memory.slow_update.data = orthogonalize(memory.slow.data.clone(), rows, cols);
        memory.chunk_steps = 0;
    }
}

impl<T: Real> Rule<T> for M3Settings {
    type Memory = Scales<T>;

    fn begin(&self, rows: usize, cols: usize) -> Scales<T> {
        let zeros = || Matrix::zeros(rows, cols);
        let squares = if self.square_retention.is_some() { zeros() } else { Matrix::default() };
        Scales { fast: zeros(), slow: zeros(), chunk: zeros(), slow_update: zeros(), squares, chunk_steps: 0 }
    }

    fn step(&self, scale: f64, weights: &mut [T], gradient: &[T], (rows, cols): (usize, usize), memory: &mut Scales<T>) {
        let mut update = orthogonalize(self.fast(gradient, memory), rows, cols);
        let weight = T::of(self.slow_weight);
        update.iter_mut().zip(&memory.slow_update.data).for_each(|(u, slow)| *u += weight * *slow);
        self.shape(&mut update, gradient, memory);
        self.slow(gradient, (rows, cols), memory);
        descend(weights, &update, scale * self.rate, stretch(rows, cols), T::of(self.weight_decay));
    }
}
