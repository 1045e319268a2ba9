//! What the batcher has done, for people and metrics.

use std::{collections::BTreeMap, time::Duration};

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
    /// Where the time went.
    pub spent: Spent,
    /// What the last attempt failed with, until one succeeds.
    pub error: Option<String>,
}

/// Time spent on sealed batches.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spent {
    /// Taking records out of the log or the client's buffer.
    pub read: Duration,
    /// Checking records and turning them into columns.
    pub decode: Duration,
    /// Sorting records.
    pub sort: Duration,
    /// Writing columns as Parquet, compressed and hashed.
    pub encode: Duration,
    /// Creating objects in the lake.
    pub put: Duration,
}

impl std::ops::AddAssign for Spent {
    fn add_assign(&mut self, more: Self) {
        self.read += more.read;
        self.decode += more.decode;
        self.sort += more.sort;
        self.encode += more.encode;
        self.put += more.put;
    }
}

impl PartitionStatus {
    pub(crate) fn at(position: Offset, end: Offset) -> Self {
        let spent = Spent::default();
        Self { position, end, batches: 0, rows: 0, dead: 0, duplicates: 0, record_bytes: 0, batch_bytes: 0, spent, error: None }
    }
}

/// Every partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BatcherStatus {
    /// The partitions.
    pub partitions: BTreeMap<(Topic, Partition), PartitionStatus>,
    /// Why nothing is sealed any more, although nobody asked to stop.
    pub ended: Option<String>,
}

impl BatcherStatus {
    /// Records in the log that are not sealed.
    pub fn lag(&self) -> u64 {
        self.partitions.values().map(|p| p.end.0.saturating_sub(p.position.0)).sum()
    }

    /// Time spent by all partitions.
    pub fn spent(&self) -> Spent {
        let mut all = Spent::default();
        self.partitions.values().for_each(|p| all += p.spent);
        all
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
