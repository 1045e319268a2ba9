//! Batches: the sealed stream, one object a partition and offset range.

use std::collections::BTreeMap;

use bytes::Bytes;
use nocturne_wire::{BatchName, Offset, Partition, Topic, batch::BatchFooter, path};

use crate::{Lake, Result};

/// Batches and dead letters of a lake.
#[derive(Debug, Clone)]
pub struct Batches {
    lake: Lake,
}

impl Batches {
    pub(crate) fn new(lake: Lake) -> Self {
        Self { lake }
    }

    /// A topic's batches by partition, in the order of first offsets. Objects with foreign names are left to the audit.
    ///
    /// # Errors
    /// When the lake cannot be listed.
    pub async fn list(&self, topic: Topic) -> Result<BTreeMap<Partition, Vec<BatchName>>> {
        let mut partitions = BTreeMap::<_, Vec<_>>::new();
        for object in self.lake.list(&path::topic_root(topic)).await? {
            if let Some(name) = path::parse_batch(&object.path) {
                partitions.entry(name.partition).or_default().push(name);
            }
        }
        partitions.values_mut().for_each(|names| names.sort_unstable());
        Ok(partitions)
    }

    /// One partition's batches, in the order of first offsets.
    ///
    /// # Errors
    /// When the lake cannot be listed.
    pub async fn names(&self, topic: Topic, partition: Partition) -> Result<Vec<BatchName>> {
        let objects = self.lake.list(&path::partition(topic, partition)).await?;
        let mut names: Vec<_> = objects.iter().filter_map(|object| path::parse_batch(&object.path)).collect();
        names.sort_unstable();
        Ok(names)
    }

    /// The newest batch of a partition; the offset that follows it is in its footer.
    ///
    /// # Errors
    /// When the lake cannot be listed.
    pub async fn last(&self, topic: Topic, partition: Partition) -> Result<Option<BatchName>> {
        let objects = self.lake.list(&path::partition(topic, partition)).await?;
        Ok(objects.iter().filter_map(|object| path::parse_batch(&object.path)).max())
    }

    /// Reads a batch.
    ///
    /// # Errors
    /// [`crate::LakeError::NotFound`] when there is none of that name.
    pub async fn get(&self, name: &BatchName) -> Result<Bytes> {
        self.lake.get(&path::batch(name)).await
    }

    /// Reads the dead letters of a batch.
    ///
    /// # Errors
    /// [`crate::LakeError::NotFound`] when the batch has none.
    pub async fn dead_letters(&self, name: &BatchName, last: Offset) -> Result<Bytes> {
        self.lake.get(&path::dead_letters(name, last)).await
    }

    /// Seals a batch: its dead letters first, then the batch itself, which commits both.
    ///
    /// Dead letters that are already there come from an attempt at the same range that died before its commit; the same range
    /// has the same dead letters, so they stay.
    ///
    /// # Errors
    /// [`crate::LakeError::AlreadyExists`] when another writer sealed from the same offset first: read [`Batches::last`] and go on
    /// after it.
    pub async fn seal(&self, footer: &BatchFooter, parquet: Bytes, dead_letters: Option<Bytes>) -> Result<()> {
        if let Some(bytes) = dead_letters {
            match self.lake.create(&path::dead_letters(&footer.name, footer.last), bytes).await {
                Err(error) if !error.is_already_exists() => return Err(error),
                _ => {}
            }
        }
        self.lake.create(&path::batch(&footer.name), parquet).await
    }
}
