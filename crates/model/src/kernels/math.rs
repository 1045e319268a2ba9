//! Element-wise mathematics that the compiler can vectorize, and the loop drivers around it.

use rayon::prelude::*;

use super::real::Real;

/// Runs a loop compiled for the widest vector unit of this machine.
#[inline(always)]
pub fn simd<R>(f: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(f)
}

/// Running sums of a loop, so that it vectorizes.
const LANES: usize = 16;

/// The dot product.
#[inline(always)]
pub fn dot<T: Real>(a: &[T], b: &[T]) -> T {
    let mut sums = [T::zero(); LANES];
    let (heads_a, tail_a) = a.as_chunks::<LANES>();
    let (heads_b, tail_b) = b.as_chunks::<LANES>();
    for (x, y) in heads_a.iter().zip(heads_b) {
        for lane in 0..LANES {
            sums[lane] += x[lane] * y[lane];
        }
    }
    let tail: T = tail_a.iter().zip(tail_b).map(|(x, y)| *x * *y).sum();
    sums.iter().copied().sum::<T>() + tail
}

/// `y += a x`
#[inline(always)]
pub fn axpy<T: Real>(y: &mut [T], a: T, x: &[T]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y += a * *x;
    }
}

/// `y += x`
#[inline(always)]
pub fn add<T: Real>(y: &mut [T], x: &[T]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y += *x;
    }
}

/// `x *= a`
#[inline(always)]
pub fn scale<T: Real>(x: &mut [T], a: T) {
    for x in x {
        *x *= a;
    }
}

/// Largest value, `-inf` for none.
#[inline(always)]
pub fn max<T: Real>(x: &[T]) -> T {
    let mut best = [T::neg_infinity(); LANES];
    let (heads, tail) = x.as_chunks::<LANES>();
    for chunk in heads {
        for lane in 0..LANES {
            best[lane] = if chunk[lane] > best[lane] { chunk[lane] } else { best[lane] };
        }
    }
    tail.iter().chain(&best).copied().fold(T::neg_infinity(), T::max)
}

/// Replaces `x` by `e^(x - shift)` and returns the sum.
#[inline(always)]
pub fn exp_shifted<T: Real>(x: &mut [T], shift: T) -> T {
    let mut sums = [T::zero(); LANES];
    let (heads, tail) = x.as_chunks_mut::<LANES>();
    for chunk in heads {
        for lane in 0..LANES {
            chunk[lane] = (chunk[lane] - shift).exponential();
            sums[lane] += chunk[lane];
        }
    }
    let mut sum = sums.iter().copied().sum::<T>();
    for value in tail {
        *value = (*value - shift).exponential();
        sum += *value;
    }
    sum
}

/// Softmax of a row in place; returns the logarithm of the normalizer.
#[inline(always)]
pub fn softmax<T: Real>(x: &mut [T]) -> T {
    let top = max(x);
    let sum = exp_shifted(x, top);
    scale(x, sum.recip());
    top + sum.ln()
}

/// Rows that one task of a parallel loop takes.
pub const ROWS_A_TASK: usize = 64;

/// Calls `f(first row, rows of out)` over chunks of rows on all threads.
pub fn rows_mut<T: Real>(out: &mut [T], width: usize, f: impl Fn(usize, &mut [T]) + Sync + Send) {
    out.par_chunks_mut(width * ROWS_A_TASK).enumerate().for_each(|(i, rows)| simd(|| f(i * ROWS_A_TASK, rows)));
}

/// Adds two sums of the same extents, to reduce what threads gathered.
pub(super) fn sum_of<T: Real>(mut a: Vec<T>, b: Vec<T>) -> Vec<T> {
    if a.is_empty() {
        return b;
    }
    add(&mut a, &b);
    a
}
