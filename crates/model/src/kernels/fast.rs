//! The fast bank: a linear memory that a session writes every `period` tokens.
//!
//! A CMS level with a period of C tokens keeps its weights within a chunk and adds the chunk's accumulated error gradient at its end
//! (Nested Learning, Eq. 71). The error is the level's own associative loss `½‖Wᵀk - v‖²`, because the task loss of a token is not
//! known while it is served. With unit-norm keys and a write strength η per token:
//! `o_t = W_cᵀ q_t`, `W_{c+1} = α W_c + Σ_{t in chunk} k_t η_t (v_t - W_cᵀ k_t)ᵀ / C`, the retention α being learned.

use rayon::prelude::*;

use super::{
    delta::normalize,
    gemm::{Factor, Write, product_here},
    math::{dot, scale, simd},
    real::Real,
};
use crate::host::{Forward, Kernel, View};

/// The bank over `qkv [B, T, 3W]`, `gate [B, T, 1]` (write logits) and `retention [1]` (logit); the output is `[B, T, W]`.
#[derive(Debug, Clone, Copy)]
pub struct FastBank {
    /// Tokens between two changes.
    pub period: usize,
}

struct Sequence<T> {
    width: usize,
    time: usize,
    q: Vec<T>,
    k: Vec<T>,
    v: Vec<T>,
    eta: Vec<T>,
    norms: Vec<[T; 2]>,
}

fn sequence<T: Real>(inputs: &[View<'_, T>], b: usize) -> Sequence<T> {
    let (time, width) = (inputs[0].shape[1], inputs[0].shape[2] / 3);
    let rows = inputs[0].data[b * time * 3 * width..(b + 1) * time * 3 * width].chunks_exact(3 * width);
    let (mut q, mut k, mut v, mut norms) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for row in rows {
        let at = q.len();
        q.extend_from_slice(&row[..width]);
        k.extend_from_slice(&row[width..2 * width]);
        v.extend_from_slice(&row[2 * width..]);
        norms.push([normalize(&mut q[at..]), normalize(&mut k[at..])]);
    }
    let eta = inputs[1].data[b * time..(b + 1) * time].iter().map(|g| g.sigmoid()).collect();
    Sequence { width, time, q, k, v, eta, norms }
}

impl<T: Real> Sequence<T> {
    fn rows<'a>(&self, x: &'a [T], from: usize, to: usize) -> Factor<'a, T> {
        Factor::new(&x[from * self.width..to * self.width], to - from, self.width)
    }

    fn state<'a>(&self, x: &'a [T]) -> Factor<'a, T> {
        Factor::new(x, self.width, self.width)
    }

    /// `diag(η)(V - K W) / C` and the unscaled error of a chunk.
    fn writes(&self, state: &[T], from: usize, to: usize, period: usize) -> (Vec<T>, Vec<T>) {
        let mut read = vec![T::zero(); (to - from) * self.width];
        product_here(&mut read, Write::Set, self.rows(&self.k, from, to), self.state(state));
        let error: Vec<T> = self.v[from * self.width..to * self.width].iter().zip(&read).map(|(v, r)| *v - *r).collect();
        let mut u = error.clone();
        for (row, eta) in u.chunks_exact_mut(self.width).zip(&self.eta[from..to]) {
            scale(row, *eta / T::count(period));
        }
        (u, error)
    }
}

/// Applies one full chunk to a session's weights, for decoding: `k [C, W]` unit-norm, `v [C, W]`, `eta [C]`.
pub fn write_chunk<T: Real>(state: &mut [T], k: &[T], v: &[T], eta: &[T], retention: T) {
    let (period, width) = (eta.len(), k.len() / eta.len());
    let s = Sequence { width, time: period, q: Vec::new(), k: k.to_vec(), v: v.to_vec(), eta: eta.to_vec(), norms: Vec::new() };
    let (u, _) = s.writes(state, 0, period, period);
    scale(state, retention);
    product_here(state, Write::Add, s.rows(&s.k, 0, period).t(), s.rows(&u, 0, period));
}

