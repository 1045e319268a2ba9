//! A member of the consumer group: one thread that polls, and events for whoever reads.
//!
//! The group only says which partitions this process has; where to read them from is the lake's to say. A partition is assigned paused,
//! and flows from the offset that its reader asks for. When it is revoked its reader is told first, and the group waits for it, for a
//! bounded time: what a reader does later loses the race for the name of its batch.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use nocturne_kit::Shutdown;
use nocturne_wire::{Partition, Topic};
use rdkafka::{
    ClientContext, Message, Offset as NativeOffset, TopicPartitionList,
    client::OAuthToken,
    config::{FromClientConfigAndContext as _, RDKafkaLogLevel},
    consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext, RebalanceProtocol},
    error::{KafkaError as NativeError, RDKafkaErrorCode},
    message::BorrowedMessage,
    types::RDKafkaRespErr,
};
use tokio::sync::{Notify, mpsc as channel};

use super::{KafkaError, KafkaSettings, client, token};

const POLL: Duration = Duration::from_millis(50);
const CHUNK_BYTES: usize = 256 << 10;
/// How long readers may have enough before partitions are paused. Not polling for so long is what flow control costs least: pausing throws away
/// what librdkafka has fetched.
const HOLD: Duration = Duration::from_secs(5);
const HOLD_STEP: Duration = Duration::from_millis(1);
const SEEK_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the other members may be waited for when this one goes.
const LEAVE_WITHIN: Duration = Duration::from_secs(2);
const TELL_EVERY: Duration = Duration::from_mins(1);

const LEAST_FETCH: u64 = 1 << 20;

pub(crate) type Key = (Topic, Partition);

/// What the poll thread comes back with.
enum Event<'a> {
    /// A record.
    Record(BorrowedMessage<'a>),
    /// Partitions came.
    Assigned(TopicPartitionList),
    /// Partitions go; `lost` when others may have them already.
    Revoked { partitions: TopicPartitionList, lost: bool },
    /// Something went wrong that does not end the membership.
    Failed(NativeError),
    /// Nothing happened.
    Idle,
}

/// What a group tells its reader.
#[derive(Debug)]
pub(crate) enum Moved {
    /// These partitions are to be read from now on.
    Assigned(Vec<Arc<Buffer>>),
    /// These are not; the sender is dropped when their readers have stopped.
    Revoked(Vec<Key>, mpsc::Sender<()>),
}

/// What readers ask of the poll thread.
pub(crate) enum Command {
    /// Read from here on.
    Seek(Arc<Buffer>, i64),
    /// Everything before was sealed: a hint for tools that show the group's lag.
    Commit(Key, i64),
}

/// A partition's records between the poll thread and its reader.
#[derive(Debug)]
pub(crate) struct Buffer {
    pub(crate) key: Key,
    inner: Mutex<Inner>,
    pub(crate) ready: Notify,
    /// Bytes of all partitions' records that wait here.
    waiting: Arc<AtomicU64>,
    /// The partition's end as the statistics last told.
    pub(crate) end: AtomicI64,
}

#[derive(Debug, Default)]
struct Inner {
    records: VecDeque<(i64, Bytes)>,
    /// Where payloads are copied to: they are read and dropped in their order, and one allocation serves many.
    chunk: BytesMut,
    /// The next offset that is wanted; `None` before the first seek and while one is under way.
    expected: Option<i64>,
    /// Whether the partition was revoked.
    closed: bool,
    /// Whether reading stopped and the reader must find out where the partition stands.
    stalled: bool,
}

impl Buffer {
    fn new(key: Key, waiting: Arc<AtomicU64>) -> Self {
        Self { key, inner: Mutex::default(), ready: Notify::new(), waiting, end: AtomicI64::new(0) }
    }

