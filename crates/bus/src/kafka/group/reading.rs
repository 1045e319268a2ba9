//! Partitions that flow: from where, whether, and how far.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use rdkafka::{
    Message as _, Offset, TopicPartitionList,
    consumer::{CommitMode, Consumer as _},
    error::KafkaError as NativeError,
    message::BorrowedMessage,
};

use super::{Command, Member};
use crate::kafka::{
    KafkaError,
    buffer::{Buffer, Key},
    flow::{self, Failing, Turn},
};

const SEEK_TIMEOUT: Duration = Duration::from_secs(5);

/// A partition of this process.
pub(super) struct Reading {
    pub(super) buffer: Arc<Buffer>,
    /// Whether it is paused because its reader does not get on.
    paused: bool,
    failing: Option<Failing>,
}

impl Reading {
    pub(super) fn new(buffer: Arc<Buffer>) -> Self {
        Self { buffer, paused: false, failing: None }
    }
}

impl Member {
    /// Does what readers ask for.
    pub(super) fn obey(&mut self) -> Result<(), KafkaError> {
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::Seek(buffer, generation, offset) if self.is_read_by(&buffer, generation) => {
                    self.begin(&buffer, generation, offset)?;
                }
                Command::Rest(buffer, generation) if self.is_read_by(&buffer, generation) => {
                    self.pause(&self.list([buffer.key]));
                    self.set_paused(buffer.key, false);
                }
                // Whoever asked has begun anew since, or lost the partition.
                Command::Seek(..) | Command::Rest(..) => {}
                Command::Commit(key, offset) => self.commit(key, offset),
            }
        }
        Ok(())
    }

    fn is_read_by(&self, buffer: &Arc<Buffer>, generation: u64) -> bool {
        let current = self.partitions.get(&buffer.key);
        current.is_some_and(|current| Arc::ptr_eq(&current.buffer, buffer)) && buffer.is_current(generation)
    }

    /// Begins to read a partition at an offset. What was fetched before is thrown away by librdkafka and by the buffer.
    fn begin(&mut self, buffer: &Arc<Buffer>, generation: u64, offset: i64) -> Result<(), KafkaError> {
        let key = buffer.key;
        let begun = self.seek(key, offset).and_then(|()| {
            // Otherwise the next seek is on its way.
            if buffer.begin(generation, offset) { self.resume(key) } else { Ok(()) }
        });
        if let Err(error) = begun {
            return self.seek_failed(buffer, generation, error);
        }
        self.set_paused(key, false);
        self.set_failing(key, None);
        Ok(())
    }

    fn seek(&self, key: Key, offset: i64) -> Result<(), NativeError> {
        let (name, partition) = self.name(key);
        self.consumer.seek(name, partition, Offset::Offset(offset), SEEK_TIMEOUT)
    }

    /// Has the reader try again: a partition that was just assigned, or moves from broker to broker, cannot be sought in. One where that does
    /// not pass would be read by nobody.
    fn seek_failed(&mut self, buffer: &Arc<Buffer>, generation: u64, error: NativeError) -> Result<(), KafkaError> {
        let (topic, partition) = buffer.key;
        let before = self.partitions.get(&buffer.key).and_then(|reading| reading.failing);
        let failing = Failing::again(before, Instant::now());
        if failing.is_endless() {
            return Err(self.settings.failed(format!("seeking in {topic} partition {partition}"), error));
        }
        tracing::debug!(%topic, %partition, %error, "seeking failed and is tried again");
        self.set_failing(buffer.key, Some(failing));
        buffer.halt(generation);
        Ok(())
    }

    fn set_failing(&mut self, key: Key, failing: Option<Failing>) {
        if let Some(reading) = self.partitions.get_mut(&key) {
            reading.failing = failing;
        }
    }

    fn set_paused(&mut self, key: Key, paused: bool) {
        if let Some(reading) = self.partitions.get_mut(&key) {
            reading.paused = paused;
        }
    }

    /// Reads a partition again from an offset on, with what waits before it kept.
    fn read_again(&self, buffer: &Buffer, from: i64) {
        let generation = buffer.generation();
        if let Err(error) = self.seek(buffer.key, from) {
            tracing::debug!(topic = %buffer.key.0, partition = %buffer.key.1, %error, "seeking failed and is tried again");
            buffer.halt(generation);
        }
    }

    /// Hands a record to its reader.
    pub(super) fn record(&mut self, message: &BorrowedMessage<'_>) {
        let reading = self.key(message.topic(), message.partition()).and_then(|key| self.partitions.get(&key));
        let Some(buffer) = reading.map(|reading| &reading.buffer) else { return };
        if let Some(from) = buffer.push(message.offset(), message.payload().unwrap_or_default(), &mut self.chunks) {
            let (topic, partition) = buffer.key;
            tracing::info!(%topic, %partition, from, to = message.offset(), "offsets are missing; reading them once more");
            self.read_again(buffer, from);
        }
    }

    /// Tells readers how far partitions were read where the last offsets hold no record, as at the end of a transaction.
    pub(super) fn pass_what_is_no_record(&self) {
        let positions = match self.consumer.position() {
            Ok(positions) => positions,
            Err(error) => return tracing::debug!(%error, "positions are not known; asking again"),
        };
        for element in positions.elements() {
            let Offset::Offset(position) = element.offset() else { continue };
            let reading = self.key(element.topic(), element.partition()).and_then(|key| self.partitions.get(&key));
            let Some(buffer) = reading.map(|reading| &reading.buffer) else { continue };
            if let Some(from) = buffer.pass(position) {
                self.read_again(buffer, from);
            }
        }
    }

    fn commit(&self, key: Key, offset: i64) {
        if !self.partitions.contains_key(&key) {
            return;
        }
        let (name, partition) = self.name(key);
        let mut list = TopicPartitionList::new();
        let committed = list.add_partition_offset(name, partition, Offset::Offset(offset));
        if let Err(error) = committed.and_then(|()| self.consumer.commit(&list, CommitMode::Async)) {
            tracing::debug!(%error, "the group's offset was not committed; it is only a hint");
        }
    }

    /// Whether to poll.
    pub(super) fn turn(&mut self) -> Turn {
        let most = flow::most(self.settings.consumer.prefetch_bytes, self.partitions.len());
        self.hold.turn(self.waiting.load(Ordering::Relaxed) > most, Instant::now)
    }

    fn share(&self) -> u64 {
        flow::share(self.settings.consumer.prefetch_bytes, self.partitions.len())
    }

    /// Stops the flow of the partitions that hold more than their share, and takes what is beyond it from them.
    pub(super) fn pause_overfull(&mut self) {
        let share = self.share();
        let overfull = |reading: &&Reading| !reading.paused && flow::is_overfull(reading.buffer.waiting(), share);
        let buffers: Vec<_> = self.partitions.values().filter(overfull).map(|reading| reading.buffer.clone()).collect();
        for buffer in buffers {
            let (topic, partition) = buffer.key;
            tracing::info!(%topic, %partition, "a partition's reader does not get on; its flow stops until it does");
            if !self.pause(&self.list([buffer.key])) {
                continue;
            }
            self.set_paused(buffer.key, true);
            if let Some(from) = buffer.cut(share) {
                self.read_again(&buffer, from);
            }
        }
    }

    /// Lets partitions flow again whose readers have got on.
    pub(super) fn resume_drained(&mut self) {
        let share = self.share();
        let drained = |reading: &&Reading| reading.paused && flow::is_drained(reading.buffer.waiting(), share);
        let buffers: Vec<_> = self.partitions.values().filter(drained).map(|reading| reading.buffer.clone()).collect();
        for buffer in buffers {
            let generation = buffer.generation();
            self.set_paused(buffer.key, false);
            if let Err(error) = self.resume(buffer.key) {
                // Its reader seeks, and with that it is resumed again.
                tracing::debug!(topic = %buffer.key.0, partition = %buffer.key.1, %error, "resuming failed and is tried again");
                buffer.halt(generation);
            }
        }
    }

    /// Stops partitions' flow. It is no harm when that fails, as for one that librdkafka has not heard of yet: what comes and is not wanted is
    /// dropped, and what is wanted is bounded by not polling.
    pub(super) fn pause(&self, list: &TopicPartitionList) -> bool {
        let done = self.consumer.pause(list).and_then(|()| each(list));
        if let Err(error) = &done {
            tracing::debug!(%error, "partitions could not be paused");
        }
        done.is_ok()
    }

    fn resume(&self, key: Key) -> Result<(), NativeError> {
        let list = self.list([key]);
        self.consumer.resume(&list).and_then(|()| each(&list))
    }
}

/// librdkafka says for each partition whether it was done, and says that all is well even when it was done for none.
fn each(list: &TopicPartitionList) -> Result<(), NativeError> {
    list.elements().iter().try_for_each(|element| element.error())
}
