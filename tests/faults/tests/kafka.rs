//! The whole way over a real Kafka: spool, topic, group, batches.

use std::{path::Path, time::Duration};

use nocturne_batcher::{Batcher, BatcherHandle, BatcherSettings, SealSettings};
use nocturne_bus::{Group, KafkaSettings, Publisher, Spool, SpoolSettings, create_topics};
use nocturne_faults::{Oracle, encoded, interaction};
use nocturne_kit::Shutdown;
use nocturne_lake::Lake;
use nocturne_support::{Kafka, or_skip};
use nocturne_wire::Topic;

const LONG: Duration = Duration::from_secs(60);

fn kafka_settings(kafka: &Kafka, name: &str, partitions: i32) -> KafkaSettings {
    let mut settings = KafkaSettings { brokers: kafka.brokers(), ..KafkaSettings::default() };
    settings.topics.interactions = format!("{name}.interactions");
    settings.topics.feedback = format!("{name}.feedback");
    settings.create.interactions = partitions;
    settings.consumer.group = format!("{name}.batcher");
    settings.consumer.session_timeout_milliseconds = 6_000;
    settings.producer.linger_milliseconds = 5;
    settings
}

fn sealing() -> BatcherSettings {
    let seal = SealSettings { records: 200, age_seconds: 3600, idle_seconds: 1, ..SealSettings::default() };
    BatcherSettings { seal, ..BatcherSettings::default() }
}

struct Running {
    handle: BatcherHandle,
    shutdown: Shutdown,
    task: tokio::task::JoinHandle<()>,
}

impl Running {
    async fn start(settings: &KafkaSettings, lake: &Lake, writer: &str) -> Self {
        let group = Group::join(settings).expect("joins");
        let batcher = Batcher::open(sealing(), group, lake, writer).await.expect("opens");
        let (handle, shutdown) = (batcher.handle(), Shutdown::new());
        let stop = shutdown.clone();
        Self { handle, shutdown, task: tokio::spawn(async move { batcher.run(stop).await.expect("no panic") }) }
    }

    async fn stop(self) {
        self.shutdown.request();
        tokio::time::timeout(LONG, self.task).await.expect("stops in time").expect("no panic");
    }
}

fn open_spool(dir: &Path, settings: &KafkaSettings) -> Spool {
    Spool::open(dir, &SpoolSettings::default(), settings).expect("opens")
}

async fn publish(publisher: &Publisher, oracle: &mut Oracle, prefix: &str, range: std::ops::Range<u64>) {
    let mut acks = Vec::new();
    for n in range {
        let record = interaction(prefix, n, 100);
        let (key, payload) = encoded(&record);
        oracle.issue(&record.id);
        acks.push((record.id, publisher.publish_acked(Topic::Interactions, &key, payload.into()).expect("room")));
    }
    for (id, ack) in acks {
        ack.await.expect("kept");
        oracle.acknowledge(id);
    }
}

/// Waits until as many rows as were acknowledged are sealed.
async fn sealed(lake: &Lake, oracle: &Oracle) {
    let rows = async || {
        let mut rows = 0;
        for name in lake.batches().list(Topic::Interactions).await.expect("listed").into_values().flatten() {
            let bytes = lake.batches().get(&name).await.expect("read");
            rows += nocturne_columns::read_footer(&bytes).expect("a footer").rows;
        }
        rows
    };
    let waiting = async {
        while rows().await < oracle.acknowledged() {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::time::timeout(LONG, waiting).await.expect("sealed in time");
}

#[tokio::test(flavor = "multi_thread")]
async fn records_go_through_spool_kafka_and_batcher_once() {
    let kafka = or_skip!(Kafka::start(1));
    let settings = kafka_settings(&kafka, "way", 3);
    assert_eq!(create_topics(&settings).await.expect("made").len(), 2);
    assert!(create_topics(&settings).await.expect("there already").is_empty());
    let dir = tempfile::tempdir().expect("a folder");
    let lake = Lake::memory();
    let mut oracle = Oracle::default();
    let spool = open_spool(dir.path(), &settings);
    let batcher = Running::start(&settings, &lake, "one").await;
    publish(&spool.publisher(), &mut oracle, "a", 0..1000).await;
    sealed(&lake, &oracle).await;
    batcher.stop().await;
    // Another process goes on where the lake says.
    let batcher = Running::start(&settings, &lake, "two").await;
    publish(&spool.publisher(), &mut oracle, "b", 0..500).await;
    sealed(&lake, &oracle).await;
    let flushed = tokio::time::timeout(LONG, batcher.handle.flush()).await.expect("in time").expect("sealed");
    assert_eq!(flushed.len(), 4);
    assert_eq!(flushed.values().map(|end| end.0).sum::<u64>(), 1500);
    batcher.stop().await;
    spool.close().await;
    let verdict = oracle.check(&lake).await.expect("nothing wrong");
    assert_eq!((verdict.rows, verdict.duplicates_dropped, verdict.dead), (1500, 0, 0));
}
