//! One partition's records between the poll thread and their reader.
//!
//! The two meet only here, and each goes on while the other does: a reader that begins anew raises the generation, and what the poll thread
//! does for an earlier one changes nothing any more.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
};

use bytes::{Bytes, BytesMut};
use nocturne_wire::{Partition, Topic};
use tokio::sync::Notify;

use super::chunks::Chunks;

pub(crate) type Key = (Topic, Partition);

/// The records of one partition that wait for its reader.
#[derive(Debug)]
pub(crate) struct Buffer {
    pub(crate) key: Key,
    inner: Mutex<Inner>,
    ready: Notify,
    /// Bytes of all partitions' records that wait.
    waiting: Arc<AtomicU64>,
    /// The partition's end as far as it was told.
    end: AtomicI64,
}

#[derive(Debug, Default)]
struct Inner {
    records: VecDeque<(i64, Bytes)>,
    /// Bytes of these records.
    bytes: u64,
    /// Where payloads are copied to.
    chunk: Option<BytesMut>,
    /// Counts how often the reader began anew.
    generation: u64,
    /// The next offset that is wanted; `None` before the first seek and while one is under way.
    expected: Option<i64>,
    /// Where a gap was seen, for which everything from here on is read again.
    doubted: Option<i64>,
    /// Whether the partition has shown a gap that was there again when it was read again: it has transactions or is compacted.
    has_gaps: bool,
    /// Whether the partition was revoked.
    closed: bool,
    /// Whether reading stopped and the reader must find out where the partition stands.
    stalled: bool,
}

/// Whether the partition goes on at an offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Admission {
    /// It does.
    Next,
    /// It was before a seek, or nobody wants it.
    Stale,
    /// Offsets from this one on are missing, and are to be read once more before that is believed.
    Doubted(i64),
}

impl Inner {
    fn admit(&mut self, offset: i64) -> Admission {
        let Some(expected) = self.expected.filter(|expected| !self.closed && *expected <= offset) else {
            return Admission::Stale;
        };
        if offset == expected || self.has_gaps {
            return Admission::Next;
        }
        if self.doubted == Some(expected) {
            self.has_gaps = true;
            return Admission::Next;
        }
        self.doubted = Some(expected);
        Admission::Doubted(expected)
    }
}

impl Buffer {
    pub(crate) fn new(key: Key, waiting: Arc<AtomicU64>) -> Self {
        Self { key, inner: Mutex::default(), ready: Notify::new(), waiting, end: AtomicI64::new(0) }
    }

    /// Acts on what is inside, and keeps the count over all partitions.
    fn with<T>(&self, act: impl FnOnce(&mut Inner) -> T) -> T {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let before = inner.bytes;
        let result = act(&mut inner);
        if inner.bytes != before {
            self.waiting.fetch_add(inner.bytes, Ordering::Relaxed);
            self.waiting.fetch_sub(before, Ordering::Relaxed);
        }
        result
    }

    /// Takes a record in, unless it is one from before a seek. An offset, when the partition is to be read again from there: the records in
    /// between are missing, and what is missing once may have been lost on its way.
    pub(super) fn push(&self, offset: i64, payload: &[u8], chunks: &mut Chunks) -> Option<i64> {
        let admission = self.with(|inner| {
            let admission = inner.admit(offset);
            if admission == Admission::Next {
                let kept = chunks.keep(&mut inner.chunk, payload);
                inner.bytes += payload.len() as u64;
                inner.records.push_back((offset, kept));
                inner.expected = Some(offset + 1);
            }
            admission
        });
        self.told(admission, offset + 1)
    }

    /// Everything before `position` was read: what was not pushed is no record. An offset, when that is to be read again.
    pub(super) fn pass(&self, position: i64) -> Option<i64> {
        let admission = self.with(|inner| {
            if inner.expected == Some(position) {
                return Admission::Stale;
            }
            let admission = inner.admit(position);
            if admission == Admission::Next {
                inner.expected = Some(position);
            }
            admission
        });
        self.told(admission, position)
    }

    fn told(&self, admission: Admission, end: i64) -> Option<i64> {
        match admission {
            Admission::Next => {
                self.end_is_at_least(end);
                self.ready.notify_one();
                None
            }
            Admission::Stale => None,
            Admission::Doubted(from) => Some(from),
        }
    }

    /// Something failed: the next gap is read again, even when the partition has shown that it has some.
    pub(super) fn doubt(&self) {
        self.with(|inner| inner.has_gaps = false);
    }

