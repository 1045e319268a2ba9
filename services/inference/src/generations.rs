//! Which generation serves, which ones are resident, and how many requests each still answers.
//!
//! A request is pinned to the generation with which it was admitted: it holds an `Arc` to it until its answer is logged, and the
//! flip only changes what later requests get. Nothing waits for anything at a flip.

use std::{
    ops::Deref,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use arc_swap::{ArcSwap, Guard};
use jiff::Timestamp;
use nocturne_wire::generation::GenerationName;
use serde::{Deserialize, Serialize};

use crate::engine::Engine;

/// Refusals that are remembered for the admin page; older ones are in the log.
const REMEMBERED_REFUSALS: usize = 16;

/// A generation that is ready to decode with.
pub(crate) struct Live<E: Engine> {
    pub(crate) name: GenerationName,
    pub(crate) weights: E::Weights,
    in_flight: AtomicU64,
}

impl<E: Engine> Live<E> {
    pub(crate) fn new(name: GenerationName, weights: E::Weights) -> Self {
        Self { name, weights, in_flight: AtomicU64::new(0) }
    }
}

/// Keeps a request on its generation and counts it there.
pub(crate) struct Pin<E: Engine>(Arc<Live<E>>);

impl<E: Engine> Pin<E> {
    pub(crate) fn new(live: Arc<Live<E>>) -> Self {
        live.in_flight.fetch_add(1, Ordering::Relaxed);
        Self(live)
    }

    pub(crate) const fn live(&self) -> &Arc<Live<E>> {
        &self.0
    }
}

impl<E: Engine> Deref for Pin<E> {
    type Target = Live<E>;

    fn deref(&self) -> &Live<E> {
        &self.0
    }
}

impl<E: Engine> Drop for Pin<E> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A generation that the ledger named and this replica did not take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// The generation.
    pub generation: GenerationName,
    /// The ledger entry that named it.
    pub sequence: u64,
    /// When it was refused.
    pub time: Timestamp,
    /// Why, with all causes.
    pub reason: String,
}

/// Requests that a generation still answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InFlight {
    /// The generation.
    pub generation: GenerationName,
    /// Requests.
    pub requests: u64,
}

/// The answer of `GET /admin/generation` and `POST /admin/nudge`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GenerationStatus {
    /// The generation that serves new requests.
    pub serving: GenerationName,
    /// The generation that served before it, if any did since start.
    pub previous: Option<GenerationName>,
    /// The channel that is followed.
    pub channel: String,
    /// The newest ledger entry that was read, served or refused.
    pub sequence: u64,
    /// Generations in memory, the one used last first.
    pub resident: Vec<GenerationName>,
    /// Requests in flight by generation.
    pub in_flight: Vec<InFlight>,
    /// Flips since start.
    pub flips: u64,
    /// How long the last change took, from the ledger's entry being read to the flip.
    pub last_flip_milliseconds: Option<u64>,
    /// Newest last.
    pub refused: Vec<Refused>,
}

struct Record<E: Engine> {
    /// The serving generation first, then the others by last use.
    resident: Vec<Arc<Live<E>>>,
    /// Every generation that was ever loaded and still answers requests.
    alive: Vec<Weak<Live<E>>>,
    previous: Option<GenerationName>,
    sequence: u64,
    flips: u64,
    last_flip_milliseconds: Option<u64>,
    refused: Vec<Refused>,
}

/// The generations of one replica.
pub(crate) struct Generations<E: Engine> {
    current: ArcSwap<Live<E>>,
    channel: String,
    most_resident: usize,
    record: Mutex<Record<E>>,
}

impl<E: Engine> Generations<E> {
    pub(crate) fn new(first: Live<E>, sequence: u64, channel: String, most_resident: usize) -> Self {
        let first = Arc::new(first);
        let record = Record {
            resident: vec![Arc::clone(&first)],
            alive: vec![Arc::downgrade(&first)],
            previous: None,
            sequence,
            flips: 0,
            last_flip_milliseconds: None,
            refused: Vec::new(),
        };
        Self { current: ArcSwap::new(first), channel, most_resident, record: Mutex::new(record) }
    }

