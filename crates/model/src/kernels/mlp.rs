//! Two-layer perceptrons as one operation: `y = act(x U) D`, or gated, `y = (act(x G) ∘ x U) D`, with `x [N, C]`, `U, G [C, H]`, `D [H, C]`.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{
    gemm::{Factor, Write, product},
    math::simd,
    real::Real,
};
use crate::host::{Forward, Kernel, View};

/// The hidden non-linearity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// `max(x, 0)²`
    SquaredRelu,
    /// `x · sigmoid(x)`
    Silu,
}

impl Activation {
    /// Applies it in place.
    #[inline(always)]
    pub fn apply<T: Real>(self, x: &mut [T]) {
        match self {
            Self::SquaredRelu => x.iter_mut().for_each(|x| *x = x.max(T::zero()) * x.max(T::zero())),
            Self::Silu => x.iter_mut().for_each(|x| *x *= x.sigmoid()),
        }
    }

    #[inline(always)]
    fn scale_by_slope<T: Real>(self, gradient: &mut [T], x: &[T]) {
        match self {
            Self::SquaredRelu => gradient.iter_mut().zip(x).for_each(|(g, x)| *g *= T::of(2.0) * x.max(T::zero())),
            Self::Silu => gradient.iter_mut().zip(x).for_each(|(g, x)| *g *= x.silu_slope()),
        }
    }
}

/// Elements that one task of an element-wise loop takes.
const ELEMENTS_A_TASK: usize = 1 << 14;

/// The perceptron: inputs `x`, `U`, `D`.
#[derive(Debug, Clone, Copy)]
pub struct Mlp {
    /// The hidden non-linearity.
    pub activation: Activation,
}

/// The gated perceptron: inputs `x`, `G`, `U`, `D`.
#[derive(Debug, Clone, Copy)]
pub struct GatedMlp {
    /// The non-linearity of the gate.
    pub activation: Activation,
}

/// Extents of a perceptron: rows, channels, hidden channels.
#[derive(Clone, Copy)]
struct Extents {
    rows: usize,
    c: usize,
    h: usize,
}

impl Extents {
    fn of<T>(x: View<'_, T>, up: View<'_, T>) -> Self {
        let (c, h) = (up.shape[0], up.shape[1]);
        Self { rows: x.data.len() / c, c, h }
    }

    fn outer<'a, T: Real>(&self, x: &'a [T]) -> Factor<'a, T> {
        Factor::new(x, self.rows, self.c)
    }

    fn inner<'a, T: Real>(&self, x: &'a [T]) -> Factor<'a, T> {
        Factor::new(x, self.rows, self.h)
    }

    fn up<'a, T: Real>(&self, w: &'a [T]) -> Factor<'a, T> {
        Factor::new(w, self.c, self.h)
    }

    fn down<'a, T: Real>(&self, w: &'a [T]) -> Factor<'a, T> {
        Factor::new(w, self.h, self.c)
    }
}

fn made<T: Real>(size: usize, a: Factor<'_, T>, b: Factor<'_, T>) -> Vec<T> {
    let mut out = vec![T::zero(); size];
    product(&mut out, Write::Set, a, b);
    out
}

impl Activation {
    fn applied<T: Real>(self, hidden: &[T]) -> Vec<T> {
        let mut active = hidden.to_vec();
        active.par_chunks_mut(ELEMENTS_A_TASK).for_each(|x| simd(|| self.apply(x)));
        active
    }

    fn through<T: Real>(self, gradient: &mut [T], hidden: &[T]) {
        let parts = gradient.par_chunks_mut(ELEMENTS_A_TASK).zip(hidden.par_chunks(ELEMENTS_A_TASK));
        parts.for_each(|(g, x)| simd(|| self.scale_by_slope(g, x)));
    }
}

