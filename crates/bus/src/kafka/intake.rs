//! Reading one partition of a Kafka topic.

use std::{
    ops::Range,
    sync::{Arc, atomic::Ordering, mpsc},
    time::Duration,
};

use bytes::Bytes;
use rdkafka::consumer::Consumer as _;

use super::{
    KafkaError, KafkaSettings,
    group::{Buffer, Command, Consumer, Key},
    topic_id,
};

const ASK_TIMEOUT: Duration = Duration::from_secs(10);

/// Offsets here are Kafka's own.
pub(crate) struct KafkaIntake {
    pub(crate) settings: Arc<KafkaSettings>,
    pub(crate) consumer: Arc<Consumer>,
    pub(crate) commands: mpsc::Sender<Command>,
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
        consumer: Arc<Consumer>,
        commands: mpsc::Sender<Command>,
        buffer: Arc<Buffer>,
    ) -> Self {
        Self { settings, consumer, commands, buffer, next: 0 }
    }

    pub(crate) fn seek(&mut self, to: i64) {
        self.next = to;
        self.buffer.reset();
        // The poll thread is gone only when the process stops.
        self.commands.send(Command::Seek(self.buffer.clone(), to)).ok();
    }

    pub(crate) fn commit(&self, before: i64) {
        self.commands.send(Command::Commit(self.buffer.key, before)).ok();
    }

    /// The partition's end as far as it is known.
    pub(crate) fn end(&self) -> i64 {
        self.buffer.end.load(Ordering::Relaxed).max(self.next)
    }

    pub(crate) async fn wait(&self, timeout: Duration) -> bool {
        let news = async {
            while !self.buffer.has_news() {
                self.buffer.ready.notified().await;
            }
        };
        tokio::time::timeout(timeout, news).await.is_ok()
    }

    pub(crate) fn take(&mut self, max_records: usize, max_bytes: u64) -> Vec<(i64, Bytes)> {
        let records = self.buffer.take(max_records, max_bytes);
        if let Some((last, _)) = records.last() {
            self.next = last + 1;
        }
        records
    }

    /// The offsets that the brokers have.
    pub(crate) async fn range(&self) -> Result<Range<i64>, KafkaError> {
        let range = self
            .ask("asking for the range of", |consumer, name, partition| consumer.fetch_watermarks(name, partition, ASK_TIMEOUT))
            .await?;
        self.buffer.end.fetch_max(range.1, Ordering::Relaxed);
        Ok(range.0..range.1)
    }

    /// The topic's id, asked for now: when it is what it was, so was every record that came before.
    pub(crate) async fn topic_id(&self) -> Result<String, KafkaError> {
        let id =
            self.ask("asking for the id of", |consumer, name, _| topic_id::fetch(consumer.client(), name, ASK_TIMEOUT)).await?;
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
        match tokio::task::spawn_blocking(move || ask(&consumer, &name, partition)).await {
            Ok(answer) => answer.map_err(|source| self.settings.failed(what, source)),
            Err(panic) => Err(KafkaError::Settings(format!("{what} ended unexpectedly: {panic}"))),
        }
    }
}
