//! The batcher: a worker for each partition that the group gives this process.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use nocturne_bus::{Change, Group, Intake, Revoked};
use nocturne_kit::{Shutdown, telemetry::chain};
use nocturne_lake::Lake;
use nocturne_wire::{Offset, Partition, Topic};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
};

use crate::{
    BatcherError, BatcherHandle, BatcherSettings, BatcherStatus, PartitionStatus,
    budget::Budget,
    encoders::Encoders,
    handle::{Desks, FLUSH_CAPACITY},
    read::Read,
    recent::RecentIds,
    schemas::FoundSchemas,
    store::Store,
    worker::Worker,
    writers::Writers,
};

/// How long workers may take to stop when something ended the batcher.
const END_WITHIN: Duration = Duration::from_secs(10);

/// A batcher that has not begun.
pub struct Batcher {
    workers: Workers<Lake>,
}

impl Batcher {
    /// Makes a batcher over what the group hands out. `writer` names this process in the batches that it seals.
    ///
    /// Over this machine's log, open it before anything is published: it holds the log against the lake, and moves a log that lost its tail
    /// past the offsets that were sealed from it. A partition whose newest batch is damaged waits until that can be read again, as
    /// [`BatcherStatus`] tells; its records stay in the log, and whatever publishes them goes on. Only if that log had lost a sealed tail as
    /// well must a person decide, because the new records then have offsets of sealed ones.
    ///
    /// # Errors
    /// For a local log, when the lake cannot be read or the two do not belong together. Over Kafka none: what is wrong with a partition is
    /// told in the status and tried again.
    pub async fn open(settings: BatcherSettings, group: Group, lake: &Lake, writer: &str) -> Result<Self, BatcherError> {
        Workers::open(settings, group, lake.clone(), writer).await.map(|workers| Self { workers })
    }

    /// A handle that flushes and tells the status.
    pub fn handle(&self) -> BatcherHandle {
        self.workers.handle.clone()
    }

    /// Seals until it is told to stop.
    ///
    /// # Errors
    /// When a worker panics, which is a defect, or no partitions are handed out any more; the status then says so, too. A lake that fails is tried
    /// again without end, and told in the status.
    pub async fn run(self, shutdown: Shutdown) -> Result<(), BatcherError> {
        self.workers.run(shutdown).await
    }
}

type Key = (Topic, Partition);

/// The workers over any store.
pub(crate) struct Workers<S> {
    settings: Arc<BatcherSettings>,
    group: Group,
    store: S,
    writer: String,
    budget: Arc<Budget>,
    encoders: Encoders,
    schemas: FoundSchemas,
    writers: Writers,
    status: watch::Sender<BatcherStatus>,
    pub(crate) ready: Vec<Worker<S>>,
    pub(crate) handle: BatcherHandle,
}

/// A worker that runs: how to stop it, and how to know that it did.
struct Running {
    stop: Shutdown,
    ended: oneshot::Receiver<()>,
}

impl<S: Store> Workers<S> {
    pub(crate) async fn open(settings: BatcherSettings, mut group: Group, store: S, writer: &str) -> Result<Self, BatcherError> {
        let (status, told) = watch::channel(BatcherStatus::default());
        let handle = BatcherHandle { desks: Desks::default(), status: told };
        let at_once = if group.is_local() { group.next().await.map_err(BatcherError::Group)? } else { None };
        let writers = Writers::new(group.registry());
        let mut workers = Self {
            budget: Budget::new(settings.buffered_bytes),
            settings: Arc::new(settings),
            group,
            store,
            writer: writer.to_owned(),
            encoders: Encoders::start().map_err(BatcherError::Threads)?,
            schemas: FoundSchemas::default(),
            writers,
            status,
            ready: Vec::new(),
            handle,
        };
        if let Some(Change::Assigned(intakes)) = at_once {
            for intake in intakes {
                let mut worker = workers.hire(intake);
                worker.begin().await?;
                workers.ready.push(worker);
            }
        }
        Ok(workers)
    }

    /// A worker that does not know yet where its partition stands.
    fn hire(&self, intake: Intake) -> Worker<S> {
        let (topic, partition) = (intake.topic(), intake.partition());
        let (flush, flushes) = mpsc::channel(FLUSH_CAPACITY);
        self.handle.desks.add((topic, partition), flush);
        let status = PartitionStatus::at(Offset(0), intake.end());
        self.status.send_modify(|all| drop(all.partitions.insert((topic, partition), status)));
        Worker {
            topic,
            partition,
            settings: self.settings.clone(),
            writer: self.writer.clone(),
            store: self.store.clone(),
            log_end_at_opening: None,
            intake,
            next: Offset(0),
            begin: Offset(0),
            topic_id: String::new(),
            lost: true,
            recent: Arc::new(RecentIds::new(0)),
            share: self.budget.share(),
            contact: Timestamp::UNIX_EPOCH,
            encoders: self.encoders.clone(),
            schemas: self.schemas.clone(),
            writers: self.writers.clone(),
            flushes,
            status: self.status.clone(),
            read: Read::nothing(),
        }
    }

