//! Muon: momentum whose update is orthogonalized (Jordan et al., Muon, 2024).
//!
//! burn has a Muon of its own; this one orthogonalizes with the fused products of [`crate::kernels::gemm`], which takes a third of the time here, and
//! has the decoupled weight decay that a chain of nights needs.

use serde::{Deserialize, Serialize};

use super::{
    real::{Operand, Real, square_sum},
    rule::{Matrix, Memory, Rule, Visitor, descend},
};
use crate::kernels::gemm::Write;

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

/// What Muon remembers.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Velocity<T>(
    /// `[rows, cols]`
    pub Matrix<T>,
);

impl<T: Real> Memory<T> for Velocity<T> {
    fn visit(&mut self, visitor: &mut dyn Visitor<T>) {
        visitor.matrix("velocity", &mut self.0);
    }
}

impl<T: Real> Rule<T> for MuonSettings {
    type Memory = Velocity<T>;

    fn begin(&self, rows: usize, cols: usize) -> Velocity<T> {
        Velocity(Matrix::zeros(rows, cols))
    }

    fn step(&self, scale: f64, weights: &mut [T], gradient: &[T], (rows, cols): (usize, usize), memory: &mut Velocity<T>) {
        let keep = T::of(f64::from(self.momentum));
        memory.0.blend(keep, T::of(1.0), gradient);
        let ahead = memory.0.data.iter().zip(gradient).map(|(v, g)| *v * keep + *g).collect();
        let update = orthogonalize(ahead, rows, cols);
        descend(weights, &update, scale * self.rate, stretch(rows, cols), T::of(f64::from(self.weight_decay)));
    }
}

/// What makes the update of a tall matrix as strong per output as that of a wide one.
pub(super) fn stretch<T: Real>(rows: usize, cols: usize) -> T {
    (T::of(rows as f64) / T::of(cols as f64)).at_least(T::of(1.0)).root()
}

/// Coefficients of the quintic iteration.
const QUINTIC: (f64, f64, f64) = (3.4445, -4.775, 2.0315);
const ITERATIONS: usize = 5;
/// A gradient below this norm counts as none.
const LEAST_NORM: f64 = 1e-7;

/// The nearest matrix with unit singular values, roughly (they come to lie in 0.7 to 1.2), by five Newton-Schulz iterations; `g` is `[rows, cols]`.
pub fn orthogonalize<T: Real>(g: Vec<T>, rows: usize, cols: usize) -> Vec<T> {
    let tall = rows > cols;
    let (short, long) = if tall { (cols, rows) } else { (rows, cols) };
    let mut x = if tall { transpose(&g, rows, cols) } else { g };
    let norm = square_sum(&x).root().at_least(T::of(LEAST_NORM));
    x.iter_mut().for_each(|v| *v /= norm);
    let (a, b, c) = (T::of(QUINTIC.0), T::of(QUINTIC.1), T::of(QUINTIC.2));
    let zeros = |n: usize| vec![T::default(); n];
    let (mut gram, mut square, mut moved) = (zeros(short * short), zeros(short * short), zeros(short * long));
    for _ in 0..ITERATIONS {
        let wide = Operand::new(&x, short, long);
        T::multiply(&mut gram, Write::Set, wide, wide.t());
        let factor = Operand::new(&gram, short, short);
        T::multiply(&mut square, Write::Set, factor, factor);
        square.iter_mut().zip(&gram).for_each(|(s, g)| *s = b * *g + c * *s);
        T::multiply(&mut moved, Write::Set, Operand::new(&square, short, short), wide);
        x.iter_mut().zip(&moved).for_each(|(x, m)| *x = a * *x + *m);
    }
    if tall { transpose(&x, cols, rows) } else { x }
}

fn transpose<T: Real>(x: &[T], rows: usize, cols: usize) -> Vec<T> {
    let mut out = vec![T::default(); x.len()];
    for r in 0..rows {
        for c in 0..cols {
            out[c * rows + r] = x[r * cols + c];
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::orthogonalize;

    /// The factors of a matrix with known singular values come back with all of them near 1 (Jordan et al., Muon).
    #[test]
    fn orthogonalizing_brings_singular_values_near_one_and_turns_nothing() {
        let (rows, cols) = (6, 9);
        let basis = |n: usize, width: usize, seed: usize| {
            let mut all: Vec<Vec<f64>> = Vec::new();
            for i in 0..n {
                let mut v: Vec<f64> = (0..width).map(|j| i * width + j + seed).map(|x| (x * x * 31 % 97) as f64 - 48.0).collect();
                for u in &all {
                    let along: f64 = u.iter().zip(&v).map(|(u, v)| u * v).sum();
                    v.iter_mut().zip(u).for_each(|(v, u)| *v -= along * u);
                }
                let norm = v.iter().map(|x| x * x).sum::<f64>().sqrt();
                all.push(v.into_iter().map(|x| x / norm).collect());
            }
            all
        };
        let (left, right) = (basis(rows, rows, 3), basis(rows, cols, 11));
        let singular = [10.0, 7.0, 4.0, 2.0, 1.0, 0.5];
        let entry = |r: usize, c: usize| (0..rows).map(|n| singular[n] * left[n][r] * right[n][c]).sum();
        let wide: Vec<f64> = (0..rows * cols).map(|at| entry(at / cols, at % cols)).collect();
        let tall: Vec<f64> = (0..rows * cols).map(|at| wide[at % rows * cols + at / rows]).collect();
        let out = orthogonalize(wide, rows, cols);
        let turned = orthogonalize(tall, cols, rows);
        for at in 0..rows * cols {
            assert!((out[at] - turned[at % cols * rows + at / cols]).abs() < 1e-12, "a transpose's is the transpose");
        }
        for (i, u) in left.iter().enumerate() {
            for (j, v) in right.iter().enumerate() {
                let along: f64 = (0..rows * cols).map(|at| u[at / cols] * out[at] * v[at % cols]).sum();
                let sound = if i == j { (0.65..1.25).contains(&along) } else { along.abs() < 1e-9 };
                assert!(sound, "{i}, {j}: {along}");
            }
        }
    }
}