    /// Admits a request to the generation that serves now.
    pub(crate) fn pin(&self) -> Pin<E> {
        Pin::new(self.current.load_full())
    }

    /// The generation that serves now, without admitting anything.
    pub(crate) fn current(&self) -> Guard<Arc<Live<E>>> {
        self.current.load()
    }

    /// The newest ledger entry that was dealt with.
    pub(crate) fn sequence(&self) -> u64 {
        self.lock().sequence
    }

    /// A generation that is in memory.
    pub(crate) fn resident(&self, name: &GenerationName) -> Option<Arc<Live<E>>> {
        self.lock().resident.iter().find(|live| live.name == *name).map(Arc::clone)
    }

    /// Serves `next` from now on, as ledger entry `sequence` says.
    pub(crate) fn flip(&self, next: Arc<Live<E>>, sequence: u64, milliseconds: u64) {
        let mut record = self.lock();
        record.sequence = sequence;
        if self.current.load().name == next.name {
            return;
        }
        let before = self.current.swap(Arc::clone(&next));
        record.previous = Some(before.name.clone());
        record.flips += 1;
        record.last_flip_milliseconds = Some(milliseconds);
        record.resident.retain(|live| live.name != next.name);
        if !record.alive.iter().any(|weak| std::ptr::eq(weak.as_ptr(), Arc::as_ptr(&next))) {
            record.alive.push(Arc::downgrade(&next));
        }
        record.resident.insert(0, next);
        let stay = self.most_resident.min(record.resident.len());
        let surplus = record.resident.split_off(stay);
        record.alive.retain(|weak| weak.strong_count() > 0);
        drop(record);
        // Banks are freed outside of the lock.
        drop(surplus);
    }

    /// Remembers that an entry was not followed.
    pub(crate) fn refuse(&self, refused: Refused) {
        let mut record = self.lock();
        record.sequence = refused.sequence;
        if record.refused.len() == REMEMBERED_REFUSALS {
            record.refused.remove(0);
        }
        record.refused.push(refused);
    }

    pub(crate) fn status(&self) -> GenerationStatus {
        let record = self.lock();
        let alive = record.alive.iter().filter_map(Weak::upgrade);
        let in_flight = alive
            .map(|live| InFlight { generation: live.name.clone(), requests: live.in_flight.load(Ordering::Relaxed) })
            .collect();
        GenerationStatus {
            serving: self.current.load().name.clone(),
            previous: record.previous.clone(),
            channel: self.channel.clone(),
            sequence: record.sequence,
            resident: record.resident.iter().map(|live| live.name.clone()).collect(),
            in_flight,
            flips: record.flips,
            last_flip_milliseconds: record.last_flip_milliseconds,
            refused: record.refused.clone(),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Record<E>> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::fake::Fake;

    fn live(digit: u8) -> Live<Fake> {
        let name = format!("{digit:012}-0123abcd").parse().unwrap();
        Live::new(name, Fake::default().load(&[b'0' + digit]).unwrap())
    }

    #[test]
    fn a_flip_leaves_pinned_requests_where_they_are() {
        let generations = Generations::new(live(0), 0, "production".to_owned(), 2);
        let old = generations.pin();
        generations.flip(Arc::new(live(1)), 1, 3);
        assert_eq!(old.name.number().0, 0);
        assert_eq!(generations.pin().name.number().0, 1);
        let status = generations.status();
        assert_eq!(status.previous.unwrap().number().0, 0);
        let requests: Vec<_> = status.in_flight.iter().map(|f| (f.generation.number().0, f.requests)).collect();
        assert_eq!(requests, [(0, 1), (1, 0)]);
    }

    #[test]
    fn the_previous_generation_stays_resident_and_older_ones_leave() {
        let generations = Generations::new(live(0), 0, "production".to_owned(), 2);
        generations.flip(Arc::new(live(1)), 1, 0);
        let back = generations.resident(&live(0).name).unwrap();
        generations.flip(back, 2, 0);
        assert_eq!(generations.status().resident, [live(0).name, live(1).name]);
        generations.flip(Arc::new(live(2)), 3, 0);
        assert!(generations.resident(&live(1).name).is_none());
        assert_eq!(generations.status().flips, 3);
    }
}
