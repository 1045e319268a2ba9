//! One partition's worker: read, decide, seal, trim.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use nocturne_bus::{Intake, ReadError, Record};
use nocturne_columns::{Range, Sealed};
use nocturne_kit::{Shutdown, retry::Backoff, telemetry::chain};
use nocturne_lake::LakeError;
use nocturne_wire::{BatchName, Offset, Partition, Topic};
use tokio::{
    sync::{mpsc, watch},
    time::{Duration, Instant},
};

use crate::{
    Accumulated, BatcherError, BatcherSettings, BatcherStatus, Decision, Now, PartitionStatus, Reason, Spent,
    budget::{Doing, Room, Share},
    decide,
    encoders::Encoders,
    framed::{self, Names},
    handle::Flush,
    position, prepare,
    read::Read,
    recent::RecentIds,
    schemas::FoundSchemas,
    store::Store,
    writers::Writers,
};

/// A worker that has not heard of the lake for so long looks again where the partition stands before it seals, and after it: it may have been stopped on the
/// way, its partition given to another one, and what that sealed may have been rewritten since, under other names.
const STALE: SignedDuration = SignedDuration::from_mins(10);

/// How long a worker waits for a record before it looks again; only a bound, a record or a flush wakes it.
const LONG: Duration = Duration::from_hours(1);

pub(crate) struct Worker<S> {
    pub(crate) topic: Topic,
    pub(crate) partition: Partition,
    pub(crate) settings: Arc<BatcherSettings>,
    pub(crate) writer: String,
    pub(crate) store: S,
    pub(crate) intake: Intake,
    /// Offset that the next batch starts at.
    pub(crate) next: Offset,
    /// Offset at which sealing began.
    pub(crate) begin: Offset,
    /// Identity of the topic whose records were read.
    pub(crate) topic_id: String,
    /// Whether where to go on is not known yet, or cannot be, because the newest batch cannot be read.
    pub(crate) lost: bool,
    /// Where a log of this process ended before anything was published into it, when what was sealed from it could not be read then.
    pub(crate) log_end_at_opening: Option<Offset>,
    pub(crate) recent: Arc<RecentIds>,
    pub(crate) share: Share,
    /// When the partition's position was last known to be what the lake says.
    pub(crate) contact: Timestamp,
    pub(crate) encoders: Encoders,
    pub(crate) schemas: FoundSchemas,
    pub(crate) writers: Writers,
    pub(crate) flushes: mpsc::Receiver<Flush>,
    pub(crate) status: watch::Sender<BatcherStatus>,
    pub(crate) read: Read,
}

/// Bytes of older batches that were written again which all workers together read for their ids when they look for their positions.
const MOST_READ: u64 = 64 << 20;

