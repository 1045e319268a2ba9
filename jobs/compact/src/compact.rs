//! Compaction: runs of small batches become large ones.

use jiff::Timestamp;
use nocturne_columns::{Erased, check_columns, decoded_bytes, follows};
use nocturne_wire::{Offset, Partition, Topic, batch::BatchFooter, rewrite::RewriteReason};
use serde::Serialize;

use crate::{
    CompactError, Result, Rewriter, choose,
    rewriter::{ATTEMPTS, Fetched, bytes, unreadable},
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
                self.compact_partition(topic, partition, &mut done, &mut progress).await?;
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
        let (mut from, mut contended) = (Offset(0), 0);
        while contended < ATTEMPTS {
            let sequence = self.settle(topic, partition).await?;
            let removed = self.lake.batches().remove_superseded(topic, partition).await;
            done.removed += removed.map_err(CompactError::lake("remove batches whose place another one took"))? as u64;
            let stored = self.lake.batches().stored(topic, partition).await.map_err(CompactError::lake("list the batches"))?;
            let Some(run) = choose::run(&stored, from, Timestamp::now(), &self.settings) else { return Ok(()) };
            let mut fetched = Vec::with_capacity(run.len());
            let mut room = Room { bytes: 2 * self.settings.target_bytes, decoded: MOST_DECODED };
            for batch in &stored[run] {
                match self.fetch(batch.name).await.and_then(rewritable) {
                    Ok(read) if belongs(fetched.last(), &read.footer) && room.takes(&read) => fetched.push(read),
                    Ok(_) => break,
                    Err(error) => {
                        tracing::warn!(error = &error as &dyn std::error::Error, "a batch cannot be compacted");
                        done.skipped.push(chain(&error));
                        break;
                    }
                }
            }
            // What does not belong together, or cannot be read, ends the run; the next one begins after it.
            let after = fetched.last().map_or(from, |last: &Fetched| last.footer.last.next());
            if fetched.len() < 2 {
                from = stored
                    .iter()
                    .map(|batch| batch.name.first)
                    .find(|first| *first > after.max(from))
                    .unwrap_or(Offset(u64::MAX));
                continue;
            }
            let footers: Vec<BatchFooter> = fetched.iter().map(|read| read.footer.clone()).collect();
            let Some(claim) = self.claim(sequence, RewriteReason::Compaction, &footers, 0).await? else {
                contended += 1;
                continue;
            };
            let (merged, merged_bytes) = (fetched.len() as u64, fetched.iter().map(bytes).sum::<u64>());
            let carried = self.carry_out(&claim, Some((fetched, &Erased::default()))).await?;
            done.merged += merged;
            done.merged_bytes += merged_bytes;
            done.written += 1;
            done.written_bytes += carried.bytes;
            done.removed += carried.removed as u64;
            progress(done);
        }
        Err(CompactError::Contended { topic, partition })
    }
}

/// Bytes of rows that readers have in memory at once, when they read a merged batch whole. Their columns count offsets of texts in 31 bits.
const MOST_DECODED: u64 = 512 << 20;

/// How much more a merge may take: dead letters are in no listing of batches, and text that compresses well is longer than it looks.
struct Room {
    bytes: u64,
    decoded: u64,
}

impl Room {
    fn takes(&mut self, read: &Fetched) -> bool {
        let left = |left: u64, taken: u64| left.checked_sub(taken);
        let decoded = decoded_bytes(&read.input.parquet).unwrap_or(u64::MAX);
        match (left(self.bytes, bytes(read)), left(self.decoded, decoded)) {
            (Some(bytes), Some(decoded)) => {
                *self = Self { bytes, decoded };
                true
            }
            _ => false,
        }
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

fn chain(error: &CompactError) -> String {
    let causes = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
