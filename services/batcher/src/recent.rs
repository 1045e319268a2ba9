//! Ids that were sealed lately: a bounded window, oldest out first.

use std::collections::{HashSet, VecDeque};

use nocturne_columns::IdHash;

#[derive(Debug, Clone)]
pub(crate) struct RecentIds {
    order: VecDeque<IdHash>,
    set: HashSet<IdHash>,
    capacity: usize,
}

impl RecentIds {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { order: VecDeque::new(), set: HashSet::new(), capacity }
    }

    pub(crate) const fn set(&self) -> &HashSet<IdHash> {
        &self.set
    }

    pub(crate) fn is_full(&self) -> bool {
        self.order.len() >= self.capacity
    }

    /// Remembers ids that are newer than all others, and so many in all.
    pub(crate) fn extend(&mut self, ids: impl IntoIterator<Item = IdHash>, capacity: usize) {
        self.capacity = capacity;
        for id in ids {
            if self.set.insert(id) {
                self.order.push_back(id);
            }
            while self.order.len() > self.capacity {
                self.order.pop_front().inspect(|old| {
                    self.set.remove(old);
                });
            }
        }
    }

    /// Remembers ids that are older than all others, the newest last, as far as there is room.
    pub(crate) fn extend_older(&mut self, ids: impl DoubleEndedIterator<Item = IdHash>) {
        for id in ids.rev() {
            if self.is_full() {
                return;
            }
            if self.set.insert(id) {
                self.order.push_front(id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u32) -> IdHash {
        IdHash::of(&format!("p-1-{n}"))
    }

    fn held(recent: &RecentIds) -> Vec<u32> {
        (0..10).filter(|n| recent.set().contains(&id(*n))).collect()
    }

    #[test]
    fn the_oldest_ids_are_forgotten_first() {
        let mut recent = RecentIds::new(3);
        recent.extend([1, 2, 3, 2, 4].map(id), 3);
        assert_eq!(held(&recent), [2, 3, 4]);
    }

    #[test]
    fn older_ids_fill_the_window_from_the_newest_and_push_nothing_out() {
        let mut recent = RecentIds::new(3);
        recent.extend([7].map(id), 3);
        recent.extend_older([1, 2, 3].map(id).into_iter());
        assert_eq!(held(&recent), [2, 3, 7]);
        recent.extend([8].map(id), 3);
        assert_eq!(held(&recent), [3, 7, 8]);
        recent.extend([9].map(id), 2);
        assert_eq!(held(&recent), [8, 9]);
    }
}
