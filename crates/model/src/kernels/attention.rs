//! Causal softmax attention with rotary positions, fused over heads.

use rayon::prelude::*;

use super::{
    gemm::{Factor, Write, product_here},
    math::{dot, simd, softmax},
};
use crate::host::{Forward, HostOp, View};

/// Sines and cosines of every position and frequency, `[T, half]` each.
#[derive(Debug, Clone)]
pub struct Rotary {
    half: usize,
    cos: Vec<f32>,
    sin: Vec<f32>,
}

impl Rotary {
    /// Tables for `time` positions from 0 and heads of `width` channels.
    pub fn new(time: usize, width: usize, theta: f32) -> Self {
        let half = width / 2;
        let angle = |t: usize, i: usize| t as f32 * theta.powf(-(i as f32) / half as f32);
        let table = |f: fn(f32) -> f32| (0..time * half).map(|n| f(angle(n / half, n % half))).collect();
        Self { half, cos: table(f32::cos), sin: table(f32::sin) }
    }

    /// Rotates one head at a position; `sign` is 1 or, for the inverse, -1.
    #[inline(always)]
    pub fn apply(&self, head: &mut [f32], position: usize, sign: f32) {
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

/// Attention over `qkv [B, T, 3C]`; the output is `[B, T, C]`.
#[derive(Debug, Clone, Copy)]
pub struct Attention {
    /// Number of heads; divides C.
    pub heads: usize,
    /// Base of the rotary frequencies.
    pub theta: f32,
}

struct Extents {
    batch: usize,
    time: usize,
    channels: usize,
    width: usize,
}

impl Attention {
    fn extents(self, qkv: View<'_>) -> Extents {
        let channels = qkv.shape[2] / 3;
        Extents { batch: qkv.shape[0], time: qkv.shape[1], channels, width: channels / self.heads }
    }
}

/// Copies one head's part (0 = q, 1 = k, 2 = v) of one sequence into a dense `[T, width]`.
fn gather(qkv: &[f32], e: &Extents, b: usize, part: usize, head: usize) -> Vec<f32> {
    let row = 3 * e.channels;
    let at = part * e.channels + head * e.width;
    let sequence = &qkv[b * e.time * row..(b + 1) * e.time * row];
    let mut out = Vec::with_capacity(e.time * e.width);
    for t in 0..e.time {
        out.extend_from_slice(&sequence[t * row + at..t * row + at + e.width]);
    }
    out
}

fn rotate_all(x: &mut [f32], e: &Extents, rotary: &Rotary, sign: f32) {
    simd(|| x.chunks_exact_mut(e.width).enumerate().for_each(|(t, head)| rotary.apply(head, t, sign)));
}

/// Causal probabilities `[T, T]` of one head from its logits.
fn probabilities(scores: &mut [f32], time: usize, scale: f32) {
    simd(|| {
        for (t, row) in scores.chunks_exact_mut(time).enumerate() {
            let (seen, unseen) = row.split_at_mut(t + 1);
            seen.iter_mut().for_each(|s| *s *= scale);
            softmax(seen);
            unseen.fill(0.0);
        }
    });
}

impl HostOp for Attention {
    fn forward(&self, inputs: &[View<'_>]) -> Forward {
        let qkv = inputs[0];
        let e = self.extents(qkv);
        let rotary = Rotary::new(e.time, e.width, self.theta);
        let scale = (e.width as f32).sqrt().recip();
        let heads: Vec<(Vec<f32>, Vec<f32>)> = (0..e.batch * self.heads)
            .into_par_iter()
            .map(|n| {
                let (b, head) = (n / self.heads, n % self.heads);
                let mut q = gather(qkv.data, &e, b, 0, head);
                let mut k = gather(qkv.data, &e, b, 1, head);
                let v = gather(qkv.data, &e, b, 2, head);
                rotate_all(&mut q, &e, &rotary, 1.0);
                rotate_all(&mut k, &e, &rotary, 1.0);
                let mut p = vec![0.0; e.time * e.time];
                let factor = |x| Factor::new(x, e.time, e.width);
                product_here(&mut p, Write::Set, factor(&q), factor(&k).t());
                probabilities(&mut p, e.time, scale);
                let mut o = vec![0.0; e.time * e.width];
                product_here(&mut o, Write::Set, Factor::new(&p, e.time, e.time), factor(&v));
                (o, p)
            })
            .collect();
        let mut output = vec![0.0; e.batch * e.time * e.channels];
        scatter(&mut output, e.channels, &e, self.heads, |b, head| [&heads[b * self.heads + head].0]);
        let saved = heads.into_iter().map(|(_, p)| p).collect();
        Forward { output, shape: vec![e.batch, e.time, e.channels], saved }
    }

    fn backward(&self, inputs: &[View<'_>], saved: &[Vec<f32>], gradient: View<'_>, _: &[bool]) -> Vec<Option<Vec<f32>>> {
        let qkv = inputs[0];
        let e = self.extents(qkv);
        let rotary = Rotary::new(e.time, e.width, self.theta);
        let scale = (e.width as f32).sqrt().recip();
        let heads: Vec<[Vec<f32>; 3]> = (0..e.batch * self.heads)
            .into_par_iter()
            .map(|n| {
                let (b, head) = (n / self.heads, n % self.heads);
                let mut q = gather(qkv.data, &e, b, 0, head);
                let mut k = gather(qkv.data, &e, b, 1, head);
                let v = gather(qkv.data, &e, b, 2, head);
                rotate_all(&mut q, &e, &rotary, 1.0);
                rotate_all(&mut k, &e, &rotary, 1.0);
                let dout = gather_output(gradient.data, &e, b, head);
                let [mut dq, mut dk, dv] = head_backward(&q, &k, &v, &saved[n], &dout, &e, scale);
                rotate_all(&mut dq, &e, &rotary, -1.0);
                rotate_all(&mut dk, &e, &rotary, -1.0);
                [dq, dk, dv]
            })
            .collect();
        let mut dqkv = vec![0.0; qkv.data.len()];
        scatter(&mut dqkv, 3 * e.channels, &e, self.heads, |b, head| {
            let [q, k, v] = &heads[b * self.heads + head];
            [q, k, v]
        });
        vec![Some(dqkv)]
    }
}

fn gather_output(x: &[f32], e: &Extents, b: usize, head: usize) -> Vec<f32> {
    let sequence = &x[b * e.time * e.channels..(b + 1) * e.time * e.channels];
    let mut out = Vec::with_capacity(e.time * e.width);
    for row in sequence.chunks_exact(e.channels) {
        out.extend_from_slice(&row[head * e.width..(head + 1) * e.width]);
    }
    out
}

/// Writes per-head `[T, width]` parts back into rows of `row` channels; part `i` lies at channel `i C`.
fn scatter<'a, const P: usize>(
    out: &mut [f32],
    row: usize,
    e: &Extents,
    heads: usize,
    parts: impl Fn(usize, usize) -> [&'a Vec<f32>; P] + Sync,
) {
    out.par_chunks_mut(e.time * row).enumerate().for_each(|(b, sequence)| {
        for head in 0..heads {
            for (i, part) in parts(b, head).into_iter().enumerate() {
                let at = i * e.channels + head * e.width;
                for (target, source) in sequence.chunks_exact_mut(row).zip(part.chunks_exact(e.width)) {
                    target[at..at + e.width].copy_from_slice(source);
                }
            }
        }
    });
}

fn head_backward(q: &[f32], k: &[f32], v: &[f32], p: &[f32], dout: &[f32], e: &Extents, scale: f32) -> [Vec<f32>; 3] {
    let (time, width) = (e.time, e.width);
    let tall = |x| Factor::new(x, time, width);
    let mut dv = vec![0.0; time * width];
    product_here(&mut dv, Write::Set, Factor::new(p, time, time).t(), tall(dout));
    let mut ds = vec![0.0; time * time];
    product_here(&mut ds, Write::Set, tall(dout), tall(v).t());
    simd(|| {
        for (ds, p) in ds.chunks_exact_mut(time).zip(p.chunks_exact(time)) {
            let along = dot(ds, p);
            for (ds, p) in ds.iter_mut().zip(p) {
                *ds = (*ds - along) * p * scale;
            }
        }
    });
    let ds = Factor::new(&ds, time, time);
    let (mut dq, mut dk) = (vec![0.0; time * width], vec![0.0; time * width]);
    product_here(&mut dq, Write::Set, ds, tall(k));
    product_here(&mut dk, Write::Set, ds.t(), tall(q));
    [dq, dk, dv]
}
