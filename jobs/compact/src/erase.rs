//! Erasure: batches that hold a forgotten subject are written again without it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use nocturne_columns::{Erased, read_dead_letters, read_keys};
use nocturne_wire::{
    BatchName, Offset, Partition, Sha256Hex, SubjectId, TenantId, Topic, path,
    rewrite::{Erasure, Rewrite, RewriteReason, Sweep},
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
    /// Dead letters in them that hold the subject's id. Only a run that is told the id finds them.
    pub young_letters: u64,
    /// Batches and partitions that could not be read, and why; what they hold is not erased.
    pub unreadable: Vec<String>,
}

impl Rewriter {
    /// Records a wish and applies it to everything that is sealed and old enough to be touched. What is younger, or was still in the log,
    /// [`Rewriter::apply_erasures`] erases later.
    ///
    /// Running it again finishes what was interrupted.
    ///
    /// # Errors
    /// When the lake fails. Batches that cannot be read are told in the report, and the others are erased all the same.
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
        let tombstones = match self.note_tombstones(&mut erased).await {
            Err(error) if error.is_loss() => {
                report.unreadable.push(format!("feedback: {}", error.in_a_line()));
                false
            }
            noted => noted.map(|()| true)?,
        };
        // Interactions first: feedback goes with those that it is about.
        for partition in self.partitions(Topic::Interactions).await? {
            // Dead letters can only be searched for somebody whose id is known, and who asks for the first time was not looked for anywhere.
            let mut clean = match wish {
                Some(_) => BTreeSet::new(),
                None => self.swept(partition, report.erasures).await?,
            };
            let known = clean.clone();
            let erasing = self.erase_partition(Topic::Interactions, partition, &mut clean, &mut erased, &mut report);
            carry_on(Topic::Interactions, partition, erasing.await, &mut report)?;
            if clean != known {
                let sweep = Sweep { erasures: report.erasures, batches: clean.into_iter().collect() };
                let swept = self.lake.erasures().sweep(partition, &sweep).await;
                swept.map_err(CompactError::lake("record which batches hold nothing that is to be erased"))?;
            }
        }
        let partitions = if tombstones { self.partitions(Topic::Feedback).await? } else { Vec::new() };
        for partition in partitions {
            // Feedback may have come before its interaction did, so that all of it is looked at each time.
            let mut clean = BTreeSet::new();
            let erasing = self.erase_partition(Topic::Feedback, partition, &mut clean, &mut erased, &mut report);
            carry_on(Topic::Feedback, partition, erasing.await, &mut report)?;
        }
        Ok(report)
    }

    async fn swept(&self, partition: Partition, erasures: u64) -> Result<BTreeSet<BatchName>> {
        let swept = self.lake.erasures().swept(partition, erasures).await;
        swept.map_err(CompactError::lake("read which batches hold nothing that is to be erased"))
    }

    /// Erases what is to be erased of a partition but for batches that are known to be clean, and names those that are in the end.
    async fn erase_partition(
        &self,
        topic: Topic,
        partition: Partition,
        clean: &mut BTreeSet<BatchName>,
        erased: &mut Erased,
        report: &mut ErasureReport,
    ) -> Result<()> {
        let unreadable_before = report.unreadable.len();
        let (mut contended, mut committed) = (0, BTreeMap::new());
        'partition: while contended < ATTEMPTS {
            report.unreadable.truncate(unreadable_before);
            let mut sequence = self.settle(topic, partition).await?;
            let stored = self.lake.batches().stored(topic, partition).await.map_err(CompactError::lake("list the batches"))?;
            clean.retain(|name| {
                stored.binary_search_by_key(&name.first, |batch| batch.name.first).is_ok_and(|at| stored[at].name == *name)
            });
            let (mut young, mut letters) = (0, 0);
            for batch in stored {
                if clean.contains(&batch.name) {
                    continue;
                }
                let fetched = match self.fetch(batch.name).await {
                    Err(CompactError::Lake { source, .. }) if source.is_not_found() => {
                        contended += 1;
                        continue 'partition;
                    }
                    Err(error) if error.is_about_batches() => {
                        report.unreadable.push(error.in_a_line());
                        continue;
                    }
                    read => read?,
                };
                let (name, letters_at) = (batch.name, path::dead_letters(&fetched.footer));
                let settled = self.settings.is_settled(&batch, Timestamp::now());
                match self.erase_batch(sequence, fetched, settled, erased, report).await {
                    Ok(Done::Nothing) => {
                        committed.insert(name, letters_at);
                        // One that is young may get another attempt's dead letters yet.
                        if settled {
                            clean.insert(name);
                        }
                    }
                    Ok(Done::Erased { output }) => {
                        sequence += 1;
                        contended = 0;
                        clean.extend(output);
                    }
                    Ok(Done::Young { letters: held }) => {
                        young += 1;
                        letters += held;
                    }
                    Ok(Done::Contended) => {
                        contended += 1;
                        continue 'partition;
                    }
                    Err(error) if error.is_about_batches() => report.unreadable.push(error.in_a_line()),
                    Err(error) => return Err(error),
                }
            }
            report.young += young;
            report.young_letters += letters;
            let batches = self.lake.batches();
            let removed = batches.remove_superseded(topic, partition).await;
            report.removed += removed.map_err(CompactError::lake("remove batches whose place another one took"))? as u64;
            let removed = batches.remove_abandoned(topic, partition, &committed).await;
            report.removed += removed.map_err(CompactError::lake("remove dead letters of attempts that died"))? as u64;
            return Ok(());
        }
        Err(CompactError::Contended { topic, partition })
    }

    async fn erase_batch(
        &self,
        sequence: u64,
        fetched: Fetched,
        settled: bool,
        erased: &mut Erased,
        report: &mut ErasureReport,
    ) -> Result<Done> {
        let Fetched { footer, .. } = &fetched;
        let (topic, name, last) = (footer.name.topic, footer.name, footer.last);
        let found = find(topic, &fetched, erased).await?;
        erased.note(&found.tombstones);
        if found.rows == 0 && found.letters.is_empty() {
            return Ok(Done::Nothing);
        }
        if !settled {
            return Ok(Done::Young { letters: found.letters.len() as u64 });
        }
        let fetched = rewritable(fetched)?;
        let Some(claim) = self.draft(sequence, RewriteReason::Erasure, &[name], last) else { return Ok(Done::Nothing) };
        let letters = found.letters.len() as u64;
        let claim = Rewrite { erasures: report.erasures, struck: found.letters, ..claim };
        let replacement = self.write(&claim, &[fetched], erased).await?;
        if !self.claim(&claim).await? {
            return Ok(Done::Contended);
        }
        let carried = self.carry_out(&claim, replacement).await?;
        if carried.overtaken {
            return Ok(Done::Contended);
        }
        match topic {
            Topic::Interactions => report.interactions += found.rows,
            Topic::Feedback => report.feedback += found.rows,
        }
        report.dead_letters += letters;
        report.batches += 1;
        report.removed += carried.removed as u64;
        Ok(Done::Erased { output: claim.output() })
    }
}

