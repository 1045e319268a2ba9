//! One budget of bytes over all partitions.
//!
//! A part of it is for batches that are being sealed, so that partitions go on reading meanwhile: when what is gathered has used up the rest, the
//! largest batch is sealed, and only that. Were all of them sealed at once, encoders would have too much to do, and then, while all of them are
//! read again, nothing. When the whole budget is used up, reading waits for a batch that is being sealed.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

/// What a record takes besides its bytes: its place in a list, where its bytes lie, and what decoding it leaves for a while.
const RECORD_BYTES: u64 = 96;

/// The part of the budget that may be gathered before somebody seals, in fifths.
const GATHERED_FIFTHS: u64 = 3;

/// What a worker may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Room {
    /// Read on.
    Free,
    /// Seal what it has.
    Seal,
    /// Read nothing before a batch is sealed.
    None,
}

/// What one worker holds.
#[derive(Debug, Clone, Copy, Default)]
struct Held {
    /// Bytes of records, and what their records take besides.
    bytes: u64,
    sealing: bool,
}

/// What all workers hold.
#[derive(Debug, Clone, Copy, Default)]
struct All {
    workers: u64,
    gathered: u64,
    sealing: u64,
    /// Who has gathered most, and how much.
    largest: Option<(u64, u64)>,
}

impl All {
    fn of(workers: impl Iterator<Item = (u64, Held)>) -> Self {
        workers.fold(Self::default(), |mut all, (number, held)| {
            all.workers += 1;
            if held.sealing {
                all.sealing += held.bytes;
            } else {
                all.gathered += held.bytes;
                all.largest = Some((number, held.bytes)).into_iter().chain(all.largest).max_by_key(|(_, bytes)| *bytes);
            }
            all
        })
    }

    /// Decides for one of them.
    fn room(&self, me: u64, held: Held, limit: u64) -> Room {
        if self.gathered > limit / 5 * GATHERED_FIFTHS && self.largest.is_some_and(|(largest, _)| largest == me) {
            return Room::Seal;
        }
        if self.gathered + self.sealing <= limit {
            return Room::Free;
        }
        if self.sealing > 0 {
            return Room::None;
        }
        // The largest one does not get on. Others do, as far as their batches are worth it.
        if held.bytes >= limit / self.workers.max(1) { Room::Seal } else { Room::Free }
    }
}

#[derive(Debug, Default)]
struct Worker {
    held: Held,
    /// What it may do, as it was last decided.
    room: Option<Room>,
    news: Arc<Notify>,
}

/// The budget.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: u64,
    workers: Mutex<BTreeMap<u64, Worker>>,
}

impl Budget {
    pub(crate) fn new(limit: u64) -> Arc<Self> {
        Arc::new(Self { limit, workers: Mutex::default() })
    }

    /// A share for one worker.
    pub(crate) fn share(self: &Arc<Self>) -> Share {
        let news = Arc::<Notify>::default();
        let number = self.change(|workers| {
            let number = workers.last_key_value().map_or(0, |(last, _)| last + 1);
            workers.insert(number, Worker { news: news.clone(), ..Worker::default() });
            number
        });
        Share { budget: self.clone(), number, bytes: 0, news }
    }

    fn workers(&self) -> MutexGuard<'_, BTreeMap<u64, Worker>> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what workers hold, and wakes those who may do something else since.
    fn change<T>(&self, change: impl FnOnce(&mut BTreeMap<u64, Worker>) -> T) -> T {
        let mut workers = self.workers();
        let result = change(&mut workers);
        let all = All::of(workers.iter().map(|(number, worker)| (*number, worker.held)));
        for (number, worker) in workers.iter_mut() {
            let room = Some(all.room(*number, worker.held, self.limit));
            if std::mem::replace(&mut worker.room, room) != room {
                worker.news.notify_one();
            }
        }
        result
    }
}

/// A share of the budget that one worker uses; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    budget: Arc<Budget>,
    number: u64,
    /// Bytes of records.
    bytes: u64,
    news: Arc<Notify>,
}

impl Share {
    /// Bytes of this worker's records.
    pub(crate) const fn used(&self) -> u64 {
        self.bytes
    }

    /// Says how many bytes in how many records this worker has now.
    pub(crate) fn set(&mut self, bytes: u64, records: usize) {
        self.bytes = bytes;
        self.change(|held| held.bytes = bytes + records as u64 * RECORD_BYTES);
    }

