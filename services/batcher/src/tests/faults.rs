//! Faults at named points, and two writers of one partition.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU32, Ordering},
};

use bytes::Bytes;
use nocturne_bus::Record;
use nocturne_columns::{Erased, Input, Resources, merge};
use nocturne_kit::Shutdown;
use nocturne_lake::{LakeError, StoredBatch};
use nocturne_wire::{
    BatchName, Offset, Partition,
    batch::{BatchFooter, Rewritten},
    epoch::Epoch,
    path,
};
use tokio::sync::Notify;

use super::*;
use crate::{BatcherHandle, FlushError, batcher::Workers, store::Store};

/// Where a seal is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Point {
    BeforeAnything,
    AfterDeadLetters,
    AfterCommit,
}

/// How it is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The process dies: the call never comes back.
    Crash,
    /// The store answers with an error.
    Error,
    /// The store has no space left.
    Full,
}

/// A lake whose first so many seals stop at one point.
#[derive(Clone)]
struct Faulty {
    lake: Lake,
    point: Point,
    kind: Kind,
    left: Arc<AtomicU32>,
    reached: Arc<Notify>,
    /// A batcher that seals and trims once, right after this store has listed its batches.
    rival: Arc<Mutex<Option<BatcherHandle>>>,
    /// What the next listing of interactions shows, though it is not so any more.
    stale: Arc<Mutex<Option<Vec<StoredBatch>>>>,
}

impl Faulty {
    fn new(lake: &Lake, point: Point, kind: Kind, times: u32) -> Self {
        Self {
            lake: lake.clone(),
            point,
            kind,
            left: Arc::new(AtomicU32::new(times)),
            reached: Arc::default(),
            rival: Arc::default(),
            stale: Arc::default(),
        }
    }

    fn inner(&self) -> &Lake {
        &self.lake
    }
}

impl Store for Faulty {
    async fn stored(&self, topic: Topic, partition: Partition) -> Result<Vec<StoredBatch>, LakeError> {
        let stored = Store::stored(self.inner(), topic, partition).await;
        let stale = self.stale.lock().expect("no panic").take();
        if let Some(stale) = stale.filter(|_| topic == Topic::Interactions) {
            return Ok(stale);
        }
        let rival = self.rival.lock().expect("no panic").take();
        if let Some(rival) = rival {
            rival.flush().await.expect("the rival seals");
        }
        stored
    }

    async fn find(&self, name: BatchName) -> Result<Option<Bytes>, LakeError> {
        Store::find(self.inner(), name).await
    }

    async fn epoch(&self, topic: Topic) -> Result<Option<Epoch>, LakeError> {
        Store::epoch(self.inner(), topic).await
    }

    async fn schema(&self, fingerprint: u64) -> Result<Option<Bytes>, LakeError> {
        Store::schema(self.inner(), fingerprint).await
    }

    async fn seal(&self, footer: &BatchFooter, parquet: Bytes, dead: Option<Bytes>) -> Result<(), LakeError> {
        let take = |left: u32| left.checked_sub(1);
        if self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).is_err() {
            return Store::seal(self.inner(), footer, parquet, dead).await;
        }
        match (self.point, dead) {
            (Point::AfterDeadLetters, Some(dead)) => {
                self.lake.create(&path::dead_letters(footer), dead).await?;
            }
            (Point::AfterCommit, dead) => Store::seal(self.inner(), footer, parquet, dead).await?,
            (Point::BeforeAnything | Point::AfterDeadLetters, _) => {}
        }
        self.reached.notify_one();
        match self.kind {
            Kind::Crash => std::future::pending().await,
            Kind::Error => Err(LakeError::Unavailable {
                action: "creating",
                path: path::batch(&footer.name),
                source: "the network went away".into(),
            }),
            Kind::Full => {
                let source = std::io::Error::from(std::io::ErrorKind::StorageFull).into();
                Err(LakeError::Full { path: path::batch(&footer.name), source })
            }
        }
    }
}

async fn start(log: &LocalLog, store: Faulty) -> (BatcherHandle, Shutdown, tokio::task::JoinHandle<()>) {
    let workers = Workers::open(settings(), Group::local(log), store, "test").await.expect("opens");
    let (handle, shutdown) = (workers.handle.clone(), Shutdown::new());
    let stop = shutdown.clone();
    (handle, shutdown, tokio::spawn(async move { workers.run(stop).await.expect("ends well") }))
}

