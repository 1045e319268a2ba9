//! Small batches become large ones, and nothing else changes.

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
    let letters = lake.batches().dead_letters(&merged(0, 4, 1), Offset(4)).await.expect("there");
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
    for batch in 4..8 {
        let raw: Vec<_> = (batch * 10..batch * 10 + 10).map(|number| avro::encode_interaction(&said(number))).collect();
        seal_raw(&lake, Topic::Interactions, P0, batch * 10, &raw).await;
    }
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