    pub(crate) async fn run(mut self, shutdown: Shutdown) -> Result<(), BatcherError> {
        // Workers stop with the whole, and when nothing is handed out any more.
        let stop = shutdown.child();
        let mut tasks = JoinSet::new();
        let mut ended = self.hand_out(&stop, &mut tasks).await;
        stop.request();
        // One whose store hangs must not keep the process from ending; what it does is done again by whoever comes next.
        let others = async {
            while let Some(worker) = tasks.join_next().await {
                ended = std::mem::replace(&mut ended, Ok(())).and(joined(worker));
            }
        };
        tokio::time::timeout(END_WITHIN, others).await.ok();
        if let Err(error) = &ended {
            let text = chain(error);
            tracing::error!(error = text, "sealing ended");
            self.status.send_modify(|status| status.ended = Some(text));
        }
        ended
    }

    /// Starts and stops workers until there are none any more.
    async fn hand_out(&mut self, shutdown: &Shutdown, tasks: &mut JoinSet<()>) -> Result<(), BatcherError> {
        let mut running = BTreeMap::new();
        for worker in std::mem::take(&mut self.ready) {
            start(worker, shutdown, tasks, &mut running);
        }
        let (mut handing_out, mut leaving) = (true, false);
        while handing_out || !tasks.is_empty() {
            tokio::select! {
                biased;
                Some(ended) = tasks.join_next() => joined(ended)?,
                change = self.group.next(), if handing_out => match change.map_err(BatcherError::Group)? {
                    Some(Change::Assigned(intakes)) => {
                        for intake in intakes {
                            start(self.hire(intake), shutdown, tasks, &mut running);
                        }
                    }
                    Some(Change::Revoked(revoked)) => self.dismiss(revoked, &mut running),
                    None => handing_out = false,
                },
                () = shutdown.requested(), if !leaving => {
                    leaving = true;
                    self.group.leave();
                }
            }
        }
        Ok(())
    }

    /// Stops the workers of partitions that go. The group waits for them meanwhile, and not for ever.
    fn dismiss(&self, revoked: Revoked, running: &mut BTreeMap<Key, Running>) {
        let gone: Vec<_> = revoked.partitions.iter().filter_map(|key| running.remove(key)).collect();
        for key in &revoked.partitions {
            self.handle.desks.remove(*key);
            self.status.send_modify(|all| drop(all.partitions.remove(key)));
        }
        gone.iter().for_each(|worker| worker.stop.request());
        tokio::spawn(async move {
            for worker in gone {
                // It ends without a word when it panics; that is told by whoever joins it.
                worker.ended.await.ok();
            }
            drop(revoked);
        });
    }
}

fn joined(ended: Result<(), tokio::task::JoinError>) -> Result<(), BatcherError> {
    ended.map_err(|error| BatcherError::Panicked { what: "a partition".to_owned(), why: error.to_string() })
}

fn start<S: Store>(worker: Worker<S>, shutdown: &Shutdown, tasks: &mut JoinSet<()>, running: &mut BTreeMap<Key, Running>) {
    let (stop, (done, ended)) = (shutdown.child(), oneshot::channel());
    running.insert((worker.topic, worker.partition), Running { stop: stop.clone(), ended });
    tasks.spawn(async move {
        worker.run(stop).await;
        drop(done);
    });
}

impl<S: Store> Worker<S> {
    /// Finds out where the partition stands, before anything is published. A damaged batch is no reason not to begin.
    async fn begin(&mut self) -> Result<(), BatcherError> {
        match self.find_position().await {
            Err(error @ BatcherError::Batch { name, .. }) => {
                let (topic, partition, text) = (self.topic, self.partition, chain(&error));
                tracing::error!(%topic, %partition, error = text, "this partition is not sealed; its records stay in the log");
                self.next = name.first;
                // From here on records may come, and get offsets that were sealed, if the log lost those.
                self.log_end_at_opening = Some(self.intake.end());
                self.change_status(|status| status.error = Some(text));
                Ok(())
            }
            found => found,
        }
    }
}
