//! Ids that were sealed lately: a bounded window, oldest out first.

use std::collections::VecDeque;

use hashbrown::HashTable;
use nocturne_columns::{IdHash, Known};

/// Ids in the order in which they came, and where each stands in it. A set beside the order would hold every id twice.
#[derive(Debug, Clone)]
pub(crate) struct RecentIds {
    order: VecDeque<IdHash>,
    /// Number of the oldest id; numbers count on from one to the next, and wrap.
    oldest: u32,
    /// Numbers of all ids, by their ids.
    numbers: HashTable<u32>,
    capacity: usize,
}

impl RecentIds {
    pub(crate) const fn new(capacity: usize) -> Self {
        Self { order: VecDeque::new(), oldest: 0, numbers: HashTable::new(), capacity }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.order.len() >= self.capacity
    }

    /// Remembers ids that are newer than all others, and so many in all.
    pub(crate) fn extend(&mut self, ids: impl IntoIterator<Item = IdHash>, capacity: usize) {
        self.capacity = capacity;
        for id in ids.into_iter().filter(|_| capacity > 0) {
            if self.knows(&id) {
                continue;
            }
            while self.order.len() >= self.capacity {
                self.forget_oldest();
            }
            self.make_room();
            let number = self.oldest.wrapping_add(self.order.len() as u32);
            self.order.push_back(id);
            self.note(id, number);
        }
        while self.order.len() > self.capacity {
            self.forget_oldest();
        }
    }

    /// Remembers ids that are older than all others, the newest last, as far as there is room.
    pub(crate) fn extend_older(&mut self, ids: impl DoubleEndedIterator<Item = IdHash>) {
        for id in ids.rev() {
            if self.is_full() {
                return;
            }
            if self.knows(&id) {
                continue;
            }
            self.make_room();
            self.oldest = self.oldest.wrapping_sub(1);
            self.order.push_front(id);
            self.note(id, self.oldest);
        }
    }

    /// Grows by doubling, but never beyond what is remembered at most.
    fn make_room(&mut self) {
        let len = self.order.len();
        if len == self.order.capacity() {
            self.order.reserve_exact(len.max(256).min(self.capacity.saturating_sub(len)).max(1));
        }
    }

    fn note(&mut self, id: IdHash, number: u32) {
        let Self { order, oldest, numbers, .. } = self;
        numbers.insert_unique(id.half(), number, |other| order[other.wrapping_sub(*oldest) as usize].half());
    }

    fn forget_oldest(&mut self) {
        let Some(id) = self.order.pop_front() else { return };
        let oldest = self.oldest;
        if let Ok(entry) = self.numbers.find_entry(id.half(), |number| *number == oldest) {
            entry.remove();
        }
        self.oldest = oldest.wrapping_add(1);
    }
}

impl Known for RecentIds {
    fn knows(&self, id: &IdHash) -> bool {
        let is = |number: &u32| self.order.get(number.wrapping_sub(self.oldest) as usize) == Some(id);
        self.numbers.find(id.half(), is).is_some()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(n: u32) -> IdHash {
        IdHash::of(&format!("p-1-{n}"))
    }

    fn held(recent: &RecentIds) -> Vec<u32> {
        (0..10).filter(|n| recent.knows(&id(*n))).collect()
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

    proptest! {
        /// Against a plain list.
        #[test]
        fn whatever_comes_the_window_holds_what_it_says(steps in prop::collection::vec((any::<bool>(), prop::collection::vec(0..60_u32, 0..9), 0..20_usize), 0..40)) {
            let (mut recent, mut model) = (RecentIds { oldest: u32::MAX - 20, ..RecentIds::new(20) }, VecDeque::new());
            let mut capacity = 20;
            for (newer, ids, most) in steps {
                if newer {
                    capacity = most;
                    recent.extend(ids.iter().copied().map(id), most);
                    for n in ids {
                        if capacity > 0 && !model.contains(&n) {
                            while model.len() >= capacity {
                                model.pop_front();
                            }
                            model.push_back(n);
                        }
                    }
                    while model.len() > capacity {
                        model.pop_front();
                    }
                } else {
                    recent.extend_older(ids.iter().copied().map(id));
                    for n in ids.into_iter().rev() {
                        if model.len() < capacity && !model.contains(&n) {
                            model.push_front(n);
                        }
                    }
                }
                let held: Vec<u32> = (0..60).filter(|n| recent.knows(&id(*n))).collect();
                prop_assert_eq!(held, model.iter().copied().collect::<std::collections::BTreeSet<_>>().into_iter().collect::<Vec<_>>());
                prop_assert!(recent.order.iter().copied().eq(model.iter().copied().map(id)));
            }
        }
    }
}
