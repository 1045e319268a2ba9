//! The handle: flush and status.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};

use nocturne_wire::{Offset, Partition, Topic};
use tokio::sync::{mpsc, oneshot, watch};

use crate::{BatcherError, BatcherStatus};

/// For each partition the offset after the last sealed one.
pub type SealedTo = BTreeMap<(Topic, Partition), Offset>;

/// Why a flush did not seal everything; nothing is lost, and sealing goes on.
#[derive(Debug, Clone, thiserror::Error)]
pub enum FlushError {
    /// A partition could not be sealed.
    #[error("sealing everything that {topic} partition {partition} holds")]
    Failed {
        /// The topic.
        topic: Topic,
        /// The partition.
        partition: Partition,
        /// Why it failed.
        #[source]
        source: Arc<BatcherError>,
    },
    /// The batcher has stopped, or the partition went to another one meanwhile.
    #[error("the batcher has stopped or lost the partition")]
    Stopped,
}

/// A request to seal everything that is there when it is read.
#[derive(Debug)]
pub(crate) struct Flush {
    /// Offset that everything before is to be sealed; the worker finds out.
    pub(crate) upto: Option<Offset>,
    pub(crate) done: oneshot::Sender<Result<Offset, Arc<BatcherError>>>,
}

/// Flushes that wait for a worker: callers are few (a night, a person), so a short queue is long enough.
pub(crate) const FLUSH_CAPACITY: usize = 16;

/// Where each worker takes requests.
type Open = BTreeMap<(Topic, Partition), mpsc::Sender<Flush>>;

/// Ways to reach the workers that there are now.
#[derive(Debug, Clone, Default)]
pub(crate) struct Desks(Arc<RwLock<Open>>);

impl Desks {
    pub(crate) fn add(&self, key: (Topic, Partition), desk: mpsc::Sender<Flush>) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(key, desk);
    }

    pub(crate) fn remove(&self, key: (Topic, Partition)) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(&key);
    }

    fn of(&self, topic: Topic) -> Vec<(Partition, mpsc::Sender<Flush>)> {
        let desks = self.0.read().unwrap_or_else(PoisonError::into_inner);
        desks.iter().filter(|((t, _), _)| *t == topic).map(|((_, p), desk)| (*p, desk.clone())).collect()
    }
}

/// Talks to a running batcher.
#[derive(Debug, Clone)]
pub struct BatcherHandle {
    pub(crate) desks: Desks,
    pub(crate) status: watch::Receiver<BatcherStatus>,
}

impl BatcherHandle {
    /// Seals everything that this process's partitions hold now, and says where each one's batches end.
    ///
    /// # Errors
    /// When a partition cannot be sealed, or the batcher has stopped.
    pub async fn flush(&self) -> Result<SealedTo, FlushError> {
        // A group that was lost took its partitions with it: nothing to seal is not the same as nobody who seals.
        if self.status.borrow().ended.is_some() {
            return Err(FlushError::Stopped);
        }
        let mut positions = SealedTo::new();
        // Verdicts first, then what they are about: a verdict that is sealed here came after its interaction, which must not be left to another night.
        for topic in [Topic::Feedback, Topic::Interactions] {
            self.flush_topic(topic, &mut positions).await?;
        }
        Ok(positions)
    }

    async fn flush_topic(&self, topic: Topic, positions: &mut SealedTo) -> Result<(), FlushError> {
        let mut waiting = Vec::new();
        for (partition, desk) in self.desks.of(topic) {
            let (done, sealed) = oneshot::channel();
            desk.send(Flush { upto: None, done }).await.map_err(|_| FlushError::Stopped)?;
            waiting.push((partition, sealed));
        }
        for (partition, sealed) in waiting {
            let sealed = sealed.await.map_err(|_| FlushError::Stopped)?;
            let position = sealed.map_err(|source| FlushError::Failed { topic, partition, source })?;
            positions.insert((topic, partition), position);
        }
        Ok(())
    }

    /// What the batcher has done; follow it to be told of changes.
    pub fn status(&self) -> watch::Receiver<BatcherStatus> {
        self.status.clone()
    }
}
