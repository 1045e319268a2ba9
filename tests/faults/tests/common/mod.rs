//! Publishers and batchers of one test, in its own process.

#![allow(dead_code, reason = "every test file uses some of it")]
#![allow(clippy::panic, reason = "a test that has failed says with what")]

pub(crate) mod bucket;

use std::time::Duration;

use nocturne_batcher::{Batcher, BatcherHandle, BatcherSettings};
use nocturne_bus::{Group, KafkaSettings, Publisher, Spool, SpoolSettings};
use nocturne_faults::{Oracle, encoded, interaction, sealing};
use nocturne_kit::Shutdown;
use nocturne_lake::Lake;
use nocturne_wire::Topic;

/// Longer than anything takes that goes well.
pub(crate) const LONG: Duration = Duration::from_mins(1);

/// A batcher that runs.
pub(crate) struct Running {
    pub(crate) handle: BatcherHandle,
    shutdown: Shutdown,
    task: tokio::task::JoinHandle<()>,
}

impl Running {
    pub(crate) async fn start(settings: &KafkaSettings, lake: &Lake) -> Self {
        Self::start_with(settings, sealing(), lake).await
    }

    pub(crate) async fn start_with(settings: &KafkaSettings, sealing: BatcherSettings, lake: &Lake) -> Self {
        let batcher = Batcher::open(sealing, Group::join(settings).expect("joins"), lake, "test").await.expect("opens");
        let (handle, shutdown) = (batcher.handle(), Shutdown::new());
        let stop = shutdown.clone();
        Self { handle, shutdown, task: tokio::spawn(async move { batcher.run(stop).await.expect("no panic") }) }
    }

    pub(crate) async fn stop(self) {
        self.shutdown.request();
        tokio::time::timeout(LONG, self.task).await.expect("stops in time").expect("no panic");
    }

    /// Waits until so many partitions are this batcher's.
    pub(crate) async fn has_partitions(&self, count: usize) {
        let mut status = self.handle.status();
        let assigned = status.wait_for(|status| status.partitions.len() == count);
        drop(tokio::time::timeout(LONG, assigned).await.expect("in time").expect("alive"));
    }

    /// Waits until a partition's status holds this error.
    pub(crate) async fn fails_with(&self, text: &str) -> String {
        let mut status = self.handle.status();
        let find = |status: &nocturne_batcher::BatcherStatus| {
            status.partitions.values().filter_map(|p| p.error.clone()).find(|error| error.contains(text))
        };
        let failing = tokio::time::timeout(LONG, status.wait_for(|status| find(status).is_some())).await;
        find(&failing.unwrap_or_else(|_| panic!("no error with `{text}`")).expect("alive")).unwrap_or_default()
    }
}

/// A spool that sends.
pub(crate) struct Sending {
    pub(crate) spool: Spool,
    _dir: tempfile::TempDir,
}

impl Sending {
    pub(crate) fn open(settings: &KafkaSettings) -> Self {
        Self::open_with(settings, &SpoolSettings::default())
    }

    pub(crate) fn open_with(settings: &KafkaSettings, spool: &SpoolSettings) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let spool = Spool::open(dir.path(), spool, settings).expect("opens");
        Self { spool, _dir: dir }
    }

    pub(crate) async fn delivered(&self, records: u64) {
        let mut status = self.spool.status();
        let done = tokio::time::timeout(LONG, status.wait_for(|status| status.delivered >= records)).await;
        done.unwrap_or_else(|_| panic!("not delivered: {:?}", self.spool.status().borrow())).expect("alive");
    }
}

pub(crate) async fn publish(publisher: &Publisher, oracle: &mut Oracle, prefix: &str, range: std::ops::Range<u64>) {
    for n in range {
        let record = interaction(prefix, n, 100);
        let (key, payload) = encoded(&record);
        oracle.issue(&record.id);
        let ack = publisher.publish_acked(Topic::Interactions, &key, payload.into()).expect("room");
        ack.await.expect("kept");
        oracle.acknowledge(&record.id);
    }
}

pub(crate) async fn checked(oracle: &Oracle, lake: &Lake) -> nocturne_faults::Verdict {
    let mut faults = String::new();
    for _ in 0..120 {
        match oracle.check(lake).await {
            Ok(verdict) => return verdict,
            Err(found) => faults = found,
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    panic!("{faults}");
}
