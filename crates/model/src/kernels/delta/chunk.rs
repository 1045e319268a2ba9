//! One head of the gated delta rule, a chunk at a time; the equations are those of the parent module.

use super::CHUNK;
use crate::kernels::{
    gemm::{Factor, Write, product_here},
    math::{axpy, dot, exp},
};

/// What one head reads: dense `[T, W]` rows and one write strength and log decay a token.
#[derive(Debug, Clone)]
pub struct HeadInput {
    /// Channels of the head.
    pub width: usize,
    /// Unit-norm queries.
    pub q: Vec<f32>,
    /// Unit-norm keys.
    pub k: Vec<f32>,
    /// Values.
    pub v: Vec<f32>,
    /// Write strengths in (0, 1).
    pub beta: Vec<f32>,
    /// Logarithms of the decays, not above 0.
    pub log_decay: Vec<f32>,
}

/// Gradients in the same layout as [`HeadInput`].
pub type HeadGradient = HeadInput;

struct Chunk<'a> {
    len: usize,
    width: usize,
    q: &'a [f32],
    k: &'a [f32],
    v: &'a [f32],
    beta: &'a [f32],
    /// Cumulative log decay, inclusive.
    gamma: Vec<f32>,
}

/// The matrices of a chunk that both passes need.
struct Solved {
    /// `K Kᵀ`
    kk: Vec<f32>,
    /// `Q Kᵀ`
    qk: Vec<f32>,
    /// `V - diag(γ) K S₀`
    residual: Vec<f32>,
    /// The rows that are written.
    u: Vec<f32>,
    /// `G`, lower triangle with diagonal, zero above.
    decay: Vec<f32>,
}

impl HeadInput {
    fn chunk(&self, from: usize) -> Chunk<'_> {
        let to = (from + CHUNK).min(self.beta.len());
        let rows = from * self.width..to * self.width;
        let mut total = 0.0;
        let gamma = self.log_decay[from..to]
            .iter()
            .map(|d| {
                total += d;
                total
            })
            .collect();
        Chunk {
            len: to - from,
            width: self.width,
            q: &self.q[rows.clone()],
            k: &self.k[rows.clone()],
            v: &self.v[rows],
            beta: &self.beta[from..to],
            gamma,
        }
    }
}

/// Rows of `x` scaled by `f(row)`.
fn scaled(x: &[f32], width: usize, f: impl Fn(usize) -> f32) -> Vec<f32> {
    let mut out = x.to_vec();
    for (t, row) in out.chunks_exact_mut(width).enumerate() {
        let s = f(t);
        row.iter_mut().for_each(|x| *x *= s);
    }
    out
}

