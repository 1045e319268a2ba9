//! A member of the consumer group: one thread that polls, and events for whoever reads.
//!
//! The group only says which partitions this process has; where to read them from is the lake's to say. A partition is assigned paused,
//! and flows from the offset that its reader asks for. When it is revoked its reader is told first, and the group waits for it, for a
//! bounded time: what a reader does later loses the race for the name of its batch.
//!
//! What cannot be mended here ends the membership with an error: a partition that nobody reads while the group believes it is read would stand
//! still without a word.

mod reading;
mod rebalance;

use std::{
    any::Any,
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, atomic::AtomicU64, mpsc},
    thread,
    time::{Duration, Instant},
};

use nocturne_kit::Shutdown;
use nocturne_wire::Partition;
use rdkafka::{
    TopicPartitionList,
    consumer::Consumer as _,
    error::{KafkaError as NativeError, RDKafkaErrorCode},
    message::BorrowedMessage,
};
use tokio::sync::mpsc as channel;

use self::reading::Reading;
use super::{
    KafkaError, KafkaSettings,
    buffer::{Buffer, Key},
    chunks::Chunks,
    consumer::{self, Consumer, Rebalance},
    flow::{Hold, Turn},
};

const POLL: Duration = Duration::from_millis(50);
const HOLD_STEP: Duration = Duration::from_millis(1);
/// How often partitions' positions and ends are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// After how many records the time is asked for.
const LOOK_AFTER: u32 = 64;
/// How long the other members may be waited for when this one goes.
const LEAVE_WITHIN: Duration = Duration::from_secs(2);
/// How long questions under way may be waited for; longer than any of them takes.
const ASKED_WITHIN: Duration = Duration::from_secs(15);
const TELL_EVERY: Duration = Duration::from_mins(1);

/// What the poll thread comes back with.
enum Event<'a> {
    /// A record.
    Record(BorrowedMessage<'a>),
    /// Partitions came.
    Assigned(TopicPartitionList),
    /// Partitions go; `lost` when others may have them already.
    Revoked { partitions: TopicPartitionList, lost: bool },
    /// Something went wrong.
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
    /// The group was left, as it was asked for. The last word.
    Left,
    /// The group was left, although nobody asked for it. The last word.
    Failed(KafkaError),
}

/// What readers ask of the poll thread.
pub(crate) enum Command {
    /// Read from an offset on, for a generation of the buffer.
    Seek(Arc<Buffer>, u64, i64),
    /// Read nothing until the next seek.
    Rest(Arc<Buffer>, u64),
    /// Everything before was sealed: a hint for tools that show the group's lag.
    Commit(Key, i64),
}

/// The poll thread's state.
pub(crate) struct Member {
    settings: KafkaSettings,
    consumer: Arc<Consumer>,
    commands: mpsc::Receiver<Command>,
    moved: channel::UnboundedSender<Moved>,
    stop: Shutdown,
    partitions: BTreeMap<Key, Reading>,
    /// Bytes that wait over all partitions.
    waiting: Arc<AtomicU64>,
    chunks: Chunks,
    hold: Hold,
    /// Records since the clock was looked at.
    unlooked: u32,
    looked: Instant,
    told: Option<Instant>,
}

impl Member {
    pub(crate) fn new(
        settings: KafkaSettings,
        consumer: Arc<Consumer>,
        commands: mpsc::Receiver<Command>,
        moved: channel::UnboundedSender<Moved>,
        stop: Shutdown,
    ) -> Self {
        Self {
            settings,
            consumer,
            commands,
            moved,
            stop,
            partitions: BTreeMap::new(),
            waiting: Arc::default(),
            chunks: Chunks::default(),
            hold: Hold::default(),
            unlooked: 0,
            looked: Instant::now(),
            told: None,
        }
    }

    /// Polls until it is told to stop or cannot go on, then leaves the group and closes the consumer, which blocks and so happens on this
    /// thread and on no other.
    fn run(mut self) {
        let ended = catch_unwind(AssertUnwindSafe(|| self.poll_until_stopped()));
        let last = last_word(ended, &self.settings.brokers);
        self.leave();
        let Self { consumer, moved, .. } = self;
        close(consumer);
        // Nobody listens when the reader has gone before.
        moved.send(last).ok();
    }

    fn poll_until_stopped(&mut self) -> Result<(), KafkaError> {
        let consumer = self.consumer.clone();
        while !self.stop.is_requested() {
            self.obey()?;
            match self.turn() {
                Turn::Poll => {}
                Turn::Pause => self.pause_overfull(),
                Turn::Hold => {
                    thread::sleep(HOLD_STEP);
                    continue;
                }
            }
            // When nothing is there it is time to look around, and then to wait.
            let event = match next(&consumer, Duration::ZERO) {
                Event::Idle => {
                    self.look_around();
                    next(&consumer, POLL)
                }
                event => event,
            };
            match event {
                Event::Record(message) => {
                    self.record(&message);
                    // Asking for the time costs as much as taking a record in.
                    self.unlooked += 1;
                    if self.unlooked < LOOK_AFTER {
                        continue;
                    }
                }
                Event::Assigned(partitions) => self.assign(&partitions)?,
                Event::Revoked { partitions, lost } => self.revoke(&partitions, lost)?,
                Event::Failed(error) => self.failed(&error)?,
                Event::Idle => {}
            }
            self.look_around();
        }
        Ok(())
    }

