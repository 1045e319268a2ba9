//! One budget of bytes over all partitions.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// What a record takes besides its bytes: its place in a list, where its bytes lie, and what decoding it leaves for a while.
const RECORD_BYTES: u64 = 96;

/// A share of the budget that one worker uses; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    all: Arc<AtomicU64>,
    limit: u64,
    /// Bytes of records.
    bytes: u64,
    /// Those, and what their records take besides.
    mine: u64,
}

impl Share {
    pub(crate) fn new(all: Arc<AtomicU64>, limit: u64) -> Self {
        Self { all, limit, bytes: 0, mine: 0 }
    }

    /// Bytes of this worker's records.
    pub(crate) const fn used(&self) -> u64 {
        self.bytes
    }

    /// Says how many bytes in how many records this worker has now.
    pub(crate) fn set(&mut self, bytes: u64, records: usize) {
        let mine = bytes + records as u64 * RECORD_BYTES;
        self.all.fetch_add(mine, Ordering::Relaxed);
        self.all.fetch_sub(self.mine, Ordering::Relaxed);
        (self.bytes, self.mine) = (bytes, mine);
    }

    /// Whether all workers together use more than they may, and this one no less than an equal share: the largest batches are sealed early,
    /// and the small ones of quiet partitions are not made smaller.
    pub(crate) fn must_give(&self) -> bool {
        self.all.load(Ordering::Relaxed) > self.limit && self.mine >= self.limit / self.workers()
    }

    /// How many share the budget; the one who hands out shares may count as one, too.
    pub(crate) fn workers(&self) -> u64 {
        Arc::strong_count(&self.all).max(1) as u64
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.set(0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up_and_are_given_back() {
        let all = Arc::new(AtomicU64::new(0));
        let (mut one, mut other) = (Share::new(all.clone(), 10), Share::new(all.clone(), 10));
        one.set(6, 0);
        other.set(5, 0);
        assert!(one.must_give() && other.must_give());
        other.set(4, 0);
        assert!(!one.must_give());
        one.set(9, 0);
        other.set(2, 0);
        assert!(one.must_give() && !other.must_give(), "the small one is spared");
        one.set(6, 0);
        other.set(4, 0);
        drop(one);
        assert_eq!(all.load(Ordering::Relaxed), 4);
        other.set(4, 2);
        assert_eq!(
            (other.used(), all.load(Ordering::Relaxed)),
            (4, 4 + 2 * RECORD_BYTES),
            "small records cost more than their bytes"
        );
    }
}
