//! Claims: made, carried out, and finished for those who died.

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use nocturne_columns::{ColumnsError, Erased, Input, Merged, merge, read_footer, read_keys};
use nocturne_lake::{Lake, LakeError};
use nocturne_wire::{
    BatchName, Offset, Partition, Topic,
    batch::BatchFooter,
    path,
    rewrite::{Rewrite, RewriteReason, Tombstones},
};

use crate::{CompactError, CompactSettings, Result};

/// How often a partition is looked at again because somebody else claimed it first.
pub(crate) const ATTEMPTS: usize = 20;

/// Age of a claim from which on nobody is taken to be at it any more.
const PASS_OVER: SignedDuration = SignedDuration::from_hours(1);

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

/// A batch that is ready to take the place of others.
#[derive(Debug)]
pub(crate) struct Replacement {
    merged: Merged,
    tombstones: Tombstones,
    /// What it takes the place of.
    replaced: Vec<BatchFooter>,
}

/// What carrying out a claim did.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Carried {
    /// Bytes of the batch that took the others' place.
    pub(crate) bytes: u64,
    /// Objects that were removed.
    pub(crate) removed: usize,
    /// Whether others went on meanwhile, so that nothing was done.
    pub(crate) overtaken: bool,
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
        let dead = if footer.dead > 0 { Some(self.letters(&footer).await?) } else { None };
        Ok(Fetched { footer, input: Input { name, parquet, dead } })
    }

    async fn letters(&self, footer: &BatchFooter) -> Result<Bytes> {
        let failed = CompactError::lake("read dead letters");
        match self.lake.batches().dead_letters(footer).await {
            // They go before their batch does: without it they are not missing, but removed.
            Err(error) if error.is_not_found() => {
                let batch = path::batch(&footer.name);
                let is_there = self.lake.exists(&batch).await.map_err(&failed)?;
                let gone = || CompactError::Letters { batch, letters: path::dead_letters(footer) };
                Err(if is_there { gone() } else { failed(error) })
            }
            read => read.map_err(failed),
        }
    }

    /// Finishes what somebody claimed and did not live to finish; gives the sequence of the partition's next claim.
    ///
    /// # Errors
    /// Also when what was claimed cannot be finished because a batch is damaged or gone. After [`PASS_OVER`] it is passed over: whoever claimed it is gone by
    /// then, and its batches stay as they are.
    pub(crate) async fn settle(&self, topic: Topic, partition: Partition) -> Result<u64> {
        let failed = CompactError::lake("read the claims on a partition");
        let Some(claim) = self.lake.rewrites().newest(topic, partition).await.map_err(&failed)? else { return Ok(0) };
        if !self.lake.rewrites().is_done(&claim).await.map_err(&failed)? {
            tracing::info!(%topic, %partition, sequence = claim.sequence, actor = claim.actor, "finishing what another process claimed");
            match self.finish(&claim).await {
                Err(error) if error.is_loss() && Timestamp::now().duration_since(claim.time) > PASS_OVER => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(%topic, %partition, sequence = claim.sequence, error, "what another process claimed cannot be finished; passing over it");
                }
                finished => drop(finished?),
            }
        }
        Ok(claim.sequence + 1)
    }

    /// What would be claimed of a run of batches.
    pub(crate) fn draft(&self, sequence: u64, reason: RewriteReason, run: &[BatchName], last: Offset) -> Option<Rewrite> {
        let first = run.first()?;
        Some(Rewrite {
            topic: first.topic,
            partition: first.partition,
            sequence,
            reason,
            inputs: run.to_vec(),
            last,
            erasures: 0,
            struck: Vec::new(),
            time: Timestamp::now(),
            actor: self.actor.clone(),
        })
    }

    /// Makes a claim; `false` when somebody else claimed something of the partition first.
    pub(crate) async fn claim(&self, claim: &Rewrite) -> Result<bool> {
        match self.lake.rewrites().claim(claim).await {
            Ok(()) => Ok(true),
            Err(error) if error.is_already_exists() => Ok(false),
            Err(error) => Err(CompactError::lake("claim a run of batches")(error)),
        }
    }

    /// Does what somebody else's claim says; whatever of it is done already is not done again.
    async fn finish(&self, claim: &Rewrite) -> Result<Carried> {
        let Some(output) = claim.output() else { return self.carry_out(claim, None).await };
        if self.lake.exists(&path::batch(&output)).await.map_err(CompactError::lake("look for a batch"))? {
            return self.carry_out(claim, None).await;
        }
        let Some(inputs) = self.inputs(claim).await? else { return Ok(Carried::default()) };
        let erased = self.erased_by(claim).await?;
        let replacement = self.write(claim, &inputs, &erased).await?;
        self.carry_out(claim, replacement).await
    }

    /// Writes the batch that takes the others' place, in memory: what is damaged must be known before it is claimed.
    pub(crate) async fn write(&self, claim: &Rewrite, fetched: &[Fetched], erased: &Erased) -> Result<Option<Replacement>> {
        let Some(output) = claim.output() else { return Ok(None) };
        let inputs: Vec<Input> = fetched.iter().map(|fetched| fetched.input.clone()).collect();
        let failed = |source| CompactError::Batch { doing: "write", batch: path::batch(&output), source };
        let merged =
            merge(output, &inputs, &self.actor, erased, &claim.struck, &self.settings.resources).await.map_err(failed)?;
        let mut interactions = Vec::new();
        if (claim.topic, claim.reason) == (Topic::Interactions, RewriteReason::Erasure) {
            for Input { name, parquet, .. } in inputs {
                let erased = erased.clone();
                let found = blocking(move || erased.tombstones(&read_keys(&name, &parquet)?.1)).await?;
                interactions.extend(found.map_err(unreadable(name))?);
            }
        }
        let tombstones = Tombstones { partition: claim.partition, claim: claim.sequence, interactions };
        let replaced = fetched.iter().map(|fetched| fetched.footer.clone()).collect();
        Ok(Some(Replacement { merged, tombstones, replaced }))
    }

    /// Puts a claim into effect: its batch takes the others' place, and those are removed.
    pub(crate) async fn carry_out(&self, claim: &Rewrite, replacement: Option<Replacement>) -> Result<Carried> {
        let mut carried = Carried::default();
        if claim.output().is_none() {
            let removed = self.lake.rewrites().retire(claim).await;
            carried.removed = removed.map_err(CompactError::lake("remove batches that are too old"))?;
            return Ok(carried);
        }
        let batches = self.lake.batches();
        let removed = match replacement {
            Some(Replacement { merged, tombstones, replaced }) => {
                let Some(bytes) = self.replace(claim, merged, &tombstones).await? else {
                    return Ok(Carried { overtaken: true, ..carried });
                };
                carried.bytes = bytes;
                batches.remove_replaced(&replaced).await
            }
            None => batches.remove_superseded(claim.topic, claim.partition).await,
        };
        carried.removed = removed.map_err(CompactError::lake("remove batches whose place another one took"))?;
        Ok(carried)
    }

    /// Creates the batch that takes the others' place, and says its length; `None` when others have gone on: whoever did finished this first, or passed over it.
    async fn replace(&self, claim: &Rewrite, merged: Merged, tombstones: &Tombstones) -> Result<Option<u64>> {
        let (topic, partition, reason) = (claim.topic, claim.partition, claim.reason.as_str());
        let failed = CompactError::lake("read the claims on a partition");
        if self.lake.rewrites().is_followed(claim).await.map_err(&failed)? {
            return Ok(None);
        }
        // Before the interactions are gone: nobody could say what they were after that.
        if !tombstones.interactions.is_empty() {
            self.lake.erasures().bury(tombstones).await.map_err(CompactError::lake("record which interactions are erased"))?;
        }
        let (bytes, first) = (merged.parquet.len() as u64, merged.footer.name.first);
        match self.lake.batches().seal(&merged.footer, merged.parquet, merged.dead).await {
            // Whoever else carried out the claim wrote the same rows.
            Err(error) if !error.is_already_exists() => return Err(CompactError::lake("create a batch")(error)),
            _ => {}
        }
        // Others may have carried this out, and removed the outcome by retention, since the claims were read.
        if self.lake.rewrites().is_followed(claim).await.map_err(&failed)?
            && let Some(newest) = self.lake.rewrites().newest(topic, partition).await.map_err(&failed)?
            && newest.reason == RewriteReason::Retention
        {
            self.lake.rewrites().retire(&newest).await.map_err(CompactError::lake("remove batches that are too old"))?;
        }
        tracing::info!(%topic, %partition, %first, last = %claim.last, batches = claim.inputs.len(), bytes, reason, "batches rewritten");
        Ok(Some(bytes))
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
            self.note_tombstones(&mut erased).await?;
        }
        Ok(erased)
    }

    /// Has feedback recognized on interactions that are gone.
    pub(crate) async fn note_tombstones(&self, erased: &mut Erased) -> Result<()> {
        let failed = CompactError::lake("read which interactions are erased");
        self.lake.erasures().each_tombstones(|tombstones| erased.note(&tombstones.interactions)).await.map_err(failed)?;
        Ok(())
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