impl Chunk<'_> {
    fn rows<'b>(&self, x: &'b [f32]) -> Factor<'b> {
        Factor::new(x, self.len, self.width)
    }

    fn square<'b>(&self, x: &'b [f32]) -> Factor<'b> {
        Factor::new(x, self.len, self.len)
    }

    fn state<'b>(&self, x: &'b [f32]) -> Factor<'b> {
        Factor::new(x, self.width, self.width)
    }

    fn last(&self) -> f32 {
        self.gamma[self.len - 1]
    }

    fn solve(&self, state: &[f32]) -> Solved {
        let (len, width) = (self.len, self.width);
        let (mut kk, mut qk) = (vec![0.0; len * len], vec![0.0; len * len]);
        product_here(&mut kk, Write::Set, self.rows(self.k), self.rows(self.k).t());
        product_here(&mut qk, Write::Set, self.rows(self.q), self.rows(self.k).t());
        let mut decay = vec![0.0; len * len];
        for t in 0..len {
            for i in 0..=t {
                decay[t * len + i] = exp(self.gamma[t] - self.gamma[i]);
            }
        }
        let mut read = vec![0.0; len * width];
        product_here(&mut read, Write::Set, self.rows(self.k), self.state(state));
        let mut residual = self.v.to_vec();
        for t in 0..len {
            axpy(&mut residual[t * width..(t + 1) * width], -exp(self.gamma[t]), &read[t * width..(t + 1) * width]);
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
    fn forward(&self, state: &mut [f32], output: &mut [f32]) {
        let solved = self.solve(state);
        let scores: Vec<f32> = solved.qk.iter().zip(&solved.decay).map(|(a, g)| a * g).collect();
        let read = scaled(self.q, self.width, |t| exp(self.gamma[t]));
        product_here(output, Write::Set, self.rows(&read), self.state(state));
        product_here(output, Write::Add, self.square(&scores), self.rows(&solved.u));
        let keys = scaled(self.k, self.width, |t| exp(self.last() - self.gamma[t]));
        let keep = exp(self.last());
        state.iter_mut().for_each(|s| *s *= keep);
        product_here(state, Write::Add, self.rows(&keys).t(), self.rows(&solved.u));
    }

    /// Gradients of the chunk; `dstate` holds the gradient of the state after the chunk and becomes that of the state before.
    fn backward(&self, state: &[f32], dout: &[f32], dstate: &mut [f32]) -> HeadGradient {
        let (len, width) = (self.len, self.width);
        let s = self.solve(state);
        let scores: Vec<f32> = s.qk.iter().zip(&s.decay).map(|(a, g)| a * g).collect();
        let to_end = |t: usize| exp(self.last() - self.gamma[t]);
        let keys_end = scaled(self.k, width, to_end);
        let q_read = scaled(self.q, width, |t| exp(self.gamma[t]));
        let k_read = scaled(self.k, width, |t| exp(self.gamma[t]));

        let mut du = vec![0.0; len * width];
        product_here(&mut du, Write::Set, self.square(&scores).t(), self.rows(dout));
        product_here(&mut du, Write::Add, self.rows(&keys_end), self.state(dstate));
        let mut dscores = vec![0.0; len * len];
        product_here(&mut dscores, Write::Set, self.rows(dout), self.rows(&s.u).t());
        let mut dq_read = vec![0.0; len * width];
        product_here(&mut dq_read, Write::Set, self.rows(dout), self.state(state).t());
        let mut dkeys_end = vec![0.0; len * width];
        product_here(&mut dkeys_end, Write::Set, self.rows(&s.u), self.state(dstate).t());

        // Backward through the triangular solve: db = (I + A)⁻ᵀ du, from the last row up.
        let mut db = du;
        for t in (0..len).rev() {
            let (rows, row) = db.split_at_mut(t * width);
            for i in 0..t {
                let a = self.beta[t] * s.decay[t * len + i] * s.kk[t * len + i];
                axpy(&mut rows[i * width..(i + 1) * width], -a, &row[..width]);
            }
        }
        let mut da = vec![0.0; len * len];
        product_here(&mut da, Write::Set, self.rows(&db), self.rows(&s.u).t());

        let dv = scaled(&db, width, |t| self.beta[t]);
        let mut dk_read = vec![0.0; len * width];
        product_here(&mut dk_read, Write::Set, self.rows(&dv), self.state(state).t());
        let before = dot(state, dstate);
        let keep = exp(self.last());
        dstate.iter_mut().for_each(|d| *d *= keep);
        product_here(dstate, Write::Add, self.rows(&q_read).t(), self.rows(dout));
        let negated = scaled(&k_read, width, |_| -1.0);
        product_here(dstate, Write::Add, self.rows(&negated).t(), self.rows(&dv));

        let mut dbeta: Vec<f32> =
            (0..len).map(|t| dot(&db[t * width..(t + 1) * width], &s.residual[t * width..(t + 1) * width])).collect();
        let mut dgamma = vec![0.0; len];
        let (mut dqk, mut dkk) = (vec![0.0; len * len], vec![0.0; len * len]);
        for t in 0..len {
            for i in 0..=t {
                let n = t * len + i;
                let mut ddecay = dscores[n] * s.qk[n];
                dqk[n] = dscores[n] * s.decay[n];
                if i < t {
                    let da = -da[n];
                    dbeta[t] += da * s.decay[n] * s.kk[n];
                    dkk[n] = da * self.beta[t] * s.decay[n];
                    ddecay += da * self.beta[t] * s.kk[n];
                }
                dgamma[t] += ddecay * s.decay[n];
                dgamma[i] -= ddecay * s.decay[n];
            }
        }
        let mut dq = scaled(&dq_read, width, |t| exp(self.gamma[t]));
        product_here(&mut dq, Write::Add, self.square(&dqk), self.rows(self.k));
        let mut dk = vec![0.0; len * width];
        product_here(&mut dk, Write::Set, self.square(&dqk).t(), self.rows(self.q));
        product_here(&mut dk, Write::Add, self.square(&dkk), self.rows(self.k));
        product_here(&mut dk, Write::Add, self.square(&dkk).t(), self.rows(self.k));
        for t in 0..len {
            let row = t * width..(t + 1) * width;
            let (now, end) = (exp(self.gamma[t]), to_end(t));
            axpy(&mut dk[row.clone()], -now, &dk_read[row.clone()]);
            axpy(&mut dk[row.clone()], end, &dkeys_end[row.clone()]);
            let k = &self.k[row.clone()];
            dgamma[t] += now * (dot(&dq_read[row.clone()], &self.q[row.clone()]) - dot(&dk_read[row.clone()], k));
            let ends = end * dot(&dkeys_end[row], k);
            dgamma[t] -= ends;
            dgamma[len - 1] += ends;
        }
        dgamma[len - 1] += keep * before;
        let mut total = 0.0;
        for d in dgamma.iter_mut().rev() {
            total += *d;
            *d = total;
        }
        HeadGradient { width, q: dq, k: dk, v: dv, beta: dbeta, log_decay: dgamma }
    }
}

/// All chunks of one head from a zero state; also gives the state before every chunk.
pub fn head_forward(input: &HeadInput) -> (Vec<f32>, Vec<f32>) {
    let (time, width) = (input.beta.len(), input.width);
    let mut state = vec![0.0; width * width];
    let mut states = Vec::with_capacity(time.div_ceil(CHUNK) * width * width);
    let mut output = vec![0.0; time * width];
    for from in (0..time).step_by(CHUNK) {
        states.extend_from_slice(&state);
        let chunk = input.chunk(from);
        chunk.forward(&mut state, &mut output[from * width..(from + chunk.len) * width]);
    }
    (output, states)
}

/// Gradients of [`head_forward`] given the states that it returned.
pub fn head_backward(input: &HeadInput, states: &[f32], dout: &[f32]) -> HeadGradient {
    let (time, width) = (input.beta.len(), input.width);
    let mut gradient = HeadGradient {
        width,
        q: vec![0.0; time * width],
        k: vec![0.0; time * width],
        v: vec![0.0; time * width],
        beta: vec![0.0; time],
        log_decay: vec![0.0; time],
    };
    let mut dstate = vec![0.0; width * width];
    let starts: Vec<usize> = (0..time).step_by(CHUNK).collect();
    for (n, from) in starts.into_iter().enumerate().rev() {
        let chunk = input.chunk(from);
        let to = from + chunk.len;
        let state = &states[n * width * width..(n + 1) * width * width];
        let g = chunk.backward(state, &dout[from * width..to * width], &mut dstate);
        gradient.q[from * width..to * width].copy_from_slice(&g.q);
        gradient.k[from * width..to * width].copy_from_slice(&g.k);
        gradient.v[from * width..to * width].copy_from_slice(&g.v);
        gradient.beta[from..to].copy_from_slice(&g.beta);
        gradient.log_decay[from..to].copy_from_slice(&g.log_decay);
    }
    gradient
}
