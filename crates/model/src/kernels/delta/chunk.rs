//! One head of the gated delta rule, a chunk at a time; the equations are those of the parent module.

use super::CHUNK;
use crate::kernels::{
    gemm::{Factor, Write, product_here},
    math::{axpy, dot, scale},
    real::Real,
};

/// What one head reads: dense `[T, K]` and `[T, V]` rows and one write strength and log decay a token.
#[derive(Debug, Clone)]
pub struct HeadInput<T> {
    /// Channels of queries and keys, K.
    pub key: usize,
    /// Channels of values, V.
    pub value: usize,
    /// Whether what was there under a key is subtracted before writing.
    pub erases: bool,
    /// Unit-norm queries.
    pub q: Vec<T>,
    /// Unit-norm keys.
    pub k: Vec<T>,
    /// Values.
    pub v: Vec<T>,
    /// Write strengths in (0, 1), or (0, 2) where eigenvalues may be negative.
    pub beta: Vec<T>,
    /// Logarithms of the decays, not above 0.
    pub log_decay: Vec<T>,
}

/// Gradients in the same layout as [`HeadInput`].
pub type HeadGradient<T> = HeadInput<T>;

struct Chunk<'a, T> {
    len: usize,
    key: usize,
    value: usize,
    erases: bool,
    q: &'a [T],
    k: &'a [T],
    v: &'a [T],
    beta: &'a [T],
    /// Cumulative log decay, inclusive.
    gamma: Vec<T>,
}

/// The matrices of a chunk that both passes need.
struct Solved<T> {
    /// `K Kᵀ`
    kk: Vec<T>,
    /// `Q Kᵀ`
    qk: Vec<T>,
    /// `V - diag(γ) K S₀`
    residual: Vec<T>,
    /// The rows that are written.
    u: Vec<T>,
    /// `G`, lower triangle with diagonal, zero above.
    decay: Vec<T>,
}

impl<T: Real> HeadInput<T> {
    fn chunk(&self, from: usize) -> Chunk<'_, T> {
        let to = (from + CHUNK).min(self.beta.len());
        let keys = from * self.key..to * self.key;
        let mut total = T::zero();
        let gamma = self.log_decay[from..to]
            .iter()
            .map(|d| {
                total += *d;
                total
            })
            .collect();
        Chunk {
            len: to - from,
            key: self.key,
            value: self.value,
            erases: self.erases,
            q: &self.q[keys.clone()],
            k: &self.k[keys],
            v: &self.v[from * self.value..to * self.value],
            beta: &self.beta[from..to],
            gamma,
        }
    }
}

/// Rows of `x` scaled by `f(row)`.
#[inline(always)]
fn scaled<T: Real>(x: &[T], width: usize, f: impl Fn(usize) -> T) -> Vec<T> {
    let mut out = x.to_vec();
    for (t, row) in out.chunks_exact_mut(width).enumerate() {
        scale(row, f(t));
    }
    out
}

#[inline(always)]
fn made<T: Real>(size: usize, a: Factor<'_, T>, b: Factor<'_, T>) -> Vec<T> {
    let mut out = vec![T::zero(); size];
    product_here(&mut out, Write::Set, a, b);
    out
}

