//! Small batches become large ones, and nothing else changes.

use std::{
    fs::File,
    ops::Range,
    time::{Duration, SystemTime},
};

use jiff::SignedDuration;
use nocturne_columns::Fault;
use nocturne_lake::Lake;
use nocturne_wire::{BatchName, Offset, Topic, avro, batch::Rewritten, path};

use super::{P0, assert_clean, eager, rewriter, rows_by_offset, said, seal_many, seal_raw};
use crate::{CompactSettings, Rewriter};

fn merged(first: u64, last: u64, revision: u32) -> BatchName {
    BatchName {
        rewritten: Some(Rewritten { last: Offset(last), revision }),
        ..BatchName::new(Topic::Interactions, P0, Offset(first))
    }
}

/// Seals more batches of ten interactions each.
async fn seal_rest(lake: &Lake, batches: Range<u64>) {
    for batch in batches {
        let raw: Vec<_> = (batch * 10..batch * 10 + 10).map(|number| avro::encode_interaction(&said(number))).collect();
        seal_raw(lake, Topic::Interactions, P0, batch * 10, &raw).await;
    }
}

#[tokio::test]
async fn small_batches_become_a_large_one_with_the_same_rows() {
    let lake = Lake::memory();
    seal_many(&lake, 6, 10).await;
    let before = rows_by_offset(&lake).await;
    let done = rewriter(&lake).compact(|_| {}).await.expect("compacted");
    assert_eq!((done.merged, done.written, done.removed), (5, 1, 5));
    let newest = BatchName::new(Topic::Interactions, P0, Offset(50));
    assert_eq!(lake.batches().names(Topic::Interactions, P0).await.expect("listed"), [merged(0, 49, 1), newest]);
    assert_eq!(rows_by_offset(&lake).await, before);
    assert_clean(&lake).await;
    assert_eq!(rewriter(&lake).compact(|_| {}).await.expect("again").merged, 0, "there is nothing left to merge");
}

#[tokio::test]
async fn dead_letters_and_duplicates_are_carried_over() {
    let lake = Lake::memory();
    let row = |number| avro::encode_interaction(&said(number));
    seal_raw(&lake, Topic::Interactions, P0, 0, &[row(0), row(0), b"poison".to_vec()]).await;
    seal_raw(&lake, Topic::Interactions, P0, 3, &[b"venom".to_vec(), row(1)]).await;
    seal_raw(&lake, Topic::Interactions, P0, 5, &[row(2)]).await;
    rewriter(&lake).compact(|_| {}).await.expect("compacted");
    assert_clean(&lake).await;
    let batch = lake.batches().get(&merged(0, 4, 1)).await.expect("there");
    let footer = nocturne_columns::read_footer(&batch).expect("a footer");
    let letters = lake.batches().dead_letters(&footer).await.expect("there");
    let letters = nocturne_columns::read_dead_letters(&letters).expect("letters");
    assert_eq!(
        letters.iter().map(|letter| (letter.offset.0, letter.raw.as_slice())).collect::<Vec<_>>(),
        [(2, &b"poison"[..]), (3, b"venom")]
    );
}

#[tokio::test]
async fn rows_that_do_not_fit_memory_are_spilled() {
    let lake = Lake::memory();
    seal_many(&lake, 20, 2000).await;
    let before = rows_by_offset(&lake).await;
    let settings = CompactSettings { resources: nocturne_columns::Resources { memory_bytes: 24 << 20, spill: None }, ..eager() };
    Rewriter::new(lake.clone(), settings, "test").compact(|_| {}).await.expect("compacted");
    assert_eq!(rows_by_offset(&lake).await, before);
    assert_clean(&lake).await;
}

#[tokio::test]
async fn a_damaged_batch_is_passed_over_and_named() {
    let lake = Lake::memory();
    seal_many(&lake, 3, 10).await;
    let damaged = BatchName::new(Topic::Interactions, P0, Offset(30));
    lake.create(&path::batch(&damaged), "not a batch").await.expect("created");
    seal_rest(&lake, 4..8).await;
    let done = rewriter(&lake).compact(|_| {}).await.expect("compacted");
    assert_eq!(done.written, 2, "before it and after it: {done:?}");
    assert!(!done.skipped.is_empty() && done.skipped.iter().all(|why| why.contains("00000000000000000030.parquet")), "{done:?}");
    let names = lake.batches().names(Topic::Interactions, P0).await.expect("listed");
    assert_eq!(names, [merged(0, 29, 1), damaged, merged(40, 69, 1), BatchName::new(Topic::Interactions, P0, Offset(70))]);
}

