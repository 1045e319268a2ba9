//! What a day gives.

use nocturne_kit::Shutdown;
use nocturne_wire::{Offset, Partition};
use proptest::prelude::*;

use super::*;
use crate::{Batcher, BatcherError, BatcherHandle};

struct Running {
    handle: BatcherHandle,
    shutdown: Shutdown,
    task: tokio::task::JoinHandle<Result<(), BatcherError>>,
}

impl Running {
    async fn start(log: &LocalLog, lake: &Lake, settings: BatcherSettings) -> Self {
        let batcher = Batcher::open(settings, Group::local(log), lake, "test").await.expect("opens");
        let (handle, shutdown) = (batcher.handle(), Shutdown::new());
        let task = tokio::spawn(batcher.run(shutdown.clone()));
        Self { handle, shutdown, task }
    }

    async fn stop(self) {
        self.shutdown.request();
        in_time(self.task).await.expect("no panic").expect("ends well");
    }
}

#[tokio::test]
async fn a_flush_seals_everything_once_and_tells_where_each_partition_ends() {
    let dir = tempfile::tempdir().expect("a folder");
    let (log, lake) = (open_log(dir.path(), 3), Lake::memory());
    let ids = publish(&log, 0..57).await;
    let running = Running::start(&log, &lake, settings()).await;
    let sealed = in_time(running.handle.flush()).await.expect("sealed");
    assert_eq!(sorted(ids), sealed_ids(&lake).await);
    for (&(topic, partition), position) in &sealed {
        assert_eq!(*position, log.range(topic, partition).end);
    }
    let report = audited(&lake).await;
    assert!(report.clean(), "{:?}", report.faults);
    assert_eq!(report.interactions(), 57);
    let status = running.handle.status().borrow().clone();
    assert_eq!((status.rows(), status.lag()), (57, 0));
    running.stop().await;
}

#[tokio::test]
async fn batches_are_sealed_by_records_and_by_idleness_without_being_asked() {
    let dir = tempfile::tempdir().expect("a folder");
    let (log, lake) = (open_log(dir.path(), 1), Lake::memory());
    let seal = SealSettings { idle_seconds: 0, ..settings().seal };
    let running = Running::start(&log, &lake, BatcherSettings { seal, ..settings() }).await;
    let ids = publish(&log, 0..25).await;
    let mut status = running.handle.status();
    in_time(status.wait_for(|status| status.rows() == 25)).await.expect("alive");
    assert_eq!(sorted(ids), sealed_ids(&lake).await);
    running.stop().await;
}

#[tokio::test]
async fn after_a_restart_sealing_goes_on_after_the_last_batch_and_the_log_is_trimmed() {
    let dir = tempfile::tempdir().expect("a folder");
    let (log, lake) = (open_log(dir.path(), 1), Lake::memory());
    let mut ids = publish(&log, 0..60).await;
    let running = Running::start(&log, &lake, settings()).await;
    in_time(running.handle.flush()).await.expect("sealed");
    running.stop().await;
    assert!(log.range(Topic::Interactions, Partition(0)).start > Offset(0), "sealed segments are deleted");
    log.close().await;
    let log = open_log(dir.path(), 1);
    ids.extend(publish(&log, 60..75).await);
    let running = Running::start(&log, &lake, settings()).await;
    in_time(running.handle.flush()).await.expect("sealed");
    running.stop().await;
    assert_eq!(sorted(ids), sealed_ids(&lake).await);
    assert!(audited(&lake).await.clean());
}

#[tokio::test]
async fn a_record_sent_twice_is_sealed_once_within_a_batch_across_batches_and_across_restarts() {
    let dir = tempfile::tempdir().expect("a folder");
    let (log, lake) = (open_log(dir.path(), 1), Lake::memory());
    let ids = publish(&log, [0, 1, 1, 2]).await;
    let running = Running::start(&log, &lake, settings()).await;
    in_time(running.handle.flush()).await.expect("sealed");
    publish(&log, [2, 0]).await;
    in_time(running.handle.flush()).await.expect("sealed");
    running.stop().await;
    publish(&log, [1]).await;
    let running = Running::start(&log, &lake, settings()).await;
    in_time(running.handle.flush()).await.expect("sealed");
    running.stop().await;
    assert_eq!(sealed_ids(&lake).await, [&*ids[0], &*ids[1], &*ids[3]]);
    let report = audited(&lake).await;
    assert!(report.clean(), "{:?}", report.faults);
    assert_eq!(report.partitions[0].duplicates, 4);
}