    fn with<T>(&self, act: impl FnOnce(&mut Inner) -> T) -> T {
        act(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes a record in, unless it is one from before a seek.
    fn push(&self, offset: i64, payload: &[u8]) {
        self.with(|inner| {
            if inner.closed || inner.expected.is_none_or(|expected| offset < expected) {
                return;
            }
            inner.expected = Some(offset + 1);
            self.waiting.fetch_add(payload.len() as u64, Ordering::Relaxed);
            if inner.chunk.capacity() < payload.len() {
                inner.chunk = BytesMut::with_capacity(CHUNK_BYTES.max(payload.len()));
            }
            inner.chunk.extend_from_slice(payload);
            let payload = inner.chunk.split().freeze();
            inner.records.push_back((offset, payload));
        });
        self.end.fetch_max(offset + 1, Ordering::Relaxed);
        self.ready.notify_one();
    }

    /// Takes records out.
    pub(crate) fn take(&self, max_records: usize, max_bytes: u64) -> Vec<(i64, Bytes)> {
        self.with(|inner| {
            let mut bytes = 0;
            let mut taken = Vec::new();
            while taken.len() < max_records.max(1) && bytes < max_bytes.max(1) {
                let Some(record) = inner.records.pop_front() else { break };
                bytes += record.1.len() as u64;
                taken.push(record);
            }
            self.waiting.fetch_sub(bytes, Ordering::Relaxed);
            taken
        })
    }

    /// Forgets everything until the next seek.
    pub(crate) fn reset(&self) {
        self.with(|inner| {
            let bytes: u64 = inner.records.drain(..).map(|(_, payload)| payload.len() as u64).sum();
            self.waiting.fetch_sub(bytes, Ordering::Relaxed);
            inner.expected = None;
            inner.stalled = false;
        });
    }

    fn begin(&self, offset: i64) {
        self.with(|inner| inner.expected = Some(offset));
    }

    fn close(&self) {
        self.reset();
        self.with(|inner| inner.closed = true);
        self.ready.notify_one();
    }

    fn stall(&self) {
        self.with(|inner| inner.stalled = true);
        self.ready.notify_one();
    }

    /// Whether there is anything to wake up for.
    pub(crate) fn has_news(&self) -> bool {
        self.with(|inner| !inner.records.is_empty() || inner.closed || inner.stalled)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.with(|inner| inner.closed)
    }

    /// Whether reading stopped; only when nothing that was read is left to take.
    pub(crate) fn is_stalled(&self) -> bool {
        self.with(|inner| inner.stalled && inner.records.is_empty())
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.reset();
    }
}

/// What callbacks leave for the poll thread.
#[derive(Default)]
pub(crate) struct Context {
    rebalances: Mutex<VecDeque<(bool, TopicPartitionList)>>,
    /// Ends of partitions, of librdkafka's statistics.
    ends: Mutex<BTreeMap<(String, i32), i64>>,
    token_file: Option<std::path::PathBuf>,
    /// Whether the group was left: nobody is there any more who would carry out what is noted.
    left: AtomicBool,
}

impl ClientContext for Context {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        client::log(level, facility, message);
    }

    fn stats(&self, statistics: rdkafka::Statistics) {
        let partitions = statistics.topics.into_values().flat_map(|topic| {
            let name = topic.topic;
            topic.partitions.into_values().map(move |partition| ((name.clone(), partition.partition), partition.hi_offset))
        });
        *self.ends.lock().unwrap_or_else(PoisonError::into_inner) = partitions.filter(|(_, end)| *end >= 0).collect();
    }

    fn error(&self, error: NativeError, reason: &str) {
        tracing::debug!(%error, reason, "Kafka consumer");
    }

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        token::read(self.token_file.as_deref().ok_or("`token_file` is not set")?)
    }
}

impl ConsumerContext for Context {
    /// Only notes what is asked for: the poll thread carries it out between two polls, when readers have let go.
    fn rebalance(&self, consumer: &BaseConsumer<Self>, kind: RDKafkaRespErr, partitions: &mut TopicPartitionList) {
        if self.left.load(Ordering::SeqCst) {
            // Closing goes on only when this was answered. What could fail has no meaning any more.
            answer(consumer, kind == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS, partitions);
            return;
        }
        let assigned = kind == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        self.rebalances.lock().unwrap_or_else(PoisonError::into_inner).push_back((assigned, partitions.clone()));
    }
}

pub(crate) type Consumer = BaseConsumer<Context>;

