//! Reading: one type for a partition of this machine's log and one of a Kafka topic.
//!
//! Offsets here are the lake's. They are the transport's own until a topic was made anew and a person accepted it: from then on the
//! lake's offsets go on where they were, a fixed distance ahead of the transport's ([`Intake::shift`]).

use std::{ops::Range, time::Duration};

use bytes::Bytes;
use nocturne_wire::{Offset, Partition, Topic};

use crate::{
    kafka::{KafkaError, intake::KafkaIntake},
    local::{
        intake::{Intake as LocalIntake, IntakeError, Record},
        log::{CommandError, LocalLog},
    },
};

/// Why a partition cannot be read on, now or at all.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The local log cannot be read.
    #[error(transparent)]
    Log(#[from] IntakeError),
    /// The local log cannot be changed.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// Kafka did not answer.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    /// Kafka's topic ends before an offset that was read from it.
    #[error("{topic} partition {partition} ends at offset {end}, before {asked}: its newest records are gone")]
    Truncated {
        /// The topic.
        topic: Topic,
        /// The partition.
        partition: Partition,
        /// Where it ends.
        end: Offset,
        /// What was asked for.
        asked: Offset,
    },
    /// The partition is another process's now.
    #[error("{topic} partition {partition} was given to another process")]
    Revoked {
        /// The topic.
        topic: Topic,
        /// The partition.
        partition: Partition,
    },
}

impl ReadError {
    /// Whether the records were deleted before they were read.
    pub const fn is_trimmed(&self) -> bool {
        matches!(self, Self::Log(IntakeError::Trimmed { .. }))
    }
}

#[derive(Debug)]
enum Source {
    Local { log: LocalLog, intake: LocalIntake },
    Kafka(KafkaIntake),
}

/// Reads one partition.
#[derive(Debug)]
pub struct Intake {
    topic: Topic,
    partition: Partition,
    shift: u64,
    source: Source,
}

impl Intake {
    pub(crate) fn local(log: &LocalLog, topic: Topic, partition: Partition) -> Option<Self> {
        let intake = log.intake(topic, partition, Offset(0))?;
        Some(Self { topic, partition, shift: 0, source: Source::Local { log: log.clone(), intake } })
    }

    pub(crate) fn kafka(intake: KafkaIntake) -> Self {
        let (topic, partition) = intake.key();
        Self { topic, partition, shift: 0, source: Source::Kafka(intake) }
    }

    /// The topic.
    pub const fn topic(&self) -> Topic {
        self.topic
    }

    /// The partition.
    pub const fn partition(&self) -> Partition {
        self.partition
    }

    /// Sets how far the lake's offsets are ahead of the transport's.
    pub const fn set_shift(&mut self, shift: u64) {
        self.shift = shift;
    }

    /// How far the lake's offsets are ahead of the transport's.
    pub const fn shift(&self) -> u64 {
        self.shift
    }

    const fn native(&self, offset: Offset) -> u64 {
        offset.0.saturating_sub(self.shift)
    }

    const fn ours(&self, native: u64) -> Offset {
        Offset(native + self.shift)
    }

    /// The topic's identity, asked for now.
    ///
    /// # Errors
    /// When Kafka does not answer, or has no such topic.
    pub async fn topic_id(&self) -> Result<String, ReadError> {
        match &self.source {
            Source::Local { log, .. } => Ok(log.topic_id(self.topic).to_owned()),
            Source::Kafka(intake) => Ok(intake.topic_id().await?),
        }
    }

    /// The offsets that are there.
    ///
    /// # Errors
    /// When Kafka does not answer.
    pub async fn range(&self) -> Result<Range<Offset>, ReadError> {
        match &self.source {
            Source::Local { log, .. } => {
                let range = log.range(self.topic, self.partition);
                Ok(self.ours(range.start.0)..self.ours(range.end.0))
            }
            Source::Kafka(intake) => {
                let range = intake.range().await?;
                Ok(self.ours(range.start.max(0) as u64)..self.ours(range.end.max(0) as u64))
            }
        }
    }

    /// Offset of the next record that [`Intake::poll`] gives, or of a gap before it.
    pub fn next(&self) -> Offset {
        match &self.source {
            Source::Local { intake, .. } => self.ours(intake.next().0),
            Source::Kafka(intake) => self.ours(intake.next.max(0) as u64),
        }
    }

