//! The output head and its losses as one operation: logits `x Eᵀ` only for rows that carry a target.

use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;

use super::{
    gemm::{Factor, Write, product},
    math::{dot, max, scale, simd, softmax},
    real::Real,
};
use crate::host::{Forward, Kernel, View};

/// What one row should predict.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Goal {
    /// One token: cross-entropy.
    Token(u32),
    /// A teacher's distribution: row of [`Targets::teacher`]; Kullback-Leibler divergence from the teacher.
    Teacher(u32),
}

/// One row with a target.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Target {
    /// Row of the flattened `[B × T]`.
    pub row: u32,
    /// What it should predict.
    pub goal: Goal,
    /// Weight in the loss.
    pub weight: f32,
    /// Whether it counts in [`Tally`].
    pub counted: bool,
}

/// The targets of a batch.
#[derive(Debug, Default)]
pub struct Targets {
    /// Rows with targets, in the order of rows.
    pub rows: Vec<Target>,
    /// What teachers say, row by row.
    pub teacher: Teacher,
}

/// Distributions of a teacher.
#[derive(Debug, Default)]
pub struct Teacher {
    /// `[n, V]`
    probabilities: Vec<f32>,
    /// `Σ p ln p` of each row, nats: known from the scores, without a logarithm for every entry.
    negative_entropies: Vec<f32>,
}

/// Below the largest score by this much nothing is left in `f32` of what an entry adds to an entropy.
const LEAST_SCORE: f32 = -200.0;

impl Teacher {
    /// The distributions `softmax(scores)`, with scores `[n, V]`.
    pub fn of_scores(mut scores: Vec<f32>, vocab: usize) -> Self {
        let taught = scores.par_chunks_mut(vocab).map(|row| {
            let mut shifted = row.to_vec();
            simd(|| {
                let top = max(row);
                let log_sum = softmax(row) - top;
                // What is all but impossible adds nothing, however far down it lies.
                shifted.iter_mut().for_each(|score| *score = (*score - top).max(LEAST_SCORE));
                dot(row, &shifted) - log_sum
            })
        });
        let negative_entropies = taught.collect();
        Self { probabilities: scores, negative_entropies }
    }

    /// Whether nothing is taught.
    pub fn is_empty(&self) -> bool {
        self.negative_entropies.is_empty()
    }

    /// Row `n`, `[V]`, and `Σ p ln p` of it, nats.
    ///
    /// # Panics
    /// When there is no such row.
    pub fn row(&self, n: u32) -> (&[f32], f32) {
        let (n, vocab) = (n as usize, self.probabilities.len() / self.negative_entropies.len());
        (&self.probabilities[n * vocab..(n + 1) * vocab], self.negative_entropies[n])
    }
}

/// Counts over counted token targets.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Tally {
    /// Counted rows.
    pub counted: u64,
    /// Of them, those whose most likely token is the target.
    pub right: u64,
    /// Sum of unweighted losses over all rows, nats.
    pub nats: f64,
    /// All rows.
    pub rows: u64,
}

/// The loss `Σ weight · loss / normalizer` over `x [N, C]` and `E [V, C]`; a scalar `[1]`.
#[derive(Debug, Clone)]
pub struct HeadLoss {
    /// Targets.
    pub targets: Arc<Targets>,
    /// What the weighted sum is divided by.
    pub normalizer: f32,
    /// Filled by the forward pass.
    pub tally: Arc<Mutex<Tally>>,
}

