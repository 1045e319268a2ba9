//! RMSNorm: `y = x / sqrt(mean(x²) + ε) · g`, over the last extent.

use rayon::prelude::*;

use super::{
    math::{ROWS_A_TASK, dot, rows_mut, simd, sum_of},
    real::Real,
};
use crate::host::{Forward, Kernel, View};

/// What models of our own add to the mean square.
pub const EPSILON: f32 = 1e-6;

/// RMSNorm with a gain; the gain's length is the normalized width, so that heads are normalized by giving a shorter gain.
#[derive(Debug, Clone, Copy)]
pub struct RmsNorm {
    /// Added to the mean square.
    pub epsilon: f32,
}

/// Normalizes one row into `out`.
#[inline(always)]
pub fn row<T: Real>(out: &mut [T], x: &[T], gain: &[T], epsilon: f32) {
    let scale = inverse_rms(x, epsilon);
    for ((o, x), g) in out.iter_mut().zip(x).zip(gain) {
        *o = *x * scale * *g;
    }
}

#[inline(always)]
fn inverse_rms<T: Real>(x: &[T], epsilon: f32) -> T {
    (dot(x, x) / T::count(x.len()) + T::of(f64::from(epsilon))).sqrt().recip()
}

impl Kernel for RmsNorm {
    fn forward<T: Real>(&self, inputs: &[View<'_, T>]) -> Forward<T> {
        let (x, gain) = (inputs[0], inputs[1].data);
        let width = gain.len();
        let mut output = vec![T::zero(); x.data.len()];
        rows_mut(&mut output, width, |first, rows| {
            let source = x.data[first * width..].chunks_exact(width);
            for (out, x) in rows.chunks_exact_mut(width).zip(source) {
                row(out, x, gain, self.epsilon);
            }
        });
        Forward { output, shape: x.shape.to_vec(), saved: Vec::new() }
    }

    fn backward<T: Real>(&self, inputs: &[View<'_, T>], _: &[Vec<T>], gradient: View<'_, T>, _: &[bool]) -> Vec<Option<Vec<T>>> {
        let (x, gain) = (inputs[0].data, inputs[1].data);
        let width = gain.len();
        let mut dx = vec![T::zero(); x.len()];
        let task = width * ROWS_A_TASK;
        let dgain = dx
            .par_chunks_mut(task)
            .zip(x.par_chunks(task))
            .zip(gradient.data.par_chunks(task))
            .map(|((dx, x), dy)| simd(|| self.rows_backward(dx, x, dy, gain)))
            .reduce(Vec::new, sum_of);
        vec![Some(dx), Some(dgain)]
    }
}

impl RmsNorm {
    #[inline(always)]
    fn rows_backward<T: Real>(self, dx: &mut [T], x: &[T], dy: &[T], gain: &[T]) -> Vec<T> {
        let width = gain.len();
        let mut dgain = vec![T::zero(); width];
        for ((dx, x), dy) in dx.chunks_exact_mut(width).zip(x.chunks_exact(width)).zip(dy.chunks_exact(width)) {
            let scale = inverse_rms(x, self.epsilon);
            for i in 0..width {
                dx[i] = dy[i] * gain[i];
                dgain[i] += dy[i] * x[i] * scale;
            }
            let along = dot(dx, x) * scale * scale * scale / T::count(width);
            for i in 0..width {
                dx[i] = dx[i] * scale - x[i] * along;
            }
        }
        dgain
    }
}
