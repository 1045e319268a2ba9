//! Linear memories with a delta rule, chunked for training: Gated DeltaNet, DeltaNet and, without the rule, RetNet.
//!
//! Per head and token, with queries and keys of K channels, values of V, write strength β and decay α, the state being `[K, V]`:
//! `S_t = α_t S_{t-1} + k_t (β_t (v_t - α_t S_{t-1}ᵀ k_t))ᵀ`, `o_t = S_tᵀ q_t`; RetNet does not subtract what was there.
//! In a chunk with cumulative decay γ and `G_ti = γ_t / γ_i`:
//! `U = (I + tril(diag(β)(G ∘ K Kᵀ), -1))⁻¹ diag(β)(V - diag(γ) K S₀)`, `O = diag(γ) Q S₀ + tril(G ∘ Q Kᵀ) U`,
//! `S = γ_C S₀ + Kᵀ diag(γ_C / γ) U`. Decays are kept as logarithms; only differences are exponentiated, and they are never positive.

mod chunk;

use rayon::prelude::*;

pub use self::chunk::{HeadGradient, HeadInput, head_backward, head_forward};
use super::{
    heads::{Columns, gather, scatter},
    math::{axpy, dot, scale, simd},
    real::Real,
    rope::{Rope, Rotary},
};
use crate::host::{Forward, Kernel, View};

/// Tokens a chunk.
pub const CHUNK: usize = 32;

/// Added to squared norms of q and k.
pub const NORM_EPSILON: f64 = 1e-6;

/// How a memory is written.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rule {
    /// Gated DeltaNet (Yang et al., 2412.06464): inputs `gates [B, T, 2H]` (write logits, then decay logits), `a_log [H]`, `dt_bias [H]`.
    Gated,
    /// DeltaNet (Yang et al., 2406.06484): input `gates [B, T, H]`, the write logits. Strengths reach 2 instead of 1 with `negative`, so
    /// that the state's eigenvalues reach -1 (Grazzi et al., 2411.12537).
    Plain {
        /// Whether eigenvalues may be negative.
        negative: bool,
    },
    /// RetNet (Sun et al., 2307.08621): no gates; head h decays by `1 - 2^(-5-h)`, queries and keys are rotated and not normalized.
    Retention {
        /// Rotary positions.
        rope: Rope,
    },
}

/// The mixer over `qkv [B, T, H (2K + V)]`, all queries, then all keys, then all values, and the inputs of its rule; the output is `[B, T, H V]`.
#[derive(Debug, Clone, Copy)]
pub struct DeltaMemory {
    /// Number of heads.
    pub heads: usize,
    /// Channels of a head's queries and keys.
    pub key: usize,
    /// How it is written.
    pub rule: Rule,
}

impl Rule {
    /// Whether what was there under a key is subtracted before writing.
    pub const fn erases(self) -> bool {
        !matches!(self, Self::Retention { .. })
    }

    /// Gate logits a head.
    pub const fn gates(self) -> usize {
        match self {
            Self::Gated => 2,
            Self::Plain { .. } => 1,
            Self::Retention { .. } => 0,
        }
    }

    /// The largest write strength.
    fn strongest<T: Real>(self) -> T {
        T::of(if self == (Self::Plain { negative: true }) { 2.0 } else { 1.0 })
    }

    /// Write strength and log decay of head `h` from one token's gate logits.
    #[inline(always)]
    pub fn strengths<T: Real>(self, gates: &[T], h: usize, a_log: &[T], dt_bias: &[T]) -> (T, T) {
        match self {
            Self::Gated => (gates[h].sigmoid(), log_decay(gates[gates.len() / 2 + h], a_log[h], dt_bias[h])),
            Self::Plain { .. } => (self.strongest::<T>() * gates[h].sigmoid(), T::zero()),
            Self::Retention { .. } => (T::one(), retention_log_decay(h)),
        }
    }

    /// Makes queries and keys of one head and token ready: unit norms, or rotated and scaled. Returns the inverse norms.
    #[inline(always)]
    pub fn prepare<T: Real>(self, q: &mut [T], k: &mut [T], position: usize, rotary: Option<&Rotary<T>>) -> [T; 2] {
        match rotary {
            None => [normalize(q), normalize(k)],
            Some(rotary) => {
                rotary.turn(q, position);
                rotary.turn(k, position);
                let factor = T::count(q.len()).sqrt().recip();
                scale(q, factor);
                [factor, T::one()]
            }
        }
    }