    /// Takes records out. With them the offset where the partition goes on, if that is known; it may be beyond the last record.
    pub(super) fn take(&self, max_records: usize, max_bytes: u64) -> (Vec<(i64, Bytes)>, Option<i64>) {
        self.with(|inner| {
            let mut bytes = 0;
            let mut taken = Vec::new();
            while taken.len() < max_records.max(1) && bytes < max_bytes.max(1) {
                let Some(record) = inner.records.pop_front() else { break };
                bytes += record.1.len() as u64;
                taken.push(record);
            }
            inner.bytes -= bytes;
            let last = taken.last().map(|(offset, _)| offset + 1);
            let next = if inner.records.is_empty() { inner.expected.or(last) } else { last };
            (taken, next)
        })
    }

    /// Forgets everything until the next seek, which has to name the generation that begins.
    pub(super) fn reset(&self) -> u64 {
        self.with(|inner| {
            inner.records.clear();
            inner.bytes = 0;
            inner.expected = None;
            inner.stalled = false;
            inner.generation += 1;
            inner.generation
        })
    }

    /// Whether the reader has not begun anew since.
    pub(super) fn is_current(&self, generation: u64) -> bool {
        self.with(|inner| inner.generation == generation && !inner.closed)
    }

    /// Records from `offset` on are wanted, unless the reader began anew since it asked for them: its next seek is on its way then.
    pub(super) fn begin(&self, generation: u64, offset: i64) -> bool {
        self.with(|inner| {
            let current = inner.generation == generation && !inner.closed;
            if current {
                inner.records.clear();
                inner.bytes = 0;
                inner.expected = Some(offset);
                inner.stalled = false;
            }
            current
        })
    }

    /// Drops the newest records until no more than so many bytes are left, or one record. The first offset that was dropped.
    pub(super) fn cut(&self, bytes: u64) -> Option<i64> {
        self.with(|inner| {
            let mut first = None;
            while inner.bytes > bytes && inner.records.len() > 1 {
                let Some((offset, payload)) = inner.records.pop_back() else { break };
                inner.bytes -= payload.len() as u64;
                first = Some(offset);
            }
            inner.expected = first.or(inner.expected);
            first
        })
    }

    /// The partition is another process's.
    pub(super) fn close(&self, chunks: &mut Chunks) {
        self.reset();
        chunks.take_back(self.with(|inner| {
            inner.closed = true;
            inner.chunk.take()
        }));
        self.ready.notify_one();
    }

    /// The reader must find out where the partition stands.
    pub(super) fn stall(&self) {
        self.with(|inner| inner.stalled = true);
        self.ready.notify_one();
    }

    /// Nothing is read any more, and the reader must find out where the partition stands. What waits can still be taken.
    pub(super) fn halt(&self, generation: u64) {
        self.with(|inner| {
            if inner.generation == generation {
                inner.expected = None;
                inner.doubted = None;
                inner.stalled = true;
            }
        });
        self.ready.notify_one();
    }

    pub(super) fn generation(&self) -> u64 {
        self.with(|inner| inner.generation)
    }

    /// Bytes that wait here.
    pub(super) fn waiting(&self) -> u64 {
        self.with(|inner| inner.bytes)
    }

    /// Waits until there is something to wake up for, for a reader that stands at `next`.
    pub(super) async fn news(&self, next: i64) {
        while !self.has_news(next) {
            self.ready.notified().await;
        }
    }

    fn has_news(&self, next: i64) -> bool {
        let passed = |inner: &Inner| inner.expected.is_some_and(|expected| expected > next);
        self.with(|inner| !inner.records.is_empty() || inner.closed || inner.stalled || passed(inner))
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.with(|inner| inner.closed)
    }

    /// Whether reading stopped; only when nothing that was read is left to take.
    pub(crate) fn is_stalled(&self) -> bool {
        self.with(|inner| inner.stalled && inner.records.is_empty())
    }

    /// The partition's end as far as it was told.
    pub(super) fn end(&self) -> i64 {
        self.end.load(Ordering::Relaxed)
    }

