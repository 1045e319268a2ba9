//! Retention: what is older than it may be is removed.

use jiff::Timestamp;
use nocturne_columns::newest_time;
use nocturne_wire::{Partition, Topic, batch::BatchFooter, rewrite::RewriteReason};
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
}

impl Rewriter {
    /// Removes batches all of whose records are older than `before`, from the beginning of each partition on; never a partition's newest batch, which says
    /// where sealing goes on. With `dry_run` it only says what it would remove.
    ///
    /// # Errors
    /// When the lake fails, or a batch cannot be read: how old its records are is not known then.
    pub async fn retain(&self, before: Timestamp, dry_run: bool) -> Result<Retained> {
        let mut done = Retained::default();
        for topic in Topic::ALL {
            for partition in self.partitions(topic).await? {
                self.retain_partition(topic, partition, before, dry_run, &mut done).await?;
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
            let (run, size) = self.too_old(topic, partition, before).await?;
            let claimed = dry_run || run.is_empty();
            let claim = if claimed { None } else { self.claim(sequence, RewriteReason::Retention, &run, 0).await? };
            if let Some(claim) = &claim {
                self.carry_out(claim, None).await?;
            }
            if claimed || claim.is_some() {
                done.batches += run.len() as u64;
                done.rows += run.iter().map(|footer| footer.rows).sum::<u64>();
                done.bytes += size;
                return Ok(());
            }
        }
        Err(CompactError::Contended { topic, partition })
    }

    /// The batches at a partition's beginning that are too old, and the bytes of their objects.
    async fn too_old(&self, topic: Topic, partition: Partition, before: Timestamp) -> Result<(Vec<BatchFooter>, u64)> {
        let mut stored = self.lake.batches().stored(topic, partition).await.map_err(CompactError::lake("list the batches"))?;
        stored.pop();
        let (mut run, mut size) = (Vec::new(), 0);
        for batch in stored {
            let fetched = self.fetch(batch.name).await?;
            let parquet = fetched.input.parquet.clone();
            let newest = blocking(move || newest_time(&parquet)).await?.map_err(unreadable(batch.name))?;
            // One without rows is as old as its object.
            if newest.unwrap_or(batch.created) >= before || !self.settings.is_settled(&batch, Timestamp::now()) {
                break;
            }
            size += bytes(&fetched);
            run.push(fetched.footer);
        }
        Ok((run, size))
    }
}
