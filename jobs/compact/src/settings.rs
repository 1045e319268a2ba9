//! What a run is told.

use jiff::SignedDuration;
use nocturne_columns::Resources;

/// Which batches are worth being merged, and what merging may use.
#[derive(Debug, Clone, PartialEq)]
pub struct CompactSettings {
    /// Bytes that a merged batch's object has at most, counted by the objects that go into it. Inputs and outcome are in memory at once.
    pub target_bytes: u64,
    /// Fewest batches that are worth merging.
    pub min_batches: usize,
    /// Batches younger than this are left alone: their writer may still be at it, and a batcher that starts reads their ids to recognize what comes twice.
    pub min_age: SignedDuration,
    /// Newest batches of a partition that are left alone, for the same reasons.
    pub keep_newest: usize,
    /// Memory and disk of sorting.
    pub resources: Resources,
}

impl Default for CompactSettings {
    fn default() -> Self {
        Self {
            target_bytes: 64 << 20,
            min_batches: 4,
            min_age: SignedDuration::from_hours(1),
            keep_newest: 8,
            resources: Resources::default(),
        }
    }
}
