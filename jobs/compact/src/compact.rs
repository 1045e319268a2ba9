//! Compaction: runs of small batches become large ones.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use nocturne_columns::{Erased, check_columns, decoded_bytes, follows, open_batch, times};
use nocturne_lake::StoredBatch;
use nocturne_wire::{BatchName, Offset, Partition, Topic, batch::BatchFooter, rewrite::RewriteReason};
use serde::Serialize;

use crate::{
    CompactError, Result, Rewriter, choose,
    rewriter::{ATTEMPTS, Fetched, blocking, bytes, unreadable},
};

/// What compaction did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Compacted {
    /// Batches that were merged.
    pub merged: u64,
    /// Bytes of their objects.
    pub merged_bytes: u64,
    /// Batches that took their place.
    pub written: u64,
    /// Bytes of those.
    pub written_bytes: u64,
    /// Objects that were removed.
    pub removed: u64,
    /// Batches that could not be read, and why; they stay as they are.
    pub skipped: Vec<String>,
}

impl Rewriter {
    /// Merges what is worth it in every partition. `progress` is called after each merge.
    ///
    /// # Errors
    /// When the lake fails, or a batch cannot be written. Damaged batches are passed over.
    pub async fn compact(&self, mut progress: impl FnMut(&Compacted)) -> Result<Compacted> {
        let mut done = Compacted::default();
        for topic in Topic::ALL {
            for partition in self.partitions(topic).await? {
                match self.compact_partition(topic, partition, &mut done, &mut progress).await {
                    Err(error) if error.is_about_batches() => {
                        done.skipped.push(format!("{topic} partition {partition}: {}", error.in_a_line()));
                    }
                    compacted => compacted?,
                }
            }
        }
        Ok(done)
    }

    async fn compact_partition(
        &self,
        topic: Topic,
        partition: Partition,
        done: &mut Compacted,
        progress: &mut impl FnMut(&Compacted),
    ) -> Result<()> {
        let (mut from, mut contended, mut damaged) = (Offset(0), 0, BTreeSet::new());
        while contended < ATTEMPTS {
            let sequence = self.settle(topic, partition).await?;
            let removed = self.lake.batches().remove_superseded(topic, partition).await;
            done.removed += removed.map_err(CompactError::lake("remove batches whose place another one took"))? as u64;
            let stored = self.lake.batches().stored(topic, partition).await.map_err(CompactError::lake("list the batches"))?;
            let Some(run) = choose::run(&stored, from, Timestamp::now(), &self.settings) else { return Ok(()) };
            let first = stored[run.start].name.first;
            let fetched = self.fetch_run(&stored[run], &damaged, done).await;
            let last = match &fetched[..] {
                [_, .., last] => last.footer.last,
                // What does not belong together, or cannot be read, ends the run; the next one begins after it.
                few => {
                    from = few.last().map_or(first.next(), |read| read.footer.last.next());
                    continue;
                }
            };
            let names: Vec<BatchName> = fetched.iter().map(|read| read.footer.name).collect();
            let Some(claim) = self.draft(sequence, RewriteReason::Compaction, &names, last) else { return Ok(()) };
            let replacement = match self.write(&claim, &fetched, &Erased::default()).await {
                Err(error) if error.is_about_batches() => {
                    skip(&error, done);
                    match first_damaged(&fetched).await? {
                        Some(name) => _ = damaged.insert(name),
                        None => from = last.next(),
                    }
                    continue;
                }
                written => written?,
            };
            if !self.claim(&claim).await? {
                contended += 1;
                continue;
            }
            let (merged, merged_bytes) = (fetched.len() as u64, fetched.iter().map(bytes).sum::<u64>());
            drop(fetched);
            let carried = self.carry_out(&claim, replacement).await?;
            if carried.overtaken {
                contended += 1;
                continue;
            }
            contended = 0;
            done.merged += merged;
            done.merged_bytes += merged_bytes;
            done.written += 1;
            done.written_bytes += carried.bytes;
            done.removed += carried.removed as u64;
            progress(done);
        }
        Err(CompactError::Contended { topic, partition })
    }

    /// Reads the batches of a run, as far as they can be merged.
    async fn fetch_run(&self, run: &[StoredBatch], damaged: &BTreeSet<BatchName>, done: &mut Compacted) -> Vec<Fetched> {
        let mut fetched: Vec<Fetched> = Vec::with_capacity(run.len());
        let mut room =
            Room { bytes: 2 * self.settings.target_bytes, decoded: MOST_DECODED, span: self.settings.max_span, times: None };
        for batch in run.iter().take_while(|batch| !damaged.contains(&batch.name)) {
            match self.fetch(batch.name).await.and_then(rewritable) {
                Ok(read) if belongs(fetched.last(), &read.footer) && room.takes(&read) => fetched.push(read),
                Ok(_) => break,
                Err(error) => {
                    skip(&error, done);
                    break;
                }
            }
        }
        fetched
    }
}

fn skip(error: &CompactError, done: &mut Compacted) {
    tracing::warn!(error = error as &dyn std::error::Error, "a batch cannot be compacted");
    done.skipped.push(error.in_a_line());
}

/// The first batch whose rows cannot be read: fetching looks at footers only.
async fn first_damaged(fetched: &[Fetched]) -> Result<Option<BatchName>> {
    for Fetched { input, .. } in fetched {
        let (name, parquet) = (input.name, input.parquet.clone());
        if blocking(move || open_batch(&name, &parquet)).await?.is_err() {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

/// Bytes of rows that readers have in memory at once, when they read a merged batch whole. Their columns count offsets of texts in 31 bits.
const MOST_DECODED: u64 = 512 << 20;

/// How much more a merge may take: dead letters are in no listing of batches, and text that compresses well is longer than it looks.
struct Room {
    bytes: u64,
    decoded: u64,
    /// Time from the oldest record to the newest one at most.
    span: Option<SignedDuration>,
    times: Option<(Timestamp, Timestamp)>,
}

impl Room {
    fn takes(&mut self, read: &Fetched) -> bool {
        let left = |left: u64, taken: u64| left.checked_sub(taken);
        let sizes = [Some(&read.input.parquet), read.input.dead.as_ref()].into_iter().flatten().map(decoded_bytes);
        let decoded = sizes.sum::<std::result::Result<u64, _>>().unwrap_or(u64::MAX);
        let (Some(bytes), Some(decoded)) = (left(self.bytes, bytes(read)), left(self.decoded, decoded)) else { return false };
        let Ok(times) = times(&read.input.parquet) else { return false };
        let both = |(oldest, newest): (Timestamp, Timestamp)| match times {
            Some((first, last)) => (oldest.min(first), newest.max(last)),
            None => (oldest, newest),
        };
        let times = self.times.map_or(times, |known| Some(both(known)));
        let too_long =
            |(oldest, newest): (Timestamp, Timestamp)| self.span.is_some_and(|span| newest.duration_since(oldest) > span);
        // A batch that spans more by itself is merged with none.
        if times.is_some_and(too_long) {
            return false;
        }
        *self = Self { bytes, decoded, times, ..*self };
        true
    }
}

/// Asked before a claim is made: what cannot be written again must not be claimed.
pub(crate) fn rewritable(read: Fetched) -> Result<Fetched> {
    check_columns(&read.input.parquet).map_err(unreadable(read.input.name))?;
    Ok(read)
}

fn belongs(before: Option<&Fetched>, next: &BatchFooter) -> bool {
    before.is_none_or(|before| follows(&before.footer, next))
}
