//! Reading one partition of a Kafka topic.

use std::{
    ops::Range,
    sync::{Arc, Weak, mpsc},
    time::Duration,
};

use bytes::Bytes;
use rdkafka::consumer::Consumer as _;

use super::{
    KafkaError, KafkaSettings,
    buffer::{Buffer, Key},
    consumer::Consumer,
    described,
    group::Command,
};

const ASK_TIMEOUT: Duration = Duration::from_secs(10);

/// Offsets here are Kafka's own.
pub(crate) struct KafkaIntake {
    settings: Arc<KafkaSettings>,
    /// The poll thread's: closing it blocks, and must not happen where a reader is dropped.
    consumer: Weak<Consumer>,
    commands: mpsc::Sender<Command>,
    pub(crate) buffer: Arc<Buffer>,
    pub(crate) next: i64,
}

impl std::fmt::Debug for KafkaIntake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaIntake").field("key", &self.buffer.key).field("next", &self.next).finish_non_exhaustive()
    }
}

impl KafkaIntake {
    pub(crate) fn new(
        settings: Arc<KafkaSettings>,
        consumer: Weak<Consumer>,
        commands: mpsc::Sender<Command>,
        buffer: Arc<Buffer>,
    ) -> Self {
        Self { settings, consumer, commands, buffer, next: 0 }
    }

    pub(crate) fn seek(&mut self, to: i64) {
        self.next = to;
        let generation = self.buffer.reset();
        // The poll thread is gone only when the buffer is closed.
        self.commands.send(Command::Seek(self.buffer.clone(), generation, to)).ok();
    }

    /// Lets go of what waits, until the next seek.
    pub(crate) fn rest(&self) {
        let generation = self.buffer.reset();
        self.commands.send(Command::Rest(self.buffer.clone(), generation)).ok();
    }

    pub(crate) fn commit(&self, before: i64) {
        self.commands.send(Command::Commit(self.buffer.key, before)).ok();
    }

    /// The partition's end as far as it is known.
    pub(crate) fn end(&self) -> i64 {
        self.buffer.end().max(self.next)
    }

    pub(crate) async fn wait(&self, timeout: Duration) -> bool {
        tokio::time::timeout(timeout, self.buffer.news(self.next)).await.is_ok()
    }

    pub(crate) fn take(&mut self, max_records: usize, max_bytes: u64) -> Vec<(i64, Bytes)> {
        let (records, next) = self.buffer.take(max_records, max_bytes);
        self.next = next.unwrap_or(self.next);
        records
    }

    /// The offsets that the brokers have.
    pub(crate) async fn range(&self) -> Result<Range<i64>, KafkaError> {
        let range = self
            .ask("asking for the range of", |consumer, name, partition| consumer.fetch_watermarks(name, partition, ASK_TIMEOUT))
            .await?;
        self.buffer.end_is_at_least(range.1);
        Ok(range.0..range.1)
    }

    /// The topic's id, asked for now: when it is what it was, so was every record that came before.
    pub(crate) async fn topic_id(&self) -> Result<String, KafkaError> {
        let id = self
            .ask("asking for the id of", |consumer, name, _| described::topic_id(consumer.client(), name, ASK_TIMEOUT))
            .await?;
        id.ok_or_else(|| KafkaError::NoTopic { name: self.name().to_owned(), brokers: self.settings.brokers.clone() })
    }

    fn name(&self) -> &str {
        self.settings.topics.of(self.key().0)
    }

    pub(crate) fn key(&self) -> Key {
        self.buffer.key
    }

    async fn ask<T: Send + 'static>(
        &self,
        doing: &str,
        ask: impl FnOnce(&Consumer, &str, i32) -> Result<T, rdkafka::error::KafkaError> + Send + 'static,
    ) -> Result<T, KafkaError> {
        let (consumer, name, partition) = (self.consumer.clone(), self.name().to_owned(), self.key().1.0 as i32);
        let what = format!("{doing} topic `{name}` partition {partition}");
        let asked = tokio::task::spawn_blocking(move || {
            // The poll thread waits for a question that is under way, and not for further ones.
            let consumer = consumer.upgrade().filter(|consumer| !consumer.context().has_left())?;
            Some(ask(&consumer, &name, partition))
        });
        match asked.await {
            Ok(Some(answer)) => answer.map_err(|source| self.settings.failed(what, source)),
            Ok(None) => Err(KafkaError::Left { brokers: self.settings.brokers.clone() }),
            Err(panic) => Err(KafkaError::Settings(format!("{what} ended unexpectedly: {panic}"))),
        }
    }
}