fn times<T: Real>(x: &mut [T], y: &[T]) {
    let parts = x.par_chunks_mut(ELEMENTS_A_TASK).zip(y.par_chunks(ELEMENTS_A_TASK));
    parts.for_each(|(x, y)| simd(|| x.iter_mut().zip(y).for_each(|(x, y)| *x *= *y)));
}

impl Kernel for Mlp {
    fn forward<T: Real>(&self, inputs: &[View<'_, T>]) -> Forward<T> {
        let [x, up, down] = [inputs[0], inputs[1], inputs[2]];
        let e = Extents::of(x, up);
        let hidden = made(e.rows * e.h, e.outer(x.data), e.up(up.data));
        let active = self.activation.applied(&hidden);
        let output = made(e.rows * e.c, e.inner(&active), e.down(down.data));
        Forward { output, shape: x.shape.to_vec(), saved: vec![hidden] }
    }

    fn backward<T: Real>(
        &self,
        inputs: &[View<'_, T>],
        saved: &[Vec<T>],
        gradient: View<'_, T>,
        needs: &[bool],
    ) -> Vec<Option<Vec<T>>> {
        let [x, up, down] = [inputs[0], inputs[1], inputs[2]];
        let e = Extents::of(x, up);
        let (dy, hidden) = (e.outer(gradient.data), &saved[0]);
        let ddown = needs[2].then(|| made(e.h * e.c, e.inner(&self.activation.applied(hidden)).t(), dy));
        let mut dhidden = made(e.rows * e.h, dy, e.down(down.data).t());
        self.activation.through(&mut dhidden, hidden);
        let dx = needs[0].then(|| made(e.rows * e.c, e.inner(&dhidden), e.up(up.data).t()));
        let dup = needs[1].then(|| made(e.c * e.h, e.outer(x.data).t(), e.inner(&dhidden)));
        vec![dx, dup, ddown]
    }
}

impl Kernel for GatedMlp {
    fn forward<T: Real>(&self, inputs: &[View<'_, T>]) -> Forward<T> {
        let [x, gate, up, down] = [inputs[0], inputs[1], inputs[2], inputs[3]];
        let e = Extents::of(x, up);
        let gates = made(e.rows * e.h, e.outer(x.data), e.up(gate.data));
        let linear = made(e.rows * e.h, e.outer(x.data), e.up(up.data));
        let mut active = self.activation.applied(&gates);
        times(&mut active, &linear);
        let output = made(e.rows * e.c, e.inner(&active), e.down(down.data));
        Forward { output, shape: x.shape.to_vec(), saved: vec![gates, linear] }
    }

    fn backward<T: Real>(
        &self,
        inputs: &[View<'_, T>],
        saved: &[Vec<T>],
        gradient: View<'_, T>,
        needs: &[bool],
    ) -> Vec<Option<Vec<T>>> {
        let [x, gate, up, down] = [inputs[0], inputs[1], inputs[2], inputs[3]];
        let e = Extents::of(x, up);
        let (dy, gates, linear) = (e.outer(gradient.data), &saved[0], &saved[1]);
        let active = self.activation.applied(gates);
        let ddown = needs[3].then(|| {
            let mut hidden = active.clone();
            times(&mut hidden, linear);
            made(e.h * e.c, e.inner(&hidden).t(), dy)
        });
        let mut dgates = made(e.rows * e.h, dy, e.down(down.data).t());
        let mut dlinear = dgates.clone();
        times(&mut dlinear, &active);
        times(&mut dgates, linear);
        self.activation.through(&mut dgates, gates);
        let dx = needs[0].then(|| {
            let mut dx = made(e.rows * e.c, e.inner(&dgates), e.up(gate.data).t());
            product(&mut dx, Write::Add, e.inner(&dlinear), e.up(up.data).t());
            dx
        });
        let dgate = needs[1].then(|| made(e.c * e.h, e.outer(x.data).t(), e.inner(&dgates)));
        let dup = needs[2].then(|| made(e.c * e.h, e.outer(x.data).t(), e.inner(&dlinear)));
        vec![dx, dgate, dup, ddown]
    }
}