/// A partition that cannot be rewritten now keeps no other one from it.
fn carry_on(topic: Topic, partition: Partition, done: Result<()>, report: &mut ErasureReport) -> Result<()> {
    match done {
        Err(error) if error.is_about_batches() => {
            report.unreadable.push(format!("{topic} partition {partition}: {}", error.in_a_line()));
            Ok(())
        }
        done => done,
    }
}

/// What became of a batch.
enum Done {
    Nothing,
    Erased {
        output: Option<BatchName>,
    },
    /// It is too young; so many of its dead letters are to be erased.
    Young {
        letters: u64,
    },
    Contended,
}

/// What of a batch is to be erased.
struct Found {
    rows: u64,
    /// Offsets of dead letters.
    letters: Vec<Offset>,
    /// Of interactions.
    tombstones: Vec<Sha256Hex>,
}

async fn find(topic: Topic, fetched: &Fetched, erased: &Erased) -> Result<Found> {
    let (name, input, erased) = (fetched.input.name, fetched.input.clone(), erased.clone());
    let found = blocking(move || {
        let (_, keys) = read_keys(&name, &input.parquet)?;
        let letters = input.dead.as_ref().map(read_dead_letters).transpose()?.unwrap_or_default();
        let letters = letters.iter().filter(|letter| erased.takes(letter)).map(|letter| letter.offset).collect();
        let (rows, tombstones) = match topic {
            Topic::Interactions => {
                let tombstones = erased.tombstones(&keys)?;
                (tombstones.len() as u64, tombstones)
            }
            Topic::Feedback => (erased.count(topic, &keys)?, Vec::new()),
        };
        Ok(Found { rows, letters, tombstones })
    });
    found.await?.map_err(unreadable(name))
}
