//! RMSNorm: `y = x / sqrt(mean(x²) + ε) · g`, over the last extent.

use rayon::prelude::*;

use super::math::{ROWS_A_TASK, rows_mut, simd};
use crate::host::{Forward, HostOp, View};

/// Added to the mean square.
pub const EPSILON: f32 = 1e-6;

/// RMSNorm with a gain; the gain's length is the normalized width, so that heads are normalized by giving a shorter gain.
#[derive(Debug, Clone, Copy)]
pub struct RmsNorm;

/// Normalizes one row into `out`.
#[inline(always)]
pub fn row(out: &mut [f32], x: &[f32], gain: &[f32]) {
    let scale = inverse_rms(x);
    for ((o, x), g) in out.iter_mut().zip(x).zip(gain) {
        *o = x * scale * g;
    }
}

#[inline(always)]
fn inverse_rms(x: &[f32]) -> f32 {
    (super::math::dot(x, x) / x.len() as f32 + EPSILON).sqrt().recip()
}

impl HostOp for RmsNorm {
    fn forward(&self, inputs: &[View<'_>]) -> Forward {
        let (x, gain) = (inputs[0], inputs[1].data);
        let width = gain.len();
        let mut output = vec![0.0; x.data.len()];
        rows_mut(&mut output, width, |first, rows| {
            let source = x.data[first * width..].chunks_exact(width);
            for (out, x) in rows.chunks_exact_mut(width).zip(source) {
                row(out, x, gain);
            }
        });
        Forward { output, shape: x.shape.to_vec(), saved: Vec::new() }
    }

    fn backward(&self, inputs: &[View<'_>], _: &[Vec<f32>], gradient: View<'_>, _: &[bool]) -> Vec<Option<Vec<f32>>> {
        let (x, gain) = (inputs[0].data, inputs[1].data);
        let width = gain.len();
        let mut dx = vec![0.0; x.len()];
        let task = width * ROWS_A_TASK;
        let dgain = dx
            .par_chunks_mut(task)
            .zip(x.par_chunks(task))
            .zip(gradient.data.par_chunks(task))
            .map(|((dx, x), dy)| simd(|| rows_backward(dx, x, dy, gain)))
            .reduce(
                || vec![0.0; width],
                |mut a, b| {
                    a.iter_mut().zip(b).for_each(|(a, b)| *a += b);
                    a
                },
            );
        vec![Some(dx), Some(dgain)]
    }
}

#[inline(always)]
fn rows_backward(dx: &mut [f32], x: &[f32], dy: &[f32], gain: &[f32]) -> Vec<f32> {
    let width = gain.len();
    let mut dgain = vec![0.0; width];
    for ((dx, x), dy) in dx.chunks_exact_mut(width).zip(x.chunks_exact(width)).zip(dy.chunks_exact(width)) {
        let scale = inverse_rms(x);
        for i in 0..width {
            dx[i] = dy[i] * gain[i];
            dgain[i] += dy[i] * x[i] * scale;
        }
        let along = super::math::dot(dx, x) * scale * scale * scale / width as f32;
        for i in 0..width {
            dx[i] = dx[i] * scale - x[i] * along;
        }
    }
    dgain
}
