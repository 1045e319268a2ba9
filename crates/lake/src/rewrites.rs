//! Claims on rewriting a partition's batches, a sequence that only grows.

use nocturne_wire::{
    Partition, Topic, path,
    rewrite::{Rewrite, RewriteReason},
};

use crate::{Lake, LakeError, Result};

/// The claims of a lake.
#[derive(Debug, Clone)]
pub struct Rewrites {
    lake: Lake,
}

impl Rewrites {
    pub(crate) fn new(lake: Lake) -> Self {
        Self { lake }
    }

    /// A partition's newest claim.
    ///
    /// # Errors
    /// When the lake cannot be listed, or the claim is damaged.
    pub async fn newest(&self, topic: Topic, partition: Partition) -> Result<Option<Rewrite>> {
        let Some(object) = self.lake.list(&path::rewrites(topic, partition)).await?.pop() else { return Ok(None) };
        let claim: Rewrite = self.lake.get_json(&object.path).await?;
        let belongs = path::rewrite(claim.topic, claim.partition, claim.sequence) == object.path;
        if belongs && !claim.inputs.is_empty() {
            return Ok(Some(claim));
        }
        let reason = "it is another partition's claim, or claims nothing".to_owned();
        Err(LakeError::damaged(object.path, reason, "restore the folder rewrites/ from a copy of the lake"))
    }

    /// Claims a rewrite; its sequence must follow the newest one's.
    ///
    /// # Errors
    /// [`LakeError::AlreadyExists`] when somebody else claimed first: finish what they claimed, and look again.
    pub async fn claim(&self, claim: &Rewrite) -> Result<()> {
        self.lake.create_json(&path::rewrite(claim.topic, claim.partition, claim.sequence), claim).await
    }

    /// Whether somebody has made a claim after this one.
    ///
    /// # Errors
    /// When the lake cannot be asked.
    pub async fn is_followed(&self, claim: &Rewrite) -> Result<bool> {
        self.lake.exists(&path::rewrite(claim.topic, claim.partition, claim.sequence + 1)).await
    }

    /// Whether nothing of a claim is left to be done: none of what it replaces is there.
    ///
    /// # Errors
    /// When the lake cannot be listed.
    pub async fn is_done(&self, claim: &Rewrite) -> Result<bool> {
        let objects = self.lake.list(&path::partition(claim.topic, claim.partition)).await?;
        Ok(!objects.iter().filter_map(|object| path::parse_batch(&object.path)).any(|name| claim.inputs.contains(&name)))
    }

    /// Removes what a claim of retention covers, and says how many objects that were.
    ///
    /// # Errors
    /// [`LakeError::Refused`] when the claim is of another kind; else when the lake cannot be listed, or an object cannot be removed.
    pub async fn retire(&self, claim: &Rewrite) -> Result<usize> {
        if claim.reason != RewriteReason::Retention {
            let what = path::rewrite(claim.topic, claim.partition, claim.sequence);
            return Err(LakeError::refused(
                format!("claim `{what}`"),
                "only retention removes batches that nothing takes the place of",
            ));
        }
        self.lake.batches().retire(claim.topic, claim.partition, claim.last).await
    }
}
