//! Gated delta rule (Gated DeltaNet): a linear memory with forgetting, chunked for training.
//!
//! Per head and token, with unit-norm q and k, write strength β and decay α:
//! `S_t = α_t S_{t-1} + k_t (β_t (v_t - α_t S_{t-1}ᵀ k_t))ᵀ`, `o_t = S_tᵀ q_t`.
//! In a chunk with cumulative decay γ and `G_ti = γ_t / γ_i`:
//! `U = (I + tril(diag(β)(G ∘ K Kᵀ), -1))⁻¹ diag(β)(V - diag(γ) K S₀)`, `O = diag(γ) Q S₀ + tril(G ∘ Q Kᵀ) U`,
//! `S = γ_C S₀ + Kᵀ diag(γ_C / γ) U`. Decays are kept as logarithms; only differences are exponentiated, and they are never positive.

mod chunk;

use rayon::prelude::*;

pub use self::chunk::{HeadGradient, HeadInput, head_backward, head_forward};
use super::math::{axpy, dot, exp, sigmoid, simd, softplus};
use crate::host::{Forward, HostOp, View};

/// Tokens a chunk.
pub const CHUNK: usize = 32;

/// Added to squared norms of q and k.
pub const NORM_EPSILON: f32 = 1e-6;

/// The mixer over `qkv [B, T, 3C]`, `gates [B, T, 2H]` (write logits, then decay logits), `a_log [H]` and `dt_bias [H]`; the output is
/// `[B, T, C]`.
#[derive(Debug, Clone, Copy)]
pub struct GatedDelta {
    /// Number of heads; divides C.
    pub heads: usize,
}

/// One token of one head, for decoding: moves `state [W, W]` and writes the output row.
pub fn step(state: &mut [f32], q: &[f32], k: &[f32], v: &[f32], beta: f32, log_decay: f32, output: &mut [f32]) {
    let width = q.len();
    let keep = exp(log_decay);
    simd(|| {
        let mut target = v.to_vec();
        for (row, k) in state.chunks_exact_mut(width).zip(k) {
            row.iter_mut().for_each(|s| *s *= keep);
            axpy(&mut target, -k, row);
        }
        output.fill(0.0);
        for ((row, k), q) in state.chunks_exact_mut(width).zip(k).zip(q) {
            axpy(row, k * beta, &target);
            axpy(output, *q, row);
        }
    });
}

/// Normalizes a row to unit length; returns the inverse of its norm.
#[inline(always)]
pub fn normalize(row: &mut [f32]) -> f32 {
    let inverse = (dot(row, row) + NORM_EPSILON).sqrt().recip();
    row.iter_mut().for_each(|x| *x *= inverse);
    inverse
}

/// The log decay of a decay logit.
#[inline(always)]
pub fn log_decay(logit: f32, a_log: f32, dt_bias: f32) -> f32 {
    -exp(a_log) * softplus(logit + dt_bias)
}

struct Layout {
    batch: usize,
    time: usize,
    channels: usize,
    heads: usize,
    width: usize,
}

impl Layout {
    fn of(op: GatedDelta, qkv: View<'_>) -> Self {
        let channels = qkv.shape[2] / 3;
        Self { batch: qkv.shape[0], time: qkv.shape[1], channels, heads: op.heads, width: channels / op.heads }
    }