impl<S: Store> Worker<S> {
    /// Works until it is told to stop. What was read and not sealed stays in the log.
    pub(crate) async fn run(mut self, shutdown: Shutdown) {
        let mut failures = 0;
        while !shutdown.is_requested() {
            // Whatever a stop interrupts is done again by whoever comes next; a batch under way is finished, so that a revoked partition is
            // let go of between two batches.
            let Err(error) = self.step(&shutdown).await else {
                failures = 0;
                continue;
            };
            if let BatcherError::Read(ReadError::Revoked { .. }) = error {
                tracing::debug!(topic = %self.topic, partition = %self.partition, "the partition is another process's now");
                return;
            }
            failures += 1;
            self.report(error, failures);
            let wait = Backoff::ENDLESS.delay(failures).unwrap_or(LONG);
            tokio::select! {
                biased;
                () = shutdown.requested() => {}
                // Whoever asks for a flush is told what is wrong now, not when the wait is over.
                Some(flush) = self.flushes.recv() => self.read.pending.push(flush),
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    fn report(&mut self, error: BatcherError, failures: u32) {
        let (topic, partition) = (self.topic, self.partition);
        let text = chain(&error);
        tracing::error!(%topic, %partition, failures, error = text, "sealing failed; the records stay in the log");
        // A lake that is away says nothing against what was read.
        if error.is_about_records() || (self.lost && !error.is_about_lake()) {
            self.let_go();
        }
        let error = Arc::new(error);
        for flush in self.read.pending.drain(..) {
            // Whoever asked may have gone; the next flush asks again.
            flush.done.send(Err(error.clone())).ok();
        }
        self.change_status(|status| status.error = Some(text));
    }

    /// Forgets what was read, and where the partition stands. What waits for a partition that cannot go on would take the others' room.
    fn let_go(&mut self) {
        self.lost = true;
        self.read.records = Arc::default();
        self.read.times = None;
        self.share.set(0, 0);
        self.intake.rest();
    }

    async fn step(&mut self, shutdown: &Shutdown) -> Result<(), BatcherError> {
        while let Ok(flush) = self.flushes.try_recv() {
            self.read.pending.push(flush);
        }
        if self.lost {
            self.find_position().await?;
        }
        self.answer_flushes().await?;
        let time = self.read.epoch.elapsed();
        // A flush seals when everything that it asks for was read: sealing earlier would only make more batches.
        let next = self.intake.next();
        let flush = self.read.pending.iter().any(|flush| flush.upto.is_some_and(|upto| upto <= next));
        let room = self.share.room();
        let now = Now { time, flush, must_seal: room == Room::Seal };
        let wait = match decide(&self.accumulated(), &now, &self.settings.seal) {
            Decision::Seal(reason) => return self.seal(reason).await,
            Decision::WaitUntil(end) => end.saturating_sub(time),
            Decision::WaitForRecord => LONG,
        };
        let readable = self.wait(wait, room != Room::None, shutdown).await;
        if readable { self.fill().await } else { Ok(()) }
    }

    /// Looks again for where sealing goes on.
    pub(crate) async fn find_position(&mut self) -> Result<(), BatcherError> {
        let most = self.recent_ids();
        let most_read = MOST_READ / self.share.workers();
        let found = position::find(&self.store, &self.encoders, &mut self.intake, most, most_read).await?;
        if let Some(end) = self.log_end_at_opening.filter(|end| *end < found.next) {
            let (topic, partition) = (self.topic, self.partition);
            return Err(BatcherError::LogBehind { topic, partition, position: found.next, end });
        }
        self.recent = Arc::new(found.recent);
        self.begin = found.begin;
        self.topic_id = found.topic_id;
        // Whatever was read was read from where the damaged batch begins; what is there now may end before it.
        self.read.records = Arc::default();
        self.move_to(found.next);
        self.lost = false;
        self.contact = Timestamp::now();
        self.change_status(|status| status.error = None);
        Ok(())
    }

    /// This partition's part of the ids that are remembered.
    fn recent_ids(&self) -> usize {
        self.settings.recent_ids / self.share.workers() as usize
    }

    fn accumulated(&self) -> Accumulated {
        Accumulated {
            // Offsets that lost their record count: a batch has to account for them.
            records: self.intake.next().0.saturating_sub(self.next.0),
            bytes: self.share.used(),
            first_at: self.read.first_at,
            newest_at: self.read.newest_at,
            span: self.read.span(),
        }
    }

    async fn answer_flushes(&mut self) -> Result<(), BatcherError> {
        if self.read.pending.iter().any(|flush| flush.upto.is_none()) {
            let end = self.intake.range().await?.end;
            self.read.pending.iter_mut().for_each(|flush| _ = flush.upto.get_or_insert(end));
        }
        let next = self.next;
        for flush in self.read.pending.extract_if(.., |flush| flush.upto.is_some_and(|upto| upto <= next)) {
            flush.done.send(Ok(next)).ok();
        }
        Ok(())
    }

    /// Waits for records when there is room for them, for a flush, for another room or for the end of the time. Whether there may be records to read.
    async fn wait(&mut self, wait: Duration, room: bool, shutdown: &Shutdown) -> bool {
        let records = async {
            if room {
                self.intake.wait(wait).await
            } else {
                tokio::time::sleep(wait).await;
                false
            }
        };
        tokio::select! {
            biased;
            () = shutdown.requested() => false,
            Some(flush) = self.flushes.recv() => {
                self.read.pending.push(flush);
                room
            }
            () = self.share.news() => false,
            news = records => news,
        }
    }

    /// Reads what is there.
    async fn fill(&mut self) -> Result<(), BatcherError> {
        let before = self.accumulated();
        let room_records = self.settings.seal.records.saturating_sub(before.records);
        let room_bytes = self.settings.seal.bytes.saturating_sub(before.bytes).min(self.share.left());
        let begun = Instant::now();
        let more = match self.intake.poll(room_records as usize, room_bytes).await {
            Ok(more) => more,
            Err(error) if error.is_trimmed() => {
                self.catch_up();
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        self.read.took += begun.elapsed();
        // Asked for now, so that the records' times are known; a batch is not sealed before all its ids are.
        let named = self.names(&more).await;
        if let Ok(names) = &named {
            self.read.note_times(names, &more);
        }
        let bytes: u64 = more.iter().map(|record| record.payload.len() as u64).sum();
        Arc::make_mut(&mut self.read.records).extend(more);
        self.share.set(before.bytes + bytes, self.read.records.len());
        if self.accumulated().records > before.records {
            self.read.newest_at = self.read.epoch.elapsed();
            if before.records == 0 {
                self.read.first_at = self.read.newest_at;
            }
        }
        named.map(drop)
    }

    /// What the ids stand for that framed records among these name.
    async fn names(&self, records: &[Record]) -> Result<Arc<Names>, BatcherError> {
        let (topic, partition) = (self.topic, self.partition);
        let ids = framed::ids(records.iter().map(|record| record.payload.as_ref()));
        let failed = |source| BatcherError::Registry { topic, partition, source };
        self.writers.of(ids, &self.schemas).await.map_err(failed)
    }

    /// Seals what was read; whoever was first, the worker then stands after the batch of that name.
    async fn seal(&mut self, reason: Reason) -> Result<(), BatcherError> {
        let sealed = self.try_seal(reason).await;
        self.share.set_doing(Doing::Gathering);
        sealed
    }

    async fn try_seal(&mut self, reason: Reason) -> Result<(), BatcherError> {
        let (topic, partition) = (self.topic, self.partition);
        let name = BatchName::new(topic, partition, self.next);
        let end = self.intake.next();
        if self.is_stale() {
            self.lost = true;
            return Ok(());
        }
        self.share.set_doing(Doing::Asking);
        let (prepared, topic_id) = tokio::try_join!(self.prepare(name, end), async { Ok(self.intake.topic_id().await?) })?;
        // Asked for after the records were read: ids never come back, so if it is the same now, all of them are that topic's.
        if topic_id != self.topic_id {
            self.lost = true;
            return Err(position::recreated(&self.intake, &self.topic_id, &topic_id));
        }
        let Sealed { footer, parquet, dead, ids, decode, sort, encode } = prepared;
        let bytes = parquet.len() as u64;
        let begun = Instant::now();
        match self.store.seal(&footer, parquet, dead).await {
            Ok(()) => {}
            Err(LakeError::AlreadyExists { .. }) => {
                self.catch_up();
                return Ok(());
            }
            Err(source) => return Err(BatcherError::Lake { doing: "sealing", topic, partition, source }),
        }
        tracing::info!(
            %topic, %partition, first = %name.first, last = %footer.last, rows = footer.rows, dead = footer.dead,
            duplicates = footer.duplicates, bytes, reason = reason.as_str(), "batch sealed"
        );
        let spent = Spent { read: std::mem::take(&mut self.read.took), decode, sort, encode, put: begun.elapsed() };
        let record_bytes = self.share.used();
        let most = self.recent_ids();
        Arc::make_mut(&mut self.recent).extend(ids, most);
        self.move_to(end);
        self.change_status(|status| {
            status.batches += 1;
            status.rows += footer.rows;
            status.dead += footer.dead;
            status.duplicates += footer.duplicates;
            status.record_bytes += record_bytes;
            status.batch_bytes += bytes;
            status.spent += spent;
            status.error = None;
        });
        if self.is_stale() {
            self.lost = true;
            return Ok(());
        }
        self.contact = Timestamp::now();
        self.trim().await;
        Ok(())
    }

    fn is_stale(&self) -> bool {
        let since = Timestamp::now().duration_since(self.contact);
        // A clock that was set back does not say how long it was.
        since > STALE || since.is_negative()
    }

    /// Decodes and encodes on an encoder thread.
    async fn prepare(&self, name: BatchName, end: Offset) -> Result<Sealed, BatcherError> {
        let range = Range {
            name,
            last: Offset(end.0.saturating_sub(1)),
            begin: self.begin,
            topic_id: self.topic_id.clone(),
            writer: self.writer.clone(),
        };
        let (topic, partition) = (self.topic, self.partition);
        let failed = |source| BatcherError::Lake { doing: "reading a writer's schema for", topic, partition, source };
        let names = self.names(&self.read.records).await?;
        let payloads = self.read.records.iter().map(|record| record.payload.as_ref());
        let schemas = self.schemas.of(&self.store, topic, payloads).await.map_err(failed)?;
        let local = self.intake.is_local();
        let (records, recent) = (self.read.records.clone(), self.recent.clone());
        let what = || format!("{} partition {}", self.topic, self.partition);
        self.share.set_doing(Doing::Encoding);
        let prepared = self
            .encoders
            .run_on_several(move |threads| prepare::prepare(range, &records, local, &recent, &names, &schemas, threads))
            .await;
        self.share.set_doing(Doing::Asking);
        prepared.map_err(|why| BatcherError::Panicked { what: what(), why })?
    }

    /// Looks again for where to go on: another writer was first, or this one's success was not heard of. What covers this offset now may have been
    /// written again meanwhile, which only a listing shows.
    fn catch_up(&mut self) {
        tracing::info!(topic = %self.topic, partition = %self.partition, next = %self.next, "another writer was here first");
        self.lost = true;
    }

    /// Goes on at `next`, keeping what was read beyond it.
    fn move_to(&mut self, next: Offset) {
        self.next = next;
        let records = Arc::make_mut(&mut self.read.records);
        records.retain(|record| record.offset >= next);
        let bytes = records.iter().map(|record| record.payload.len() as u64).sum();
        self.share.set(bytes, records.len());
        self.read.times = None;
        let read = self.read.records.clone();
        self.read.note_times(&self.writers.known(), &read);
        if self.intake.next() < next {
            self.intake.seek(next);
        }
    }

    async fn trim(&self) {
        if let Err(error) = self.intake.release(self.next).await {
            // The next batch trims again, and what is sealed twice over is only disk space.
            tracing::warn!(error = chain(&error), "sealed records stay in the log");
        }
    }

    pub(crate) fn change_status(&self, change: impl FnOnce(&mut PartitionStatus)) {
        let (next, end) = (self.next, self.intake.end());
        self.status.send_modify(|status| {
            if let Some(partition) = status.partitions.get_mut(&(self.topic, self.partition)) {
                partition.position = next;
                partition.end = end;
                change(partition);
            }
        });
    }
}
