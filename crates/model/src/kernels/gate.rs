//! The SiLU gate: `y = x ∘ silu(g)`.

use rayon::prelude::*;

use super::{math::simd, real::Real};
use crate::host::{Forward, Kernel, View};

/// The gate; inputs are `x` and `g` of the same extents.
#[derive(Debug, Clone, Copy)]
pub struct SiluGate;

/// Elements that one task takes.
const ELEMENTS_A_TASK: usize = 1 << 14;

impl Kernel for SiluGate {
    fn forward<T: Real>(&self, inputs: &[View<'_, T>]) -> Forward<T> {
        let (x, g) = (inputs[0], inputs[1]);
        let mut output = x.data.to_vec();
        output.par_chunks_mut(ELEMENTS_A_TASK).zip(g.data.par_chunks(ELEMENTS_A_TASK)).for_each(|(y, g)| {
            simd(|| y.iter_mut().zip(g).for_each(|(y, g)| *y *= *g * g.sigmoid()));
        });
        Forward { output, shape: x.shape.to_vec(), saved: Vec::new() }
    }

    fn backward<T: Real>(&self, inputs: &[View<'_, T>], _: &[Vec<T>], gradient: View<'_, T>, _: &[bool]) -> Vec<Option<Vec<T>>> {
        let (x, g) = (inputs[0].data, inputs[1].data);
        let (mut dx, mut dg) = (gradient.data.to_vec(), gradient.data.to_vec());
        let tasks = dx.par_chunks_mut(ELEMENTS_A_TASK).zip(dg.par_chunks_mut(ELEMENTS_A_TASK));
        tasks.zip(x.par_chunks(ELEMENTS_A_TASK)).zip(g.par_chunks(ELEMENTS_A_TASK)).for_each(|(((dx, dg), x), g)| {
            simd(|| {
                for (((dx, dg), x), g) in dx.iter_mut().zip(dg).zip(x).zip(g) {
                    *dx *= *g * g.sigmoid();
                    *dg *= *x * g.silu_slope();
                }
            });
        });
        vec![Some(dx), Some(dg)]
    }
}
