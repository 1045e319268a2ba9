//! A two-layer perceptron as one operation: `y = act(x U) D` with `x [N, C]`, `U [C, H]`, `D [H, C]`.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{
    gemm::{Factor, Write, product},
    math::{sigmoid, simd},
};
use crate::host::{Forward, HostOp, View};

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
    pub fn apply(self, x: &mut [f32]) {
        match self {
            Self::SquaredRelu => x.iter_mut().for_each(|x| *x = x.max(0.0) * x.max(0.0)),
            Self::Silu => x.iter_mut().for_each(|x| *x *= sigmoid(*x)),
        }
    }

    #[inline(always)]
    fn scale_by_slope(self, gradient: &mut [f32], x: &[f32]) {
        match self {
            Self::SquaredRelu => gradient.iter_mut().zip(x).for_each(|(g, x)| *g *= 2.0 * x.max(0.0)),
            Self::Silu => gradient.iter_mut().zip(x).for_each(|(g, x)| {
                let s = sigmoid(*x);
                *g *= s * (1.0 + x * (1.0 - s));
            }),
        }
    }
}

/// Elements that one task of an element-wise loop takes.
const ELEMENTS_A_TASK: usize = 1 << 14;

/// The perceptron.
#[derive(Debug, Clone, Copy)]
pub struct Mlp {
    /// The hidden non-linearity.
    pub activation: Activation,
}

impl Mlp {
    fn activated(self, hidden: &[f32]) -> Vec<f32> {
        let mut active = hidden.to_vec();
        active.par_chunks_mut(ELEMENTS_A_TASK).for_each(|x| simd(|| self.activation.apply(x)));
        active
    }
}

impl HostOp for Mlp {
    fn forward(&self, inputs: &[View<'_>]) -> Forward {
        let [x, up, down] = [inputs[0], inputs[1], inputs[2]];
        let (c, h) = (up.shape[0], up.shape[1]);
        let rows = x.data.len() / c;
        let mut hidden = vec![0.0; rows * h];
        product(&mut hidden, Write::Set, Factor::new(x.data, rows, c), Factor::new(up.data, c, h));
        let active = self.activated(&hidden);
        let mut output = vec![0.0; rows * c];
        product(&mut output, Write::Set, Factor::new(&active, rows, h), Factor::new(down.data, h, c));
        Forward { output, shape: x.shape.to_vec(), saved: vec![hidden] }
    }

    fn backward(&self, inputs: &[View<'_>], saved: &[Vec<f32>], gradient: View<'_>, needs: &[bool]) -> Vec<Option<Vec<f32>>> {
        let [x, up, down] = [inputs[0], inputs[1], inputs[2]];
        let (c, h) = (up.shape[0], up.shape[1]);
        let rows = x.data.len() / c;
        let dy = Factor::new(gradient.data, rows, c);
        let hidden = &saved[0];
        let ddown = needs[2].then(|| {
            let active = self.activated(hidden);
            let mut ddown = vec![0.0; h * c];
            product(&mut ddown, Write::Set, Factor::new(&active, rows, h).t(), dy);
            ddown
        });
        let mut dhidden = vec![0.0; rows * h];
        product(&mut dhidden, Write::Set, dy, Factor::new(down.data, h, c).t());
        dhidden
            .par_chunks_mut(ELEMENTS_A_TASK)
            .zip(hidden.par_chunks(ELEMENTS_A_TASK))
            .for_each(|(g, x)| simd(|| self.activation.scale_by_slope(g, x)));
        let dx = needs[0].then(|| {
            let mut dx = vec![0.0; rows * c];
            product(&mut dx, Write::Set, Factor::new(&dhidden, rows, h), Factor::new(up.data, c, h).t());
            dx
        });
        let dup = needs[1].then(|| {
            let mut dup = vec![0.0; c * h];
            product(&mut dup, Write::Set, Factor::new(x.data, rows, c).t(), Factor::new(&dhidden, rows, h));
            dup
        });
        vec![dx, dup, ddown]
    }
}
