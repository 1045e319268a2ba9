//! Short causal depth-wise convolution over time: `y[t, c] = Σ_j w[j, c] x[t - (J-1) + j, c]`, optionally followed by SiLU.

use rayon::prelude::*;

use super::{
    math::{simd, sum_of},
    real::Real,
};
use crate::host::{Forward, Kernel, View};

/// The convolution; inputs are `x [B, T, C]` and `w [J, C]`.
#[derive(Debug, Clone, Copy)]
pub struct ShortConv {
    /// Whether SiLU follows.
    pub silu: bool,
}

impl Kernel for ShortConv {
    fn forward<T: Real>(&self, inputs: &[View<'_, T>]) -> Forward<T> {
        let (x, w) = (inputs[0], inputs[1]);
        let (time, channels, taps) = (x.shape[1], x.shape[2], w.shape[0]);
        let mut linear = vec![T::zero(); x.data.len()];
        let sequence = time * channels;
        linear.par_chunks_mut(sequence).zip(x.data.par_chunks(sequence)).for_each(|(y, x)| {
            simd(|| convolve(y, x, w.data, channels, taps));
        });
        let shape = x.shape.to_vec();
        if !self.silu {
            return Forward { output: linear, shape, saved: Vec::new() };
        }
        let mut output = linear.clone();
        output.par_chunks_mut(sequence).for_each(|y| simd(|| y.iter_mut().for_each(|y| *y *= y.sigmoid())));
        Forward { output, shape, saved: vec![linear] }
    }

    fn backward<T: Real>(
        &self,
        inputs: &[View<'_, T>],
        saved: &[Vec<T>],
        gradient: View<'_, T>,
        needs: &[bool],
    ) -> Vec<Option<Vec<T>>> {
        let (x, w) = (inputs[0], inputs[1]);
        let (time, channels, taps) = (x.shape[1], x.shape[2], w.shape[0]);
        let sequence = time * channels;
        let mut dx = vec![T::zero(); x.data.len()];
        let linear = saved.first();
        let dw = dx
            .par_chunks_mut(sequence)
            .enumerate()
            .map(|(b, dx)| {
                let range = b * sequence..(b + 1) * sequence;
                let mut dy = gradient.data[range.clone()].to_vec();
                if let Some(linear) = linear {
                    simd(|| silu_backward(&mut dy, &linear[range.clone()]));
                }
                simd(|| convolve_backward(dx, &dy, &x.data[range], w.data, channels, taps, needs[1]))
            })
            .reduce(Vec::new, sum_of);
        vec![Some(dx), needs[1].then_some(dw)]
    }
}

/// Channels whose sums stay in registers while the taps go by.
const TOGETHER: usize = 32;

#[inline(always)]
fn convolve<T: Real>(y: &mut [T], x: &[T], w: &[T], channels: usize, taps: usize) {
    for (t, out) in y.chunks_exact_mut(channels).enumerate() {
        let first = (taps - 1).saturating_sub(t);
        let (x, w) = (&x[(t + first + 1 - taps) * channels..(t + 1) * channels], &w[first * channels..]);
        let (blocks, rest) = out.as_chunks_mut::<TOGETHER>();
        let from = blocks.len() * TOGETHER;
        for (n, out) in blocks.iter_mut().enumerate() {
            *out = tapped(&x[n * TOGETHER..], &w[n * TOGETHER..], channels);
        }
        for (c, out) in rest.iter_mut().enumerate() {
            let taps = x[from + c..].iter().step_by(channels).zip(w[from + c..].iter().step_by(channels));
            *out = taps.fold(T::zero(), |sum, (x, w)| sum + *w * *x);
        }
    }
}

/// The sums of some neighboring channels over the rows of `x` and `w`.
#[inline(always)]
fn tapped<T: Real>(x: &[T], w: &[T], channels: usize) -> [T; TOGETHER] {
    let mut sums = [T::zero(); TOGETHER];
    for (x, w) in x.chunks(channels).zip(w.chunks(channels)) {
        let (Some(x), Some(w)) = (x.first_chunk::<TOGETHER>(), w.first_chunk::<TOGETHER>()) else { break };
        for c in 0..TOGETHER {
            sums[c] += w[c] * x[c];
        }
    }
    sums
}

#[inline(always)]
fn silu_backward<T: Real>(dy: &mut [T], linear: &[T]) {
    for (dy, x) in dy.iter_mut().zip(linear) {
        *dy *= x.silu_slope();
    }
}

#[inline(always)]
fn convolve_backward<T: Real>(
    dx: &mut [T],
    dy: &[T],
    x: &[T],
    w: &[T],
    channels: usize,
    taps: usize,
    with_weight: bool,
) -> Vec<T> {
    let time = dy.len() / channels;
    let mut dw = vec![T::zero(); taps * channels];
    for t in 0..time {
        let dy = &dy[t * channels..(t + 1) * channels];
        for j in (taps - 1).saturating_sub(t)..taps {
            let from = (t + j + 1 - taps) * channels;
            let (dx, x) = (&mut dx[from..from + channels], &x[from..from + channels]);
            let (dw, w) = (&mut dw[j * channels..(j + 1) * channels], &w[j * channels..(j + 1) * channels]);
            for c in 0..channels {
                dx[c] += w[c] * dy[c];
            }
            if with_weight {
                for c in 0..channels {
                    dw[c] += x[c] * dy[c];
                }
            }
        }
    }
    dw
}
