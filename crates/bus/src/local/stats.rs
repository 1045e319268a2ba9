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
    /// Records deleted, though nobody had taken them on, to make room for newer ones.
    pub dropped_oldest: u64,
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
    pub(crate) dropped_oldest: AtomicU64,
    pub(crate) bytes: AtomicU64,
}

impl Stats {
    /// Records that were lost, for whatever reason.
    pub const fn dropped(&self) -> u64 {
        self.dropped_busy + self.dropped_full + self.dropped_failed + self.dropped_oldest
    }
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
            dropped_oldest: read(&self.dropped_oldest),
            bytes: read(&self.bytes),
        }
    }
}

pub(crate) fn count(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::Relaxed);
}
