//! Claims: made, carried out, and finished for those who died.

use bytes::Bytes;
use jiff::Timestamp;
use nocturne_columns::{ColumnsError, Erased, Input, merge, read_footer, read_keys};
use nocturne_lake::{Lake, LakeError};
use nocturne_wire::{
    BatchName, Offset, Partition, Topic,
    batch::BatchFooter,
    path,
    rewrite::{Rewrite, RewriteReason},
};

use crate::{CompactError, CompactSettings, Result};

/// How often a partition is looked at again because somebody else claimed it first.
pub(crate) const ATTEMPTS: usize = 20;

/// Rewrites batches of a lake.
#[derive(Debug, Clone)]
pub struct Rewriter {
    pub(crate) lake: Lake,
    pub(crate) settings: CompactSettings,
    /// Who is named in claims and footers.
    pub(crate) actor: String,
}

/// A batch with its footer and its dead letters, as they lie in the lake.
#[derive(Debug, Clone)]
pub(crate) struct Fetched {
    pub(crate) footer: BatchFooter,
    pub(crate) input: Input,
}

/// What carrying out a claim did.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Carried {
    /// Bytes of the batch that took the others' place.
    pub(crate) bytes: u64,
    /// Objects that were removed.
    pub(crate) removed: usize,
}

impl Rewriter {
    /// A rewriter of a lake; `actor` is named in what it claims and writes.
    pub fn new(lake: Lake, settings: CompactSettings, actor: impl Into<String>) -> Self {
        Self { lake, settings, actor: actor.into() }
    }

    /// Every partition of a topic that has batches.
    pub(crate) async fn partitions(&self, topic: Topic) -> Result<Vec<Partition>> {
        let listed = self.lake.batches().list(topic).await.map_err(CompactError::lake("list the batches"))?;
        Ok(listed.into_keys().collect())
    }

    /// Reads a batch and its dead letters.
    pub(crate) async fn fetch(&self, name: BatchName) -> Result<Fetched> {
        let failed = CompactError::lake("read a batch");
        let parquet = self.lake.batches().get(&name).await.map_err(&failed)?;
        let bytes = parquet.clone();
        let footer = blocking(move || read_footer(&bytes)).await?.map_err(unreadable(name))?;
        let dead = if footer.dead > 0 {
            Some(self.lake.batches().dead_letters(&name, footer.last).await.map_err(&failed)?)
        } else {
            None
        };
        Ok(Fetched { footer, input: Input { name, parquet, dead } })
    }

    /// Finishes what somebody claimed and did not live to finish; gives the sequence of the partition's next claim.
    pub(crate) async fn settle(&self, topic: Topic, partition: Partition) -> Result<u64> {
        let failed = CompactError::lake("read the claims on a partition");
        let Some(claim) = self.lake.rewrites().newest(topic, partition).await.map_err(&failed)? else { return Ok(0) };
        if !self.lake.rewrites().is_done(&claim).await.map_err(&failed)? {
            tracing::info!(%topic, %partition, sequence = claim.sequence, actor = claim.actor, "finishing what another process claimed");
            self.carry_out(&claim, None).await?;
        }
        Ok(claim.sequence + 1)
    }

    /// Claims a run of batches; `None` when somebody else claimed something of the partition first.
    pub(crate) async fn claim(
        &self,
        sequence: u64,
        reason: RewriteReason,
        run: &[BatchFooter],
        erasures: u64,
    ) -> Result<Option<Rewrite>> {
        let (Some(first), Some(last)) = (run.first(), run.last()) else { return Ok(None) };
        let claim = Rewrite {
            topic: first.name.topic,
            partition: first.name.partition,
            sequence,
            reason,
            inputs: run.iter().map(|footer| footer.name).collect(),
            last: last.last,
            erasures,
            time: Timestamp::now(),
            actor: self.actor.clone(),
        };
        match self.lake.rewrites().claim(&claim).await {
            Ok(()) => Ok(Some(claim)),
            Err(error) if error.is_already_exists() => Ok(None),
            Err(error) => Err(CompactError::lake("claim a run of batches")(error)),
        }
    }

    /// Does what a claim says; whatever of it is done already is not done again.
    pub(crate) async fn carry_out(&self, claim: &Rewrite, at_hand: Option<(Vec<Fetched>, &Erased)>) -> Result<Carried> {
        let mut carried = Carried::default();
        match claim.output() {
            None => {
                carried.removed =
                    self.lake.rewrites().retire(claim).await.map_err(CompactError::lake("remove batches that are too old"))?;
            }
            Some(output) => {
                if !self.lake.exists(&path::batch(&output)).await.map_err(CompactError::lake("look for a batch"))? {
                    carried.bytes = self.replace(claim, output, at_hand).await?;
                }
                let removed = self.lake.batches().remove_superseded(claim.topic, claim.partition).await;
                carried.removed = removed.map_err(CompactError::lake("remove batches whose place another one took"))?;
            }
        }
        Ok(carried)
    }

