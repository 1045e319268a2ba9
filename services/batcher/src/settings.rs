//! Settings of the batcher; the defaults suit a laptop.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// When a batch is sealed: whatever comes first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SealSettings {
    /// Bytes of records.
    pub bytes: u64,
    /// Records.
    pub records: u64,
    /// Seconds since the oldest record was read.
    pub age_seconds: u64,
    /// Seconds without a new record.
    pub idle_seconds: u64,
    /// Seconds between the times of the first and the newest record, so that batches of a backlog do not mix days; 0 for any.
    pub span_seconds: u64,
}

impl Default for SealSettings {
    fn default() -> Self {
        Self { bytes: 8 << 20, records: 100_000, age_seconds: 60, idle_seconds: 10, span_seconds: 6 * 3600 }
    }
}

impl SealSettings {
    pub(crate) const fn age(&self) -> Duration {
        Duration::from_secs(self.age_seconds)
    }

    pub(crate) const fn span(&self) -> Duration {
        Duration::from_secs(self.span_seconds)
    }

    pub(crate) const fn idle(&self) -> Duration {
        Duration::from_secs(self.idle_seconds)
    }
}

/// Settings of the batcher.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BatcherSettings {
    /// When a batch is sealed.
    pub seal: SealSettings,
    /// Bytes of records that wait to be sealed or are being sealed, over all partitions. When three fifths of it wait, the largest batch is sealed early, so
    /// that batches of `seal.bytes` need more than that. Twice as much may be held while batches cannot be sealed.
    pub buffered_bytes: u64,
    /// Ids that all partitions of the process together remember, in equal parts, to recognize a record that was sent twice. A replay that comes
    /// after so many other records of its partition is not recognized. A publisher that dies sends again what it had sent in its last second and
    /// what librdkafka held.
    pub recent_ids: usize,
}

impl Default for BatcherSettings {
    fn default() -> Self {
        Self { seal: SealSettings::default(), buffered_bytes: 12 << 20, recent_ids: 400_000 }
    }
}
