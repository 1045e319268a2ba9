//! The number types that kernels are written for.
//!
//! What ships computes in `f32`. Every kernel also runs in `f64`, where its gradient can be held against finite differences and its chunked form against
//! its recurrence to ten digits, so that a slip of algebra cannot hide behind rounding.

use std::{fmt::Debug, iter::Sum};

use faer::traits::ComplexField;
use num_traits::{Float, NumAssign};

/// A real number type.
pub trait Real: Float + NumAssign + Sum + Default + Debug + Send + Sync + ComplexField + 'static {
    /// The nearest number to a constant.
    fn of(x: f64) -> Self;

    /// For sums and figures.
    fn wide(self) -> f64;

    /// `e^x`, as fast as the type's precision allows.
    #[must_use]
    fn exponential(self) -> Self;

    /// A length or an index.
    #[inline(always)]
    fn count(n: usize) -> Self {
        Self::of(n as f64)
    }

    /// `1 / (1 + e^-x)`
    #[inline(always)]
    #[must_use]
    fn sigmoid(self) -> Self {
        (Self::one() + (-self).exponential()).recip()
    }

    /// `ln(1 + e^x)`
    #[inline(always)]
    #[must_use]
    fn softplus(self) -> Self {
        if self > Self::of(40.0) { self } else { self.exponential().ln_1p() }
    }

    /// The derivative of `x · sigmoid(x)`.
    #[inline(always)]
    #[must_use]
    fn silu_slope(self) -> Self {
        let s = self.sigmoid();
        s * (Self::one() + self * (Self::one() - s))
    }
}

impl Real for f32 {
    #[inline(always)]
    fn of(x: f64) -> Self {
        x as Self
    }

    #[inline(always)]
    fn wide(self) -> f64 {
        f64::from(self)
    }

    /// A relative error below 2e-7, without branches, so that loops vectorize; saturates outside [-87, 88].
    #[inline(always)]
    fn exponential(self) -> Self {
        let x = self.clamp(-87.0, 88.0);
        let n = (x * std::f32::consts::LOG2_E + 12_582_912.0) - 12_582_912.0;
        let r = (x - n * 0.693_359_4) + n * 2.121_944_4e-4;
        let p = 1.987_569_1e-4;
        let p = p * r + 1.398_199_9e-3;
        let p = p * r + 8.333_452e-3;
        let p = p * r + 4.166_579_6e-2;
        let p = p * r + 1.666_666_6e-1;
        let p = p * r + 0.5;
        let p = p * r * r + r + 1.0;
        p * Self::from_bits((((n as i32) + 127) << 23) as u32)
    }
}

impl Real for f64 {
    #[inline(always)]
    fn of(x: f64) -> Self {
        x
    }

    #[inline(always)]
    fn wide(self) -> f64 {
        self
    }

    #[inline(always)]
    fn exponential(self) -> Self {
        self.exp()
    }
}