    /// Writes the batch that takes the place of others.
    async fn replace(&self, claim: &Rewrite, output: BatchName, at_hand: Option<(Vec<Fetched>, &Erased)>) -> Result<u64> {
        let (fetched, erased) = match at_hand {
            Some((fetched, erased)) => (fetched, erased.clone()),
            None => match self.inputs(claim).await? {
                Some(fetched) => (fetched, self.erased_by(claim).await?),
                None => return Ok(0),
            },
        };
        let inputs: Vec<Input> = fetched.into_iter().map(|fetched| fetched.input).collect();
        let failed = |source| CompactError::Batch { doing: "write", batch: path::batch(&output), source };
        let mut written = self.letters_of(&output, claim.last).await?;
        let resources = &self.settings.resources;
        let mut merged = merge(output, &inputs, written.as_ref(), &self.actor, &erased, resources).await.map_err(failed)?;
        if written.is_none() && merged.dead.is_some() {
            let letters = path::dead_letters(&output, claim.last);
            let created = self.lake.create(&letters, merged.dead.clone().unwrap_or_default()).await;
            if created.is_err_and(|error| error.is_already_exists()) {
                // Somebody else carries this out, and may have erased less of them: the batch says what is there.
                written = self.letters_of(&output, claim.last).await?;
                merged = merge(output, &inputs, written.as_ref(), &self.actor, &erased, resources).await.map_err(failed)?;
            }
        }
        let bytes = merged.parquet.len() as u64;
        match self.lake.batches().seal(&merged.footer, merged.parquet, merged.dead).await {
            // Whoever else carried out the claim wrote the same rows.
            Err(error) if !error.is_already_exists() => return Err(CompactError::lake("create a batch")(error)),
            _ => {}
        }
        // Others may have carried this out, and removed the outcome by retention, while the rows were sorted.
        let failed = CompactError::lake("read the claims on a partition");
        if let Some(newest) = self.lake.rewrites().newest(claim.topic, claim.partition).await.map_err(&failed)?
            && newest.reason == RewriteReason::Retention
            && newest.sequence > claim.sequence
        {
            self.lake.rewrites().retire(&newest).await.map_err(CompactError::lake("remove batches that are too old"))?;
        }
        let (topic, partition, reason) = (claim.topic, claim.partition, claim.reason.as_str());
        tracing::info!(%topic, %partition, first = %output.first, last = %claim.last, batches = inputs.len(), bytes, reason, "batches rewritten");
        Ok(bytes)
    }

    /// The dead letters of a batch's name that are there already.
    async fn letters_of(&self, name: &BatchName, last: Offset) -> Result<Option<Bytes>> {
        match self.lake.batches().dead_letters(name, last).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(CompactError::lake("read dead letters")(error)),
        }
    }

    /// The batches that a claim replaces; `None` when others carried it out and went on.
    async fn inputs(&self, claim: &Rewrite) -> Result<Option<Vec<Fetched>>> {
        let mut inputs = Vec::with_capacity(claim.inputs.len());
        for name in &claim.inputs {
            match self.fetch(*name).await {
                Ok(fetched) => inputs.push(fetched),
                Err(CompactError::Lake { source: LakeError::NotFound { .. }, .. }) => {
                    let failed = CompactError::lake("read the claims on a partition");
                    let newest = self.lake.rewrites().newest(claim.topic, claim.partition).await.map_err(&failed)?;
                    let output = claim.output().map(|output| path::batch(&output)).unwrap_or_default();
                    if newest.is_none_or(|newest| newest.sequence > claim.sequence)
                        || self.lake.exists(&output).await.map_err(&failed)?
                    {
                        return Ok(None);
                    }
                    let claim = path::rewrite(claim.topic, claim.partition, claim.sequence);
                    return Err(CompactError::Gone { batch: path::batch(name), claim });
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Some(inputs))
    }

    /// What a claim of somebody else erases.
    async fn erased_by(&self, claim: &Rewrite) -> Result<Erased> {
        if claim.reason != RewriteReason::Erasure {
            return Ok(Erased::default());
        }
        let erasures = self.lake.erasures().list().await.map_err(CompactError::lake("read the erasures"))?;
        let known = usize::try_from(claim.erasures).unwrap_or(usize::MAX).min(erasures.len());
        let mut erased = Erased::of(&erasures[..known]);
        if claim.topic == Topic::Feedback {
            self.note_interactions(&mut erased).await?;
        }
        Ok(erased)
    }

    /// Reads all interactions, so that feedback on erased ones is recognized; says how many are erased.
    pub(crate) async fn note_interactions(&self, erased: &mut Erased) -> Result<u64> {
        let mut count = 0;
        for partition in self.partitions(Topic::Interactions).await? {
            let mut next = Offset(0);
            // One batch at a time, each found anew: others may merge what is still to be read.
            while let Some(name) = self.first_from(Topic::Interactions, partition, next).await? {
                let failed = CompactError::lake("read a batch");
                let parquet = match self.lake.batches().get(&name).await {
                    Err(error) if error.is_not_found() => continue,
                    read => read.map_err(failed)?,
                };
                let (footer, keys) = blocking(move || read_keys(&name, &parquet)).await?.map_err(unreadable(name))?;
                count += erased.note(&keys).map_err(unreadable(name))?;
                next = footer.last.next();
            }
        }
        Ok(count)
    }

    /// The first batch that begins at an offset or after it.
    async fn first_from(&self, topic: Topic, partition: Partition, from: Offset) -> Result<Option<BatchName>> {
        let names = self.lake.batches().names(topic, partition).await.map_err(CompactError::lake("list the batches"))?;
        Ok(names.into_iter().find(|name| name.first >= from || name.rewritten.is_some_and(|rewritten| rewritten.last >= from)))
    }
}

pub(crate) fn unreadable(name: BatchName) -> impl Fn(ColumnsError) -> CompactError {
    move |source| CompactError::Batch { doing: "read", batch: path::batch(&name), source }
}

/// Hashing and decoding take long, and tokio must not wait for them.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|_| CompactError::Panicked)
}

/// Length of a batch's object and its dead letters.
pub(crate) fn bytes(fetched: &Fetched) -> u64 {
    let length = |bytes: &Bytes| bytes.len() as u64;
    length(&fetched.input.parquet) + fetched.input.dead.as_ref().map_or(0, length)
}
