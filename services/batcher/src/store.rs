//! What a worker needs of the lake: a boundary, so that tests can stop it between any two steps.

use bytes::Bytes;
use nocturne_lake::{Lake, LakeError, StoredBatch};
use nocturne_wire::{BatchName, Partition, Topic, batch::BatchFooter, epoch::Epoch};

/// Batches of a lake.
pub(crate) trait Store: Clone + Send + Sync + 'static {
    /// A partition's batches, ascending.
    fn stored(&self, topic: Topic, partition: Partition) -> impl Future<Output = Result<Vec<StoredBatch>, LakeError>> + Send;

    /// Reads a batch; `None` when there is none of that name.
    fn find(&self, name: BatchName) -> impl Future<Output = Result<Option<Bytes>, LakeError>> + Send;

    /// The topic's newest epoch.
    fn epoch(&self, topic: Topic) -> impl Future<Output = Result<Option<Epoch>, LakeError>> + Send;

    /// The text of a writer's schema; `None` when nobody published it.
    fn schema(&self, fingerprint: u64) -> impl Future<Output = Result<Option<Bytes>, LakeError>> + Send;

    /// Creates dead letters, then the batch.
    fn seal(
        &self,
        footer: &BatchFooter,
        parquet: Bytes,
        dead: Option<Bytes>,
    ) -> impl Future<Output = Result<(), LakeError>> + Send;
}

impl Store for Lake {
    async fn stored(&self, topic: Topic, partition: Partition) -> Result<Vec<StoredBatch>, LakeError> {
        self.batches().stored(topic, partition).await
    }

    async fn find(&self, name: BatchName) -> Result<Option<Bytes>, LakeError> {
        match self.batches().get(&name).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn epoch(&self, topic: Topic) -> Result<Option<Epoch>, LakeError> {
        self.epochs().newest(topic).await
    }

    async fn schema(&self, fingerprint: u64) -> Result<Option<Bytes>, LakeError> {
        self.schema_text(fingerprint).await
    }

    async fn seal(&self, footer: &BatchFooter, parquet: Bytes, dead: Option<Bytes>) -> Result<(), LakeError> {
        self.batches().seal(footer, parquet, dead).await
    }
}
