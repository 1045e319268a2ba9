//! Epochs: accepted breaks in the offsets of topics, a sequence that only grows.

use nocturne_wire::{Topic, epoch::Epoch, path};

use crate::{Lake, LakeError, Result};

/// The epochs of a lake.
#[derive(Debug, Clone)]
pub struct Epochs {
    lake: Lake,
}

impl Epochs {
    pub(crate) fn new(lake: Lake) -> Self {
        Self { lake }
    }

    /// A topic's epochs, oldest first.
    ///
    /// # Errors
    /// When the lake cannot be listed, or an epoch is damaged or missing: going on without it would give offsets a second meaning.
    pub async fn list(&self, topic: Topic) -> Result<Vec<Epoch>> {
        let mut epochs = Vec::new();
        for object in self.lake.list(&path::epochs(topic)).await? {
            let epoch: Epoch = self.lake.get_json(&object.path).await?;
            let sequence = epochs.len() as u64;
            if object.path != path::epoch(topic, sequence) || epoch.topic != topic || epoch.sequence != sequence {
                let reason = format!("epoch {sequence} of {topic} belongs in this place");
                return Err(LakeError::damaged(object.path, reason, "restore the folder epochs/ from a copy of the lake"));
            }
            epochs.push(epoch);
        }
        Ok(epochs)
    }

    /// A topic's newest epoch.
    ///
    /// # Errors
    /// As [`Epochs::list`].
    pub async fn newest(&self, topic: Topic) -> Result<Option<Epoch>> {
        Ok(self.list(topic).await?.pop())
    }

    /// Begins an epoch; its sequence must follow the newest one's.
    ///
    /// # Errors
    /// [`LakeError::AlreadyExists`] when somebody else began one first.
    pub async fn begin(&self, epoch: &Epoch) -> Result<()> {
        self.lake.create_json(&path::epoch(epoch.topic, epoch.sequence), epoch).await
    }
}
