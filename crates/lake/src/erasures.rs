//! Erasures: subjects who are forgotten, a sequence that only grows.

use nocturne_wire::{
    Offset, Partition, path,
    rewrite::{Erasure, Sweep, Tombstones},
};

use crate::{Lake, LakeError, Result};

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

    /// Every interaction that was taken out.
    ///
    /// # Errors
    /// When the lake cannot be listed, or a list of interactions is damaged: feedback on them would stay.
    pub async fn tombstones(&self) -> Result<Vec<Tombstones>> {
        let mut all = Vec::new();
        for object in self.lake.list(path::TOMBSTONES).await? {
            all.push(self.lake.get_json(&object.path).await?);
        }
        Ok(all)
    }

    /// From where on a partition of interactions must be looked at, so that so many erasures are applied to all of it.
    ///
    /// # Errors
    /// When the lake cannot be listed, or a sweep is damaged.
    pub async fn swept(&self, partition: Partition, erasures: u64) -> Result<Offset> {
        let mut next = Offset(0);
        for object in self.lake.list(&path::sweeps(partition)).await? {
            match self.lake.get_json::<Sweep>(&object.path).await {
                Ok(sweep) if sweep.erasures >= erasures => next = next.max(sweep.next),
                Ok(_) => {}
                // Somebody who swept further has removed it.
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(next)
    }

    /// Records that a partition was looked at, and removes what is said about it with less.
    ///
    /// # Errors
    /// When the lake cannot be written.
    pub async fn sweep(&self, partition: Partition, sweep: &Sweep) -> Result<()> {
        let path = path::sweep(partition, sweep);
        match self.lake.create_json(&path, sweep).await {
            Err(error) if !error.is_already_exists() => return Err(error),
            _ => {}
        }
        for object in self.lake.list(&path::sweeps(partition)).await? {
            let less = match self.lake.get_json::<Sweep>(&object.path).await {
                Ok(other) => other != *sweep && other.erasures <= sweep.erasures && other.next <= sweep.next,
                Err(error) if error.is_not_found() => false,
                Err(error) => return Err(error),
            };
            if less {
                self.lake.remove(&object.path).await?;
            }
        }
        Ok(())
    }
}