    /// The tables that [`Rule::prepare`] needs for `time` positions.
    pub fn rotary<T: Real>(self, time: usize, key: usize) -> Option<Rotary<T>> {
        match self {
            Self::Retention { rope } => Some(Rotary::new(time, key, &rope)),
            Self::Gated | Self::Plain { .. } => None,
        }
    }
}

/// `ln(1 - 2^(-5-h))`
fn retention_log_decay<T: Real>(h: usize) -> T {
    T::of((-(2.0_f64.powi(-5 - h as i32))).ln_1p())
}

/// One token of one head, for decoding: moves `state [K, V]` and writes the output row.
#[expect(clippy::too_many_arguments, reason = "the recurrence has as many")]
pub fn step<T: Real>(state: &mut [T], q: &[T], k: &[T], v: &[T], beta: T, log_decay: T, erases: bool, output: &mut [T]) {
    let width = v.len();
    let keep = log_decay.exponential();
    simd(|| {
        let mut target = v.to_vec();
        for (row, k) in state.chunks_exact_mut(width).zip(k) {
            scale(row, keep);
            if erases {
                axpy(&mut target, -*k, row);
            }
        }
        output.fill(T::zero());
        for ((row, k), q) in state.chunks_exact_mut(width).zip(k).zip(q) {
            axpy(row, *k * beta, &target);
            axpy(output, *q, row);
        }
    });
}

/// Normalizes a row to unit length; returns the inverse of its norm.
#[inline(always)]
pub fn normalize<T: Real>(row: &mut [T]) -> T {
    let inverse = (dot(row, row) + T::of(NORM_EPSILON)).sqrt().recip();
    scale(row, inverse);
    inverse
}

/// The log decay of a decay logit.
#[inline(always)]
pub fn log_decay<T: Real>(logit: T, a_log: T, dt_bias: T) -> T {
    -a_log.exponential() * (logit + dt_bias).softplus()
}

struct Layout<T> {
    batch: usize,
    time: usize,
    key: usize,
    value: usize,
    heads: usize,
    rule: Rule,
    rotary: Option<Rotary<T>>,
}

/// One head's input and what normalizing its queries and keys multiplied them by.
type Prepared<T> = (HeadInput<T>, Vec<[T; 2]>);

impl<T: Real> Layout<T> {
    fn of(op: DeltaMemory, qkv: View<'_, T>) -> Self {
        let (batch, time) = (qkv.shape[0], qkv.shape[1]);
        let value = qkv.shape[2] / op.heads - 2 * op.key;
        let rotary = op.rule.rotary(time, op.key);
        Self { batch, time, key: op.key, value, heads: op.heads, rule: op.rule, rotary }
    }

    /// Columns of a head's queries, keys and values.
    fn columns(&self, h: usize) -> [Columns; 3] {
        let (keys, row) = (self.heads * self.key, self.heads * (2 * self.key + self.value));
        let (k, v) = (self.key, self.value);
        [(h * k, k), (keys + h * k, k), (2 * keys + h * v, v)].map(|(at, width)| Columns { row, at, width })
    }

    fn output(&self, h: usize) -> Columns {
        Columns { row: self.heads * self.value, at: h * self.value, width: self.value }
    }

    /// One token's gate logits.
    fn gates<'a>(&self, inputs: &[View<'a, T>], token: usize) -> &'a [T] {
        let width = self.rule.gates() * self.heads;
        inputs.get(1).map_or(&[], |gates| &gates.data[token * width..(token + 1) * width])
    }

    fn head(&self, inputs: &[View<'_, T>], b: usize, h: usize) -> Prepared<T> {
        let [mut q, mut k, v] = self.columns(h).map(|columns| gather(inputs[0].data, self.time, b, columns));
        let rows = q.chunks_exact_mut(self.key).zip(k.chunks_exact_mut(self.key)).enumerate();
        let norms = rows.map(|(t, (q, k))| self.rule.prepare(q, k, t, self.rotary.as_ref())).collect();
        let (a_log, dt_bias) = (inputs.get(2).map_or(&[][..], |x| x.data), inputs.get(3).map_or(&[][..], |x| x.data));
        let tokens = b * self.time..(b + 1) * self.time;
        let (beta, log_decay) = tokens.map(|t| self.rule.strengths(self.gates(inputs, t), h, a_log, dt_bias)).unzip();
        let erases = self.rule.erases();
        (HeadInput { key: self.key, value: self.value, erases, q, k, v, beta, log_decay }, norms)
    }
}