impl Kernel for HeadLoss {
    fn forward<T: Real>(&self, inputs: &[View<'_, T>]) -> Forward<T> {
        let (x, e) = (inputs[0], inputs[1]);
        let (vocab, width) = (e.shape[0], e.shape[1]);
        let count = self.targets.rows.len();
        let mut picked = Vec::with_capacity(count * width);
        for target in &self.targets.rows {
            let from = target.row as usize * width;
            picked.extend_from_slice(&x.data[from..from + width]);
        }
        let mut logits = vec![T::zero(); count * vocab];
        product(&mut logits, Write::Set, Factor::new(&picked, count, width), Factor::new(e.data, vocab, width).t());
        let results: Vec<(f64, f64, bool)> =
            logits.par_chunks_mut(vocab).zip(&self.targets.rows).map(|(row, target)| simd(|| self.row(row, target))).collect();
        let mut tally = Tally::default();
        let mut loss = 0.0;
        for ((nats, weighted, right), target) in results.into_iter().zip(&self.targets.rows) {
            loss += weighted;
            tally.nats += nats;
            tally.rows += 1;
            tally.counted += u64::from(target.counted);
            tally.right += u64::from(target.counted && right);
        }
        *self.tally.lock().unwrap_or_else(PoisonError::into_inner) = tally;
        Forward { output: vec![T::of(loss)], shape: vec![1], saved: vec![logits, picked] }
    }

    fn backward<T: Real>(
        &self,
        inputs: &[View<'_, T>],
        saved: &[Vec<T>],
        gradient: View<'_, T>,
        needs: &[bool],
    ) -> Vec<Option<Vec<T>>> {
        let (x, e) = (inputs[0], inputs[1]);
        let (vocab, width) = (e.shape[0], e.shape[1]);
        let count = self.targets.rows.len();
        let (dlogits, picked) = (&saved[0], &saved[1]);
        let factor = gradient.data[0];
        let dx = needs[0].then(|| {
            let mut rows = vec![T::zero(); count * width];
            product(&mut rows, Write::Set, Factor::new(dlogits, count, vocab), Factor::new(e.data, vocab, width));
            let mut dx = vec![T::zero(); x.data.len()];
            for (target, row) in self.targets.rows.iter().zip(rows.chunks_exact(width)) {
                let from = target.row as usize * width;
                dx[from..from + width].iter_mut().zip(row).for_each(|(d, g)| *d += *g * factor);
            }
            dx
        });
        let de = needs[1].then(|| {
            let mut de = vec![T::zero(); vocab * width];
            product(&mut de, Write::Set, Factor::new(dlogits, count, vocab).t(), Factor::new(picked, count, width));
            scale(&mut de, factor);
            de
        });
        vec![dx, de]
    }
}

impl HeadLoss {
    /// Turns a row of logits into its gradient; returns the loss, the weighted loss and whether the target was most likely.
    #[inline(always)]
    fn row<T: Real>(&self, row: &mut [T], target: &Target) -> (f64, f64, bool) {
        let weight = T::of(f64::from(target.weight / self.normalizer));
        let (nats, right) = match target.goal {
            Goal::Token(id) => {
                let logit = row[id as usize];
                let right = logit >= max(row);
                let log_sum = softmax(row);
                row[id as usize] -= T::one();
                (log_sum - logit, right)
            }
            Goal::Teacher(n) => {
                let (teacher, negative_entropy) = self.targets.teacher.row(n);
                let teacher: Vec<T> = teacher.iter().map(|t| T::of(f64::from(*t))).collect();
                let agreed = dot(&teacher, row);
                let log_sum = softmax(row);
                row.iter_mut().zip(&teacher).for_each(|(p, t)| *p -= *t);
                (log_sum - agreed + T::of(f64::from(negative_entropy)), false)
            }
        };
        scale(row, weight);
        (nats.wide(), (nats * weight).wide(), right)
    }
}

/// The distributions `softmax(x Eᵀ)` of chosen rows: what a teacher gives.
pub fn distributions(x: &[f32], e: &[f32], width: usize, rows: &[u32]) -> Teacher {
    let vocab = e.len() / width;
    let picked: Vec<f32> = rows.iter().flat_map(|r| &x[*r as usize * width..(*r as usize + 1) * width]).copied().collect();
    let mut logits = vec![0.0; rows.len() * vocab];
    product(&mut logits, Write::Set, Factor::new(&picked, rows.len(), width), Factor::new(e, vocab, width).t());
    Teacher::of_scores(logits, vocab)
}