impl Kernel for FastBank {
    fn forward<T: Real>(&self, inputs: &[View<'_, T>]) -> Forward<T> {
        let (batch, time, width) = (inputs[0].shape[0], inputs[0].shape[1], inputs[0].shape[2] / 3);
        let retention = inputs[2].data[0].sigmoid();
        let mut output = vec![T::zero(); batch * time * width];
        let saved = output
            .par_chunks_mut(time * width)
            .enumerate()
            .map(|(b, output)| simd(|| self.sequence_forward(&sequence(inputs, b), retention, output)))
            .collect();
        Forward { output, shape: vec![batch, time, width], saved }
    }

    fn backward<T: Real>(
        &self,
        inputs: &[View<'_, T>],
        saved: &[Vec<T>],
        gradient: View<'_, T>,
        _: &[bool],
    ) -> Vec<Option<Vec<T>>> {
        let (batch, time, width) = (inputs[0].shape[0], inputs[0].shape[1], inputs[0].shape[2] / 3);
        let kept = inputs[2].data[0].sigmoid();
        let mut dqkv = vec![T::zero(); inputs[0].data.len()];
        let mut dgate = vec![T::zero(); batch * time];
        let dretention: T = dqkv
            .par_chunks_mut(time * 3 * width)
            .zip(dgate.par_chunks_mut(time))
            .enumerate()
            .map(|(b, (dqkv, dgate))| {
                let dout = &gradient.data[b * time * width..(b + 1) * time * width];
                simd(|| self.sequence_backward(&sequence(inputs, b), kept, &saved[b], dout, dqkv, dgate))
            })
            .sum();
        vec![Some(dqkv), Some(dgate), Some(vec![dretention * kept * (T::one() - kept)])]
    }
}

impl FastBank {
    /// Returns the weights before every chunk.
    fn sequence_forward<T: Real>(self, s: &Sequence<T>, retention: T, output: &mut [T]) -> Vec<T> {
        let mut state = vec![T::zero(); s.width * s.width];
        let mut states = Vec::new();
        for from in (0..s.time).step_by(self.period) {
            let to = (from + self.period).min(s.time);
            states.extend_from_slice(&state);
            let out = &mut output[from * s.width..to * s.width];
            product_here(out, Write::Set, s.rows(&s.q, from, to), s.state(&state));
            if to - from == self.period {
                let (u, _) = s.writes(&state, from, to, self.period);
                scale(&mut state, retention);
                product_here(&mut state, Write::Add, s.rows(&s.k, from, to).t(), Factor::new(&u, to - from, s.width));
            }
        }
        states
    }

    fn sequence_backward<T: Real>(
        self,
        s: &Sequence<T>,
        retention: T,
        states: &[T],
        dout: &[T],
        dqkv: &mut [T],
        dgate: &mut [T],
    ) -> T {
        let (width, size) = (s.width, s.width * s.width);
        let mut dstate = vec![T::zero(); size];
        let mut dretention = T::zero();
        let starts: Vec<usize> = (0..s.time).step_by(self.period).collect();
        for (n, from) in starts.into_iter().enumerate().rev() {
            let to = (from + self.period).min(s.time);
            let state = &states[n * size..(n + 1) * size];
            let dout = &dout[from * width..to * width];
            let len = to - from;
            let (mut dq, mut dk, mut dv) =
                (vec![T::zero(); dout.len()], vec![T::zero(); dout.len()], vec![T::zero(); dout.len()]);
            product_here(&mut dq, Write::Set, Factor::new(dout, len, width), s.state(state).t());
            if to - from == self.period {
                let (u, error) = s.writes(state, from, to, self.period);
                dretention += dot(&dstate, state);
                product_here(&mut dk, Write::Set, Factor::new(&u, len, width), s.state(&dstate).t());
                let mut du = vec![T::zero(); dout.len()];
                product_here(&mut du, Write::Set, s.rows(&s.k, from, to), s.state(&dstate));
                for t in 0..to - from {
                    let row = t * width..(t + 1) * width;
                    let eta = s.eta[from + t];
                    dgate[from + t] = dot(&du[row.clone()], &error[row.clone()]) / T::count(self.period) * eta * (T::one() - eta);
                    for i in row {
                        dv[i] = du[i] * eta / T::count(self.period);
                    }
                }
                let negated: Vec<T> = dv.iter().map(|x| -*x).collect();
                product_here(&mut dk, Write::Add, Factor::new(&negated, len, width), s.state(state).t());
                scale(&mut dstate, retention);
                product_here(&mut dstate, Write::Add, s.rows(&s.k, from, to).t(), Factor::new(&negated, len, width));
            }
            product_here(&mut dstate, Write::Add, s.rows(&s.q, from, to).t(), Factor::new(dout, len, width));
            for t in 0..to - from {
                let row = t * width..(t + 1) * width;
                let unit = (from + t) * width..(from + t + 1) * width;
                let target = &mut dqkv[(from + t) * 3 * width..(from + t + 1) * 3 * width];
                let [nq, nk] = s.norms[from + t];
                unnormalize(&mut target[..width], &dq[row.clone()], &s.q[unit.clone()], nq);
                unnormalize(&mut target[width..2 * width], &dk[row.clone()], &s.k[unit], nk);
                target[2 * width..].copy_from_slice(&dv[row]);
            }
        }
        dretention
    }
}

#[inline(always)]
fn unnormalize<T: Real>(out: &mut [T], gradient: &[T], unit: &[T], inverse_norm: T) {
    let along = dot(gradient, unit);
    for ((o, g), u) in out.iter_mut().zip(gradient).zip(unit) {
        *o = (*g - *u * along) * inverse_norm;
    }
}
