//! The memories' recurrences over slices, one token of one head at a time: what decodes.
//!
//! They follow the definitions, not the chunked forms, and are what those are held against in `f64`.

use super::{
    hope::{BOXES, BoxKind, LONGEST_ROW, LONGEST_VALUE, MEMORY, Manner, Objective, SelfModifying, Targets},
    titans::Titans,
};
use crate::kernels::{
    delta::{log_decay, normalize},
    math::{add, axpy, dot, scale},
    real::Real,
};

/// `x W`, W being `[x, out]`.
#[inline(always)]
fn through<T: Real>(x: &[T], w: &[T]) -> Vec<T> {
    let width = w.len() / x.len();
    let mut out = vec![T::zero(); width];
    for (x, row) in x.iter().zip(w.chunks_exact(width)) {
        axpy(&mut out, *x, row);
    }
    out
}

/// `g Wᵀ`
#[inline(always)]
fn back<T: Real>(g: &[T], w: &[T]) -> Vec<T> {
    w.chunks_exact(g.len()).map(|row| dot(row, g)).collect()
}

/// `W += c xᵀ g`
#[inline(always)]
fn write<T: Real>(w: &mut [T], c: T, x: &[T], g: &[T]) {
    for (x, row) in x.iter().zip(w.chunks_exact_mut(g.len())) {
        axpy(row, c * *x, g);
    }
}

fn silu<T: Real>(z: &[T]) -> Vec<T> {
    z.iter().map(|z| *z * z.sigmoid()).collect()
}

fn unit<T: Real>(x: &[T]) -> Vec<T> {
    let mut x = x.to_vec();
    normalize(&mut x);
    x
}

/// Weights below this are nothing that could be heard.
const FADED: f64 = 1e-30;

/// What nothing writes any more fades, and would end among the subnormal numbers: rounding keeps it there for ever, and processors count with it slowly.
fn clear_faded<T: Real>(weights: &mut [T]) {
    let least = T::of(FADED);
    for x in weights {
        if x.abs() < least {
            *x = T::zero();
        }
    }
}

/// Cuts the parts out of one head's parameters.
fn cut<T: Real>(params: &[T], extents: &[[usize; 2]]) -> Vec<Vec<T>> {
    let mut at = 0;
    let part = |[rows, cols]: &[usize; 2]| {
        at += rows * cols;
        params[at - rows * cols..at].to_vec()
    };
    extents.iter().map(part).collect()
}

/// One head of [`Titans`] within a stream.
#[derive(Debug, Clone, PartialEq)]
pub struct TitansHead<T = f32> {
    weights: Vec<Vec<T>>,
    momentum: Vec<Vec<T>>,
    snapshot: Vec<Vec<T>>,
    filled: usize,
}

/// `M(q)`
fn answer<T: Real>(program: &Titans, weights: &[Vec<T>], q: &[T]) -> Vec<T> {
    let mut x = q.to_vec();
    for (n, w) in weights.iter().enumerate() {
        let z = through(&x, w);
        x = if n + 1 < weights.len() { silu(&z) } else { z };
    }
    if program.is_residual() {
        add(&mut x, q);
    }
    x
}

impl<T: Real> TitansHead<T> {
    /// Before the first token: `params` are the initial weights of all layers.
    pub fn new(program: &Titans, params: &[T]) -> Self {
        let weights = cut(params, &program.layers());
        let momentum = weights.iter().map(|w| vec![T::zero(); w.len()]).collect();
        Self { snapshot: weights.clone(), weights, momentum, filled: 0 }
    }

    /// Numbers that it holds.
    pub fn floats(&self) -> usize {
        3 * self.weights.iter().map(Vec::len).sum::<usize>()
    }

    /// Reads one token: raw query, key and value, and the logits of step, kept share and momentum with their biases added.
    pub fn step(&mut self, program: &Titans, [q, k, v]: [&[T]; 3], logits: [T; 3], output: &mut [T]) {
        let (q, k) = (unit(q), unit(k));
        let [step, kept, carried] = logits.map(|x| x.sigmoid());
        let (inputs, gradients) = self.surprise(program, &k, v);
        let rate = step * T::of(program.max_step);
        for n in 0..self.weights.len() {
            scale(&mut self.momentum[n], carried);
            write(&mut self.momentum[n], -rate, &inputs[n], &gradients[n]);
            scale(&mut self.weights[n], kept);
            add(&mut self.weights[n], &self.momentum[n]);
        }
        output.copy_from_slice(&answer(program, &self.weights, &q));
        self.filled += 1;
        if self.filled == program.chunk {
            self.filled = 0;
            self.weights.iter_mut().chain(&mut self.momentum).for_each(|w| clear_faded(w));
            self.snapshot.clone_from(&self.weights);
        }
    }

    /// What the weights of the chunk's start answer to a query of any norm.
    pub fn recall(&self, program: &Titans, q: &[T]) -> Vec<T> {
        answer(program, &self.snapshot, &unit(q))
    }

