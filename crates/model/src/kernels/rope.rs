//! Rotary positions (Su et al., RoFormer), with the ways to stretch them that Llama-family checkpoints use.

use serde::{Deserialize, Serialize};

use super::real::Real;
use crate::{config::wrong, error::ModelError};

/// How rotary frequencies are stretched for contexts longer than those of pre-training.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Stretch {
    /// All frequencies divided by a factor.
    Linear {
        /// The divisor.
        factor: f32,
    },
    /// Llama 3: low frequencies divided, high ones kept, those between interpolated.
    Llama3 {
        /// The divisor of low frequencies.
        factor: f32,
        /// Wavelengths longer than the original context over this are low.
        low_freq_factor: f32,
        /// Wavelengths shorter than the original context over this are high.
        high_freq_factor: f32,
        /// Context of pre-training in tokens.
        original_context: usize,
    },
}

/// Rotary positions of an attention.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rope {
    /// Base of the frequencies.
    pub theta: f32,
    /// How they are stretched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stretch: Option<Stretch>,
}

impl Rope {
    /// Unstretched.
    pub const fn new(theta: f32) -> Self {
        Self { theta, stretch: None }
    }

    /// Checks that every frequency is a number.
    ///
    /// # Errors
    /// Names what is not finite, or not above zero.
    pub fn check(&self) -> Result<(), ModelError> {
        let stretch = match self.stretch {
            None => vec![],
            Some(Stretch::Linear { factor }) => vec![("factor", factor)],
            Some(Stretch::Llama3 { factor, low_freq_factor, high_freq_factor, original_context }) => vec![
                ("factor", factor),
                ("low_freq_factor", low_freq_factor),
                ("high_freq_factor", high_freq_factor),
                ("high_freq_factor - low_freq_factor", high_freq_factor - low_freq_factor),
                ("original_context", original_context as f32),
            ],
        };
        match [("theta", self.theta)].into_iter().chain(stretch).find(|(_, x)| !(*x > 0.0 && x.is_finite())) {
            Some((name, x)) => wrong(format!("{name} of its rotary positions is {x}; it must be a number above zero")),
            None => Ok(()),
        }
    }

    /// Radians a position, one for each pair of channels.
    pub fn frequencies(&self, width: usize) -> Vec<f64> {
        let plain = (0..width / 2).map(|i| f64::from(self.theta).powf(-2.0 * i as f64 / width as f64));
        plain.map(|f| self.stretch.map_or(f, |s| s.apply(f))).collect()
    }
}

impl Stretch {
    fn apply(self, frequency: f64) -> f64 {
        match self {
            Self::Linear { factor } => frequency / f64::from(factor),
            Self::Llama3 { factor, low_freq_factor, high_freq_factor, original_context } => {
                let turns = original_context as f64 * frequency / std::f64::consts::TAU;
                let (low, high) = (f64::from(low_freq_factor), f64::from(high_freq_factor));
                let share = ((turns - low) / (high - low)).clamp(0.0, 1.0);
                frequency * (share + (1.0 - share) / f64::from(factor))
            }
        }
    }
}

/// Sines and cosines of every position and frequency, `[T, half]` each.
#[derive(Debug, Clone)]
pub struct Rotary<T = f32> {
    half: usize,
    cos: Vec<T>,
    sin: Vec<T>,
}

impl<T: Real> Rotary<T> {
    /// Tables for `time` positions from 0 and heads of `width` channels.
    pub fn new(time: usize, width: usize, rope: &Rope) -> Self {
        let frequencies = rope.frequencies(width);
        let angles = (0..time).flat_map(|t| frequencies.iter().map(move |f| t as f64 * f));
        let (sin, cos) = angles.map(f64::sin_cos).map(|(sin, cos)| (T::of(sin), T::of(cos))).unzip();
        Self { half: width / 2, cos, sin }
    }

    /// Positions that the tables have.
    pub fn positions(&self) -> usize {
        self.cos.len() / self.half.max(1)
    }

    /// Rotates one head at a position.
    #[inline(always)]
    pub fn turn(&self, head: &mut [T], position: usize) {
        self.rotate(head, position, T::one());
    }

    /// The inverse of [`Rotary::turn`], which is its gradient, too.
    #[inline(always)]
    pub fn turn_back(&self, head: &mut [T], position: usize) {
        self.rotate(head, position, -T::one());
    }

    #[inline(always)]
    fn rotate(&self, head: &mut [T], position: usize, sign: T) {
        let at = position * self.half..(position + 1) * self.half;
        let (cos, sin) = (&self.cos[at.clone()], &self.sin[at]);
        let (low, high) = head.split_at_mut(self.half);
        for i in 0..self.half {
            let (a, b) = (low[i], high[i]);
            low[i] = a * cos[i] - b * sin[i] * sign;
            high[i] = a * sin[i] * sign + b * cos[i];
        }
    }
}

/// Positions whose sines and cosines are kept; those beyond are computed when they are needed.
const TABLED: usize = 4096;

/// Rotates heads at any position, for decoding.
#[derive(Debug, Clone)]
pub struct Turner {
    frequencies: Vec<f64>,
    table: Rotary<f32>,
}

impl Turner {
    /// For heads of `width` channels.
    pub fn new(width: usize, rope: &Rope) -> Self {
        Self { frequencies: rope.frequencies(width), table: Rotary::new(TABLED, width, rope) }
    }

    /// Rotates one head at a position.
    #[inline(always)]
    pub fn turn(&self, head: &mut [f32], position: usize) {
        if position < self.table.positions() {
            return self.table.turn(head, position);
        }
        let (low, high) = head.split_at_mut(self.frequencies.len());
        for ((low, high), frequency) in low.iter_mut().zip(high).zip(&self.frequencies) {
            let (sin, cos) = (position as f64 * frequency).sin_cos();
            let (sin, cos, a, b) = (sin as f32, cos as f32, *low, *high);
            *low = a * cos - b * sin;
            *high = a * sin + b * cos;
        }
    }
}