    fn key(&self, name: &str, partition: i32) -> Option<Key> {
        Some((self.settings.topics.find(name)?, Partition(u32::try_from(partition).ok()?)))
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

    fn failed(&mut self, error: &NativeError) -> Result<(), KafkaError> {
        if let Some((code, reason)) = self.consumer.client().fatal_error() {
            return Err(KafkaError::Fatal { brokers: self.settings.brokers.clone(), reason: format!("{reason} ({code})") });
        }
        for reading in self.partitions.values() {
            reading.buffer.doubt();
            // Records that are gone, or a topic that is: every reader finds out where its partition stands.
            if is_about_offsets(error) {
                reading.buffer.stall();
            }
        }
        if self.told.is_none_or(|told| told.elapsed() >= TELL_EVERY) {
            self.told = Some(Instant::now());
            tracing::warn!(%error, brokers = self.settings.brokers, "receiving from Kafka failed; it goes on by itself");
        }
        Ok(())
    }

    /// Looks at what is not told by events.
    fn look_around(&mut self) {
        self.unlooked = 0;
        if self.looked.elapsed() < LOOK_EVERY {
            return;
        }
        self.looked = Instant::now();
        for ((name, partition), end) in self.consumer.context().take_ends() {
            if let Some(reading) = self.key(&name, partition).and_then(|key| self.partitions.get(&key)) {
                reading.buffer.end_is_at_least(end);
            }
        }
        self.pass_what_is_no_record();
        self.resume_drained();
        self.chunks.give_back(self.looked);
    }

    fn leave(&mut self) {
        let keys: Vec<_> = self.partitions.keys().copied().collect();
        self.release(&keys, Duration::from_secs(self.settings.consumer.release_seconds));
        let context = self.consumer.context();
        context.leave();
        while let Some(Rebalance { assigned, partitions }) = context.rebalance() {
            consumer::answer(&self.consumer, assigned, &partitions);
        }
        self.consumer.unsubscribe();
        // Leaving is a rebalance of its own, which is answered while polling.
        let until = Instant::now() + LEAVE_WITHIN;
        while Instant::now() < until && self.consumer.assignment().is_ok_and(|left| left.count() > 0) {
            drop(self.consumer.poll(POLL));
        }
    }
}

fn next(consumer: &Consumer, wait: Duration) -> Event<'_> {
    match consumer.context().rebalance() {
        Some(Rebalance { assigned: true, partitions }) => return Event::Assigned(partitions),
        Some(Rebalance { assigned: false, partitions }) => {
            return Event::Revoked { partitions, lost: consumer.assignment_lost() };
        }
        None => {}
    }
    match consumer.poll(wait) {
        None => Event::Idle,
        Some(Ok(message)) => Event::Record(message),
        Some(Err(error)) => Event::Failed(error),
    }
}

/// Whether an error says that offsets or partitions are not there.
fn is_about_offsets(error: &NativeError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::AutoOffsetReset
                | RDKafkaErrorCode::OffsetOutOfRange
                | RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::UnknownTopic
                | RDKafkaErrorCode::UnknownPartition
        )
    )
}

/// What the reader is told in the end.
fn last_word(ended: thread::Result<Result<(), KafkaError>>, brokers: &str) -> Moved {
    match ended {
        Ok(Ok(())) => Moved::Left,
        Ok(Err(error)) => Moved::Failed(error),
        Err(panic) => Moved::Failed(KafkaError::Ended { brokers: brokers.to_owned(), why: message(&*panic) }),
    }
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "it panicked".to_owned())
}

/// Closes a consumer once nobody asks it anything any more.
fn close(mut consumer: Arc<Consumer>) {
    let until = Instant::now() + ASKED_WITHIN;
    while Instant::now() < until {
        match Arc::try_unwrap(consumer) {
            Ok(alone) => return drop(alone),
            Err(shared) => consumer = shared,
        }
        thread::sleep(Duration::from_millis(10));
    }
    tracing::warn!("a question to Kafka takes very long; the consumer is closed by whoever asked it");
}

/// Starts the poll thread.
pub(crate) fn spawn(member: Member) -> Result<(), KafkaError> {
    let thread = thread::Builder::new().name("kafka-poll".to_owned());
    // Its last word tells its end; whoever goes without waiting for that leaves it to go by itself.
    thread.spawn(move || member.run()).map(drop).map_err(KafkaError::Thread)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_end_that_was_asked_for_is_told_as_one() {
        assert!(matches!(last_word(Ok(Ok(())), "b:1"), Moved::Left));
        let left = KafkaError::Left { brokers: String::new() };
        assert!(matches!(last_word(Ok(Err(left)), "b:1"), Moved::Failed(KafkaError::Left { .. })));
        let panicked = catch_unwind(|| -> Result<(), KafkaError> { panic!("a defect") });
        match last_word(panicked, "b:1") {
            Moved::Failed(KafkaError::Ended { brokers, why }) => assert_eq!((&*brokers, &*why), ("b:1", "a defect")),
            other => panic!("{other:?}"),
        }
    }
}