#[tokio::test]
async fn what_a_late_writer_creates_inside_a_merged_range_is_read_by_nobody_and_removed() {
    let lake = Lake::memory();
    seal_many(&lake, 6, 10).await;
    rewriter(&lake).compact(|_| {}).await.expect("compacted");
    let raw: Vec<_> = (20..40).map(|number| avro::encode_interaction(&said(number))).collect();
    seal_raw(&lake, Topic::Interactions, P0, 20, &raw).await;
    assert_eq!(rows_by_offset(&lake).await.len(), 60);
    rewriter(&lake).compact(|_| {}).await.expect("compacted");
    assert_clean(&lake).await;
}

#[tokio::test]
async fn rows_that_cannot_be_read_are_known_before_anything_is_claimed() {
    let lake = Lake::memory();
    seal_many(&lake, 3, 10).await;
    let damaged = BatchName::new(Topic::Interactions, P0, Offset(10));
    let mut bytes = lake.get(&path::batch(&damaged)).await.expect("read").to_vec();
    let pages = 4..bytes.len() / 3;
    bytes[pages].fill(0xa5);
    lake.lose(&path::batch(&damaged)).await.expect("removed");
    lake.create(&path::batch(&damaged), bytes).await.expect("created");
    seal_rest(&lake, 3..9).await;
    let done = rewriter(&lake).compact(|_| {}).await.expect("compacted");
    assert!(done.written == 1 && !done.skipped.is_empty(), "{done:?}");
    let newest = BatchName::new(Topic::Interactions, P0, Offset(80));
    let names = lake.batches().names(Topic::Interactions, P0).await.expect("listed");
    assert_eq!(names, [BatchName::new(Topic::Interactions, P0, Offset(0)), damaged, merged(20, 79, 1), newest]);
    assert_eq!(lake.list(path::REWRITES).await.expect("listed").len(), 1);
}

#[tokio::test]
async fn a_merged_batch_spans_no_more_time_than_it_may() {
    let lake = Lake::memory();
    seal_many(&lake, 10, 10).await;
    // A record a second.
    let settings = CompactSettings { max_span: Some(SignedDuration::from_secs(30)), ..eager() };
    Rewriter::new(lake.clone(), settings, "test").compact(|_| {}).await.expect("compacted");
    let names = lake.batches().names(Topic::Interactions, P0).await.expect("listed");
    let newest = BatchName::new(Topic::Interactions, P0, Offset(90));
    assert_eq!(names, [merged(0, 29, 1), merged(30, 59, 1), merged(60, 89, 1), newest]);
    assert_clean(&lake).await;
}

#[tokio::test]
async fn the_audit_misses_what_took_the_place_of_others_at_the_end() {
    let lake = Lake::memory();
    seal_many(&lake, 3, 10).await;
    let names = lake.batches().names(Topic::Interactions, P0).await.expect("listed");
    let all = CompactSettings { keep_newest: 0, ..eager() };
    assert_clean(&lake).await;
    let wish =
        crate::Wish { subject: nocturne_wire::SubjectId::parse("anna").expect("an id"), tenant: None, until: super::at(5000) };
    Rewriter::new(lake.clone(), all, "test").erase(&wish).await.expect("erased");
    assert_clean(&lake).await;
    let newest = lake.batches().last(Topic::Interactions, P0).await.expect("listed").expect("there");
    assert_eq!((newest.first, newest.revision()), (names[2].first, 1));
    lake.lose(&path::batch(&newest)).await.expect("lost");
    let faults = super::audited(&lake).await.faults;
    assert!(matches!(&faults[..], [Fault::Claimed { last: Offset(29), found: Some(Offset(20)), .. }]), "{faults:?}");
}

#[tokio::test]
async fn what_was_merged_does_not_wait_to_be_old_before_the_rest_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let lake = Lake::open(&folder.path().to_string_lossy()).expect("opens");
    seal_many(&lake, 30, 10).await;
    let old = SystemTime::now() - Duration::from_hours(2);
    for name in lake.batches().names(Topic::Interactions, P0).await.expect("listed") {
        let file = File::options().write(true).open(folder.path().join(path::batch(&name)));
        file.and_then(|file| file.set_modified(old)).expect("made older");
    }
    let size = lake.batches().stored(Topic::Interactions, P0).await.expect("listed")[0].bytes;
    let settings = CompactSettings { target_bytes: 5 * size, ..CompactSettings::default() };
    let done = Rewriter::new(lake.clone(), settings, "test").compact(|_| {}).await.expect("compacted");
    assert!(done.written >= 3, "{done:?}");
    assert_clean(&lake).await;
}