impl<T: Real> Chunk<'_, T> {
    #[inline(always)]
    fn keys<'b>(&self, x: &'b [T]) -> Factor<'b, T> {
        Factor::new(x, self.len, self.key)
    }

    #[inline(always)]
    fn values<'b>(&self, x: &'b [T]) -> Factor<'b, T> {
        Factor::new(x, self.len, self.value)
    }

    #[inline(always)]
    fn square<'b>(&self, x: &'b [T]) -> Factor<'b, T> {
        Factor::new(x, self.len, self.len)
    }

    #[inline(always)]
    fn state<'b>(&self, x: &'b [T]) -> Factor<'b, T> {
        Factor::new(x, self.key, self.value)
    }

    #[inline(always)]
    fn now(&self, t: usize) -> T {
        self.gamma[t].exponential()
    }

    #[inline(always)]
    fn to_end(&self, t: usize) -> T {
        (self.gamma[self.len - 1] - self.gamma[t]).exponential()
    }

    #[inline(always)]
    fn solve(&self, state: &[T]) -> Solved<T> {
        let (len, width) = (self.len, self.value);
        let qk = made(len * len, self.keys(self.q), self.keys(self.k).t());
        let mut decay = vec![T::zero(); len * len];
        for t in 0..len {
            for i in 0..=t {
                decay[t * len + i] = (self.gamma[t] - self.gamma[i]).exponential();
            }
        }
        if !self.erases {
            let u = scaled(self.v, width, |t| self.beta[t]);
            return Solved { kk: Vec::new(), qk, residual: self.v.to_vec(), u, decay };
        }
        let kk = made(len * len, self.keys(self.k), self.keys(self.k).t());
        let read = made(len * width, self.keys(self.k), self.state(state));
        let mut residual = self.v.to_vec();
        for t in 0..len {
            axpy(&mut residual[t * width..(t + 1) * width], -self.now(t), &read[t * width..(t + 1) * width]);
        }
        let mut u = scaled(&residual, width, |t| self.beta[t]);
        for t in 1..len {
            let (before, row) = u.split_at_mut(t * width);
            for i in 0..t {
                let a = self.beta[t] * decay[t * len + i] * kk[t * len + i];
                axpy(&mut row[..width], -a, &before[i * width..(i + 1) * width]);
            }
        }
        Solved { kk, qk, residual, u, decay }
    }

    /// Reads the outputs and moves the state to the chunk's end.
    #[inline(always)]
    fn forward(&self, state: &mut [T], output: &mut [T]) {
        let solved = self.solve(state);
        let scores: Vec<T> = solved.qk.iter().zip(&solved.decay).map(|(a, g)| *a * *g).collect();
        let read = scaled(self.q, self.key, |t| self.now(t));
        product_here(output, Write::Set, self.keys(&read), self.state(state));
        product_here(output, Write::Add, self.square(&scores), self.values(&solved.u));
        let keys = scaled(self.k, self.key, |t| self.to_end(t));
        scale(state, self.now(self.len - 1));
        product_here(state, Write::Add, self.keys(&keys).t(), self.values(&solved.u));
    }

    /// Backward through the triangular solve: `db = (I + A)⁻ᵀ du`, from the last row up, in place.
    #[inline(always)]
    fn solve_backward(&self, s: &Solved<T>, du: &mut [T]) {
        let (len, width) = (self.len, self.value);
        for t in (0..len).rev() {
            let (rows, row) = du.split_at_mut(t * width);
            for i in 0..t {
                let a = self.beta[t] * s.decay[t * len + i] * s.kk[t * len + i];
                axpy(&mut rows[i * width..(i + 1) * width], -a, &row[..width]);
            }
        }
    }

    /// Gradients of the chunk; `dstate` holds the gradient of the state after the chunk and becomes that of the state before.
    #[inline(always)]
    fn backward(&self, state: &[T], dout: &[T], dstate: &mut [T]) -> HeadGradient<T> {
        let (len, key, value) = (self.len, self.key, self.value);
        let s = self.solve(state);
        let scores: Vec<T> = s.qk.iter().zip(&s.decay).map(|(a, g)| *a * *g).collect();
        let keys_end = scaled(self.k, key, |t| self.to_end(t));
        let q_read = scaled(self.q, key, |t| self.now(t));

        let mut db = made(len * value, self.square(&scores).t(), self.values(dout));
        product_here(&mut db, Write::Add, self.keys(&keys_end), self.state(dstate));
        let dscores = made(len * len, self.values(dout), self.values(&s.u).t());
        let dq_read = made(len * key, self.values(dout), self.state(state).t());
        let dkeys_end = made(len * key, self.values(&s.u), self.state(dstate).t());
        if self.erases {
            self.solve_backward(&s, &mut db);
        }
        let dv = scaled(&db, value, |t| self.beta[t]);
        let last = self.now(len - 1);
        let mut g = Inner { dgamma: vec![T::zero(); len], dbeta: vec![T::zero(); len] };
        g.dgamma[len - 1] += last * dot(state, dstate);
        scale(dstate, last);
        product_here(dstate, Write::Add, self.keys(&q_read).t(), self.values(dout));
        for t in 0..len {
            g.dbeta[t] = dot(&db[t * value..(t + 1) * value], &s.residual[t * value..(t + 1) * value]);
        }
        let mut dk = vec![T::zero(); len * key];
        if self.erases {
            self.erase_backward(&s, &mut g, (state, dstate), (&db, &dv), &mut dk);
        }
        let dqk = self.scores_backward(&s, &mut g, &dscores);
        let mut dq = scaled(&dq_read, key, |t| self.now(t));
        product_here(&mut dq, Write::Add, self.square(&dqk), self.keys(self.k));
        product_here(&mut dk, Write::Add, self.square(&dqk).t(), self.keys(self.q));
        for t in 0..len {
            let row = t * key..(t + 1) * key;
            let (now, end) = (self.now(t), self.to_end(t));
            axpy(&mut dk[row.clone()], end, &dkeys_end[row.clone()]);
            g.dgamma[t] += now * dot(&dq_read[row.clone()], &self.q[row.clone()]);
            let ends = end * dot(&dkeys_end[row.clone()], &self.k[row]);
            g.dgamma[t] -= ends;
            g.dgamma[len - 1] += ends;
        }
        let mut total = T::zero();
        for d in g.dgamma.iter_mut().rev() {
            total += *d;
            *d = total;
        }
        HeadGradient { key, value, erases: self.erases, q: dq, k: dk, v: dv, beta: g.dbeta, log_decay: g.dgamma }
    }

    /// Backward through `G ∘ Q Kᵀ`: the gradient of `Q Kᵀ`.
    #[inline(always)]
    fn scores_backward(&self, s: &Solved<T>, g: &mut Inner<T>, dscores: &[T]) -> Vec<T> {
        let len = self.len;
        let mut dqk = vec![T::zero(); len * len];
        for t in 0..len {
            for i in 0..=t {
                let n = t * len + i;
                dqk[n] = dscores[n] * s.decay[n];
                let ddecay = dscores[n] * s.qk[n] * s.decay[n];
                g.dgamma[t] += ddecay;
                g.dgamma[i] -= ddecay;
            }
        }
        dqk
    }

    /// Backward through what the delta rule subtracts: the memory before the chunk and the chunk's own earlier rows.
    #[inline(always)]
    fn erase_backward(&self, s: &Solved<T>, g: &mut Inner<T>, states: (&[T], &mut [T]), rows: (&[T], &[T]), dk: &mut [T]) {
        let (len, key) = (self.len, self.key);
        let ((state, dstate), (db, dv)) = (states, rows);
        let da = made(len * len, self.values(db), self.values(&s.u).t());
        let dk_read = made(len * key, self.values(dv), self.state(state).t());
        let negated = scaled(self.k, key, |t| -self.now(t));
        product_here(dstate, Write::Add, self.keys(&negated).t(), self.values(dv));
        let mut dkk = vec![T::zero(); len * len];
        for t in 0..len {
            for i in 0..t {
                let n = t * len + i;
                let da = -da[n];
                g.dbeta[t] += da * s.decay[n] * s.kk[n];
                dkk[n] = da * self.beta[t] * s.decay[n];
                let ddecay = da * self.beta[t] * s.kk[n] * s.decay[n];
                g.dgamma[t] += ddecay;
                g.dgamma[i] -= ddecay;
            }
        }
        product_here(dk, Write::Add, self.square(&dkk), self.keys(self.k));
        product_here(dk, Write::Add, self.square(&dkk).t(), self.keys(self.k));
        for t in 0..len {
            let row = t * key..(t + 1) * key;
            axpy(&mut dk[row.clone()], -self.now(t), &dk_read[row.clone()]);
            g.dgamma[t] -= self.now(t) * dot(&dk_read[row.clone()], &self.k[row]);
        }
    }
}

