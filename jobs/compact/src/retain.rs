//! Retention: what is older than it may be is removed.

use jiff::Timestamp;
use nocturne_columns::times;
use nocturne_lake::StoredBatch;
use nocturne_wire::{BatchName, Offset, Partition, Topic, rewrite::RewriteReason};
use serde::Serialize;

use crate::{
    CompactError, Result, Rewriter,
    rewriter::{ATTEMPTS, blocking, bytes, unreadable},
};

/// What retention removed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Retained {
    /// Batches that were removed.
    pub batches: u64,
    /// Rows in them.
    pub rows: u64,
    /// Bytes of their objects.
    pub bytes: u64,
    /// Batches that could not be read, and why: the partition keeps them and what lies behind them until they are old enough themselves.
    pub unreadable: Vec<String>,
}

impl Rewriter {
    /// Removes batches all of whose records are older than `before`, from the beginning of each partition on; never a partition's newest batch, which says
    /// where sealing goes on. With `dry_run` it only says what it would remove.
    ///
    /// # Errors
    /// When the lake fails. What cannot be read is told in the report, and the other partitions are looked at all the same.
    pub async fn retain(&self, before: Timestamp, dry_run: bool) -> Result<Retained> {
        let mut done = Retained::default();
        for topic in Topic::ALL {
            for partition in self.partitions(topic).await? {
                match self.retain_partition(topic, partition, before, dry_run, &mut done).await {
                    Err(error) if error.is_about_batches() => {
                        done.unreadable.push(format!("{topic} partition {partition}: {}", error.in_a_line()));
                    }
                    retained => retained?,
                }
            }
        }
        Ok(done)
    }

    async fn retain_partition(
        &self,
        topic: Topic,
        partition: Partition,
        before: Timestamp,
        dry_run: bool,
        done: &mut Retained,
    ) -> Result<()> {
        for _ in 0..ATTEMPTS {
            let sequence = if dry_run { 0 } else { self.settle(topic, partition).await? };
            let (run, unreadable) = self.too_old(topic, partition, before).await?;
            let names: Vec<BatchName> = run.iter().map(|old| old.name).collect();
            let claim = run.last().and_then(|newest| self.draft(sequence, RewriteReason::Retention, &names, newest.last));
            if let Some(claim) = claim.filter(|_| !dry_run) {
                if !self.claim(&claim).await? {
                    continue;
                }
                self.carry_out(&claim, None).await?;
            }
            done.batches += run.len() as u64;
            done.rows += run.iter().map(|old| old.rows).sum::<u64>();
            done.bytes += run.iter().map(|old| old.bytes).sum::<u64>();
            done.unreadable.extend(unreadable);
            return Ok(());
        }
        Err(CompactError::Contended { topic, partition })
    }

    /// The batches at a partition's beginning that are too old, and why there is no looking further.
    async fn too_old(&self, topic: Topic, partition: Partition, before: Timestamp) -> Result<(Vec<Old>, Option<String>)> {
        let stored = self.lake.batches().stored(topic, partition).await.map_err(CompactError::lake("list the batches"))?;
        let mut run = Vec::new();
        // The newest batch says where sealing goes on.
        for (batch, next) in stored.iter().zip(stored.iter().skip(1)) {
            if !self.settings.is_settled(batch, Timestamp::now()) {
                break;
            }
            match self.look(batch).await {
                Ok((newest, old)) if newest < before => run.push(old),
                Ok(_) => break,
                // Records are older than their batch: what cannot be read is too old all the same when its object is.
                Err(error) if error.is_about_batches() && batch.created < before => {
                    let last = Offset(next.name.first.0.saturating_sub(1));
                    run.push(Old { name: batch.name, last, rows: 0, bytes: batch.bytes });
                }
                Err(error) if error.is_about_batches() => return Ok((run, Some(error.in_a_line()))),
                Err(error) => return Err(error),
            }
        }
        Ok((run, None))
    }

    /// How old a batch's newest record is.
    async fn look(&self, batch: &StoredBatch) -> Result<(Timestamp, Old)> {
        let fetched = self.fetch(batch.name).await?;
        let parquet = fetched.input.parquet.clone();
        let times = blocking(move || times(&parquet)).await?.map_err(unreadable(batch.name))?;
        let old = Old { name: batch.name, last: fetched.footer.last, rows: fetched.footer.rows, bytes: bytes(&fetched) };
        // No record is younger than its batch, whatever a clock said that was ahead; one without rows is as old as its object.
        Ok((times.map_or(batch.created, |(_, newest)| newest.min(batch.created)), old))
    }
}

/// A batch that is to be removed.
struct Old {
    name: BatchName,
    last: Offset,
    rows: u64,
    bytes: u64,
}
