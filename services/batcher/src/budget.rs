//! One budget of bytes over all partitions.
//!
//! A part of it is for batches that are being sealed, so that partitions go on reading meanwhile: when what is gathered has used up the rest, the
//! largest batch is sealed, and only that. Were all of them sealed at once, encoders would have too much to do, and then, while all of them are
//! read again, nothing. When the whole budget is used up, reading waits for a batch that is being encoded, and never for one that the lake does not take.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

/// What a record takes besides its bytes while it is gathered: its place in a list, and where its bytes lie.
const GATHERED_RECORD: u64 = 96;

/// What it takes while its batch is encoded: what was found out about it, several times over.
const ENCODED_RECORD: u64 = 300;

/// The part of the budget that may be gathered before somebody seals, in fifths.
const GATHERED_FIFTHS: u64 = 3;

/// As much is read at once even when others hold more than they may.
const LEAST_READ: u64 = 256 << 10;

/// What a worker may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Room {
    /// Read on.
    Free,
    /// Seal what it has.
    Seal,
    /// Read nothing before a batch is encoded.
    None,
}

/// What a worker does with what it holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Doing {
    /// It reads, or waits before it tries again.
    #[default]
    Gathering,
    /// It decodes and encodes, which only cores are needed for: that ends soon.
    Encoding,
    /// It waits for the lake, or for whoever else it asks, which may take long.
    Asking,
}

/// What one worker holds.
#[derive(Debug, Clone, Copy, Default)]
struct Held {
    /// Bytes of records.
    bytes: u64,
    records: u64,
    doing: Doing,
}

impl Held {
    const fn takes(&self) -> u64 {
        let record = match self.doing {
            Doing::Gathering | Doing::Asking => GATHERED_RECORD,
            Doing::Encoding => ENCODED_RECORD,
        };
        self.bytes + self.records * record
    }
}

/// What all workers hold.
#[derive(Debug, Clone, Copy, Default)]
struct All {
    workers: u64,
    /// Workers that hold anything.
    holders: u64,
    gathered: u64,
    encoding: u64,
    asking: u64,
    /// Who has gathered most, and how much.
    largest: Option<(u64, u64)>,
}

impl All {
    fn of(workers: impl Iterator<Item = (u64, Held)>) -> Self {
        workers.fold(Self::default(), |mut all, (number, held)| {
            let takes = held.takes();
            all.workers += 1;
            all.holders += u64::from(takes > 0);
            match held.doing {
                Doing::Gathering => {
                    all.gathered += takes;
                    all.largest = Some((number, takes)).into_iter().chain(all.largest).max_by_key(|(_, takes)| *takes);
                }
                Doing::Encoding => all.encoding += takes,
                Doing::Asking => all.asking += takes,
            }
            all
        })
    }

    const fn total(&self) -> u64 {
        self.gathered + self.encoding + self.asking
    }

    /// How much may be gathered before the largest batch is sealed. Who is alone does not read while it seals, and needs nothing left.
    const fn gathered_most(&self, limit: u64) -> u64 {
        if self.holders > 1 { limit / 5 * GATHERED_FIFTHS } else { limit }
    }

    /// Decides for one of them.
    fn room(&self, me: u64, held: Held, limit: u64) -> Room {
        if self.gathered > self.gathered_most(limit) && self.largest.is_some_and(|(largest, _)| largest == me) {
            return Room::Seal;
        }
        if self.total() <= limit {
            return Room::Free;
        }
        if self.encoding > 0 {
            return Room::None;
        }
        // The largest ones do not get on. Others do, as far as their batches are worth it; together they may then hold twice as much.
        if held.takes() >= limit / self.workers.max(1) { Room::Seal } else { Room::Free }
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
        self.change(|held| (held.bytes, held.records) = (bytes, records as u64));
    }

    /// Says what this worker does with what it has.
    pub(crate) fn set_doing(&self, doing: Doing) {
        self.change(|held| held.doing = doing);
    }

