//! What the batcher has done, for people and metrics.

use std::collections::BTreeMap;

use nocturne_wire::{Offset, Partition, Topic};

/// One partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionStatus {
    /// Offset after the last sealed one.
    pub position: Offset,
    /// Offset after the last durable one in the log, when the position last changed.
    pub end: Offset,
    /// Batches sealed by this process.
    pub batches: u64,
    /// Rows in them.
    pub rows: u64,
    /// Dead letters in them.
    pub dead: u64,
    /// Duplicates dropped from them.
    pub duplicates: u64,
    /// Bytes of the records in them.
    pub record_bytes: u64,
    /// Bytes of the batches.
    pub batch_bytes: u64,
    /// What the last attempt failed with, until one succeeds.
    pub error: Option<String>,
}

impl PartitionStatus {
    pub(crate) const fn at(position: Offset, end: Offset) -> Self {
        Self { position, end, batches: 0, rows: 0, dead: 0, duplicates: 0, record_bytes: 0, batch_bytes: 0, error: None }
    }
}

/// Every partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BatcherStatus {
    /// The partitions.
    pub partitions: BTreeMap<(Topic, Partition), PartitionStatus>,
}

impl BatcherStatus {
    /// Records in the log that are not sealed.
    pub fn lag(&self) -> u64 {
        self.partitions.values().map(|p| p.end.0.saturating_sub(p.position.0)).sum()
    }

    /// Rows sealed by this process.
    pub fn rows(&self) -> u64 {
        self.partitions.values().map(|p| p.rows).sum()
    }

    /// Batches sealed by this process.
    pub fn batches(&self) -> u64 {
        self.partitions.values().map(|p| p.batches).sum()
    }
}
