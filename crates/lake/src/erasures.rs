//! Erasures: subjects who are forgotten, a sequence that only grows.

use nocturne_wire::{path, rewrite::Erasure};

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
}