    /// One head's input and the inverse norms of its queries and keys.
    fn head(&self, inputs: &[View<'_>], b: usize, h: usize) -> (HeadInput, Vec<[f32; 2]>) {
        let row = 3 * self.channels;
        let sequence = &inputs[0].data[b * self.time * row..(b + 1) * self.time * row];
        let gates = &inputs[1].data[b * self.time * 2 * self.heads..(b + 1) * self.time * 2 * self.heads];
        let mut parts = [(); 3].map(|()| Vec::with_capacity(self.time * self.width));
        for token in sequence.chunks_exact(row) {
            for (i, part) in parts.iter_mut().enumerate() {
                let at = i * self.channels + h * self.width;
                part.extend_from_slice(&token[at..at + self.width]);
            }
        }
        let [mut q, mut k, v] = parts;
        let rows = q.chunks_exact_mut(self.width).zip(k.chunks_exact_mut(self.width));
        let norms = rows.map(|(q, k)| [normalize(q), normalize(k)]).collect();
        let gates = gates.chunks_exact(2 * self.heads);
        let (a_log, dt_bias) = (inputs[2].data[h], inputs[3].data[h]);
        let (beta, decay) = gates.map(|g| (sigmoid(g[h]), log_decay(g[self.heads + h], a_log, dt_bias))).unzip();
        (HeadInput { width: self.width, q, k, v, beta, log_decay: decay }, norms)
    }
}

impl HostOp for GatedDelta {
    fn forward(&self, inputs: &[View<'_>]) -> Forward {
        let l = Layout::of(*self, inputs[0]);
        let heads: Vec<(Vec<f32>, Vec<f32>)> = (0..l.batch * l.heads)
            .into_par_iter()
            .map(|n| simd(|| head_forward(&l.head(inputs, n / l.heads, n % l.heads).0)))
            .collect();
        let mut output = vec![0.0; l.batch * l.time * l.channels];
        for (n, (out, _)) in heads.iter().enumerate() {
            let (b, h) = (n / l.heads, n % l.heads);
            for (t, source) in out.chunks_exact(l.width).enumerate() {
                let at = (b * l.time + t) * l.channels + h * l.width;
                output[at..at + l.width].copy_from_slice(source);
            }
        }
        let saved = heads.into_iter().map(|(_, states)| states).collect();
        Forward { output, shape: vec![l.batch, l.time, l.channels], saved }
    }

    fn backward(&self, inputs: &[View<'_>], saved: &[Vec<f32>], gradient: View<'_>, _: &[bool]) -> Vec<Option<Vec<f32>>> {
        let l = Layout::of(*self, inputs[0]);
        let heads: Vec<HeadGradient> = (0..l.batch * l.heads)
            .into_par_iter()
            .map(|n| {
                let (b, h) = (n / l.heads, n % l.heads);
                let (input, norms) = l.head(inputs, b, h);
                let rows = gradient.data[b * l.time * l.channels..(b + 1) * l.time * l.channels].chunks_exact(l.channels);
                let dout: Vec<f32> = rows.flat_map(|row| &row[h * l.width..(h + 1) * l.width]).copied().collect();
                simd(|| {
                    let mut g = head_backward(&input, &saved[n], &dout);
                    unnormalize(&mut g.q, &input.q, &norms, 0, l.width);
                    unnormalize(&mut g.k, &input.k, &norms, 1, l.width);
                    g
                })
            })
            .collect();
        let mut out = Gradients {
            qkv: vec![0.0; inputs[0].data.len()],
            gates: vec![0.0; inputs[1].data.len()],
            a_log: vec![0.0; l.heads],
            dt_bias: vec![0.0; l.heads],
        };
        for (n, g) in heads.iter().enumerate() {
            out.add(&l, inputs, n / l.heads, n % l.heads, g);
        }
        vec![Some(out.qkv), Some(out.gates), Some(out.a_log), Some(out.dt_bias)]
    }
}

/// Backward through the normalization of rows, in place.
#[inline(always)]
fn unnormalize(gradient: &mut [f32], unit: &[f32], norms: &[[f32; 2]], which: usize, width: usize) {
    for ((g, u), norm) in gradient.chunks_exact_mut(width).zip(unit.chunks_exact(width)).zip(norms) {
        let along = dot(g, u);
        for (g, u) in g.iter_mut().zip(u) {
            *g = (*g - u * along) * norm[which];
        }
    }
}

struct Gradients {
    qkv: Vec<f32>,
    gates: Vec<f32>,
    a_log: Vec<f32>,
    dt_bias: Vec<f32>,
}

impl Gradients {
    fn add(&mut self, l: &Layout, inputs: &[View<'_>], b: usize, h: usize, g: &HeadGradient) {
        let (a_log, dt_bias) = (inputs[2].data[h], inputs[3].data[h]);
        for t in 0..l.time {
            let token = b * l.time + t;
            for (i, part) in [&g.q, &g.k, &g.v].into_iter().enumerate() {
                let at = token * 3 * l.channels + i * l.channels + h * l.width;
                self.qkv[at..at + l.width].copy_from_slice(&part[t * l.width..(t + 1) * l.width]);
            }
            let at = token * 2 * l.heads;
            let write = sigmoid(inputs[1].data[at + h]);
            self.gates[at + h] = g.beta[t] * write * (1.0 - write);
            let logit = inputs[1].data[at + l.heads + h] + dt_bias;
            let dlogit = -g.log_decay[t] * exp(a_log) * sigmoid(logit);
            self.gates[at + l.heads + h] = dlogit;
            self.dt_bias[h] += dlogit;
            self.a_log[h] -= g.log_decay[t] * exp(a_log) * softplus(logit);
        }
    }
}