    pub(super) fn end_is_at_least(&self, end: i64) {
        self.end.fetch_max(end, Ordering::Relaxed);
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.reset();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn buffer() -> (Buffer, Arc<AtomicU64>) {
        let all = Arc::new(AtomicU64::new(0));
        (Buffer::new((Topic::Interactions, Partition(0)), all.clone()), all)
    }

    /// One whose reader asked for records from `offset` on.
    fn begun(offset: i64) -> Buffer {
        let buffer = buffer().0;
        assert!(buffer.begin(buffer.reset(), offset));
        buffer
    }

    fn push(buffer: &Buffer, offsets: impl IntoIterator<Item = i64>) {
        offsets.into_iter().for_each(|offset| assert_eq!(buffer.push(offset, b"x", &mut Chunks::default()), None));
    }

    fn offsets(buffer: &Buffer) -> Vec<i64> {
        buffer.take(usize::MAX, u64::MAX).0.into_iter().map(|(offset, _)| offset).collect()
    }

    #[test]
    fn a_seek_that_was_overtaken_leaves_no_record() {
        let buffer = buffer().0;
        let overtaken = buffer.reset();
        let newest = buffer.reset();
        assert!(!buffer.begin(overtaken, 100) && !buffer.is_current(overtaken));
        push(&buffer, 100..110);
        assert_eq!(offsets(&buffer), [0; 0], "records of the first seek came after the reader asked for others");
        assert!(buffer.begin(newest, 7));
        push(&buffer, 7..9);
        assert_eq!(offsets(&buffer), [7, 8]);
        // A seek that fails late says nothing about the one that came after it.
        buffer.halt(overtaken);
        assert!(!buffer.is_stalled());
    }

    #[test]
    fn a_seek_that_is_carried_out_twice_leaves_each_record_once() {
        let buffer = buffer().0;
        let generation = buffer.reset();
        assert!(buffer.begin(generation, 5));
        push(&buffer, 5..8);
        assert!(buffer.begin(generation, 5));
        push(&buffer, 5..8);
        assert_eq!(offsets(&buffer), [5, 6, 7]);
    }

    #[test]
    fn a_gap_is_read_again_once_before_it_is_believed() {
        let buffer = begun(5);
        push(&buffer, [5]);
        assert_eq!(buffer.push(8, b"x", &mut Chunks::default()), Some(6));
        // This time nothing is missing: it was lost on its way.
        push(&buffer, 6..9);
        assert_eq!(buffer.push(10, b"x", &mut Chunks::default()), Some(9));
        push(&buffer, [10]);
        assert_eq!(offsets(&buffer), [5, 6, 7, 8, 10]);
        // The partition has gaps; when something fails, the next one may be none.
        push(&buffer, [12]);
        buffer.doubt();
        assert_eq!(buffer.push(14, b"x", &mut Chunks::default()), Some(13));
    }

    #[test]
    fn offsets_without_a_record_at_the_end_are_passed() {
        let buffer = begun(0);
        push(&buffer, 0..3);
        assert_eq!((buffer.pass(3), buffer.has_news(3)), (None, true));
        assert_eq!(buffer.take(2, u64::MAX).1, Some(2), "not beyond a record that waits");
        assert_eq!(buffer.pass(5), Some(3));
        assert_eq!(buffer.pass(5), None);
        assert_eq!(buffer.take(9, u64::MAX).1, Some(5));
        assert!(!buffer.has_news(5) && buffer.has_news(3));
        assert_eq!(buffer.end(), 5);
        push(&buffer, [5]);
        assert_eq!(buffer.take(9, u64::MAX).1, Some(6));
    }

    #[test]
    fn what_is_not_begun_or_is_revoked_passes_nothing() {
        let buffer = buffer().0;
        assert_eq!((buffer.pass(9), buffer.push(9, b"x", &mut Chunks::default())), (None, None));
        assert_eq!(buffer.take(9, u64::MAX), (Vec::new(), None));
        let generation = buffer.reset();
        buffer.close(&mut Chunks::default());
        assert!(!buffer.begin(generation, 0) && buffer.is_closed());
    }

    #[test]
    fn the_newest_records_are_cut_and_read_again() {
        let buffer = begun(0);
        push(&buffer, 0..10);
        assert_eq!((buffer.cut(20), buffer.cut(4), buffer.waiting()), (None, Some(4), 4));
        push(&buffer, 4..6);
        assert_eq!(offsets(&buffer), (0..6).collect::<Vec<_>>());
        push(&buffer, [6]);
        assert_eq!(buffer.cut(0), None, "one record is always left, so that its reader gets on");
    }

    #[test]
    fn after_a_halt_nothing_is_taken_in_and_nothing_that_waits_is_lost() {
        let buffer = begun(0);
        push(&buffer, 0..2);
        buffer.halt(buffer.generation());
        push(&buffer, 2..4);
        assert!(!buffer.is_stalled());
        assert_eq!(offsets(&buffer), [0, 1]);
        assert!(buffer.is_stalled());
    }

    proptest! {
        #[test]
        fn bytes_are_counted_over_all_partitions(acts in prop::collection::vec((0_u8..6, 0_usize..40), 0..60)) {
            let ((buffer, all), mut chunks) = (buffer(), Chunks::default());
            let mut offset = 0;
            buffer.begin(buffer.reset(), 0);
            for (act, size) in acts {
                match act {
                    0 => drop(buffer.take(size, u64::MAX)),
                    1 => drop(buffer.take(usize::MAX, size as u64)),
                    2 => offset = buffer.cut(size as u64).unwrap_or(offset),
                    3 => _ = buffer.begin(buffer.reset(), offset),
                    _ => {
                        prop_assert_eq!(buffer.push(offset, &vec![0; size], &mut chunks), None);
                        offset += 1;
                    }
                }
                prop_assert_eq!(all.load(Ordering::Relaxed), buffer.waiting());
            }
            drop(buffer);
            prop_assert_eq!(all.load(Ordering::Relaxed), 0);
        }
    }
}