    /// Whether the next token begins a chunk.
    pub fn begins_chunk(&self) -> bool {
        self.filled == 0
    }

    /// Inputs of the layers and gradients of their outputs, at the snapshot.
    fn surprise(&self, program: &Titans, k: &[T], v: &[T]) -> (Vec<Vec<T>>, Vec<Vec<T>>) {
        let mut inputs = vec![k.to_vec()];
        let mut sums: Vec<Vec<T>> = Vec::new();
        for (n, w) in self.snapshot.iter().enumerate() {
            let z = through(&inputs[n], w);
            if n + 1 < self.snapshot.len() {
                inputs.push(silu(&z));
            }
            sums.push(z);
        }
        let mut gradient = sums.last().cloned().unwrap_or_default();
        if program.is_residual() {
            add(&mut gradient, k);
        }
        axpy(&mut gradient, -T::one(), v);
        scale(&mut gradient, T::of(2.0));
        bounded(program, &mut gradient);
        let mut gradients = vec![gradient.clone()];
        for n in (1..self.snapshot.len()).rev() {
            let through = back(&gradient, &self.snapshot[n]);
            gradient = through.into_iter().zip(&sums[n - 1]).map(|(g, z)| g * z.silu_slope()).collect();
            bounded(program, &mut gradient);
            gradients.push(gradient.clone());
        }
        gradients.reverse();
        (inputs, gradients)
    }
}

/// See [`Titans::bound`].
fn bounded<T: Real>(program: &Titans, gradient: &mut [T]) {
    if let Some(bound) = program.bound {
        shorten(gradient, bound);
    }
}

/// One head of [`SelfModifying`] within a stream.
#[derive(Debug, Clone, PartialEq)]
pub struct HopeHead<T = f32> {
    live: Vec<Vec<Vec<T>>>,
    snapshot: Vec<Vec<Vec<T>>>,
    filled: usize,
}

/// What never changes in one head of [`SelfModifying`].
#[derive(Debug, Clone, Copy)]
pub struct HopeStatics<'a, T> {
    /// Bias of the step's logit.
    pub step: T,
    /// Logarithm of the decay's rate.
    pub a_log: T,
    /// Bias of the decay's logit.
    pub dt_bias: T,
    /// Readout of the box of steps.
    pub steps: &'a [T],
    /// Readout of the box of decays.
    pub decays: &'a [T],
    /// Logits of the shares of the memory's step that the other boxes take; all of it where there are none.
    pub shares: &'a [T],
}

impl<'a, T: Real> HopeStatics<'a, T> {
    /// One head's row of the program's third input.
    pub fn of(program: &SelfModifying, row: &'a [T]) -> Self {
        let (steps, rest) = row[3..].split_at(program.width);
        let (decays, shares) = rest.split_at(program.width);
        Self { step: row[0], a_log: row[1], dt_bias: row[2], steps, decays, shares }
    }
}

/// `x / sqrt(1 + |x|² / longest²)`
pub(super) fn shorten<T: Real>(x: &mut [T], longest: f64) {
    // Divided first: squares of long rows are no numbers in single precision.
    scale(x, T::of(longest.recip()));
    let norm = (dot(x, x) + T::one()).sqrt();
    scale(x, T::of(longest) / norm);
}

fn say<T: Real>(m: &[Vec<T>], z: &[T]) -> Vec<T> {
    let mut out = match m {
        [matrix] => through(z, matrix),
        [up, down] => through(&silu(&through(z, up)), down),
        _ => unreachable!("a box has one matrix or two"),
    };
    add(&mut out, z);
    out
}

impl<T: Real> HopeHead<T> {
    /// Before the first token: `params` are the initial matrices of all boxes.
    pub fn new(program: &SelfModifying, params: &[T]) -> Self {
        let layers = program.layers();
        let extents: Vec<[usize; 2]> = std::iter::repeat_n(layers.clone(), BOXES).flatten().collect();
        let boxes: Vec<Vec<Vec<T>>> = cut(params, &extents).chunks(layers.len()).map(<[_]>::to_vec).collect();
        Self { live: boxes.clone(), snapshot: boxes, filled: 0 }
    }

    /// Numbers that it holds.
    pub fn floats(&self) -> usize {
        2 * self.live.iter().flatten().map(Vec::len).sum::<usize>()
    }

