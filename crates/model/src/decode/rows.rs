//! Rows of many sequences: norms, gates, convolutions.

use std::sync::Arc;

use crate::kernels::{
    math::{add, simd},
    norm,
    real::Real,
};

pub(super) fn add_to(x: &mut [f32], y: &[f32]) {
    simd(|| add(x, y));
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
    simd(|| out.chunks_exact_mut(width).zip(x.chunks_exact(width)).for_each(|(o, x)| norm::row(o, x, gain, epsilon)));
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
    simd(|| x.iter_mut().zip(gates).for_each(|(x, g)| *x *= g * g.sigmoid()));
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