impl Kernel for DeltaMemory {
    fn forward<T: Real>(&self, inputs: &[View<'_, T>]) -> Forward<T> {
        let l = Layout::of(*self, inputs[0]);
        let heads: Vec<(Vec<T>, Vec<T>)> = (0..l.batch * l.heads)
            .into_par_iter()
            .map(|n| simd(|| head_forward(&l.head(inputs, n / l.heads, n % l.heads).0)))
            .collect();
        let mut output = vec![T::zero(); l.batch * l.time * l.heads * l.value];
        let sequence = l.time * l.heads * l.value;
        output.par_chunks_mut(sequence).zip(heads.par_chunks(l.heads)).for_each(|(rows, heads)| {
            heads.iter().enumerate().for_each(|(h, (out, _))| scatter(rows, out, l.output(h)));
        });
        let saved = heads.into_iter().map(|(_, states)| states).collect();
        Forward { output, shape: vec![l.batch, l.time, l.heads * l.value], saved }
    }

    fn backward<T: Real>(
        &self,
        inputs: &[View<'_, T>],
        saved: &[Vec<T>],
        gradient: View<'_, T>,
        _: &[bool],
    ) -> Vec<Option<Vec<T>>> {
        let l = Layout::of(*self, inputs[0]);
        let heads: Vec<HeadGradient<T>> = (0..l.batch * l.heads)
            .into_par_iter()
            .map(|n| {
                let (b, h) = (n / l.heads, n % l.heads);
                let (input, norms) = l.head(inputs, b, h);
                let dout = gather(gradient.data, l.time, b, l.output(h));
                simd(|| {
                    let mut g = head_backward(&input, &saved[n], &dout);
                    l.unprepare(&mut g.q, &input.q, &norms, 0);
                    l.unprepare(&mut g.k, &input.k, &norms, 1);
                    g
                })
            })
            .collect();
        let mut out: Vec<Vec<T>> = inputs.iter().map(|input| vec![T::zero(); input.data.len()]).collect();
        for (n, g) in heads.iter().enumerate() {
            l.add(&mut out, inputs, n / l.heads, n % l.heads, g);
        }
        out.into_iter().map(Some).collect()
    }
}

impl<T: Real> Layout<T> {
    /// Backward through [`Rule::prepare`], in place.
    #[inline(always)]
    fn unprepare(&self, gradient: &mut [T], ready: &[T], norms: &[[T; 2]], which: usize) {
        let rows = gradient.chunks_exact_mut(self.key).zip(ready.chunks_exact(self.key)).zip(norms).enumerate();
        for (t, ((g, unit), norm)) in rows {
            match &self.rotary {
                None => {
                    axpy(g, -dot(g, unit), unit);
                    scale(g, norm[which]);
                }
                Some(rotary) => {
                    scale(g, norm[which]);
                    rotary.turn_back(g, t);
                }
            }
        }
    }

    /// Adds one head's gradients to those of the inputs.
    fn add(&self, out: &mut [Vec<T>], inputs: &[View<'_, T>], b: usize, h: usize, g: &HeadGradient<T>) {
        let sequence = self.time * self.heads * (2 * self.key + self.value);
        let rows = &mut out[0][b * sequence..(b + 1) * sequence];
        for (part, columns) in [&g.q, &g.k, &g.v].into_iter().zip(self.columns(h)) {
            scatter(rows, part, columns);
        }
        let gates = self.rule.gates() * self.heads;
        for t in 0..self.time {
            let token = b * self.time + t;
            if gates > 0 {
                let write = self.gates(inputs, token)[h].sigmoid();
                out[1][token * gates + h] = g.beta[t] * self.rule.strongest::<T>() * write * (T::one() - write);
            }
            if self.rule == Rule::Gated {
                let (rate, logit) =
                    (inputs[2].data[h].exponential(), self.gates(inputs, token)[self.heads + h] + inputs[3].data[h]);
                let dlogit = -g.log_decay[t] * rate * logit.sigmoid();
                out[1][token * gates + self.heads + h] = dlogit;
                out[2][h] -= g.log_decay[t] * rate * logit.softplus();
                out[3][h] += dlogit;
            }
        }
    }
}
