//! The batcher: a worker for each partition.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::AtomicU64},
};

use nocturne_bus::LocalLog;
use nocturne_kit::{Shutdown, telemetry::chain};
use nocturne_lake::{Batches, Lake};
use nocturne_wire::{Partition, Topic};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};

use crate::{
    BatcherError, BatcherHandle, BatcherSettings, BatcherStatus, PartitionStatus,
    budget::Share,
    handle::FLUSH_CAPACITY,
    position::{self, Position},
    store::Store,
    worker::{Read, Worker},
};

/// A batcher that knows where every partition stands and has not begun.
///
/// Open it before anything is published: it holds the log against the lake, and moves a log that lost its tail past the offsets
/// that were sealed from it.
pub struct Batcher {
    workers: Workers<Batches>,
}

impl Batcher {
    /// Reads every partition's position from the lake. `writer` names this process in the batches that it seals.
    ///
    /// A partition whose newest batch is damaged waits until that can be read again, as [`BatcherStatus`] tells; its records stay in the log, and whatever
    /// publishes them goes on. Only if that log had lost a sealed tail as well must a person decide, because the new records then have offsets of sealed ones.
    ///
    /// # Errors
    /// When the lake cannot be read, or the lake and the log do not belong together.
    pub async fn open(settings: BatcherSettings, log: LocalLog, lake: &Lake, writer: &str) -> Result<Self, BatcherError> {
        Workers::open(settings, log, lake.batches(), writer).await.map(|workers| Self { workers })
    }

    /// A handle that flushes and tells the status.
    pub fn handle(&self) -> BatcherHandle {
        self.workers.handle.clone()
    }

    /// Seals until it is told to stop.
    ///
    /// # Errors
    /// When a worker panics, which is a defect. A lake that fails is tried again without end, and told in the status.
    pub async fn run(self, shutdown: Shutdown) -> Result<(), BatcherError> {
        self.workers.run(shutdown).await
    }
}

/// The workers over any store.
pub(crate) struct Workers<S> {
    workers: Vec<Worker<S>>,
    pub(crate) handle: BatcherHandle,
}

impl<S: Store> Workers<S> {
    pub(crate) async fn open(settings: BatcherSettings, log: LocalLog, store: S, writer: &str) -> Result<Self, BatcherError> {
        let mut opened = Opening {
            settings: Arc::new(settings),
            buffered: Arc::default(),
            status: watch::Sender::new(BatcherStatus::default()),
            flushes: BTreeMap::new(),
            workers: Vec::new(),
        };
        let partitions: Vec<_> = log.partitions().collect();
        for (topic, partition) in partitions {
            opened.worker(&log, &store, writer, topic, partition).await?;
        }
        let handle = BatcherHandle { log, workers: Arc::new(opened.flushes), status: opened.status.subscribe() };
        Ok(Self { workers: opened.workers, handle })
    }

    pub(crate) async fn run(self, shutdown: Shutdown) -> Result<(), BatcherError> {
        let mut running = JoinSet::new();
        for worker in self.workers {
            running.spawn(worker.run(shutdown.clone()));
        }
        while let Some(ended) = running.join_next().await {
            ended.map_err(|source| BatcherError::Panicked { what: "a partition".to_owned(), source })?;
        }
        Ok(())
    }
}

struct Opening<S> {
    settings: Arc<BatcherSettings>,
    buffered: Arc<AtomicU64>,
    status: watch::Sender<BatcherStatus>,
    flushes: BTreeMap<(Topic, Partition), mpsc::Sender<crate::handle::Flush>>,
    workers: Vec<Worker<S>>,
}

impl<S: Store> Opening<S> {
    async fn worker(
        &mut self,
        log: &LocalLog,
        store: &S,
        writer: &str,
        topic: Topic,
        partition: Partition,
    ) -> Result<(), BatcherError> {
        let key = (topic, partition);
        let (position, damage) = match position::find(store, log, key, self.settings.recent_ids).await {
            Ok(position) => (position, None),
            Err(error @ BatcherError::Batch { name, .. }) => (Position::unknown(name), Some(chain(&error))),
            Err(error) => return Err(error),
        };
        if let Some(error) = &damage {
            tracing::error!(%topic, %partition, error, "this partition is not sealed; its records stay in the log");
        }
        let Some(intake) = log.intake(topic, partition, position.next) else { return Ok(()) };
        let (flush, flushes) = mpsc::channel(FLUSH_CAPACITY);
        self.flushes.insert(key, flush);
        let lost = damage.is_some();
        let status = PartitionStatus { error: damage, ..PartitionStatus::at(position.next, intake.end()) };
        self.status.send_modify(|all| drop(all.partitions.insert(key, status)));
        self.workers.push(Worker {
            topic,
            partition,
            settings: self.settings.clone(),
            writer: writer.to_owned(),
            log: log.clone(),
            store: store.clone(),
            intake,
            next: position.next,
            begin: position.begin,
            lost,
            log_end_at_opening: log.range(topic, partition).end,
            recent: Arc::new(position.recent),
            share: Share::new(self.buffered.clone(), self.settings.buffered_bytes),
            flushes,
            status: self.status.clone(),
            read: Read::nothing(),
        });
        Ok(())
    }
}