#[tokio::test]
async fn a_crash_at_any_point_of_sealing_loses_nothing_and_doubles_nothing() {
    for point in [Point::BeforeAnything, Point::AfterDeadLetters, Point::AfterCommit] {
        let dir = tempfile::tempdir().expect("a folder");
        let (log, lake) = (open_log(dir.path(), 1), Lake::memory());
        let mut ids = publish(&log, 0..4).await;
        publish_raw(&log, b"not a record").await;
        ids.extend(publish(&log, 4..9).await);
        let faulty = Faulty::new(&lake, point, Kind::Crash, 1);
        let (_, _, task) = start(&log, faulty.clone()).await;
        in_time(faulty.reached.notified()).await;
        task.abort();
        // What comes after the crash ends elsewhere: the second attempt covers another range.
        ids.extend(publish(&log, 9..12).await);
        let (handle, shutdown, task) = start(&log, Faulty::new(&lake, point, Kind::Crash, 0)).await;
        in_time(handle.flush()).await.expect("sealed");
        shutdown.request();
        in_time(task).await.expect("no panic");
        assert_eq!(sorted(ids), sealed_ids(&lake).await, "{point:?}");
        let report = audited(&lake).await;
        assert!(report.clean(), "{point:?}: {:?}", report.faults);
        assert_eq!(report.partitions[0].dead, 1);
    }
}

#[tokio::test]
async fn an_error_at_any_point_is_told_to_the_flush_and_cured_by_the_next_attempt() {
    let points = [
        (Point::BeforeAnything, Kind::Error),
        (Point::AfterDeadLetters, Kind::Error),
        (Point::AfterCommit, Kind::Error),
        (Point::BeforeAnything, Kind::Full),
        (Point::AfterDeadLetters, Kind::Full),
    ];
    for (point, kind) in points {
        let dir = tempfile::tempdir().expect("a folder");
        let (log, lake) = (open_log(dir.path(), 1), Lake::memory());
        let mut ids = publish(&log, 0..5).await;
        let (handle, shutdown, task) = start(&log, Faulty::new(&lake, point, kind, 1)).await;
        let refused = in_time(handle.flush()).await.expect_err("the lake failed once");
        assert!(matches!(refused, FlushError::Failed { .. }), "{refused}");
        assert!(handle.status().borrow().partitions.values().any(|p| p.error.is_some()));
        ids.extend(publish(&log, 5..8).await);
        in_time(handle.flush()).await.expect("sealed");
        assert!(handle.status().borrow().partitions.values().all(|p| p.error.is_none()));
        shutdown.request();
        in_time(task).await.expect("no panic");
        assert_eq!(sorted(ids), sealed_ids(&lake).await, "{point:?}");
        assert!(audited(&lake).await.clean());
    }
}

#[tokio::test]
async fn records_that_came_out_of_order_are_not_sealed_but_read_again() {
    let dir = tempfile::tempdir().expect("a folder");
    let (log, lake) = (open_log(dir.path(), 1), Lake::memory());
    let ids = publish(&log, 0..9).await;
    let sound = Faulty::new(&lake, Point::BeforeAnything, Kind::Error, 0);
    let mut workers = Workers::open(settings(), Group::local(&log), sound, "test").await.expect("opens");
    let worker = workers.ready.iter_mut().find(|worker| worker.topic == Topic::Interactions).expect("a worker");
    // What a seek that was overtaken could leave behind: a record that is read once more after it.
    let payload = avro::encode_interaction(&interaction(4)).into();
    worker.read.records = Arc::new(vec![Record { offset: Offset(4), payload }]);
    let (handle, shutdown) = (workers.handle.clone(), Shutdown::new());
    let stop = shutdown.clone();
    let task = tokio::spawn(async move { workers.run(stop).await.expect("ends well") });
    let refused = in_time(handle.flush()).await.expect_err("one record is there twice");
    assert!(matches!(&refused, FlushError::Failed { source, .. } if source.is_about_records()), "{refused:?}");
    in_time(handle.flush()).await.expect("sealed");
    shutdown.request();
    in_time(task).await.expect("no panic");
    assert_eq!(sorted(ids), sealed_ids(&lake).await);
    let report = audited(&lake).await;
    assert!(report.clean() && report.partitions[0].dead == 0, "{:?}", report.faults);
}

