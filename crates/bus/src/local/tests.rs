//! The log as its users see it.

mod damage;
mod faults;
mod flow;

use std::{path::Path, time::Duration};

use bytes::Bytes;
use nocturne_wire::{Offset, Partition, Topic};

use crate::{LocalIntake as Intake, LocalLog, LogSettings, Partitions, Record};

/// Long enough for any machine; a test that waits this long has failed.
const DEADLINE: Duration = Duration::from_secs(20);

const TOPIC: Topic = Topic::Interactions;
const P0: Partition = Partition(0);

/// One partition a topic and segments of a few records, so that every test crosses segments.
fn small() -> LogSettings {
    LogSettings {
        partitions: Partitions { interactions: 1, feedback: 1 },
        segment_bytes: 1024,
        max_bytes: 1 << 20,
        ..LogSettings::default()
    }
}

fn open(dir: &Path) -> LocalLog {
    LocalLog::open(dir, &small()).expect("opens")
}

async fn append(log: &LocalLog, payload: impl Into<Bytes>) -> Offset {
    let ack = log.publisher().publish_acked(TOPIC, b"s", payload.into()).expect("accepted");
    ack.await.expect("durable").offset
}

async fn read_from(log: &LocalLog, from: Offset) -> Vec<Record> {
    let mut intake = log.intake(TOPIC, P0, from).expect("there is a partition 0");
    drain(&mut intake).await
}

async fn drain(intake: &mut Intake) -> Vec<Record> {
    let mut records = Vec::new();
    loop {
        let more = intake.poll(3, 200).await.expect("readable");
        if more.is_empty() {
            return records;
        }
        records.extend(more);
    }
}

async fn payloads(log: &LocalLog) -> Vec<Bytes> {
    let start = log.range(TOPIC, P0).start;
    read_from(log, start).await.into_iter().map(|record| record.payload).collect()
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(work)
}