/// Makes a consumer. Without a group it only answers questions.
pub(crate) fn consumer(settings: &KafkaSettings) -> Result<Consumer, KafkaError> {
    let consumer = &settings.consumer;
    let mut config = settings.client()?;
    config
        .set("group.id", &consumer.group)
        .set("partition.assignment.strategy", consumer.assignment.as_str())
        .set("session.timeout.ms", consumer.session_timeout_milliseconds.to_string())
        .set("queued.max.messages.kbytes", consumer.prefetch_bytes.div_ceil(1024).to_string())
        // One answer holds this much of all partitions and that much of one; both grow when they are decompressed.
        .set("fetch.max.bytes", (consumer.prefetch_bytes / 4).max(LEAST_FETCH).to_string())
        .set("fetch.message.max.bytes", (consumer.prefetch_bytes / 16).max(LEAST_FETCH).to_string())
        // A full queue empties in milliseconds; by default the next fetch would wait a second.
        .set("fetch.queue.backoff.ms", "5")
        .set("fetch.wait.max.ms", "100")
        // Where to read from is in the lake. An offset that is gone is an error, not a reason to skip.
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "error")
        .set("check.crcs", "true");
    if let Some(instance) = &consumer.instance {
        config.set("group.instance.id", instance);
    }
    for (key, value) in &consumer.properties {
        config.set(key, value);
    }
    let context = Context { token_file: settings.security.token_file.clone(), ..Context::default() };
    Consumer::from_config_and_context(&config, context).map_err(|error| settings.refused(error))
}

/// The poll thread's state.
pub(crate) struct Member {
    pub(crate) settings: KafkaSettings,
    pub(crate) consumer: Arc<Consumer>,
    pub(crate) commands: mpsc::Receiver<Command>,
    pub(crate) moved: channel::UnboundedSender<Moved>,
    pub(crate) stop: Shutdown,
    pub(crate) buffers: BTreeMap<Key, Arc<Buffer>>,
    pub(crate) waiting: Arc<AtomicU64>,
    pub(crate) paused: bool,
    /// Since when polling waits for readers.
    pub(crate) holding: Option<Instant>,
    pub(crate) told: Option<Instant>,
}

impl Member {
    /// Polls until it is told to stop, then leaves the group.
    pub(crate) fn run(mut self) {
        let consumer = self.consumer.clone();
        while !self.stop.is_requested() {
            self.obey();
            if self.holds() {
                thread::sleep(HOLD_STEP);
                continue;
            }
            match Self::next(&consumer) {
                Event::Record(message) => self.record(&message),
                Event::Assigned(partitions) => self.assign(&partitions),
                Event::Revoked { partitions, lost } => self.revoke(&partitions, lost),
                Event::Failed(error) => self.failed(&error),
                Event::Idle => self.look_at_ends(),
            }
            self.bound_memory();
        }
        self.leave();
    }

