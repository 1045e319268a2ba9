//! The handle: flush and status.

use std::{collections::BTreeMap, sync::Arc};

use nocturne_bus::LocalLog;
use nocturne_wire::{Offset, Partition, Topic};
use tokio::sync::{mpsc, oneshot, watch};

use crate::{BatcherError, BatcherStatus};

/// For each partition the offset after the last sealed one.
pub type SealedTo = BTreeMap<(Topic, Partition), Offset>;

/// Why a flush did not seal everything; nothing is lost, and sealing goes on.
#[derive(Debug, Clone, thiserror::Error)]
pub enum FlushError {
    /// A partition could not be sealed.
    #[error("sealing {topic} partition {partition} up to offset {upto}")]
    Failed {
        /// The topic.
        topic: Topic,
        /// The partition.
        partition: Partition,
        /// Offset that everything before was to be sealed.
        upto: Offset,
        /// Why it failed.
        #[source]
        source: Arc<BatcherError>,
    },
    /// The batcher has stopped.
    #[error("the batcher has stopped")]
    Stopped,
}

/// A request to seal everything before an offset.
#[derive(Debug)]
pub(crate) struct Flush {
    pub(crate) upto: Offset,
    pub(crate) done: oneshot::Sender<Result<Offset, Arc<BatcherError>>>,
}

/// Flushes that wait for a worker: callers are few (a night, a person), so a short queue is long enough.
pub(crate) const FLUSH_CAPACITY: usize = 16;

/// Talks to a running batcher.
#[derive(Debug, Clone)]
pub struct BatcherHandle {
    pub(crate) log: LocalLog,
    pub(crate) workers: Arc<BTreeMap<(Topic, Partition), mpsc::Sender<Flush>>>,
    pub(crate) status: watch::Receiver<BatcherStatus>,
}

impl BatcherHandle {
    /// Seals everything that the log holds now, and says where each partition's batches end.
    ///
    /// # Errors
    /// When a partition cannot be sealed, or the batcher has stopped.
    pub async fn flush(&self) -> Result<SealedTo, FlushError> {
        let mut positions = SealedTo::new();
        // Verdicts first, then what they are about: a verdict that is sealed here came after its interaction, which must not be left to another night.
        for topic in [Topic::Feedback, Topic::Interactions] {
            self.flush_topic(topic, &mut positions).await?;
        }
        Ok(positions)
    }

    async fn flush_topic(&self, wanted: Topic, positions: &mut SealedTo) -> Result<(), FlushError> {
        let mut waiting = Vec::new();
        for (&(topic, partition), worker) in self.workers.iter().filter(|((topic, _), _)| *topic == wanted) {
            let upto = self.log.range(topic, partition).end;
            let (done, sealed) = oneshot::channel();
            worker.send(Flush { upto, done }).await.map_err(|_| FlushError::Stopped)?;
            waiting.push((topic, partition, upto, sealed));
        }
        for (topic, partition, upto, sealed) in waiting {
            let sealed = sealed.await.map_err(|_| FlushError::Stopped)?;
            let position = sealed.map_err(|source| FlushError::Failed { topic, partition, upto, source })?;
            positions.insert((topic, partition), position);
        }
        Ok(())
    }

    /// What the batcher has done; follow it to be told of changes.
    pub fn status(&self) -> watch::Receiver<BatcherStatus> {
        self.status.clone()
    }
}
