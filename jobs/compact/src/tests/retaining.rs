//! What is too old is removed.

use jiff::{SignedDuration, Timestamp};
use nocturne_lake::Lake;
use nocturne_wire::{BatchName, Offset, Topic, avro, path};

use super::{P0, assert_clean, at, audited, rewriter, rows_by_offset, said, seal_many, seal_raw};

#[tokio::test]
async fn batches_whose_records_are_all_too_old_are_removed_but_never_the_newest() {
    let lake = Lake::memory();
    seal_many(&lake, 5, 10).await;
    let planned = rewriter(&lake).retain(at(25), true).await.expect("planned");
    assert_eq!((planned.batches, planned.rows), (2, 20), "the third has a record that is too young");
    assert_eq!(rows_by_offset(&lake).await.len(), 50, "nothing was removed yet");
    assert_eq!(rewriter(&lake).retain(at(25), false).await.expect("removed"), planned);
    assert!(rows_by_offset(&lake).await.keys().copied().eq(20..50));
    assert_clean(&lake).await;
    rewriter(&lake).retain(at(5000), false).await.expect("removed");
    assert!(rows_by_offset(&lake).await.keys().copied().eq(40..50), "the newest says where sealing goes on");
    assert_clean(&lake).await;
    assert_eq!(lake.batches().names(Topic::Interactions, P0).await.expect("listed").len(), 1);
}

#[tokio::test]
async fn a_run_that_dies_at_whatever_step_is_finished_by_the_next_one() {
    for operations in 0.. {
        let lake = Lake::memory();
        seal_many(&lake, 4, 5).await;
        let outcome = rewriter(&lake.mortal(operations)).retain(at(12), false).await;
        assert!(audited(&lake).await.clean(), "after {operations} operations: {:?}", audited(&lake).await);
        rewriter(&lake).retain(at(12), false).await.expect("finished");
        assert!(rows_by_offset(&lake).await.keys().copied().eq(10..20));
        assert_clean(&lake).await;
        if outcome.is_ok() {
            break;
        }
    }
}

#[tokio::test]
async fn a_batch_that_cannot_be_read_is_as_old_as_its_object() {
    let lake = Lake::memory();
    seal_many(&lake, 2, 5).await;
    let damaged = BatchName::new(Topic::Interactions, P0, Offset(10));
    lake.create(&path::batch(&damaged), "not a batch").await.expect("created");
    for first in [15, 20] {
        let raw: Vec<_> = (first..first + 5).map(|number| avro::encode_interaction(&said(number))).collect();
        seal_raw(&lake, Topic::Interactions, P0, first, &raw).await;
    }
    let removed = rewriter(&lake).retain(at(5000), false).await.expect("removed");
    assert!(removed.batches == 2 && removed.unreadable.len() == 1, "its object is young: {removed:?}");
    let later = Timestamp::now().checked_add(SignedDuration::from_hours(1)).expect("a time");
    let removed = rewriter(&lake).retain(later, false).await.expect("removed");
    assert!(removed.batches == 2 && removed.unreadable.is_empty(), "{removed:?}");
    assert_clean(&lake).await;
}
