//! Publishing, reading, trimming.

use std::collections::BTreeMap;

use super::*;
use crate::{CommandError, IntakeError, MAX_PAYLOAD_BYTES, OpenError, PublishError};

#[tokio::test]
async fn records_come_back_in_order_with_ascending_offsets_over_many_segments() {
    let dir = tempfile::tempdir().expect("a folder");
    let log = open(dir.path());
    for n in 0..100_u64 {
        assert_eq!(append(&log, vec![n as u8; 50]).await, Offset(n));
    }
    let records = read_from(&log, Offset(0)).await;
    assert_eq!(records.iter().map(|r| r.offset.0).collect::<Vec<_>>(), (0..100).collect::<Vec<_>>());
    assert!(records.iter().all(|r| r.payload == vec![r.offset.0 as u8; 50]));
    assert_eq!(read_from(&log, Offset(97)).await.len(), 3);
    assert!(std::fs::read_dir(dir.path().join("interactions/0")).expect("listed").count() > 5);
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_opening_again_and_offsets_go_on() {
    let dir = tempfile::tempdir().expect("a folder");
    let log = open(dir.path());
    let id = log.topic_id(TOPIC).to_owned();
    for n in 0..30_u8 {
        append(&log, vec![n; 60]).await;
    }
    log.close().await;
    let log = open(dir.path());
    assert_eq!(log.recovered().records, 30);
    assert_eq!(log.topic_id(TOPIC), id);
    assert_eq!(append(&log, "more").await, Offset(30));
    assert_eq!(payloads(&log).await.len(), 31);
}

#[tokio::test]
async fn a_group_of_records_is_committed_at_once() {
    let dir = tempfile::tempdir().expect("a folder");
    let log = LocalLog::open(dir.path(), &LogSettings::default()).expect("opens");
    let publisher = log.publisher();
    let acks: Vec<_> = (0..1000_u32)
        .map(|n| publisher.publish_acked(TOPIC, &n.to_le_bytes(), Bytes::from_static(b"x")).expect("room"))
        .collect();
    for ack in acks {
        ack.await.expect("durable");
    }
    let stats = log.stats();
    assert_eq!(stats.appended, 1000);
    assert!(stats.commits < 500, "{} commits for 1000 records", stats.commits);
}

#[tokio::test]
async fn records_of_one_key_stay_in_one_partition_and_in_order() {
    let dir = tempfile::tempdir().expect("a folder");
    let settings = LogSettings { partitions: Partitions { interactions: 4, feedback: 1 }, ..LogSettings::default() };
    let log = LocalLog::open(dir.path(), &settings).expect("opens");
    let publisher = log.publisher();
    let mut by_key: BTreeMap<u8, Vec<_>> = BTreeMap::new();
    for n in 0..200_u8 {
        let ack = publisher.publish_acked(TOPIC, &[n % 10], vec![n].into()).expect("room");
        by_key.entry(n % 10).or_default().push(ack.await.expect("durable"));
    }
    for positions in by_key.values() {
        assert!(positions.iter().all(|p| p.partition == positions[0].partition));
        assert!(positions.is_sorted_by_key(|p| p.offset));
    }
    let used: std::collections::BTreeSet<_> = by_key.values().map(|p| p[0].partition).collect();
    assert!(used.len() > 1, "ten keys fell into one of four partitions");
}

#[tokio::test]
async fn an_intake_waits_for_a_record_and_gives_up_in_time() {
    let dir = tempfile::tempdir().expect("a folder");
    let log = open(dir.path());
    let mut intake = log.intake(TOPIC, P0, Offset(0)).expect("there");
    assert!(!intake.wait(Duration::from_millis(1)).await);
    let (waited, _) = tokio::join!(intake.wait(DEADLINE), append(&log, "x"));
    assert!(waited);
    assert_eq!(intake.poll(10, 1000).await.expect("readable").len(), 1);
    assert_eq!(intake.next(), Offset(1));
}

#[tokio::test]
async fn a_poll_ends_at_its_limits_but_always_gives_one_record() {
    let dir = tempfile::tempdir().expect("a folder");
    let log = open(dir.path());
    for _ in 0..5 {
        append(&log, vec![7; 300]).await;
    }
    let mut intake = log.intake(TOPIC, P0, Offset(0)).expect("there");
    assert_eq!(intake.poll(2, u64::MAX).await.expect("readable").len(), 2);
    assert_eq!(intake.poll(9, 1).await.expect("readable").len(), 1);
    assert_eq!(intake.poll(9, u64::MAX).await.expect("readable").len(), 2);
}

#[tokio::test]
async fn trimming_deletes_whole_segments_and_the_rest_stays_readable() {
    let dir = tempfile::tempdir().expect("a folder");
    let log = open(dir.path());
    for n in 0..100_u8 {
        append(&log, vec![n; 50]).await;
    }
    let before = log.stats().bytes;
    log.trim(TOPIC, P0, Offset(50)).await.expect("trimmed");
    let range = log.range(TOPIC, P0);
    assert!(range.start > Offset(0) && range.start <= Offset(50), "starts at {}", range.start);
    assert!(log.stats().bytes < before);
    assert_eq!(read_from(&log, Offset(50)).await.len(), 50);
    let refused = log.intake(TOPIC, P0, Offset(0)).expect("there").poll(1, 1).await.expect_err("trimmed");
    assert!(matches!(refused, IntakeError::Trimmed { start, .. } if start == range.start));
    log.trim(TOPIC, P0, Offset(100)).await.expect("trimmed");
    log.close().await;
    let log = open(dir.path());
    assert_eq!(append(&log, "next").await, Offset(100));
}

#[tokio::test]
async fn advancing_leaves_a_gap_that_readers_step_over_and_that_survives_a_restart() {
    let dir = tempfile::tempdir().expect("a folder");
    let log = open(dir.path());
    append(&log, "a").await;
    log.advance(TOPIC, P0, Offset(10)).await.expect("advanced");
    log.advance(TOPIC, P0, Offset(4)).await.expect("nothing to do");
    log.close().await;
    let log = open(dir.path());
    assert_eq!(append(&log, "b").await, Offset(10));
    let offsets: Vec<_> = read_from(&log, Offset(0)).await.iter().map(|r| r.offset.0).collect();
    assert_eq!(offsets, [0, 10]);
    assert_eq!(read_from(&log, Offset(5)).await[0].offset, Offset(10));
}

#[tokio::test]
async fn a_closed_log_refuses_and_an_oversize_record_is_named() {
    let dir = tempfile::tempdir().expect("a folder");
    let log = open(dir.path());
    let publisher = log.publisher();
    let huge = Bytes::from(vec![0; MAX_PAYLOAD_BYTES + 1]);
    let refused = publisher.publish(TOPIC, b"s", huge).expect_err("too large");
    assert!(matches!(refused, PublishError::TooLarge { .. }));
    publisher.publish(TOPIC, b"s", "kept".into()).expect("accepted");
    log.close().await;
    assert!(matches!(publisher.publish(TOPIC, b"s", "late".into()), Err(PublishError::Closed)));
    assert!(matches!(log.trim(TOPIC, P0, Offset(0)).await, Err(CommandError::Closed)));
    assert_eq!(payloads(&open(dir.path())).await, ["kept"]);
}

#[test]
fn settings_that_contradict_themselves_or_the_disk_are_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let tight = LogSettings { max_bytes: 1000, ..small() };
    assert!(matches!(LocalLog::open(dir.path(), &tight), Err(OpenError::Settings(_))));
    drop(open(dir.path()));
    let other = LogSettings { partitions: Partitions { interactions: 3, feedback: 1 }, ..small() };
    let refused = LocalLog::open(dir.path(), &other).expect_err("made with one").to_string();
    assert!(refused.contains("has 1 partitions and the settings ask for 3"), "{refused}");
}
