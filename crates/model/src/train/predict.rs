//! What a model in training predicts, without learning from it.

use burn::module::Module;

use super::{Batch, Row, Trainer};
use crate::{
    kernels::{
        gemm::{Factor, Write, product},
        math::{max, simd, softmax},
    },
    model::SlowBank,
};

/// The answer to one aim.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Predicted {
    /// The most likely token.
    pub token: u32,
    /// Negative log-likelihood of the target, nats.
    pub nats: f32,
}

impl Trainer {
    /// What is predicted for the aims of every row.
    pub fn predict(&self, rows: &[Row], slow: SlowBank) -> Vec<Vec<Predicted>> {
        let batches = Batch::split_marked(rows);
        let found = self.lanes.run(&batches, |(batch, rows_of)| {
            let mut found = self.predict_batch(batch, slow).into_iter();
            let each = rows_of.iter().map(|n| (*n, found.by_ref().take(rows[*n].aims.len()).collect()));
            each.collect::<Vec<(usize, Vec<Predicted>)>>()
        });
        let mut all = vec![Vec::new(); rows.len()];
        found.into_iter().flatten().for_each(|(n, predicted)| all[n] = predicted);
        all
    }

    fn predict_batch(&self, batch: &Batch, slow: SlowBank) -> Vec<Predicted> {
        let model = self.model.valid();
        let hidden = model.hidden(&batch.ids, batch.rows, slow);
        let [_, _, width] = hidden.dims();
        let hidden = crate::tensors::floats(hidden);
        let head = crate::tensors::floats(model.head_matrix());
        let vocab = head.len() / width;
        let row = |at: u32| &hidden[at as usize * width..(at as usize + 1) * width];
        let picked: Vec<f32> = batch.aims.iter().flat_map(|(at, ..)| row(*at)).copied().collect();
        let count = batch.aims.len();
        let mut logits = vec![0.0; count * vocab];
        product(&mut logits, Write::Set, Factor::new(&picked, count, width), Factor::new(&head, vocab, width).t());
        simd(|| {
            let answers = logits.chunks_exact_mut(vocab).zip(&batch.aims).map(|(row, (_, _, target))| {
                let top = max(row);
                let token = row.iter().position(|x| *x >= top).unwrap_or(0) as u32;
                let logit = row[*target as usize];
                Predicted { token, nats: softmax(row) - logit }
            });
            answers.collect()
        })
    }
}
