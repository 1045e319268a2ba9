//! Rewriters that die at every step, and several at once.

use nocturne_lake::Lake;
use nocturne_wire::{SubjectId, Topic, avro};

use super::{P0, assert_clean, at, audited, rewriter, rows_by_offset, said, seal_many, seal_raw, subject};
use crate::Wish;

#[tokio::test]
async fn whoever_dies_at_whatever_step_every_row_is_read_once_and_the_next_one_finishes() {
    for operations in 0.. {
        let lake = Lake::memory();
        seal_many(&lake, 5, 4).await;
        let before = rows_by_offset(&lake).await;
        let outcome = rewriter(&lake.mortal(operations)).compact(|_| {}).await;
        assert_eq!(rows_by_offset(&lake).await, before, "after {operations} operations");
        assert!(audited(&lake).await.clean(), "after {operations} operations: {:?}", audited(&lake).await);
        rewriter(&lake).compact(|_| {}).await.expect("finished");
        assert_eq!(rows_by_offset(&lake).await, before);
        assert_clean(&lake).await;
        if outcome.is_ok() {
            assert!(operations > 20, "compaction takes more than {operations} operations");
            break;
        }
    }
}

#[tokio::test]
async fn an_erasure_that_dies_at_whatever_step_is_finished_by_the_next_run() {
    let wish = Wish { subject: SubjectId::parse("anna").expect("an id"), tenant: None, until: at(5000) };
    for operations in 0.. {
        let lake = Lake::memory();
        seal_many(&lake, 3, 6).await;
        let outcome = rewriter(&lake.mortal(operations)).erase(&wish).await;
        let rows = rows_by_offset(&lake).await;
        let others = |number: &u64| subject(*number) != "anna";
        assert_eq!(rows.keys().filter(|number| others(number)).count(), 12, "after {operations} operations");
        assert!(audited(&lake).await.clean(), "after {operations} operations");
        rewriter(&lake).erase(&wish).await.expect("finished");
        assert!(rows_by_offset(&lake).await.keys().all(others));
        assert_clean(&lake).await;
        if outcome.is_ok() {
            break;
        }
    }
}

#[tokio::test]
async fn several_rewriters_and_a_batcher_at_once_never_show_a_row_twice_or_not_at_all() {
    for seed in 0..40 {
        let lake = Lake::memory();
        seal_many(&lake, 8, 3).await;
        let rewriting = |operations: u64| {
            let mortal = lake.mortal(operations);
            async move { drop(rewriter(&mortal).compact(|_| {}).await) }
        };
        let sealing = async {
            let mortal = lake.mortal(u64::MAX);
            for batch in 8..14 {
                let raw: Vec<_> = (batch * 3..batch * 3 + 3).map(|number| avro::encode_interaction(&said(number))).collect();
                seal_raw(&mortal, Topic::Interactions, P0, batch * 3, &raw).await;
            }
        };
        let reading = async {
            let mortal = lake.mortal(u64::MAX);
            for _ in 0..20 {
                let rows = rows_by_offset(&mortal).await;
                assert!(rows.len() >= 24 && rows.keys().copied().eq(0..rows.len() as u64), "{:?}", rows.keys());
            }
        };
        tokio::join!(rewriting(u64::MAX), rewriting(seed * 3), rewriting(seed), sealing, reading);
        rewriter(&lake).compact(|_| {}).await.expect("compacted");
        assert_eq!(rows_by_offset(&lake).await.len(), 42);
        assert_clean(&lake).await;
    }
}