    /// Bytes that may be read at once without going over the budget, or a few when it is used up.
    pub(crate) fn left(&self) -> u64 {
        let all = All::of(self.budget.workers().iter().map(|(number, worker)| (*number, worker.held)));
        self.budget.limit.saturating_sub(all.total()).max(LEAST_READ)
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
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const NO_RECORDS: usize = 0;

    fn shares(limit: u64, bytes: &[u64]) -> Vec<Share> {
        let budget = Budget::new(limit);
        let mut shares: Vec<_> = bytes.iter().map(|_| budget.share()).collect();
        shares.iter_mut().zip(bytes).for_each(|(share, bytes)| share.set(*bytes, NO_RECORDS));
        shares
    }

    fn rooms(shares: &[Share]) -> Vec<Room> {
        shares.iter().map(Share::room).collect()
    }

    #[test]
    fn the_largest_one_seals_and_the_others_read_on_meanwhile() {
        let mut shares = shares(100, &[30, 25, 5]);
        assert_eq!(rooms(&shares), [Room::Free; 3], "there is room for batches that are sealed");
        shares[1].set(26, NO_RECORDS);
        assert_eq!(rooms(&shares), [Room::Seal, Room::Free, Room::Free]);
        shares[0].set_doing(Doing::Encoding);
        assert_eq!(rooms(&shares), [Room::Free; 3]);
        shares[2].set(50, NO_RECORDS);
        assert_eq!(rooms(&shares), [Room::None, Room::None, Room::Seal], "there is none beyond the budget");
        shares[2].set_doing(Doing::Encoding);
        assert_eq!(rooms(&shares), [Room::None; 3]);
        shares[0].set(0, NO_RECORDS);
        shares[0].set_doing(Doing::Gathering);
        assert_eq!(rooms(&shares), [Room::Free; 3]);
        drop(shares.pop());
        assert_eq!((rooms(&shares), shares[0].workers()), (vec![Room::Free; 2], 2));
    }

    #[test]
    fn whoever_is_alone_may_use_all_of_it() {
        let mut shares = shares(100, &[100, 0]);
        assert_eq!(rooms(&shares), [Room::Free; 2]);
        shares[0].set(101, NO_RECORDS);
        assert_eq!(rooms(&shares), [Room::Seal, Room::Free]);
    }

    #[test]
    fn one_that_does_not_get_on_leaves_the_rest_to_the_others() {
        for doing in [Doing::Gathering, Doing::Asking] {
            let mut shares = shares(100, &[70, 1, 0]);
            let first = if doing == Doing::Gathering { Room::Seal } else { Room::Free };
            // It fails and waits before it tries again, or its lake hangs.
            shares[0].set_doing(doing);
            assert_eq!(rooms(&shares), [first, Room::Free, Room::Free]);
            shares[1].set(25, NO_RECORDS);
            shares[2].set(10, NO_RECORDS);
            let first = shares[0].room();
            assert_eq!(rooms(&shares)[1..], [Room::Free; 2], "small batches are not worth it: {first:?}");
            shares[1].set(34, NO_RECORDS);
            assert_eq!(rooms(&shares)[1..], [Room::Seal, Room::Free]);
        }
    }

    #[test]
    fn small_records_cost_more_than_their_bytes_and_most_while_they_are_encoded() {
        let mut shares = shares(2000, &[100, 100]);
        shares[0].set(100, 10);
        assert_eq!((shares[0].used(), shares[0].room(), shares[1].room()), (100, Room::Free, Room::Free));
        shares[0].set_doing(Doing::Encoding);
        assert_eq!(shares[1].room(), Room::None);
    }

    #[test]
    fn what_is_left_is_what_nobody_holds() {
        let shares = shares(4 << 20, &[1 << 20, 2 << 20]);
        assert_eq!((shares[0].left(), shares[1].left()), (1 << 20, 1 << 20));
        let shares = self::shares(1 << 20, &[1 << 20, 1 << 20]);
        assert_eq!(shares[0].left(), LEAST_READ);
    }

    #[tokio::test]
    async fn whoever_may_do_something_else_is_woken() {
        let mut shares = shares(100, &[50, 50]);
        shares[1].set_doing(Doing::Encoding);
        shares[0].set(51, NO_RECORDS);
        assert_eq!(shares[0].room(), Room::None);
        let (waiting, mut encoding) = (shares.remove(0), shares.remove(0));
        // What came before is no news any more.
        while tokio::time::timeout(Duration::from_millis(1), waiting.news()).await.is_ok() {}
        encoding.set(0, NO_RECORDS);
        waiting.news().await;
        assert_eq!(waiting.room(), Room::Free);
    }

    proptest! {
        #[test]
        fn somebody_always_gets_on(held in prop::collection::vec((0_u64..60, 0_usize..3), 1..9)) {
            let doings = [Doing::Gathering, Doing::Encoding, Doing::Asking];
            let shares = shares(100, &held.iter().map(|(bytes, _)| *bytes).collect::<Vec<_>>());
            shares.iter().zip(&held).for_each(|(share, (_, doing))| share.set_doing(doings[*doing]));
            // One that asks may wait for ever; one that encodes does not.
            let gets_on = |(share, (_, doing)): (&Share, &(u64, usize))| match doings[*doing] {
                Doing::Gathering => share.room() != Room::None,
                Doing::Encoding => true,
                Doing::Asking => false,
            };
            let all_ask = held.iter().all(|(_, doing)| doings[*doing] == Doing::Asking);
            prop_assert!(all_ask || shares.iter().zip(&held).any(gets_on));
        }
    }
}