#[tokio::test]
async fn what_cannot_be_decoded_becomes_a_dead_letter_and_stops_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let (log, lake) = (open_log(dir.path(), 1), Lake::memory());
    publish(&log, [0]).await;
    publish_raw(&log, b"not a record").await;
    publish(&log, [1]).await;
    let running = Running::start(&log, &lake, settings()).await;
    in_time(running.handle.flush()).await.expect("sealed");
    running.stop().await;
    let report = audited(&lake).await;
    assert!(report.clean(), "{:?}", report.faults);
    assert_eq!((report.interactions(), report.partitions[0].dead), (2, 1));
}

#[tokio::test]
async fn offsets_that_the_log_lost_to_damage_are_accounted_for() {
    let dir = tempfile::tempdir().expect("a folder");
    let log = open_log(dir.path(), 1);
    publish(&log, 0..8).await;
    log.close().await;
    let segment = dir.path().join("interactions/0/00000000000000000000.log");
    let mut bytes = std::fs::read(&segment).expect("there");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&segment, bytes).expect("written");
    let (log, lake) = (open_log(dir.path(), 1), Lake::memory());
    let running = Running::start(&log, &lake, settings()).await;
    in_time(running.handle.flush()).await.expect("sealed");
    publish(&log, [9]).await;
    in_time(running.handle.flush()).await.expect("sealed");
    running.stop().await;
    let report = audited(&lake).await;
    assert!(report.clean(), "{:?}", report.faults);
    assert_eq!(report.interactions() + report.partitions[0].dead, 9);
    assert!(report.partitions[0].dead >= 4);
}

#[tokio::test]
async fn a_damaged_newest_batch_stops_its_partition_until_it_is_restored_and_nothing_is_lost() {
    let dir = tempfile::tempdir().expect("a folder");
    let root = tempfile::tempdir().expect("a folder");
    let lake = Lake::open(root.path().to_str().expect("plain")).expect("a lake");
    let log = open_log(&dir.path().join("log"), 1);
    let mut ids = publish(&log, 0..20).await;
    let running = Running::start(&log, &lake, settings()).await;
    in_time(running.handle.flush()).await.expect("sealed");
    running.stop().await;
    let newest = lake.batches().last(Topic::Interactions, Partition(0)).await.expect("listed").expect("a batch");
    let file = root.path().join(nocturne_wire::path::batch(&newest));
    let whole = std::fs::read(&file).expect("read");
    std::fs::write(&file, &whole[..whole.len() / 2]).expect("damaged");

    let running = Running::start(&log, &lake, settings()).await;
    ids.extend(publish(&log, 20..35).await);
    let refused = in_time(running.handle.flush()).await.expect_err("the position is not known");
    assert!(matches!(refused, crate::FlushError::Failed { topic: Topic::Interactions, .. }), "{refused}");
    let error = running.handle.status().borrow().partitions[&(Topic::Interactions, Partition(0))].error.clone();
    assert!(error.is_some_and(|error| error.contains("restore it")));
    std::fs::write(&file, &whole).expect("restored");
    in_time(running.handle.flush()).await.expect("sealed");
    running.stop().await;
    assert_eq!(sorted(ids), sealed_ids(&lake).await);
    assert!(audited(&lake).await.clean());
}