    fn next(consumer: &Consumer) -> Event<'_> {
        let noted = consumer.context().rebalances.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        match noted {
            Some((true, partitions)) => return Event::Assigned(partitions),
            Some((false, partitions)) => return Event::Revoked { partitions, lost: consumer.assignment_lost() },
            None => {}
        }
        match consumer.poll(POLL) {
            None => Event::Idle,
            Some(Ok(message)) => Event::Record(message),
            Some(Err(error)) => Event::Failed(error),
        }
    }

    fn key(&self, name: &str, partition: i32) -> Option<Key> {
        Some((self.settings.topics.find(name)?, Partition(u32::try_from(partition).ok()?)))
    }

    fn record(&self, message: &BorrowedMessage<'_>) {
        let buffer = self.key(message.topic(), message.partition()).and_then(|key| self.buffers.get(&key));
        if let Some(buffer) = buffer {
            buffer.push(message.offset(), message.payload().unwrap_or_default());
        }
    }

    fn is_cooperative(&self) -> bool {
        matches!(self.consumer.rebalance_protocol(), RebalanceProtocol::Cooperative)
    }

    fn assign(&mut self, partitions: &TopicPartitionList) {
        let mut wanted = partitions.clone();
        // Paused at once; this offset is only where librdkafka waits until the reader says where to begin.
        wanted.set_all_offsets(NativeOffset::Beginning).ok();
        let cooperative = self.is_cooperative();
        let done = if cooperative { self.consumer.incremental_assign(&wanted) } else { self.consumer.assign(&wanted) };
        if let Err(error) = done.and_then(|()| self.consumer.pause(&wanted)) {
            return self.failed(&error);
        }
        let keys: Vec<_> = partitions.elements().iter().filter_map(|p| self.key(p.topic(), p.partition())).collect();
        if keys.is_empty() {
            return;
        }
        let buffers = keys.iter().map(|key| Arc::new(Buffer::new(*key, self.waiting.clone())));
        let buffers: Vec<_> = buffers.collect();
        self.buffers.extend(buffers.iter().map(|buffer| (buffer.key, buffer.clone())));
        tracing::info!(partitions = keys.len(), total = self.buffers.len(), cooperative, "partitions assigned");
        // Nobody listens only while the reader is going, and then the group is left next.
        self.moved.send(Moved::Assigned(buffers)).ok();
    }

    fn revoke(&mut self, partitions: &TopicPartitionList, lost: bool) {
        let keys: Vec<_> = partitions.elements().iter().filter_map(|p| self.key(p.topic(), p.partition())).collect();
        self.release(&keys, if lost { Duration::ZERO } else { Duration::from_secs(self.settings.consumer.release_seconds) });
        tracing::info!(partitions = keys.len(), total = self.buffers.len(), lost, "partitions revoked");
        if let Err(error) = unassign(&self.consumer, partitions) {
            self.failed(&error);
        }
    }

    /// Has readers let go of partitions, and waits for them.
    fn release(&mut self, keys: &[Key], patience: Duration) {
        for buffer in keys.iter().filter_map(|key| self.buffers.remove(key)) {
            buffer.close();
        }
        let (held, released) = mpsc::channel();
        if self.moved.send(Moved::Revoked(keys.to_vec(), held)).is_ok() && !patience.is_zero() {
            // Ends when every reader dropped its end.
            if released.recv_timeout(patience) == Err(mpsc::RecvTimeoutError::Timeout) {
                tracing::warn!(
                    seconds = patience.as_secs(),
                    "a reader did not let go of a revoked partition in time; its next batch loses the race"
                );
            }
        }
    }

    fn obey(&mut self) {
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::Seek(buffer, offset) => self.seek(&buffer, offset),
                Command::Commit(key, offset) => self.commit(key, offset),
            }
        }
    }

    fn name(&self, key: Key) -> (&str, i32) {
        (self.settings.topics.of(key.0), key.1.0 as i32)
    }

    fn list(&self, keys: impl IntoIterator<Item = Key>) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        for key in keys {
            let (name, partition) = self.name(key);
            list.add_partition(name, partition);
        }
        list
    }

    /// Begins to read a partition at an offset. What was fetched before is thrown away by librdkafka and by the buffer.
    fn seek(&self, buffer: &Arc<Buffer>, offset: i64) {
        let current = self.buffers.get(&buffer.key).is_some_and(|current| Arc::ptr_eq(current, buffer));
        if !current {
            return;
        }
        let (name, partition) = self.name(buffer.key);
        let begun = self.consumer.seek(name, partition, NativeOffset::Offset(offset), SEEK_TIMEOUT).and_then(|()| {
            buffer.begin(offset);
            let list = self.list([buffer.key]);
            if self.paused { self.consumer.pause(&list) } else { self.consumer.resume(&list) }
        });
        if let Err(error) = begun {
            tracing::debug!(topic = %buffer.key.0, partition = %buffer.key.1, %error, "seeking failed and is tried again");
            buffer.stall();
        }
    }

    fn commit(&self, key: Key, offset: i64) {
        if !self.buffers.contains_key(&key) {
            return;
        }
        let (name, partition) = self.name(key);
        let mut list = TopicPartitionList::new();
        let committed = list.add_partition_offset(name, partition, NativeOffset::Offset(offset));
        if let Err(error) = committed.and_then(|()| self.consumer.commit(&list, CommitMode::Async)) {
            tracing::debug!(%error, "the group's offset was not committed; it is only a hint");
        }
    }

    fn failed(&mut self, error: &NativeError) {
        // Records that are gone, or a topic that is: every reader finds out where its partition stands.
        if matches!(
            error.rdkafka_error_code(),
            Some(
                RDKafkaErrorCode::AutoOffsetReset
                    | RDKafkaErrorCode::OffsetOutOfRange
                    | RDKafkaErrorCode::UnknownTopicOrPartition
                    | RDKafkaErrorCode::UnknownTopic
                    | RDKafkaErrorCode::UnknownPartition
            )
        ) {
            self.buffers.values().for_each(|buffer| buffer.stall());
        }
        if self.told.is_none_or(|told| told.elapsed() >= TELL_EVERY) {
            self.told = Some(Instant::now());
            tracing::warn!(%error, brokers = self.settings.brokers, "receiving from Kafka failed; it goes on by itself");
        }
    }

    /// Takes over the partitions' ends that the statistics told.
    fn look_at_ends(&self) {
        let ends = std::mem::take(&mut *self.consumer.context().ends.lock().unwrap_or_else(PoisonError::into_inner));
        for ((name, partition), end) in ends {
            if let Some(buffer) = self.key(&name, partition).and_then(|key| self.buffers.get(&key)) {
                buffer.end.fetch_max(end, Ordering::Relaxed);
            }
        }
    }

    /// Whether readers have enough for now.
    fn has_enough(&self) -> bool {
        let (waiting, most) = (self.waiting.load(Ordering::Relaxed), self.settings.consumer.prefetch_bytes);
        waiting > if self.paused { most / 2 } else { most }
    }

    /// Whether polling waits for readers. When it has waited long, partitions are paused instead, so that the group is heard again.
    fn holds(&mut self) -> bool {
        if self.paused || !self.has_enough() {
            self.holding = None;
            return false;
        }
        self.holding.get_or_insert_with(Instant::now).elapsed() < HOLD
    }

    /// Stops the flow of every partition when readers have had enough for long, and lets it go on when half of it is gone.
    fn bound_memory(&mut self) {
        let pause = if self.paused { self.has_enough() } else { self.holding.is_some() };
        if pause == self.paused {
            return;
        }
        let begun = self.buffers.values().filter(|buffer| buffer.with(|inner| inner.expected.is_some()));
        let list = self.list(begun.map(|buffer| buffer.key).collect::<Vec<_>>());
        let done = if pause { self.consumer.pause(&list) } else { self.consumer.resume(&list) };
        match done {
            Ok(()) => {
                self.paused = pause;
                self.holding = None;
            }
            Err(error) => self.failed(&error),
        }
    }

    fn leave(&mut self) {
        let keys: Vec<_> = self.buffers.keys().copied().collect();
        self.release(&keys, Duration::from_secs(self.settings.consumer.release_seconds));
        self.consumer.context().left.store(true, Ordering::SeqCst);
        let noted = std::mem::take(&mut *self.consumer.context().rebalances.lock().unwrap_or_else(PoisonError::into_inner));
        for (assigned, partitions) in noted {
            answer(&self.consumer, assigned, &partitions);
        }
        self.consumer.unsubscribe();
        // Leaving is a rebalance of its own, which is answered while polling.
        let until = Instant::now() + LEAVE_WITHIN;
        while Instant::now() < until && self.consumer.assignment().is_ok_and(|left| left.count() > 0) {
            drop(self.consumer.poll(POLL));
        }
    }
}

/// Answers a rebalance for a member that is going: what is assigned is taken, for closing to give back.
fn answer(consumer: &Consumer, assigned: bool, partitions: &TopicPartitionList) {
    let answered = match (assigned, consumer.rebalance_protocol()) {
        (true, RebalanceProtocol::Cooperative) => consumer.incremental_assign(partitions),
        (true, RebalanceProtocol::Eager | RebalanceProtocol::None) => consumer.assign(partitions),
        (false, _) => unassign(consumer, partitions),
    };
    if let Err(error) = answered {
        tracing::debug!(%error, "leaving the group");
    }
}

/// Gives partitions back in the way of the group's protocol.
fn unassign(consumer: &Consumer, partitions: &TopicPartitionList) -> Result<(), NativeError> {
    match consumer.rebalance_protocol() {
        RebalanceProtocol::Cooperative => consumer.incremental_unassign(partitions),
        RebalanceProtocol::Eager | RebalanceProtocol::None => consumer.unassign(),
    }
}

/// Starts the poll thread.
pub(crate) fn spawn(member: Member) -> Result<thread::JoinHandle<()>, KafkaError> {
    thread::Builder::new().name("kafka-poll".to_owned()).spawn(move || member.run()).map_err(KafkaError::Thread)
}
