//! Momentum as a memory of gradients (Nested Learning, section 4.2).
//!
//! Momentum is an associative memory without values: a matrix `M` that is asked to point where gradients `g` do,
//!
//! > `J(M) = -⟨M, g⟩ + (1 - β) / 2 · ‖M‖²`
//!
//! and takes one step of gradient descent at rate one for each of them, `M ← M - ∇J(M) = β M + g`. That is heavy ball; at `β = 1` nothing is ever
//! forgotten. Its last `n` gradients make `1 - βⁿ` of it: 7 make half and 44 make 99 % at `β = 0.9`.
//!
//! The paper has the learning rate inside the memory, `M ← β M - η g` and `W ← W + M`. Both are the same while the rate stays; here it is outside, so
//! that what a schedule does late is not mixed with what it did early, and a step at rate zero moves no weight.

use serde::{Deserialize, Serialize};

use super::{
    real::{Real, square_sum},
    rule::{Matrix, Memory, Rule, Visitor, descend},
};

/// Settings of momentum.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MomentumSettings {
    /// Peak learning rate (.02); the schedule multiplies it.
    pub rate: f64,
    /// `β`, what the memory keeps a step (.9).
    pub retention: f64,
    /// Decoupled weight decay, multiplied by the learning rate (0).
    pub weight_decay: f64,
}

impl Default for MomentumSettings {
    fn default() -> Self {
        Self { rate: 0.02, retention: 0.9, weight_decay: 0.0 }
    }
}

/// The memory of gradients.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Gradients<T>(
    /// `[rows, cols]`
    pub Matrix<T>,
);

impl<T: Real> Memory<T> for Gradients<T> {
    fn visit(&mut self, visitor: &mut dyn Visitor<T>) {
        visitor.matrix("gradients", &mut self.0);
    }
}

impl MomentumSettings {
    /// `J(M)` for a gradient.
    pub fn objective<T: Real>(&self, memory: &[T], gradient: &[T]) -> T {
        let along: T = memory.iter().zip(gradient).map(|(m, g)| *m * *g).sum();
        T::of((1.0 - self.retention) / 2.0) * square_sum(memory) - along
    }
}

impl<T: Real> Rule<T> for MomentumSettings {
    type Memory = Gradients<T>;

    fn begin(&self, rows: usize, cols: usize) -> Gradients<T> {
        Gradients(Matrix::zeros(rows, cols))
    }

    fn step(&self, scale: f64, weights: &mut [T], gradient: &[T], _: (usize, usize), memory: &mut Gradients<T>) {
        memory.0.blend(T::of(self.retention), T::of(1.0), gradient);
        descend(weights, &memory.0.data, scale * self.rate, T::of(1.0), T::of(self.weight_decay));
    }
}
