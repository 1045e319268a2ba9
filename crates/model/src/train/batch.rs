//! Rows put together for one pass through the model.

use std::sync::Arc;

use super::row::{Aim, Lesson, Row};
use crate::chat::PAD;

/// How many batches a step is cut into when it has the tokens for it: enough to keep some cores busy to the end of the step.
const PARTS: usize = 8;

/// Padded tokens below which the products of a batch become too small to be fast.
const MIN_BATCH_TOKENS: usize = 256;

/// Padded tokens above which a batch only costs memory.
const MAX_BATCH_TOKENS: usize = 4096;

/// Rows of similar length, padded to the longest.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) ids: Arc<Vec<u32>>,
    pub(super) rows: usize,
    pub(super) time: usize,
    /// Rows of the flattened `[rows × time]`, what they aim at, and the token that they should predict.
    pub(super) aims: Vec<(u32, Aim, u32)>,
    /// Tokens of each row.
    lengths: Vec<usize>,
    /// The penalty of every position when any row has one.
    pub(super) quiet: Option<Arc<Vec<f32>>>,
}

impl Batch {
    fn of(rows: &[&Row]) -> Self {
        let time = rows.iter().map(|r| r.ids.len()).max().unwrap_or(0);
        let mut ids = vec![PAD; rows.len() * time];
        let lengths = rows.iter().map(|row| row.ids.len()).collect();
        let mut aims = Vec::new();
        let mut quiet = rows.iter().any(|r| r.quiet > 0.0).then(|| vec![0.0; ids.len()]);
        for (n, row) in rows.iter().enumerate() {
            if let Some(quiet) = &mut quiet {
                quiet[n * time..n * time + row.ids.len()].fill(row.quiet);
            }
            ids[n * time..n * time + row.ids.len()].copy_from_slice(&row.ids);
            let at = (n * time) as u32;
            aims.extend(row.aims.iter().map(|aim| {
                let token = match aim.lesson {
                    Lesson::Token(token) => token,
                    Lesson::Next | Lesson::Keep => row.ids.get(aim.position as usize + 1).copied().unwrap_or(PAD),
                };
                (at + aim.position, *aim, token)
            }));
        }
        Self { ids: Arc::new(ids), rows: rows.len(), time, aims, lengths, quiet: quiet.map(Arc::new) }
    }

    /// Which rows of the flattened `[rows × time]` are no padding.
    pub(super) fn counted(&self) -> Vec<bool> {
        self.lengths.iter().flat_map(|length| (0..self.time).map(move |t| t < *length)).collect()
    }

    /// Splits rows into batches of similar length, the longest rows first. It looks at nothing but the rows, so that sums are added up in the same order
    /// on any machine.
    pub(super) fn split(rows: &[Row]) -> Vec<Self> {
        Self::split_marked(rows).into_iter().map(|(batch, _)| batch).collect()
    }

    /// The same, and which rows each batch holds.
    pub(super) fn split_marked(rows: &[Row]) -> Vec<(Self, Vec<usize>)> {
        let tokens: usize = rows.iter().map(|r| r.ids.len()).sum();
        let cap = (tokens / PARTS).clamp(MIN_BATCH_TOKENS, MAX_BATCH_TOKENS);
        let mut order: Vec<usize> = (0..rows.len()).filter(|n| !rows[*n].aims.is_empty()).collect();
        order.sort_by_key(|n| rows[*n].ids.len());
        let sorted: Vec<&Row> = order.iter().map(|n| &rows[*n]).collect();
        let mut batches = Vec::new();
        let mut from = 0;
        for n in 0..sorted.len() {
            let longest = sorted.get(n + 1).map_or(usize::MAX, |r| r.ids.len());
            let shortest = sorted[from].ids.len();
            let full = longest.saturating_mul(n + 2 - from) > cap;
            let uneven = longest > shortest.saturating_mul(2).max(24);
            if full || uneven {
                batches.push((Self::of(&sorted[from..=n]), order[from..=n].to_vec()));
                from = n + 1;
            }
        }
        batches.reverse();
        batches
    }
}
