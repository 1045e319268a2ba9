//! The batcher over a real log and a lake in memory, with faults between any two steps.

mod faults;
mod sealing;

use std::{path::Path, time::Duration};

use jiff::Timestamp;
use nocturne_bus::{Group, LocalLog, LogSettings, Partitions};
use nocturne_columns::{AuditReport, audit, interactions, open_batch};
use nocturne_lake::Lake;
use nocturne_wire::{Interaction, Topic, avro};

use crate::{BatcherSettings, SealSettings};

/// Long enough for any machine; a test that waits this long has failed.
const DEADLINE: Duration = Duration::from_secs(30);

fn open_log(dir: &Path, partitions: u32) -> LocalLog {
    let settings = LogSettings {
        partitions: Partitions { interactions: partitions, feedback: 1 },
        segment_bytes: 4096,
        max_bytes: 16 << 20,
        ..LogSettings::default()
    };
    LocalLog::open(dir, &settings).expect("opens")
}

/// Seals only when asked or when ten records are there, so that tests do not depend on time.
fn settings() -> BatcherSettings {
    let seal = SealSettings { records: 10, age_seconds: 3600, idle_seconds: 3600, ..SealSettings::default() };
    BatcherSettings { seal, ..BatcherSettings::default() }
}

fn interaction(n: usize) -> Interaction {
    let time = Timestamp::from_second(1_700_000_000 + n as i64).expect("in range");
    let (subject, session) = (format!("subject-{}", n % 7), format!("session-{}", n % 5));
    nocturne_records::said(format!("pod-1-{n}"), time, &subject, &session, format!("the code of door {n} is {}", n * 7))
}

/// Publishes interactions, durably, and gives their ids.
async fn publish(log: &LocalLog, numbers: impl IntoIterator<Item = usize>) -> Vec<String> {
    let publisher = log.publisher();
    let mut ids = Vec::new();
    for record in numbers.into_iter().map(interaction) {
        let payload = avro::encode_interaction(&record).into();
        let ack = publisher.publish_acked(Topic::Interactions, record.session.as_str().as_bytes(), payload).expect("room");
        ack.await.expect("durable");
        ids.push(record.id.to_string());
    }
    ids
}

async fn publish_raw(log: &LocalLog, bytes: &'static [u8]) {
    let ack = log.publisher().publish_acked(Topic::Interactions, b"s", bytes.into()).expect("room");
    ack.await.expect("durable");
}

/// Ids of all sealed interactions, sorted, with repetitions if there are any.
async fn sealed_ids(lake: &Lake) -> Vec<String> {
    let mut ids = Vec::new();
    for name in lake.batches().list(Topic::Interactions).await.expect("listed").into_values().flatten() {
        let bytes = lake.batches().get(&name).await.expect("there");
        let (_, rows) = open_batch(&name, &bytes).expect("undamaged");
        ids.extend(interactions(&rows).expect("interactions").into_iter().map(|record| record.id.to_string()));
    }
    ids.sort();
    ids
}

async fn audited(lake: &Lake) -> AuditReport {
    let mut objects = Vec::new();
    for object in lake.list("").await.expect("listed") {
        let bytes = lake.get(&object.path).await.expect("there");
        objects.push((object.path, bytes));
    }
    audit(objects, [])
}

fn sorted(mut ids: Vec<String>) -> Vec<String> {
    ids.sort();
    ids
}

async fn in_time<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, work).await.expect("done in time")
}
