//! One block over the rows of many sequences.

use super::{
    Piece, Weights,
    state::{FastState, MixerState},
    weights::{Base, BlockWeights, DeltaWeights},
};
use crate::kernels::{
    delta, fast,
    gemm::{Factor, Write, product, product_here},
    math::{axpy, dot, simd, softmax},
    mlp::Activation,
    norm,
    real::Real,
};

/// Buffers that keep their capacity between calls.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    normed: Vec<f32>,
    qkv: Vec<f32>,
    mixed: Vec<f32>,
    gates: Vec<f32>,
    hidden: Vec<f32>,
    out: Vec<f32>,
    scores: Vec<f32>,
}

/// Where a call's products run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spread {
    /// On all threads: the call has one sequence.
    All,
    /// On this thread: every thread has sequences of its own.
    Here,
}

/// Rows up to which a product is a sum of scaled weight rows: it reads the weights once, which is what decoding waits for.
const FEW_ROWS: usize = 2;

/// `out = x w`, `x [rows, i]`, `w [i, o]`.
fn linear(out: &mut Vec<f32>, spread: Spread, x: &[f32], w: &[f32], i: usize) {
    let (rows, o) = (x.len() / i, w.len() / i);
    out.clear();
    out.resize(rows * o, 0.0);
    if rows > FEW_ROWS {
        let (x, w) = (Factor::new(x, rows, i), Factor::new(w, i, o));
        return match spread {
            Spread::All => product(out, Write::Set, x, w),
            Spread::Here => product_here(out, Write::Set, x, w),
        };
    }
    simd(|| {
        for (x, out) in x.chunks_exact(i).zip(out.chunks_exact_mut(o)) {
            for (x, w) in x.iter().zip(w.chunks_exact(o)) {
                axpy(out, *x, w);
            }
        }
    });
}

fn add(x: &mut [f32], y: &[f32]) {
    simd(|| x.iter_mut().zip(y).for_each(|(x, y)| *x += y));
}

fn normalize(out: &mut Vec<f32>, x: &[f32], gain: &[f32]) {
    out.clear();
    out.resize(x.len(), 0.0);
    let width = gain.len();
    simd(|| out.chunks_exact_mut(width).zip(x.chunks_exact(width)).for_each(|(o, x)| norm::row(o, x, gain, norm::EPSILON)));
}

