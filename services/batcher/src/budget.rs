//! One budget of bytes over all partitions.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// A share of the budget that one worker uses; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    all: Arc<AtomicU64>,
    limit: u64,
    mine: u64,
}

impl Share {
    pub(crate) fn new(all: Arc<AtomicU64>, limit: u64) -> Self {
        Self { all, limit, mine: 0 }
    }

    /// Bytes that this worker uses.
    pub(crate) const fn used(&self) -> u64 {
        self.mine
    }

    /// Says how many bytes this worker uses now.
    pub(crate) fn set(&mut self, bytes: u64) {
        self.all.fetch_add(bytes, Ordering::Relaxed);
        self.all.fetch_sub(self.mine, Ordering::Relaxed);
        self.mine = bytes;
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
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up_and_are_given_back() {
        let all = Arc::new(AtomicU64::new(0));
        let (mut one, mut other) = (Share::new(all.clone(), 10), Share::new(all.clone(), 10));
        one.set(6);
        other.set(5);
        assert!(one.must_give() && other.must_give());
        other.set(4);
        assert!(!one.must_give());
        one.set(9);
        other.set(2);
        assert!(one.must_give() && !other.must_give(), "the small one is spared");
        one.set(6);
        other.set(4);
        drop(one);
        assert_eq!(all.load(Ordering::Relaxed), 4);
    }
}
