//! Token embedding: rows of a table.

use std::sync::Arc;

use super::real::Real;
use crate::host::{Forward, Kernel, View};

/// Looks up `ids` in a table `[V, C]`; the output is `[B, T, C]`.
#[derive(Debug, Clone)]
pub struct Embed {
    /// Token ids, row-major `[B, T]`, each below V.
    pub ids: Arc<Vec<u32>>,
    /// Number of sequences.
    pub batch: usize,
}

impl Kernel for Embed {
    fn forward<T: Real>(&self, inputs: &[View<'_, T>]) -> Forward<T> {
        let table = inputs[0];
        let width = table.shape[1];
        let mut output = Vec::with_capacity(self.ids.len() * width);
        for id in self.ids.iter() {
            let from = *id as usize * width;
            output.extend_from_slice(&table.data[from..from + width]);
        }
        Forward { output, shape: vec![self.batch, self.ids.len() / self.batch, width], saved: Vec::new() }
    }

    fn backward<T: Real>(&self, inputs: &[View<'_, T>], _: &[Vec<T>], gradient: View<'_, T>, _: &[bool]) -> Vec<Option<Vec<T>>> {
        let table = inputs[0];
        let width = table.shape[1];
        let mut dtable = vec![T::zero(); table.data.len()];
        for (id, row) in self.ids.iter().zip(gradient.data.chunks_exact(width)) {
            let from = *id as usize * width;
            dtable[from..from + width].iter_mut().zip(row).for_each(|(d, g)| *d += *g);
        }
        vec![Some(dtable)]
    }
}