#[tokio::test]
async fn a_log_that_a_rival_trims_behind_the_listing_is_not_taken_for_a_lake_that_lost_batches() {
    let dir = tempfile::tempdir().expect("a folder");
    let (log, lake) = (open_log(dir.path(), 1), Lake::memory());
    let sound = || Faulty::new(&lake, Point::BeforeAnything, Kind::Error, 0);
    let (rival, stop_rival, rival_task) = start(&log, sound()).await;
    let mut ids = publish(&log, 0..9).await;
    let late = sound();
    *late.rival.lock().expect("no panic") = Some(rival);
    let (handle, shutdown, task) = start(&log, late).await;
    ids.extend(publish(&log, 9..12).await);
    in_time(handle.flush()).await.expect("sealed");
    shutdown.request();
    stop_rival.request();
    in_time(async { tokio::join!(task, rival_task) }).await.0.expect("no panic");
    assert_eq!(sorted(ids), sealed_ids(&lake).await);
    assert!(audited(&lake).await.clean());
}

#[tokio::test]
async fn a_newest_batch_that_is_rewritten_behind_the_listing_is_found_under_its_new_name() {
    let dir = tempfile::tempdir().expect("a folder");
    let (log, lake) = (open_log(dir.path(), 1), Lake::memory());
    let sound = || Faulty::new(&lake, Point::BeforeAnything, Kind::Error, 0);
    let (handle, shutdown, task) = start(&log, sound()).await;
    let mut ids = publish(&log, 0..9).await;
    in_time(handle.flush()).await.expect("sealed");
    shutdown.request();
    in_time(task).await.expect("no panic");
    let batches = lake.batches();
    let listed = batches.stored(Topic::Interactions, Partition(0)).await.expect("listed");
    let old = listed[0].name;
    let parquet = batches.get(&old).await.expect("read");
    let name = BatchName { rewritten: Some(Rewritten { last: Offset(8), revision: 1 }), ..old };
    let input = Input { name: old, parquet, dead: None };
    let merged = merge(name, &[input], "test", &Erased::default(), &[], &Resources::default()).await.expect("written again");
    batches.seal(&merged.footer, merged.parquet, None).await.expect("created");
    batches.remove_superseded(Topic::Interactions, Partition(0)).await.expect("removed");
    let late = sound();
    *late.stale.lock().expect("no panic") = Some(listed);
    // The ids of what was rewritten are known, too.
    publish(&log, 0..9).await;
    ids.extend(publish(&log, 9..12).await);
    let (handle, shutdown, task) = start(&log, late).await;
    in_time(handle.flush()).await.expect("sealed");
    shutdown.request();
    in_time(task).await.expect("no panic");
    assert_eq!(sorted(ids), sealed_ids(&lake).await);
    let report = audited(&lake).await;
    assert!(report.clean() && report.partitions[0].duplicates == 9, "{report:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_batchers_that_race_on_one_log_seal_every_record_exactly_once() {
    let dir = tempfile::tempdir().expect("a folder");
    let (log, lake) = (open_log(dir.path(), 2), Lake::memory());
    let sound = || Faulty::new(&lake, Point::BeforeAnything, Kind::Error, 0);
    let (one, stop_one, task_one) = start(&log, sound()).await;
    let (other, stop_other, task_other) = start(&log, sound()).await;
    let mut ids = Vec::new();
    for round in 0..12 {
        ids.extend(publish(&log, round * 17..(round + 1) * 17).await);
        let (a, b) = in_time(async { tokio::join!(one.flush(), other.flush()) }).await;
        assert_eq!(a.expect("sealed"), b.expect("sealed"));
    }
    stop_one.request();
    stop_other.request();
    in_time(async { tokio::join!(task_one, task_other) }).await.0.expect("no panic");
    assert_eq!(sorted(ids), sealed_ids(&lake).await);
    let report = audited(&lake).await;
    assert!(report.clean(), "{:?}", report.faults);
}
