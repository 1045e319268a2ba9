//! Partitions that come and go.

use std::{sync::Arc, sync::mpsc, time::Duration};

use rdkafka::{Offset, TopicPartitionList};

use super::{Member, Moved, reading::Reading};
use crate::kafka::{
    KafkaError,
    buffer::{Buffer, Key},
    consumer,
};

impl Member {
    /// Takes partitions, paused.
    pub(super) fn assign(&mut self, partitions: &TopicPartitionList) -> Result<(), KafkaError> {
        let mut wanted = partitions.clone();
        // Paused at once; this offset is only where librdkafka waits until the reader says where to begin.
        let taken = wanted.set_all_offsets(Offset::Beginning).and_then(|()| consumer::assign(&self.consumer, &wanted));
        taken.map_err(|error| self.settings.failed("taking partitions that were assigned", error))?;
        self.pause(&wanted);
        let keys = self.keys(partitions);
        if keys.is_empty() {
            return Ok(());
        }
        let buffers: Vec<_> = keys.iter().map(|key| Arc::new(Buffer::new(*key, self.waiting.clone()))).collect();
        self.partitions.extend(buffers.iter().map(|buffer| (buffer.key, Reading::new(buffer.clone()))));
        tracing::info!(
            partitions = keys.len(),
            total = self.partitions.len(),
            cooperative = consumer::is_cooperative(&self.consumer),
            "partitions assigned"
        );
        // Nobody listens only while the reader is going, and then the group is left next.
        self.moved.send(Moved::Assigned(buffers)).ok();
        Ok(())
    }

    /// Gives partitions back when their readers have let go.
    pub(super) fn revoke(&mut self, partitions: &TopicPartitionList, lost: bool) -> Result<(), KafkaError> {
        let keys = self.keys(partitions);
        self.release(&keys, if lost { Duration::ZERO } else { Duration::from_secs(self.settings.consumer.release_seconds) });
        tracing::info!(partitions = keys.len(), total = self.partitions.len(), lost, "partitions revoked");
        let given = consumer::unassign(&self.consumer, partitions);
        given.map_err(|error| self.settings.failed("giving back partitions that were revoked", error))
    }

    /// Has readers let go of partitions, and waits for them.
    pub(super) fn release(&mut self, keys: &[Key], patience: Duration) {
        for reading in keys.iter().filter_map(|key| self.partitions.remove(key)) {
            reading.buffer.close(&mut self.chunks);
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

    fn keys(&self, partitions: &TopicPartitionList) -> Vec<Key> {
        partitions.elements().iter().filter_map(|p| self.key(p.topic(), p.partition())).collect()
    }
}
