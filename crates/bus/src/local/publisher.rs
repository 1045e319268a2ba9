//! The request path's side of the log: never waits, never fails a request.

use std::{
    io,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll},
};

use bytes::Bytes;
use nocturne_wire::{Offset, Partition, Topic};
use tokio::sync::{mpsc, oneshot};

use super::{
    frame::MAX_PAYLOAD_BYTES,
    stats::count,
    writer::{Append, Command, Shared},
};

/// Most bytes that wait for the writer. With the channel's capacity this bounds the memory that a stalled disk can take.
const QUEUE_BYTES: u64 = 64 << 20;

/// Where a record went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The topic.
    pub topic: Topic,
    /// The partition.
    pub partition: Partition,
    /// The record's offset.
    pub offset: Offset,
}

/// Why a record was not accepted; it is lost, and counted.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The writer is behind.
    #[error("the log's queue is full")]
    Busy,
    /// The payload is larger than any that is accepted.
    #[error("the record has {bytes} bytes, at most {MAX_PAYLOAD_BYTES} are accepted")]
    TooLarge {
        /// Bytes of the payload.
        bytes: usize,
    },
    /// The log was closed.
    #[error("the log is closed")]
    Closed,
}

/// Whether a record was taken; not yet whether it is durable.
pub type PublishResult = Result<(), PublishError>;

/// Why an accepted record was not made durable; it is lost, and counted.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AppendError {
    /// The log is as large as it may be.
    #[error("the log has reached its limit of {max_bytes} bytes; sealing into the lake frees space")]
    Full {
        /// The limit.
        max_bytes: u64,
    },
    /// The write or its `fdatasync` failed.
    #[error("appending to {topic} partition {partition} of the log")]
    Write {
        /// The topic.
        topic: Topic,
        /// The partition.
        partition: Partition,
        /// Why; one write carries many records.
        #[source]
        source: Arc<io::Error>,
    },
    /// The log was closed before the record was written.
    #[error("the log was closed before the record was written")]
    Closed,
}

/// A promise that is kept when the record is durable.
#[derive(Debug)]
pub struct Ack(oneshot::Receiver<Result<Position, AppendError>>);

impl Future for Ack {
    type Output = Result<Position, AppendError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map(|answer| answer.unwrap_or(Err(AppendError::Closed)))
    }
}

/// Hands records to the writer. Clones share one queue.
#[derive(Debug, Clone)]
pub struct Publisher {
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) shared: Arc<Shared>,
}

/// What stands before the payload of a record whose key is kept: its length (u16, little-endian) and the key.
fn envelope(key: &[u8]) -> Option<Vec<u8>> {
    let length = u16::try_from(key.len()).ok()?;
    let mut prefix = Vec::with_capacity(2 + key.len());
    prefix.extend_from_slice(&length.to_le_bytes());
    prefix.extend_from_slice(key);
    Some(prefix)
}

/// Takes a record of a log that keeps keys apart: key and payload. `None` when it is not one.
pub fn open_envelope(record: &Bytes) -> Option<(Bytes, Bytes)> {
    let (length, _) = record.split_first_chunk::<2>()?;
    let end = 2 + usize::from(u16::from_le_bytes(*length));
    (record.len() >= end).then(|| (record.slice(2..end), record.slice(end..)))
}

impl Publisher {
    /// Publishes without waiting for durability. Records with the same key keep their order.
    ///
    /// # Errors
    /// When the record is not accepted. A later failure to write it is only counted.
    pub fn publish(&self, topic: Topic, key: &[u8], payload: Bytes) -> PublishResult {
        self.send(topic, key, payload, None)
    }

    /// Publishes; what comes back resolves when the record is durable. A group commit makes that about a millisecond.
    ///
    /// # Errors
    /// When the record is not accepted.
    pub fn publish_acked(&self, topic: Topic, key: &[u8], payload: Bytes) -> Result<Ack, PublishError> {
        let (done, ack) = oneshot::channel();
        self.send(topic, key, payload, Some(done))?;
        Ok(Ack(ack))
    }

    fn send(
        &self,
        topic: Topic,
        key: &[u8],
        payload: Bytes,
        done: Option<oneshot::Sender<Result<Position, AppendError>>>,
    ) -> PublishResult {
        let prefix = if self.shared.keyed { envelope(key) } else { Some(Vec::new()) };
        let Some(prefix) = prefix else { return Err(PublishError::TooLarge { bytes: key.len() }) };
        let bytes = prefix.len() + payload.len();
        if bytes > MAX_PAYLOAD_BYTES {
            return Err(PublishError::TooLarge { bytes });
        }
        let counters = &self.shared.counters;
        if self.shared.queued_bytes.fetch_add(bytes as u64, Ordering::Relaxed) > QUEUE_BYTES {
            self.shared.queued_bytes.fetch_sub(bytes as u64, Ordering::Relaxed);
            count(&counters.dropped_busy, 1);
            return Err(PublishError::Busy);
        }
        let partition = self.partition_of(topic, key);
        let append = Command::Append(Append { topic, partition, prefix, payload, done });
        self.commands.try_send(append).map_err(|refused| {
            self.shared.queued_bytes.fetch_sub(bytes as u64, Ordering::Relaxed);
            match refused {
                mpsc::error::TrySendError::Full(_) => {
                    count(&counters.dropped_busy, 1);
                    PublishError::Busy
                }
                mpsc::error::TrySendError::Closed(_) => PublishError::Closed,
            }
        })
    }

    /// The partition of a key: the same on every machine and in every release, because order depends on it.
    pub fn partition_of(&self, topic: Topic, key: &[u8]) -> Partition {
        Partition(crc32fast::hash(key) % self.shared.partitions.of(topic))
    }
}
