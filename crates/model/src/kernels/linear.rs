//! `y = x W` with `x [N, I]`, `W [I, O]`.

use super::{
    gemm::{Factor, Write, product},
    real::Real,
};
use crate::host::{Forward, Kernel, View};

/// The product of rows with a weight; leading extents of `x` are kept.
#[derive(Debug, Clone, Copy)]
pub struct Linear;

fn extents<T>(x: View<'_, T>, w: View<'_, T>) -> (usize, usize, usize) {
    let (inputs, outputs) = (w.shape[0], w.shape[1]);
    (x.data.len() / inputs, inputs, outputs)
}

impl Kernel for Linear {
    fn forward<T: Real>(&self, inputs: &[View<'_, T>]) -> Forward<T> {
        let (x, w) = (inputs[0], inputs[1]);
        let (rows, i, o) = extents(x, w);
        let mut output = vec![T::zero(); rows * o];
        product(&mut output, Write::Set, Factor::new(x.data, rows, i), Factor::new(w.data, i, o));
        let mut shape = x.shape.to_vec();
        if let Some(last) = shape.last_mut() {
            *last = o;
        }
        Forward { output, shape, saved: Vec::new() }
    }

    fn backward<T: Real>(
        &self,
        inputs: &[View<'_, T>],
        _: &[Vec<T>],
        gradient: View<'_, T>,
        needs: &[bool],
    ) -> Vec<Option<Vec<T>>> {
        let (x, w) = (inputs[0], inputs[1]);
        let (rows, i, o) = extents(x, w);
        let dy = Factor::new(gradient.data, rows, o);
        let dx = needs[0].then(|| {
            let mut dx = vec![T::zero(); rows * i];
            product(&mut dx, Write::Set, dy, Factor::new(w.data, i, o).t());
            dx
        });
        let dw = needs[1].then(|| {
            let mut dw = vec![T::zero(); i * o];
            product(&mut dw, Write::Set, Factor::new(x.data, rows, i).t(), dy);
            dw
        });
        vec![dx, dw]
    }
}