#[tokio::test]
async fn a_lake_that_was_restored_from_an_older_copy_is_filled_from_the_log() {
    let dir = tempfile::tempdir().expect("a folder");
    let root = tempfile::tempdir().expect("a folder");
    let lake = Lake::open(root.path().to_str().expect("plain")).expect("a lake");
    // One large segment: nothing is trimmed, so that the log still holds what the copy lacks.
    let whole = LogSettings { partitions: Partitions { interactions: 1, feedback: 1 }, ..LogSettings::default() };
    let log = LocalLog::open(&dir.path().join("log"), &whole).expect("opens");
    let ids = publish(&log, 0..30).await;
    let running = Running::start(&log, &lake, settings()).await;
    in_time(running.handle.flush()).await.expect("sealed");
    running.stop().await;
    let batches = lake.batches().list(Topic::Interactions).await.expect("listed");
    let files: Vec<_> = batches[&Partition(0)].iter().map(|name| root.path().join(nocturne_wire::path::batch(name))).collect();
    assert_eq!(files.len(), 3);
    std::fs::write(&files[2], "damaged").expect("written");

    let running = Running::start(&log, &lake, settings()).await;
    in_time(running.handle.flush()).await.expect_err("the position is not known");
    for file in &files[1..] {
        std::fs::remove_file(file).expect("removed");
    }
    in_time(running.handle.flush()).await.expect("sealed again");
    running.stop().await;
    assert_eq!(sorted(ids), sealed_ids(&lake).await);
    let report = audited(&lake).await;
    assert!(report.clean() && report.partitions[0].dead == 0, "{report:?}");
}

#[tokio::test]
async fn a_log_made_anew_under_old_batches_is_refused_by_name() {
    let (first, second) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let (log, lake) = (open_log(first.path(), 1), Lake::memory());
    publish(&log, [0]).await;
    let running = Running::start(&log, &lake, settings()).await;
    in_time(running.handle.flush()).await.expect("sealed");
    running.stop().await;
    let other = open_log(second.path(), 1);
    let refused = Batcher::open(settings(), Group::local(&other), &lake, "test").await.err().expect("another topic");
    assert!(matches!(refused, BatcherError::TopicRecreated { .. }));
    let refused = Batcher::open(settings(), Group::local(&log), &Lake::memory(), "test").await;
    assert!(refused.is_ok(), "nothing was trimmed yet, so that a new lake can have it all");
}

#[tokio::test]
async fn a_log_that_lost_its_sealed_tail_never_gives_those_offsets_again() {
    let dir = tempfile::tempdir().expect("a folder");
    let (log, lake) = (open_log(dir.path(), 1), Lake::memory());
    publish(&log, 0..6).await;
    let running = Running::start(&log, &lake, settings()).await;
    in_time(running.handle.flush()).await.expect("sealed");
    running.stop().await;
    log.close().await;
    let segment = dir.path().join("interactions/0/00000000000000000000.log");
    std::fs::OpenOptions::new().write(true).open(segment).expect("there").set_len(0).expect("cut");
    let log = open_log(dir.path(), 1);
    let running = Running::start(&log, &lake, settings()).await;
    publish(&log, [7]).await;
    in_time(running.handle.flush()).await.expect("sealed");
    running.stop().await;
    let report = audited(&lake).await;
    assert!(report.clean(), "{:?}", report.faults);
    assert_eq!(report.interactions(), 7);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn any_course_of_publishing_flushing_and_restarting_seals_every_id_once(acts in prop::collection::vec(0_usize..14, 1..12)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let dir = tempfile::tempdir().expect("a folder");
            let (log, lake) = (open_log(dir.path(), 2), Lake::memory());
            let mut running = Running::start(&log, &lake, settings()).await;
            let mut ids = Vec::new();
            for act in acts {
                match act {
                    12 => drop(in_time(running.handle.flush()).await.expect("sealed")),
                    13 => {
                        running.stop().await;
                        running = Running::start(&log, &lake, settings()).await;
                    }
                    more => {
                        let from = ids.len();
                        ids.extend(publish(&log, from..from + more).await);
                    }
                }
            }
            in_time(running.handle.flush()).await.expect("sealed");
            running.stop().await;
            prop_assert_eq!(sorted(ids), sealed_ids(&lake).await);
            prop_assert!(audited(&lake).await.clean());
            Ok(())
        })?;
    }
}