    /// Says whether this worker seals what it has.
    pub(crate) fn set_sealing(&self, sealing: bool) {
        self.change(|held| held.sealing = sealing);
    }

    fn change(&self, change: impl FnOnce(&mut Held)) {
        self.budget.change(|workers| {
            if let Some(worker) = workers.get_mut(&self.number) {
                change(&mut worker.held);
            }
        });
    }

    /// What this worker may do.
    pub(crate) fn room(&self) -> Room {
        self.budget.workers().get(&self.number).and_then(|worker| worker.room).unwrap_or(Room::Free)
    }

    /// Waits until this worker may do something else. Cancel safe.
    pub(crate) async fn news(&self) {
        self.news.notified().await;
    }

    /// How many share the budget.
    pub(crate) fn workers(&self) -> u64 {
        self.budget.workers().len().max(1) as u64
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.change(|workers| workers.remove(&self.number));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PLAIN: usize = 0;

    fn shares(limit: u64, bytes: &[u64]) -> Vec<Share> {
        let budget = Budget::new(limit);
        let mut shares: Vec<_> = bytes.iter().map(|_| budget.share()).collect();
        shares.iter_mut().zip(bytes).for_each(|(share, bytes)| share.set(*bytes, PLAIN));
        shares
    }

    fn rooms(shares: &[Share]) -> Vec<Room> {
        shares.iter().map(Share::room).collect()
    }

    #[test]
    fn the_largest_one_seals_and_the_others_read_on_meanwhile() {
        let mut shares = shares(100, &[30, 25, 5]);
        assert_eq!(rooms(&shares), [Room::Free; 3], "there is room for batches that are sealed");
        shares[1].set(26, PLAIN);
        assert_eq!(rooms(&shares), [Room::Seal, Room::Free, Room::Free]);
        shares[0].set_sealing(true);
        assert_eq!(rooms(&shares), [Room::Free; 3]);
        shares[2].set(50, PLAIN);
        assert_eq!(rooms(&shares), [Room::None, Room::None, Room::Seal], "there is none beyond the budget");
        shares[2].set_sealing(true);
        assert_eq!(rooms(&shares), [Room::None; 3]);
        shares[0].set(0, PLAIN);
        shares[0].set_sealing(false);
        assert_eq!(rooms(&shares), [Room::Free; 3]);
        drop(shares.pop());
        assert_eq!((rooms(&shares), shares[0].workers()), (vec![Room::Free; 2], 2));
    }

    #[test]
    fn one_that_does_not_get_on_leaves_the_rest_to_the_others() {
        let mut shares = shares(100, &[70, 0, 0]);
        assert_eq!(rooms(&shares), [Room::Seal, Room::Free, Room::Free]);
        // It fails, and waits before it tries again.
        shares[1].set(25, PLAIN);
        shares[2].set(10, PLAIN);
        assert_eq!(rooms(&shares), [Room::Seal, Room::Free, Room::Free], "small batches are not worth it");
        shares[1].set(33, PLAIN);
        assert_eq!(rooms(&shares), [Room::Seal, Room::Seal, Room::Free]);
    }

    #[test]
    fn small_records_cost_more_than_their_bytes() {
        let mut shares = shares(1000, &[100]);
        shares[0].set(100, 10);
        assert_eq!((shares[0].used(), shares[0].room()), (100, Room::Seal));
    }

    #[tokio::test]
    async fn whoever_may_do_something_else_is_woken() {
        let mut shares = shares(100, &[50, 50]);
        shares[1].set_sealing(true);
        shares[0].set(51, PLAIN);
        assert_eq!(shares[0].room(), Room::None);
        let (waiting, mut sealing) = (shares.remove(0), shares.remove(0));
        // What came before is no news any more.
        while tokio::time::timeout(std::time::Duration::from_millis(1), waiting.news()).await.is_ok() {}
        sealing.set(0, PLAIN);
        waiting.news().await;
        assert_eq!(waiting.room(), Room::Free);
    }

    proptest! {
        #[test]
        fn somebody_always_gets_on(held in prop::collection::vec((0_u64..60, any::<bool>()), 1..9)) {
            let shares = shares(100, &held.iter().map(|(bytes, _)| *bytes).collect::<Vec<_>>());
            shares.iter().zip(&held).for_each(|(share, (_, sealing))| share.set_sealing(*sealing));
            let gets_on = |(share, (_, sealing)): (&Share, &(u64, bool))| *sealing || share.room() != Room::None;
            prop_assert!(shares.iter().zip(&held).any(gets_on));
        }
    }
}
