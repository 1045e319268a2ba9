//! Where payloads are copied to: memory that serves again once every record in it is gone.
//!
//! A batcher holds some megabytes of records at any time and passes gigabytes. Taken from the allocator and given back, that memory is faulted in
//! anew for every batch, which cost as much as decoding it; kept by the allocator in case it is wanted, it was a third of the process. Here as much
//! is kept as was needed at once within a minute, and nothing else.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};

/// Records lie together in pieces of this size. One that is begun belongs to one partition, so that a quiet partition holds back no more than that.
const CHUNK_BYTES: usize = 64 << 10;

/// A record that would waste more than this part of a chunk gets memory of its own.
const LARGEST: usize = CHUNK_BYTES / 4;

/// Chunks that are full; what is in them may still be read.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    lent: VecDeque<BytesMut>,
    given_back: Option<Instant>,
}

const GIVE_BACK_EVERY: Duration = Duration::from_mins(1);

impl Chunks {
    /// Copies a payload into a chunk; into another one, which takes its place, when it has no room.
    pub(super) fn keep(&mut self, chunk: &mut Option<BytesMut>, payload: &[u8]) -> Bytes {
        if payload.len() > LARGEST {
            return Bytes::copy_from_slice(payload);
        }
        let mut open = match chunk.take() {
            Some(open) if open.capacity() >= payload.len() => open,
            full => {
                let empty = self.empty();
                self.lent.extend(full);
                empty
            }
        };
        open.extend_from_slice(payload);
        let kept = open.split().freeze();
        *chunk = Some(open);
        kept
    }

    /// A chunk that nobody reads any more, or a new one. All are looked at before there is a new one; they come back in about the order in which they
    /// were lent, so that the first look mostly finds one.
    fn empty(&mut self) -> BytesMut {
        for _ in 0..self.lent.len() {
            let Some(mut chunk) = self.lent.pop_front() else { break };
            if chunk.try_reclaim(CHUNK_BYTES) {
                return chunk;
            }
            self.lent.push_back(chunk);
        }
        BytesMut::with_capacity(CHUNK_BYTES)
    }

    /// Gives chunks that nobody reads back to the allocator, once a minute: after a backlog nobody needs as many.
    pub(super) fn give_back(&mut self, now: Instant) {
        if now.duration_since(*self.given_back.get_or_insert(now)) >= GIVE_BACK_EVERY {
            self.given_back = Some(now);
            self.lent.retain_mut(|chunk| !chunk.try_reclaim(CHUNK_BYTES));
        }
    }

    /// Takes the chunk of a partition that is gone.
    pub(super) fn take_back(&mut self, chunk: Option<BytesMut>) {
        self.lent.extend(chunk);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_serve_again_when_their_records_are_gone_and_not_before() {
        let (mut chunks, mut open) = (Chunks::default(), None);
        let payload = [7; 1000];
        let mut held = VecDeque::new();
        for n in 0..5000_u32 {
            let kept = chunks.keep(&mut open, &payload[..n as usize % 1000]);
            held.push_back((n, kept));
            if held.len() > 600 {
                let (n, oldest) = held.pop_front().expect("some");
                assert_eq!(*oldest, payload[..n as usize % 1000], "nobody wrote over it");
            }
        }
        // 600 records of 500 bytes at a time are five chunks, with the one that is written to and one that a single record holds back.
        assert!(chunks.lent.len() < 8, "{} chunks", chunks.lent.len());
    }

    #[test]
    fn what_a_backlog_needed_is_given_back_and_what_is_read_is_not() {
        let (mut chunks, mut open, begun) = (Chunks::default(), None, Instant::now());
        let mut held: Vec<_> = (0..1000).map(|_| chunks.keep(&mut open, &[7; 1000])).collect();
        chunks.give_back(begun);
        assert_eq!(chunks.lent.len(), 15);
        held.truncate(1);
        chunks.give_back(begun + GIVE_BACK_EVERY / 2);
        assert_eq!(chunks.lent.len(), 15);
        chunks.give_back(begun + GIVE_BACK_EVERY);
        assert_eq!((chunks.lent.len(), &*held[0]), (1, &[7; 1000][..]));
    }

    #[test]
    fn what_has_no_room_in_a_chunk_is_kept_apart() {
        let (mut chunks, mut open) = (Chunks::default(), None);
        let large = vec![3; 4 << 20];
        assert_eq!(*chunks.keep(&mut open, &large), *large);
        assert_eq!(chunks.keep(&mut open, b""), b""[..]);
        assert_eq!(*chunks.keep(&mut open, &large[..LARGEST]), large[..LARGEST]);
        assert!(chunks.lent.is_empty() && open.is_some());
    }
}