    /// Reads one token: raw query, the inputs of keys and values, and the logits of step and decay.
    pub fn step(
        &mut self,
        program: &SelfModifying,
        statics: &HopeStatics<'_, T>,
        [q, xk, xv]: [&[T]; 3],
        logits: [T; 2],
        output: &mut [T],
    ) {
        let [keys, values, steps, decays, _] = [0, 1, 2, 3, 4].map(|n| &self.snapshot[n]);
        let (k, v) = (unit(&say(keys, xk)), say(values, xv));
        let step = (logits[0] + dot(&say(steps, xk), statics.steps) + statics.step).sigmoid() * T::of(program.max_step);
        let logit = logits[1] + dot(&say(decays, xk), statics.decays);
        let decay = log_decay(logit, statics.a_log, statics.dt_bias).exponential();
        for n in program.changing() {
            let share = statics.shares.get(n).map_or_else(T::one, |logit| logit.sigmoid());
            let Manner { targets, fades } = program.manner(n);
            let kept = if fades { decay } else { T::one() };
            self.learn(&SelfModifying { targets, ..*program }, n, &k, &v, step * share, kept);
        }
        output.copy_from_slice(&say(&self.live[MEMORY], &unit(q)));
        self.filled += 1;
        if self.filled == program.chunk {
            self.filled = 0;
            self.live.iter_mut().flatten().for_each(|w| clear_faded(w));
            if program.targets == Targets::Live {
                self.live[MEMORY][0].chunks_exact_mut(program.width).for_each(|row| shorten(row, LONGEST_ROW));
            }
            self.snapshot.clone_from(&self.live);
        }
    }

    /// `M_t = M_{t-1}(α I - η k kᵀ) - η ∇` for one box, layer by layer.
    fn learn(&mut self, program: &SelfModifying, n: usize, k: &[T], v: &[T], step: T, decay: T) {
        let (snapshot, live) = (&self.snapshot[n], &mut self.live[n]);
        let target = match program.targets {
            Targets::Own => say(snapshot, v),
            Targets::OwnUnit => {
                let mut target = say(snapshot, v);
                normalize(&mut target);
                target
            }
            Targets::Live => {
                let mut v = v.to_vec();
                shorten(&mut v, LONGEST_VALUE);
                say(live, &v)
            }
            Targets::Value => v.to_vec(),
        };
        let mut error = match program.objective {
            Objective::Distance => say(if program.targets == Targets::Live { live } else { snapshot }, k),
            Objective::Alignment => vec![T::zero(); k.len()],
        };
        axpy(&mut error, -T::one(), &target);
        if program.boxes == BoxKind::Linear {
            return erase_and_write(&mut live[0], k, &error, step, decay);
        }
        let z = through(k, &snapshot[0]);
        let h = silu(&z);
        let inner: Vec<T> = back(&error, &snapshot[1]).into_iter().zip(&z).map(|(g, z)| g * z.silu_slope()).collect();
        erase_and_write(&mut live[0], k, &inner, step, decay);
        erase_and_write(&mut live[1], &h, &error, step / (T::one() + step * dot(&h, &h)), decay);
    }
}

/// `S = α S - η xᵀ (x S + g)`
fn erase_and_write<T: Real>(s: &mut [T], x: &[T], gradient: &[T], step: T, decay: T) {
    let mut u = through(x, s);
    add(&mut u, gradient);
    scale(s, decay);
    write(s, -step, x, &u);
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDTH: usize = 4;
    /// Tokens, each of which halves what is there: single precision ends its normal numbers after 126.
    const TOKENS: usize = 4 * 34;

    fn is_fast(weights: &[f32]) -> bool {
        weights.iter().all(|x| *x == 0.0 || x.is_normal())
    }

    #[test]
    fn what_fades_in_titans_ends_at_zero() {
        let program = Titans { width: WIDTH, hidden: vec![3], chunk: 4, max_step: 0.0, bound: None };
        let mut head = TitansHead::new(&program, &[1.0; 2 * 3 * WIDTH]);
        let moving = Titans { max_step: 1.0, ..program.clone() };
        head.step(&moving, [&[1.0, 2.0, 3.0, 4.0]; 3], [0.0; 3], &mut [0.0; WIDTH]);
        assert!(head.momentum.iter().flatten().any(|x| *x != 0.0));
        for _ in 1..TOKENS {
            head.step(&program, [&[1.0; WIDTH]; 3], [0.0; 3], &mut [0.0; WIDTH]);
        }
        let all = [&head.weights, &head.momentum, &head.snapshot];
        assert!(all.into_iter().flatten().all(|w| is_fast(w) && w.contains(&0.0)), "{head:?}");
    }

    #[test]
    fn what_fades_in_hope_ends_at_zero() {
        let program = SelfModifying {
            width: WIDTH,
            boxes: BoxKind::Linear,
            chunk: 4,
            objective: Objective::Alignment,
            targets: Targets::Own,
            max_step: 0.0,
            adaptive: true,
            shares: false,
        };
        let mut head = HopeHead::new(&program, &[1.0; BOXES * WIDTH * WIDTH]);
        // `α = exp(-e^a_log softplus(dt_bias))`, one half.
        let readout = [0.0; WIDTH];
        let statics = HopeStatics { step: 0.0, a_log: 0.0, dt_bias: 0.0, steps: &readout, decays: &readout, shares: &[] };
        for _ in 0..TOKENS {
            head.step(&program, &statics, [&[1.0; WIDTH]; 3], [0.0; 2], &mut [0.0; WIDTH]);
        }
        let all: Vec<&Vec<f32>> = head.live.iter().chain(&head.snapshot).flatten().collect();
        assert!(all.iter().all(|w| is_fast(w)) && all.iter().any(|w| w.contains(&0.0)), "{head:?}");
    }
}