/// Moves the rows `x` of all pieces through block `index`.
pub(super) fn block_forward(
    s: &mut Scratch,
    spread: Spread,
    weights: &Weights,
    index: usize,
    x: &mut [f32],
    pieces: &mut [Piece<'_>],
) {
    let base = &*weights.base;
    let c = base.config();
    let w = &base.blocks[index];
    normalize(&mut s.normed, x, &w.mixer_norm);
    linear(&mut s.qkv, spread, &s.normed, &w.qkv, c.width);
    if let Some(d) = &w.delta {
        linear(&mut s.gates, spread, &s.normed, &d.gates, c.width);
    }
    mix(s, base, w, index, pieces);
    linear(&mut s.out, spread, &s.mixed, &w.out, c.width);
    add(x, &s.out);

    normalize(&mut s.normed, x, &w.cms_norm);
    perceptron(s, spread, &w.up, &w.down, c.width, c.frozen.activation);
    add(x, &s.out);
    let (up, down) = &weights.banks.blocks[index];
    perceptron(s, spread, up, down, c.width, c.slow.activation);
    add(x, &s.out);
    if let Some(f) = &w.fast {
        linear(&mut s.qkv, spread, &s.normed, &f.qkv, c.width);
        linear(&mut s.gates, spread, &s.normed, &f.gate, c.width);
        remember(s, c.fast.width, c.fast.period_tokens as usize, f.retention, index, pieces);
        linear(&mut s.out, spread, &s.mixed, &f.out, c.fast.width);
        add(x, &s.out);
    }
}

fn perceptron(s: &mut Scratch, spread: Spread, up: &[f32], down: &[f32], width: usize, activation: Activation) {
    linear(&mut s.hidden, spread, &s.normed, up, width);
    let hidden = &mut s.hidden;
    simd(|| activation.apply(hidden));
    linear(&mut s.out, spread, &s.hidden, down, down.len() / width);
}

fn mix(s: &mut Scratch, base: &Base, w: &BlockWeights, index: usize, pieces: &mut [Piece<'_>]) {
    let c = base.config();
    let row = 3 * c.width;
    s.mixed.clear();
    s.mixed.resize(s.qkv.len() / 3, 0.0);
    let mut first = 0;
    for piece in pieces.iter_mut() {
        let position = piece.state.position;
        let block = &mut piece.state.blocks[index];
        for n in 0..piece.tokens.len() {
            let at = first + n;
            let mut qkv = s.qkv[at * row..(at + 1) * row].to_vec();
            simd(|| convolve(&mut block.tail, &mut qkv, &w.conv, w.delta.is_some()));
            let out = &mut s.mixed[at * c.width..(at + 1) * c.width];
            match (&mut block.mixer, &w.delta) {
                (MixerState::Attention { keys, values }, _) => {
                    attend(&mut qkv, keys, values, out, base, position + n, &mut s.scores);
                }
                (MixerState::GatedDelta { memory }, Some(d)) => {
                    let gates = &s.gates[at * 2 * c.heads..(at + 1) * 2 * c.heads];
                    recall(&mut qkv, memory, gates, d, out, c.heads);
                }
                (MixerState::GatedDelta { .. }, None) => unreachable!("a delta state belongs to a delta block"),
            }
        }
        first += piece.tokens.len();
    }
}

/// Convolves one row with the rows before it and remembers it.
#[inline(always)]
fn convolve(tail: &mut [f32], row: &mut [f32], w: &[f32], silu: bool) {
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

fn attend(
    qkv: &mut [f32],
    keys: &mut Vec<f32>,
    values: &mut Vec<f32>,
    out: &mut [f32],
    base: &Base,
    position: usize,
    scores: &mut Vec<f32>,
) {
    let (width, head) = (out.len(), base.config().head_width());
    let (q, rest) = qkv.split_at_mut(width);
    let (k, v) = rest.split_at_mut(width);
    for x in q.chunks_exact_mut(head).chain(k.chunks_exact_mut(head)) {
        base.rotary.turn(x, position);
    }
    keys.extend_from_slice(k);
    values.extend_from_slice(v);
    let scale = (head as f32).sqrt().recip();
    simd(|| {
        for (h, out) in out.chunks_exact_mut(head).enumerate() {
            let at = h * head..(h + 1) * head;
            let q = &q[at.clone()];
            scores.clear();
            scores.extend(keys.chunks_exact(width).map(|k| dot(q, &k[at.clone()]) * scale));
            softmax(scores);
            for (p, v) in scores.iter().zip(values.chunks_exact(width)) {
                axpy(out, *p, &v[at.clone()]);
            }
        }
    });
}

fn recall(qkv: &mut [f32], memory: &mut [f32], gates: &[f32], d: &DeltaWeights, out: &mut [f32], heads: usize) {
    let (width, head) = (out.len(), out.len() / heads);
    let mut raw = vec![0.0; head];
    for h in 0..heads {
        let (q, rest) = qkv.split_at_mut(width);
        let (k, v) = rest.split_at_mut(width);
        let at = h * head..(h + 1) * head;
        delta::normalize(&mut q[at.clone()]);
        delta::normalize(&mut k[at.clone()]);
        let decay = delta::log_decay(gates[heads + h], d.a_log[h], d.dt_bias[h]);
        let memory = &mut memory[h * head * head..(h + 1) * head * head];
        delta::step(memory, &q[at.clone()], &k[at.clone()], &v[at.clone()], gates[h].sigmoid(), decay, true, &mut raw);
        norm::row(&mut out[at], &raw, &d.norm, norm::EPSILON);
    }
}

/// Reads the fast bank for every row and writes it at the end of every period.
fn remember(s: &mut Scratch, width: usize, period: usize, retention: f32, index: usize, pieces: &mut [Piece<'_>]) {
    s.mixed.clear();
    s.mixed.resize(s.qkv.len() / 3, 0.0);
    let mut at = 0;
    for piece in pieces.iter_mut() {
        for _ in piece.tokens {
            if let Some(fast) = &mut piece.state.blocks[index].fast {
                let qkv = &mut s.qkv[at * 3 * width..(at + 1) * 3 * width];
                fast_step(fast, qkv, s.gates[at], period, retention, &mut s.mixed[at * width..(at + 1) * width]);
            }
            at += 1;
        }
    }
}

fn fast_step(state: &mut FastState, qkv: &mut [f32], gate: f32, period: usize, retention: f32, out: &mut [f32]) {
    let width = out.len();
    delta::normalize(&mut qkv[..width]);
    delta::normalize(&mut qkv[width..2 * width]);
    simd(|| {
        for (q, row) in qkv[..width].iter().zip(state.memory.chunks_exact(width)) {
            axpy(out, *q, row);
        }
    });
    state.keys.extend_from_slice(&qkv[width..2 * width]);
    state.values.extend_from_slice(&qkv[2 * width..]);
    state.strengths.push(gate.sigmoid());
    if state.strengths.len() == period {
        fast::write_chunk(&mut state.memory, &state.keys, &state.values, &state.strengths, retention);
        state.keys.clear();
        state.values.clear();
        state.strengths.clear();
    }
}
