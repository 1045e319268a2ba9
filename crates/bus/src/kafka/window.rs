//! Which records of one spool partition librdkafka has, and which of them were delivered: pure bookkeeping.

use std::collections::VecDeque;

use nocturne_wire::Offset;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slot {
    /// librdkafka has it.
    Handed(u64),
    /// It was acknowledged by the brokers, or set aside.
    Done,
    /// It came back and must be handed over again.
    Back,
}

/// Records from the first that is not done to the last that was handed over. Offsets without a record are done.
#[derive(Debug)]
pub(crate) struct Window {
    first: Offset,
    slots: VecDeque<Slot>,
    handed: u64,
    bytes: u64,
    back: u64,
}

impl Window {
    pub(crate) const fn new(first: Offset) -> Self {
        Self { first, slots: VecDeque::new(), handed: 0, bytes: 0, back: 0 }
    }

    /// Offset before which everything is done.
    pub(crate) const fn done_before(&self) -> Offset {
        self.first
    }

    /// Offset after the last record that was handed over.
    pub(crate) fn next(&self) -> Offset {
        Offset(self.first.0 + self.slots.len() as u64)
    }

    /// Records that librdkafka has.
    pub(crate) const fn handed(&self) -> u64 {
        self.handed
    }

    /// Their bytes.
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether records came back.
    pub(crate) const fn has_back(&self) -> bool {
        self.back > 0
    }

    /// Whether a record has to be handed over: it never was, or came back.
    pub(crate) fn wants(&self, offset: Offset) -> bool {
        match self.slot(offset) {
            None => offset >= self.first,
            Some(slot) => slot == Slot::Back,
        }
    }

    /// A record was handed over.
    pub(crate) fn hand(&mut self, offset: Offset, bytes: u64) {
        while self.next() <= offset {
            self.slots.push_back(Slot::Done);
        }
        self.set(offset, Slot::Handed(bytes));
        self.advance();
    }

    /// A record was delivered or set aside.
    pub(crate) fn done(&mut self, offset: Offset) {
        while self.next() <= offset {
            self.slots.push_back(Slot::Done);
        }
        self.set(offset, Slot::Done);
        self.advance();
    }

    /// A record came back.
    pub(crate) fn back(&mut self, offset: Offset) {
        self.set(offset, Slot::Back);
    }

    /// Everything that was handed over has to be handed over again.
    pub(crate) fn all_back(&mut self) {
        for offset in self.first.0..self.next().0 {
            if matches!(self.slot(Offset(offset)), Some(Slot::Handed(_))) {
                self.set(Offset(offset), Slot::Back);
            }
        }
    }

    /// Everything before `offset` is gone from the spool; the number of records that were not done.
    pub(crate) fn skip_to(&mut self, offset: Offset) -> u64 {
        let before = self.first;
        let mut lost = 0;
        while self.first < offset {
            match self.slots.front().copied() {
                Some(Slot::Done) => {}
                Some(Slot::Handed(_) | Slot::Back) | None => lost += 1,
            }
            if self.slots.is_empty() {
                self.first = self.first.next();
            } else {
                self.set(self.first, Slot::Done);
                self.slots.pop_front();
                self.first = self.first.next();
            }
        }
        debug_assert!(self.first >= before);
        self.advance();
        lost
    }

    fn slot(&self, offset: Offset) -> Option<Slot> {
        let index = offset.0.checked_sub(self.first.0)?;
        self.slots.get(usize::try_from(index).ok()?).copied()
    }

    fn set(&mut self, offset: Offset, to: Slot) {
        let Some(index) = offset.0.checked_sub(self.first.0) else { return };
        let Some(slot) = self.slots.get_mut(index as usize) else { return };
        match std::mem::replace(slot, to) {
            Slot::Handed(bytes) => {
                self.handed -= 1;
                self.bytes -= bytes;
            }
            Slot::Back => self.back -= 1,
            Slot::Done => {}
        }
        match to {
            Slot::Handed(bytes) => {
                self.handed += 1;
                self.bytes += bytes;
            }
            Slot::Back => self.back += 1,
            Slot::Done => {}
        }
    }

    fn advance(&mut self) {
        while self.slots.front() == Some(&Slot::Done) {
            self.slots.pop_front();
            self.first = self.first.next();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_front_moves_only_over_what_is_done() {
        let mut window = Window::new(Offset(5));
        (5..8).for_each(|n| window.hand(Offset(n), 10));
        window.done(Offset(6));
        assert_eq!((window.done_before(), window.handed(), window.bytes()), (Offset(5), 2, 20));
        window.done(Offset(5));
        assert_eq!((window.done_before(), window.next(), window.handed()), (Offset(7), Offset(8), 1));
    }

    #[test]
    fn what_comes_back_is_wanted_again_and_what_was_delivered_is_not() {
        let mut window = Window::new(Offset(0));
        (0..3).for_each(|n| window.hand(Offset(n), 1));
        window.back(Offset(0));
        window.done(Offset(1));
        window.back(Offset(2));
        assert_eq!([0, 1, 2, 3].map(|n| window.wants(Offset(n))), [true, false, true, true]);
        window.hand(Offset(0), 1);
        window.all_back();
        assert_eq!((window.handed(), window.bytes()), (0, 0));
        window.hand(Offset(0), 1);
        window.hand(Offset(2), 1);
        assert!(!window.has_back());
        window.done(Offset(0));
        assert_eq!(window.done_before(), Offset(2));
    }

    #[test]
    fn offsets_without_a_record_are_done_and_lost_ones_are_counted() {
        let mut window = Window::new(Offset(0));
        window.hand(Offset(0), 1);
        window.hand(Offset(4), 1);
        window.done(Offset(0));
        assert_eq!(window.done_before(), Offset(4));
        assert_eq!(window.skip_to(Offset(9)), 5);
        assert_eq!((window.done_before(), window.next(), window.handed(), window.bytes()), (Offset(9), Offset(9), 0, 0));
    }

    proptest! {
        #[test]
        fn nothing_is_done_before_it_was_delivered(reports in prop::collection::vec((0_u64..40, any::<bool>()), 0..200)) {
            let mut window = Window::new(Offset(0));
            (0..40).for_each(|n| window.hand(Offset(n), 1));
            let (mut delivered, mut back) = (BTreeSet::new(), BTreeSet::new());
            for (offset, good) in reports {
                if delivered.contains(&offset) || back.contains(&offset) {
                    continue;
                }
                if good {
                    window.done(Offset(offset));
                    delivered.insert(offset);
                } else {
                    window.back(Offset(offset));
                    back.insert(offset);
                }
                let first = (0..40).find(|n| !delivered.contains(n)).unwrap_or(40);
                prop_assert_eq!(window.done_before(), Offset(first));
                prop_assert_eq!(window.handed(), 40 - delivered.len() as u64 - back.len() as u64);
                prop_assert!((0..40).all(|n| window.wants(Offset(n)) == back.contains(&n)));
            }
        }
    }
}
