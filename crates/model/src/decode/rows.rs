//! Rows of many sequences: norms, gates, convolutions.

use std::sync::Arc;

use rayon::prelude::*;

use crate::kernels::{
    math::{add, simd},
    norm,
    real::Real,
};

/// Numbers from which a loop over rows is worth a second thread.
const PARALLEL_FROM: usize = 1 << 15;

/// Calls `f(first number, rows of x)` for all rows, on all threads where there are many.
fn each<F: Fn(usize, &mut [f32]) + Sync>(x: &mut [f32], width: usize, f: F) {
    let threads = rayon::current_num_threads();
    if threads < 2 || x.len() < PARALLEL_FROM || rayon::current_thread_index().is_none() {
        return f(0, x);
    }
    let part = (x.len() / width).div_ceil(threads) * width;
    x.par_chunks_mut(part).enumerate().for_each(|(n, rows)| f(n * part, rows));
}

pub(super) fn add_to(x: &mut [f32], y: &[f32]) {
    each(x, 1, |from, x| simd(|| add(x, &y[from..])));
}

/// Adds a bias to every row.
pub(super) fn add_bias(rows: &mut [f32], bias: Option<&Arc<[f32]>>) {
    if let Some(bias) = bias {
        simd(|| rows.chunks_exact_mut(bias.len()).for_each(|row| add(row, bias)));
    }
}

pub(super) fn normalize(out: &mut Vec<f32>, x: &[f32], gain: &[f32], epsilon: f32) {
    out.clear();
    out.resize(x.len(), 0.0);
    let width = gain.len();
    each(out, width, |from, out| {
        let rows = out.chunks_exact_mut(width).zip(x[from..].chunks_exact(width));
        simd(|| rows.for_each(|(o, x)| norm::row(o, x, gain, epsilon)));
    });
}

/// Normalizes groups as wide as the gain where they are.
pub(super) fn normalize_here(x: &mut [f32], gain: &[f32], epsilon: f32) {
    simd(|| {
        for group in x.chunks_exact_mut(gain.len()) {
            let before = group.to_vec();
            norm::row(group, &before, gain, epsilon);
        }
    });
}

/// Multiplies by the SiLU of gates.
pub(super) fn gate(x: &mut [f32], gates: &[f32]) {
    each(x, 1, |from, x| simd(|| x.iter_mut().zip(&gates[from..]).for_each(|(x, g)| *x *= g * g.sigmoid())));
}

/// Convolves one row with the rows before it and remembers it.
#[inline(always)]
pub(super) fn convolve(tail: &mut [f32], row: &mut [f32], w: &[f32], silu: bool) {
    let channels = row.len();
    let before = tail.len() / channels;
    let current = row.to_vec();
    for c in 0..channels {
        row[c] *= w[before * channels + c];
    }
    for j in 0..before {
        let (tail, w) = (&tail[j * channels..(j + 1) * channels], &w[j * channels..(j + 1) * channels]);
        for c in 0..channels {
            row[c] += w[c] * tail[c];
        }
    }
    if before > 0 {
        tail.copy_within(channels.., 0);
        tail[(before - 1) * channels..].copy_from_slice(&current);
    }
    if silu {
        row.iter_mut().for_each(|x| *x *= x.sigmoid());
    }
}