/// Gradients that several parts of a chunk add to.
struct Inner<T> {
    /// Of cumulative log decays.
    dgamma: Vec<T>,
    /// Of write strengths.
    dbeta: Vec<T>,
}

/// All chunks of one head from a zero state; also gives the state before every chunk.
#[inline(always)]
pub fn head_forward<T: Real>(input: &HeadInput<T>) -> (Vec<T>, Vec<T>) {
    let (time, size) = (input.beta.len(), input.key * input.value);
    let mut state = vec![T::zero(); size];
    let mut states = Vec::with_capacity(time.div_ceil(CHUNK) * size);
    let mut output = vec![T::zero(); time * input.value];
    for from in (0..time).step_by(CHUNK) {
        states.extend_from_slice(&state);
        let chunk = input.chunk(from);
        chunk.forward(&mut state, &mut output[from * input.value..(from + chunk.len) * input.value]);
    }
    (output, states)
}

/// Gradients of [`head_forward`] given the states that it returned.
#[inline(always)]
pub fn head_backward<T: Real>(input: &HeadInput<T>, states: &[T], dout: &[T]) -> HeadGradient<T> {
    let (time, key, value) = (input.beta.len(), input.key, input.value);
    let mut gradient = HeadGradient {
        key,
        value,
        erases: input.erases,
        q: vec![T::zero(); time * key],
        k: vec![T::zero(); time * key],
        v: vec![T::zero(); time * value],
        beta: vec![T::zero(); time],
        log_decay: vec![T::zero(); time],
    };
    let mut dstate = vec![T::zero(); key * value];
    let starts: Vec<usize> = (0..time).step_by(CHUNK).collect();
    for (n, from) in starts.into_iter().enumerate().rev() {
        let chunk = input.chunk(from);
        let to = from + chunk.len;
        let state = &states[n * key * value..(n + 1) * key * value];
        let g = chunk.backward(state, &dout[from * value..to * value], &mut dstate);
        gradient.q[from * key..to * key].copy_from_slice(&g.q);
        gradient.k[from * key..to * key].copy_from_slice(&g.k);
        gradient.v[from * value..to * value].copy_from_slice(&g.v);
        gradient.beta[from..to].copy_from_slice(&g.beta);
        gradient.log_decay[from..to].copy_from_slice(&g.log_decay);
    }
    gradient
}
