//! What a run is told.

use jiff::{SignedDuration, Timestamp};
use nocturne_columns::Resources;
use nocturne_lake::StoredBatch;

/// Which batches are worth being merged, and what merging may use.
#[derive(Debug, Clone, PartialEq)]
pub struct CompactSettings {
    /// Bytes that a merged batch's object has at most, counted by the objects that go into it. Inputs and outcome are in memory at once.
    pub target_bytes: u64,
    /// Fewest batches that are worth merging.
    pub min_batches: usize,
    /// Sealed batches younger than this are left alone by everything: a batcher that lost its partition and does not know it yet may still try to create their names,
    /// and must find them taken.
    pub min_age: SignedDuration,
    /// Newest batches of a partition that are not merged: a batcher that starts reads their ids to recognize what comes twice.
    pub keep_newest: usize,
    /// Time from the oldest record of a merged batch to its newest one at most: retention removes whole batches, the sooner the less they span.
    pub max_span: Option<SignedDuration>,
    /// Memory and disk of sorting.
    pub resources: Resources,
}

impl CompactSettings {
    /// Whether a batch may be touched. What was written again is no batcher's: those create names of revision 0 only.
    pub(crate) fn is_settled(&self, batch: &StoredBatch, now: Timestamp) -> bool {
        batch.name.rewritten.is_some() || now.duration_since(batch.created) >= self.min_age
    }
}

impl Default for CompactSettings {
    fn default() -> Self {
        Self {
            target_bytes: 64 << 20,
            min_batches: 4,
            min_age: SignedDuration::from_hours(1),
            keep_newest: 8,
            max_span: None,
            resources: Resources::default(),
        }
    }
}
