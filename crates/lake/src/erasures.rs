//! Erasures: subjects who are forgotten, a sequence that only grows.

use std::collections::BTreeSet;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use nocturne_wire::{
    BatchName, Partition, Sha256Hex, path,
    rewrite::{Erasure, Sweep, Tombstones},
};

use crate::{Lake, LakeError, Result};

/// Objects that are read at once.
const AT_ONCE: usize = 16;

/// The erasures of a lake.
#[derive(Debug, Clone)]
pub struct Erasures {
    lake: Lake,
}

impl Erasures {
    pub(crate) fn new(lake: Lake) -> Self {
        Self { lake }
    }

    /// Every erasure, oldest first.
    ///
    /// # Errors
    /// When the lake cannot be listed, or an erasure is damaged or missing: going on without it would bring back what was to be forgotten.
    pub async fn list(&self) -> Result<Vec<Erasure>> {
        let mut erasures = Vec::new();
        for object in self.lake.list(path::ERASURES).await? {
            let erasure: Erasure = self.lake.get_json(&object.path).await?;
            let sequence = erasures.len() as u64;
            if object.path != path::erasure(sequence) || erasure.sequence != sequence {
                let reason = format!("erasure {sequence} belongs in this place");
                return Err(LakeError::damaged(object.path, reason, "restore the folder erasures/ from a copy of the lake"));
            }
            erasures.push(erasure);
        }
        Ok(erasures)
    }

    /// Records an erasure; its sequence must follow the newest one's.
    ///
    /// # Errors
    /// [`LakeError::AlreadyExists`] when somebody else recorded one first: list them again.
    pub async fn record(&self, erasure: &Erasure) -> Result<()> {
        self.lake.create_json(&path::erasure(erasure.sequence), erasure).await
    }

    /// Records what a claim takes out; the same claim takes out the same, so that what is there already stays.
    ///
    /// # Errors
    /// When the lake cannot be written.
    pub async fn bury(&self, tombstones: &Tombstones) -> Result<()> {
        match self.lake.create_json(&path::tombstones(tombstones.partition, tombstones.claim), tombstones).await {
            Err(error) if !error.is_already_exists() => Err(error),
            _ => Ok(()),
        }
    }

    /// Hands out every list of interactions that were taken out.
    ///
    /// # Errors
    /// When the lake cannot be listed, or a list is damaged: feedback on what it names would stay.
    pub async fn each_tombstones(&self, mut take: impl FnMut(Tombstones)) -> Result<()> {
        let objects = self.lake.list(path::TOMBSTONES).await?;
        let reading = objects.iter().map(|object| self.lake.get_json(&object.path));
        let mut lists = stream::iter(reading).buffer_unordered(AT_ONCE);
        while let Some(list) = lists.try_next().await? {
            take(list);
        }
        Ok(())
    }

    /// Batches of a partition of interactions that hold nothing of so many erasures, as far as somebody has looked.
    ///
    /// # Errors
    /// When the lake cannot be read. A sweep that is damaged says nothing, and they are looked at again.
    pub async fn swept(&self, partition: Partition, erasures: u64) -> Result<BTreeSet<BatchName>> {
        let mut clean = BTreeSet::new();
        for object in self.lake.list(&path::sweeps(partition)).await? {
            match self.lake.get_json::<Sweep>(&object.path).await {
                Ok(sweep) if sweep.erasures >= erasures => clean.extend(sweep.batches),
                Ok(_) => {}
                // Somebody who knew more has removed it.
                Err(error) if error.is_not_found() => {}
                Err(error) if error.is_damage() => tracing::warn!(path = object.path, %error, "a sweep cannot be read"),
                Err(error) => return Err(error),
            }
        }
        Ok(clean)
    }

    /// Records which batches of a partition hold nothing that is to be erased, and removes what was said about that before.
    ///
    /// # Errors
    /// When the lake cannot be read or written.
    pub async fn sweep(&self, partition: Partition, sweep: &Sweep) -> Result<()> {
        let said = serde_json::to_vec(sweep).map_err(|error| LakeError::refused("a sweep", error.to_string()))?;
        let own = path::sweep(partition, sweep.erasures, &Sha256Hex::of(&said));
        let before = self.lake.list(&path::sweeps(partition)).await?;
        self.lake.create_or_same(&own, said.into()).await?;
        for object in before.into_iter().filter(|object| object.path != own) {
            let knows_more = match self.lake.get_json::<Sweep>(&object.path).await {
                Ok(other) => other.erasures > sweep.erasures,
                Err(error) if error.is_not_found() || error.is_damage() => false,
                Err(error) => return Err(error),
            };
            if !knows_more {
                self.lake.remove(&object.path).await?;
            }
        }
        Ok(())
    }
}
