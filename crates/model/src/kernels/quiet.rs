//! A penalty on the size of what passes through, `Σ weight · |y|² / (2 · normalizer)` over rows of `y [N, C]`. The output is the input and the loss does not
//! hold the penalty: only the gradient knows of it.

use std::sync::Arc;

use rayon::prelude::*;

use super::{math::axpy, real::Real};
use crate::host::{Forward, Kernel, View};

/// The penalty.
#[derive(Debug, Clone)]
pub struct Quiet {
    /// One weight for every row; zero where rows may be as large as they like.
    pub weights: Arc<Vec<f32>>,
    /// What the weighted sum is divided by.
    pub normalizer: f32,
}

impl Kernel for Quiet {
    fn forward<T: Real>(&self, inputs: &[View<'_, T>]) -> Forward<T> {
        let y = inputs[0];
        Forward { output: y.data.to_vec(), shape: y.shape.to_vec(), saved: Vec::new() }
    }

    fn backward<T: Real>(
        &self,
        inputs: &[View<'_, T>],
        _: &[Vec<T>],
        gradient: View<'_, T>,
        needs: &[bool],
    ) -> Vec<Option<Vec<T>>> {
        let y = inputs[0];
        let width = y.data.len() / self.weights.len().max(1);
        let dy = needs[0].then(|| {
            let mut dy = gradient.data.to_vec();
            let rows = dy.par_chunks_mut(width.max(1)).zip(y.data.par_chunks(width.max(1))).zip(self.weights.par_iter());
            rows.filter(|(_, weight)| **weight > 0.0).for_each(|((dy, y), weight)| {
                axpy(dy, T::of(f64::from(weight / self.normalizer)), y);
            });
            dy
        });
        vec![dy]
    }
}