    /// Offset after the last record, as far as it is known without asking.
    pub fn end(&self) -> Offset {
        match &self.source {
            Source::Local { intake, .. } => self.ours(intake.end().0),
            Source::Kafka(intake) => self.ours(intake.end().max(0) as u64),
        }
    }

    /// Goes to an offset.
    pub fn seek(&mut self, to: Offset) {
        let native = self.native(to);
        match &mut self.source {
            Source::Local { intake, .. } => intake.seek(Offset(native)),
            Source::Kafka(intake) => intake.seek(native as i64),
        }
    }

    /// Lets go of what was read ahead, and reads nothing ahead until the next [`Intake::seek`]: for a reader that cannot go on for now.
    pub fn rest(&self) {
        if let Source::Kafka(intake) = &self.source {
            intake.rest();
        }
    }

    /// Waits for news: a record, offsets without one, or a reason why none comes. False when there was none in time. Cancel safe.
    pub async fn wait(&self, timeout: Duration) -> bool {
        match &self.source {
            Source::Local { intake, .. } => intake.wait(timeout).await,
            Source::Kafka(intake) => intake.wait(timeout).await,
        }
    }

    /// The next records in the order of their offsets: at most `max_records`, and no further one once `max_bytes` are reached. Empty when
    /// there is none. Offsets may leave gaps, and [`Intake::next`] may then be beyond the last record. Cancel safe.
    ///
    /// # Errors
    /// When the records are gone or damaged, or the partition is another process's.
    pub async fn poll(&mut self, max_records: usize, max_bytes: u64) -> Result<Vec<Record>, ReadError> {
        let shift = self.shift;
        let (topic, partition) = (self.topic, self.partition);
        match &mut self.source {
            Source::Local { intake, .. } => {
                let mut records = intake.poll(max_records, max_bytes).await?;
                if shift > 0 {
                    records.iter_mut().for_each(|record| record.offset.0 += shift);
                }
                Ok(records)
            }
            Source::Kafka(intake) => {
                if intake.buffer.is_closed() {
                    return Err(ReadError::Revoked { topic, partition });
                }
                if intake.buffer.is_stalled() {
                    return self.find_out().await;
                }
                let record = |(offset, payload): (i64, Bytes)| Record { offset: Offset(offset as u64 + shift), payload };
                Ok(intake.take(max_records, max_bytes).into_iter().map(record).collect())
            }
        }
    }

    /// Reading stopped: because the next record is gone, or for a reason that has passed.
    async fn find_out(&mut self) -> Result<Vec<Record>, ReadError> {
        let (topic, partition, asked) = (self.topic, self.partition, self.next());
        let range = self.range().await?;
        if asked < range.start {
            return Err(IntakeError::Trimmed { topic, partition, asked, start: range.start }.into());
        }
        if asked > range.end {
            return Err(ReadError::Truncated { topic, partition, end: range.end, asked });
        }
        self.seek(asked);
        Ok(Vec::new())
    }

    /// Everything before `before` was sealed: the local log lets go of it, Kafka's group is told, as a hint for tools that show lag.
    ///
    /// # Errors
    /// When files of the local log cannot be deleted.
    pub async fn release(&self, before: Offset) -> Result<(), ReadError> {
        let native = self.native(before);
        match &self.source {
            Source::Local { log, .. } => Ok(log.trim(self.topic, self.partition, Offset(native)).await?),
            Source::Kafka(intake) => {
                intake.commit(native as i64);
                Ok(())
            }
        }
    }

    /// Moves the end forward to `to`, for offsets that are known to be used although their records were lost.
    ///
    /// # Errors
    /// Always for Kafka, whose offsets are not ours to give.
    pub async fn advance(&self, to: Offset) -> Result<(), ReadError> {
        match &self.source {
            Source::Local { log, .. } => Ok(log.advance(self.topic, self.partition, Offset(self.native(to))).await?),
            Source::Kafka(_) => {
                let end = self.range().await?.end;
                Err(ReadError::Truncated { topic: self.topic, partition: self.partition, end, asked: to })
            }
        }
    }

    /// Whether offsets are given by this process, so that they are known to the last.
    pub const fn is_local(&self) -> bool {
        matches!(self.source, Source::Local { .. })
    }
}
