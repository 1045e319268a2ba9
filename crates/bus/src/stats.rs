//! Counters of the log.

use std::sync::atomic::{AtomicU64, Ordering};

/// What the log has done since it was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Records made durable.
    pub appended: u64,
    /// Groups committed; `appended / commits` is how well group commit works.
    pub commits: u64,
    /// Records refused because the writer was behind and its queue full.
    pub dropped_busy: u64,
    /// Records refused because the log is as large as it may be.
    pub dropped_full: u64,
    /// Records lost to a failed write, for instance to a full disk.
    pub dropped_failed: u64,
    /// Bytes in segments now.
    pub bytes: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) appended: AtomicU64,
    pub(crate) commits: AtomicU64,
    pub(crate) dropped_busy: AtomicU64,
    pub(crate) dropped_full: AtomicU64,
    pub(crate) dropped_failed: AtomicU64,
    pub(crate) bytes: AtomicU64,
}

impl Counters {
    pub(crate) fn snapshot(&self) -> Stats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            appended: read(&self.appended),
            commits: read(&self.commits),
            dropped_busy: read(&self.dropped_busy),
            dropped_full: read(&self.dropped_full),
            dropped_failed: read(&self.dropped_failed),
            bytes: read(&self.bytes),
        }
    }
}

pub(crate) fn count(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::Relaxed);
}
