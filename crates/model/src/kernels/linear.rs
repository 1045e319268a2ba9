//! `y = x W` with `x [N, I]`, `W [I, O]`.

use super::gemm::{Factor, Write, product};
use crate::host::{Forward, HostOp, View};

/// The product of rows with a weight; leading extents of `x` are kept.
#[derive(Debug, Clone, Copy)]
pub struct Linear;

fn extents(x: View<'_>, w: View<'_>) -> (usize, usize, usize) {
    let (inputs, outputs) = (w.shape[0], w.shape[1]);
    (x.data.len() / inputs, inputs, outputs)
}

impl HostOp for Linear {
    fn forward(&self, inputs: &[View<'_>]) -> Forward {
        let (x, w) = (inputs[0], inputs[1]);
        let (rows, i, o) = extents(x, w);
        let mut output = vec![0.0; rows * o];
        product(&mut output, Write::Set, Factor::new(x.data, rows, i), Factor::new(w.data, i, o));
        let mut shape = x.shape.to_vec();
        if let Some(last) = shape.last_mut() {
            *last = o;
        }
        Forward { output, shape, saved: Vec::new() }
    }

    fn backward(&self, inputs: &[View<'_>], _: &[Vec<f32>], gradient: View<'_>, needs: &[bool]) -> Vec<Option<Vec<f32>>> {
        let (x, w) = (inputs[0], inputs[1]);
        let (rows, i, o) = extents(x, w);
        let dy = Factor::new(gradient.data, rows, o);
        let dx = needs[0].then(|| {
            let mut dx = vec![0.0; rows * i];
            product(&mut dx, Write::Set, dy, Factor::new(w.data, i, o).t());
            dx
        });
        let dw = needs[1].then(|| {
            let mut dw = vec![0.0; i * o];
            product(&mut dw, Write::Set, Factor::new(x.data, rows, i).t(), dy);
            dw
        });
        vec![dx, dw]
    }
}
