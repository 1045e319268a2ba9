//! Element-wise mathematics that the compiler can vectorize, and the loop drivers around it.

use rayon::prelude::*;

/// Runs a loop compiled for the widest vector unit of this machine.
#[inline(always)]
pub fn simd<R>(f: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(f)
}

/// `e^x` with a relative error below 2e-7, without branches; saturates outside [-87, 88].
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    let x = x.clamp(-87.0, 88.0);
    let n = (x * std::f32::consts::LOG2_E + 12_582_912.0) - 12_582_912.0;
    let r = (x - n * 0.693_359_4) + n * 2.121_944_4e-4;
    let p = 1.987_569_1e-4;
    let p = p * r + 1.398_199_9e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 1.666_666_6e-1;
    let p = p * r + 0.5;
    let p = p * r * r + r + 1.0;
    p * f32::from_bits((((n as i32) + 127) << 23) as u32)
}

/// `1 / (1 + e^-x)`
#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// `ln(1 + e^x)`
#[inline(always)]
pub fn softplus(x: f32) -> f32 {
    if x > 20.0 { x } else { exp(x).ln_1p() }
}

/// The dot product with eight running sums, so that it vectorizes.
#[inline(always)]
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    const LANES: usize = 16;
    let mut sums = [0.0_f32; LANES];
    let (heads_a, tail_a) = a.as_chunks::<LANES>();
    let (heads_b, tail_b) = b.as_chunks::<LANES>();
    for (x, y) in heads_a.iter().zip(heads_b) {
        for lane in 0..LANES {
            sums[lane] += x[lane] * y[lane];
        }
    }
    let tail: f32 = tail_a.iter().zip(tail_b).map(|(x, y)| x * y).sum();
    sums.iter().sum::<f32>() + tail
}

/// `y += a x`
#[inline(always)]
pub fn axpy(y: &mut [f32], a: f32, x: &[f32]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y += a * x;
    }
}

/// Largest value, `-inf` for none.
#[inline(always)]
pub fn max(x: &[f32]) -> f32 {
    const LANES: usize = 16;
    let mut best = [f32::NEG_INFINITY; LANES];
    let (heads, tail) = x.as_chunks::<LANES>();
    for chunk in heads {
        for lane in 0..LANES {
            best[lane] = if chunk[lane] > best[lane] { chunk[lane] } else { best[lane] };
        }
    }
    tail.iter().chain(&best).copied().fold(f32::NEG_INFINITY, f32::max)
}

/// Replaces `x` by `e^(x - shift)` and returns the sum.
#[inline(always)]
pub fn exp_shifted(x: &mut [f32], shift: f32) -> f32 {
    const LANES: usize = 16;
    let mut sums = [0.0_f32; LANES];
    let (heads, tail) = x.as_chunks_mut::<LANES>();
    for chunk in heads {
        for lane in 0..LANES {
            chunk[lane] = exp(chunk[lane] - shift);
            sums[lane] += chunk[lane];
        }
    }
    let mut sum = sums.iter().sum::<f32>();
    for value in tail {
        *value = exp(*value - shift);
        sum += *value;
    }
    sum
}

/// Softmax of a row in place; returns the logarithm of the normalizer.
#[inline(always)]
pub fn softmax(x: &mut [f32]) -> f32 {
    let top = max(x);
    let sum = exp_shifted(x, top);
    let scale = 1.0 / sum;
    for value in x.iter_mut() {
        *value *= scale;
    }
    top + sum.ln()
}

/// Rows that one task of a parallel loop takes.
pub const ROWS_A_TASK: usize = 64;

/// Calls `f(first row, rows of out)` over chunks of rows on all threads.
pub fn rows_mut(out: &mut [f32], width: usize, f: impl Fn(usize, &mut [f32]) + Sync + Send) {
    out.par_chunks_mut(width * ROWS_A_TASK).enumerate().for_each(|(i, rows)| simd(|| f(i * ROWS_A_TASK, rows)));
}
