//! Erasure: batches that hold a forgotten subject are written again without it.

use jiff::Timestamp;
use nocturne_columns::{Erased, read_dead_letters, read_keys};
use nocturne_wire::{
    Partition, SubjectId, TenantId, Topic,
    rewrite::{Erasure, RewriteReason},
};
use serde::Serialize;

use crate::{
    CompactError, Result, Rewriter,
    compact::rewritable,
    rewriter::{ATTEMPTS, Fetched, blocking, unreadable},
};

/// Who wishes to be forgotten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// The subject.
    pub subject: SubjectId,
    /// The tenant that it belongs to; `None` for every tenant's subject of that name.
    pub tenant: Option<TenantId>,
    /// What was said until then is erased.
    pub until: Timestamp,
}

/// What an erasure did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ErasureReport {
    /// Erasures that were applied, all of the lake.
    pub erasures: u64,
    /// Interactions that were erased.
    pub interactions: u64,
    /// Feedback that was erased: the subject's own, and others' on its interactions.
    pub feedback: u64,
    /// Dead letters that held the subject's id.
    pub dead_letters: u64,
    /// Batches that were written again.
    pub batches: u64,
    /// Objects that were removed.
    pub removed: u64,
    /// Batches that hold what is to be erased and are too young to be touched: a later run erases them.
    pub young: u64,
}

impl Rewriter {
    /// Records a wish and applies it to everything that is sealed and old enough to be touched. What is younger, or was still in the log,
    /// [`Rewriter::apply_erasures`] erases later.
    ///
    /// Running it again finishes what was interrupted.
    ///
    /// # Errors
    /// When the lake fails, or a batch cannot be read: what is in it is not known then, and nothing is said to be erased.
    pub async fn erase(&self, wish: &Wish) -> Result<ErasureReport> {
        self.record(wish).await?;
        self.apply(Some(wish)).await
    }

    /// Applies every recorded erasure to everything that is sealed.
    ///
    /// # Errors
    /// As [`Rewriter::erase`].
    pub async fn apply_erasures(&self) -> Result<ErasureReport> {
        self.apply(None).await
    }

    async fn record(&self, wish: &Wish) -> Result<()> {
        let failed = CompactError::lake("record the erasure");
        let subject = Erasure::digest(&wish.subject);
        for _ in 0..ATTEMPTS {
            let known = self.lake.erasures().list().await.map_err(&failed)?;
            let same = |erasure: &Erasure| {
                erasure.subject == subject
                    && erasure.until >= wish.until
                    && (erasure.tenant.is_none() || erasure.tenant == wish.tenant)
            };
            if known.iter().any(same) {
                return Ok(());
            }
            let erasure = Erasure {
                sequence: known.len() as u64,
                tenant: wish.tenant.clone(),
                subject: subject.clone(),
                until: wish.until,
                time: Timestamp::now(),
                actor: self.actor.clone(),
            };
            match self.lake.erasures().record(&erasure).await {
                Err(error) if error.is_already_exists() => {}
                recorded => return recorded.map_err(failed),
            }
        }
        let source = nocturne_lake::LakeError::AlreadyExists { path: nocturne_wire::path::ERASURES.to_owned() };
        Err(failed(source))
    }

    async fn apply(&self, wish: Option<&Wish>) -> Result<ErasureReport> {
        let erasures = self.lake.erasures().list().await.map_err(CompactError::lake("read the erasures"))?;
        let mut report = ErasureReport { erasures: erasures.len() as u64, ..ErasureReport::default() };
        let mut erased = Erased::of(&erasures);
        if let Some(wish) = wish {
            erased = erased.naming(&wish.subject, wish.tenant.as_ref());
        }
        if erased.is_empty() {
            return Ok(report);
        }
        self.note_interactions(&mut erased).await?;
        // Feedback first: which of it is about a subject's interactions is known for as long as those are there, however often this is interrupted.
        for topic in [Topic::Feedback, Topic::Interactions] {
            // As long as feedback is left, the interactions that it is about must say so to the next run.
            let only_count = report.young > 0;
            for partition in self.partitions(topic).await? {
                self.erase_partition(topic, partition, &erased, only_count, &mut report).await?;
            }
        }
        Ok(report)
    }

    async fn erase_partition(
        &self,
        topic: Topic,
        partition: Partition,
        erased: &Erased,
        only_count: bool,
        report: &mut ErasureReport,
    ) -> Result<()> {
        let mut contended = 0;
        'partition: while contended < ATTEMPTS {
            let mut sequence = self.settle(topic, partition).await?;
            let stored = self.lake.batches().stored(topic, partition).await.map_err(CompactError::lake("list the batches"))?;
            let mut young = 0;
            for batch in stored {
                let fetched = match self.fetch(batch.name).await {
                    Err(CompactError::Lake { source, .. }) if source.is_not_found() => {
                        contended += 1;
                        continue 'partition;
                    }
                    read => read?,
                };
                let found = find(topic, &fetched, erased).await?;
                if found.rows + found.letters == 0 {
                    continue;
                }
                if only_count || !self.settings.is_settled(&batch, Timestamp::now()) {
                    young += 1;
                    continue;
                }
                let fetched = rewritable(fetched)?;
                let footer = [fetched.footer.clone()];
                let Some(claim) = self.claim(sequence, RewriteReason::Erasure, &footer, report.erasures).await? else {
                    contended += 1;
                    continue 'partition;
                };
                sequence += 1;
                let carried = self.carry_out(&claim, Some((vec![fetched], erased))).await?;
                match topic {
                    Topic::Interactions => report.interactions += found.rows,
                    Topic::Feedback => report.feedback += found.rows,
                }
                report.dead_letters += found.letters;
                report.batches += 1;
                report.removed += carried.removed as u64;
            }
            report.young += young;
            let removed = self.lake.batches().remove_superseded(topic, partition).await;
            report.removed += removed.map_err(CompactError::lake("remove batches whose place another one took"))? as u64;
            return Ok(());
        }
        Err(CompactError::Contended { topic, partition })
    }
}

/// What of a batch is to be erased.
struct Found {
    rows: u64,
    letters: u64,
}

async fn find(topic: Topic, fetched: &Fetched, erased: &Erased) -> Result<Found> {
    let (name, input, erased) = (fetched.input.name, fetched.input.clone(), erased.clone());
    let found = blocking(move || {
        let (_, keys) = read_keys(&name, &input.parquet)?;
        let letters = input.dead.as_ref().map(read_dead_letters).transpose()?.unwrap_or_default();
        let letters = letters.iter().filter(|letter| erased.takes(letter)).count() as u64;
        Ok(Found { rows: erased.count(topic, &keys)?, letters })
    });
    found.await?.map_err(unreadable(name))
}
