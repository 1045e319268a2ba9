//! Subjects who are forgotten.

use std::{
    fs::File,
    time::{Duration, SystemTime},
};

use jiff::{SignedDuration, Timestamp};
use nocturne_lake::Lake;
use nocturne_wire::{
    BatchName, Offset, SubjectId, TenantId, Topic, avro, path,
    rewrite::{Rewrite, RewriteReason},
};

use super::{P0, assert_clean, at, feedback_of, judged, rewriter, rows_by_offset, said, seal_many, seal_raw, subject};
use crate::{CompactSettings, Rewriter, Wish};

fn wish(subject: &str, until: u64) -> Wish {
    Wish { subject: SubjectId::parse(subject).expect("an id"), tenant: None, until: at(until) }
}

#[tokio::test]
async fn a_subjects_rows_are_gone_and_everything_else_is_there() {
    let lake = Lake::memory();
    seal_many(&lake, 4, 6).await;
    rewriter(&lake).compact(|_| {}).await.expect("compacted");
    let mut left = rows_by_offset(&lake).await;
    left.retain(|number, _| subject(*number) != "bert");
    let report = rewriter(&lake).erase(&wish("bert", 5000)).await.expect("erased");
    assert_eq!((report.erasures, report.interactions, report.feedback, report.batches), (1, 8, 0, 2));
    assert_eq!(rows_by_offset(&lake).await, left);
    assert_clean(&lake).await;
    for object in lake.list("").await.expect("listed") {
        let bytes = lake.get(&object.path).await.expect("read");
        assert!(!bytes.windows(4).any(|window| window == b"bert"), "{} still names the subject", object.path);
    }
    let again = rewriter(&lake).erase(&wish("bert", 5000)).await.expect("erased");
    assert_eq!((again.erasures, again.batches), (1, 0), "one wish is recorded once");
}

#[tokio::test]
async fn only_what_was_said_until_then_and_to_that_tenant_is_erased() {
    let lake = Lake::memory();
    seal_many(&lake, 2, 6).await;
    let elsewhere = Wish { tenant: Some(TenantId::parse("other").expect("an id")), ..wish("anna", 5000) };
    assert_eq!(rewriter(&lake).erase(&elsewhere).await.expect("erased").interactions, 0);
    assert_eq!(rewriter(&lake).erase(&wish("anna", 3)).await.expect("erased").interactions, 2, "numbers 0 and 3");
    assert!(rows_by_offset(&lake).await.contains_key(&6));
}

#[tokio::test]
async fn feedback_goes_with_the_subject_and_with_the_interaction() {
    let lake = Lake::memory();
    seal_many(&lake, 2, 3).await;
    let raw: Vec<_> = [judged(0, "operator"), judged(1, "anna"), judged(2, "cleo")].iter().map(avro::encode_feedback).collect();
    seal_raw(&lake, Topic::Feedback, P0, 0, &raw).await;
    let report = rewriter(&lake).erase(&wish("anna", 5000)).await.expect("erased");
    assert_eq!((report.interactions, report.feedback), (2, 2));
    let left: Vec<_> = feedback_of(&lake).await.into_iter().map(|row| row.subject.to_string()).collect();
    assert_eq!(left, ["cleo"]);
    assert_clean(&lake).await;
}

#[tokio::test]
async fn a_dead_letter_that_names_the_subject_is_erased() {
    let lake = Lake::memory();
    let mut half = avro::encode_interaction(&said(0));
    half.truncate(half.len() / 2);
    let raw = [avro::encode_interaction(&said(1)), half, b"somebody says anna".to_vec()];
    seal_raw(&lake, Topic::Interactions, P0, 0, &raw).await;
    let report = rewriter(&lake).erase(&wish("anna", 5000)).await.expect("erased");
    assert_eq!((report.interactions, report.dead_letters, report.batches), (0, 1, 1));
    assert_clean(&lake).await;
}

#[tokio::test]
async fn feedback_goes_while_the_interaction_is_too_young_and_the_other_way_round() {
    let folder = tempfile::tempdir().expect("a folder");
    let lake = Lake::open(&folder.path().to_string_lossy()).expect("opens");
    seal_many(&lake, 1, 3).await;
    let batch = folder.path().join(path::batch(&BatchName::new(Topic::Interactions, P0, Offset(0))));
    let old = SystemTime::now() - Duration::from_hours(2);
    File::options().write(true).open(batch).and_then(|file| file.set_modified(old)).expect("made older");
    seal_raw(&lake, Topic::Feedback, P0, 0, &[avro::encode_feedback(&judged(0, "operator"))]).await;
    let report =
        Rewriter::new(lake.clone(), CompactSettings::default(), "test").erase(&wish("anna", 5000)).await.expect("recorded");
    assert_eq!((report.interactions, report.feedback, report.young), (1, 0, 1));
    let report = rewriter(&lake).apply_erasures().await.expect("erased");
    assert_eq!((report.interactions, report.feedback, report.young), (0, 1, 0));
}

#[tokio::test]
async fn a_batch_that_a_batcher_may_still_be_at_is_left_for_the_next_run() {
    let lake = Lake::memory();
    seal_many(&lake, 2, 3).await;
    let patient = Rewriter::new(lake.clone(), CompactSettings::default(), "test");
    let report = patient.erase(&wish("anna", 5000)).await.expect("recorded");
    assert_eq!((report.interactions, report.batches, report.young), (0, 0, 2));
    assert_eq!(rows_by_offset(&lake).await.len(), 6);
    let report = rewriter(&lake).apply_erasures().await.expect("erased");
    assert_eq!((report.interactions, report.batches, report.young), (2, 2, 0));
}

#[tokio::test]
async fn what_is_sealed_after_the_wish_is_erased_by_the_next_run() {
    let lake = Lake::memory();
    seal_many(&lake, 1, 3).await;
    rewriter(&lake).erase(&wish("anna", 5000)).await.expect("erased");
    seal_raw(&lake, Topic::Interactions, P0, 3, &[avro::encode_interaction(&said(3))]).await;
    assert!(rows_by_offset(&lake).await.contains_key(&3));
    let report = rewriter(&lake).apply_erasures().await.expect("erased");
    assert_eq!((report.interactions, report.batches), (1, 1));
    assert!(!rows_by_offset(&lake).await.contains_key(&3));
    let newest = lake.batches().last(Topic::Interactions, P0).await.expect("listed").expect("there");
    assert_eq!(newest.first, Offset(3), "an empty batch still says where sealing goes on");
}

#[tokio::test]
async fn feedback_that_comes_after_its_interaction_was_erased_is_erased_too() {
    let lake = Lake::memory();
    seal_many(&lake, 2, 3).await;
    rewriter(&lake).erase(&wish("anna", 5000)).await.expect("erased");
    let raw: Vec<_> = [judged(0, "operator"), judged(1, "operator")].iter().map(avro::encode_feedback).collect();
    seal_raw(&lake, Topic::Feedback, P0, 0, &raw).await;
    let report = rewriter(&lake).apply_erasures().await.expect("erased");
    assert_eq!((report.interactions, report.feedback), (0, 1));
    assert_eq!(feedback_of(&lake).await.len(), 1);
    assert_clean(&lake).await;
}

#[tokio::test]
async fn what_was_looked_at_is_not_read_again() {
    let lake = Lake::memory();
    seal_many(&lake, 30, 3).await;
    rewriter(&lake).erase(&wish("anna", 5)).await.expect("erased");
    // Far fewer operations than there are batches.
    let report = rewriter(&lake.mortal(20)).apply_erasures().await.expect("looked at");
    assert_eq!((report.interactions, report.batches), (0, 0));
    seal_raw(&lake, Topic::Interactions, P0, 90, &[avro::encode_interaction(&said(3))]).await;
    let report = rewriter(&lake.mortal(40)).apply_erasures().await.expect("erased");
    assert_eq!((report.interactions, report.batches), (1, 1), "what came late is found all the same");
    assert_eq!(lake.list("sweeps").await.expect("listed").len(), 1);
    let report = rewriter(&lake).erase(&wish("bert", 5000)).await.expect("erased");
    assert_eq!(report.interactions, 30, "another wish is looked for everywhere");
}

#[tokio::test]
async fn dead_letters_of_an_attempt_that_died_go_too() {
    let lake = Lake::memory();
    let mut half = avro::encode_interaction(&said(0));
    half.truncate(half.len() / 2);
    let abandoned = path::dead_letters_named(&BatchName::new(Topic::Interactions, P0, Offset(0)), Offset(7), None);
    seal_raw(&lake, Topic::Interactions, P0, 0, &[avro::encode_interaction(&said(1)), half.clone()]).await;
    lake.create(&abandoned, half).await.expect("created");
    rewriter(&lake).erase(&wish("cleo", 5000)).await.expect("erased");
    assert!(!lake.exists(&abandoned).await.expect("asked"), "whoever it names");
    rewriter(&lake).erase(&wish("anna", 5000)).await.expect("erased");
    assert_clean(&lake).await;
}

#[tokio::test]
async fn a_batch_that_cannot_be_read_keeps_no_other_one_from_being_erased() {
    let lake = Lake::memory();
    seal_many(&lake, 2, 3).await;
    let damaged = BatchName::new(Topic::Interactions, P0, Offset(6));
    lake.create(&path::batch(&damaged), "not a batch").await.expect("created");
    seal_raw(&lake, Topic::Interactions, P0, 9, &[avro::encode_interaction(&said(9)), b"poison".to_vec()]).await;
    let batch = lake.batches().get(&BatchName::new(Topic::Interactions, P0, Offset(9))).await.expect("read");
    let letters = path::dead_letters(&nocturne_columns::read_footer(&batch).expect("a footer"));
    let bytes = lake.get(&letters).await.expect("read");
    lake.lose(&letters).await.expect("removed");
    let report = rewriter(&lake).erase(&wish("anna", 5000)).await.expect("erased");
    assert_eq!((report.interactions, report.batches), (2, 2));
    assert_eq!(report.unreadable.len(), 2, "{report:?}");
    assert!(report.unreadable[1].contains(&letters), "{report:?}");
    lake.create(&letters, bytes).await.expect("restored");
    let report = rewriter(&lake).apply_erasures().await.expect("erased");
    assert_eq!((report.interactions, report.unreadable.len()), (1, 1), "what was restored is looked at: {report:?}");
}

#[tokio::test]
async fn a_claim_that_cannot_be_finished_is_passed_over_when_it_is_old() {
    let lake = Lake::memory();
    seal_many(&lake, 6, 3).await;
    let names = lake.batches().names(Topic::Interactions, P0).await.expect("listed");
    lake.lose(&path::batch(&names[1])).await.expect("lost");
    let claim = rewriter(&lake).draft(0, RewriteReason::Compaction, &names[..3], Offset(8)).expect("a claim");
    for (hours, erased, unreadable) in [(0, 0, 1), (2, 5, 0)] {
        let twin = Lake::memory();
        for object in lake.list("").await.expect("listed") {
            twin.create(&object.path, lake.get(&object.path).await.expect("read")).await.expect("copied");
        }
        let time = Timestamp::now().checked_sub(SignedDuration::from_hours(hours)).expect("a time");
        twin.rewrites().claim(&Rewrite { time, ..claim.clone() }).await.expect("claimed");
        let report = rewriter(&twin).erase(&wish("anna", 5000)).await.expect("told");
        assert_eq!((report.interactions, report.unreadable.len()), (erased, unreadable), "{report:?}");
        assert!(report.unreadable.iter().all(|why| why.contains("is gone")), "whoever claimed it may still live: {report:?}");
    }
}

#[tokio::test]
async fn a_batch_that_was_missing_is_looked_at_when_it_is_back() {
    let lake = Lake::memory();
    seal_many(&lake, 4, 3).await;
    let missing = path::batch(&BatchName::new(Topic::Interactions, P0, Offset(6)));
    let bytes = lake.get(&missing).await.expect("read");
    lake.lose(&missing).await.expect("lost");
    rewriter(&lake).erase(&wish("anna", 5000)).await.expect("erased");
    lake.create(&missing, bytes).await.expect("restored");
    let report = rewriter(&lake).apply_erasures().await.expect("erased");
    assert_eq!((report.interactions, report.batches), (1, 1), "{report:?}");
    assert_clean(&lake).await;
}

#[tokio::test]
async fn a_sweep_that_is_damaged_says_nothing_and_lists_that_are_stop_feedback_only() {
    let lake = Lake::memory();
    seal_many(&lake, 2, 3).await;
    rewriter(&lake).erase(&wish("anna", 5000)).await.expect("erased");
    for folder in [path::SWEEPS, path::TOMBSTONES] {
        let damaged = lake.list(folder).await.expect("listed").remove(0).path;
        lake.lose(&damaged).await.expect("lost");
        lake.create(&damaged, "{").await.expect("created");
    }
    seal_raw(&lake, Topic::Interactions, P0, 6, &[avro::encode_interaction(&said(6))]).await;
    seal_raw(&lake, Topic::Feedback, P0, 0, &[avro::encode_feedback(&judged(0, "operator"))]).await;
    let report = rewriter(&lake).apply_erasures().await.expect("erased");
    assert_eq!((report.interactions, report.feedback, report.unreadable.len()), (1, 0, 1), "{report:?}");
    assert!(report.unreadable[0].starts_with("feedback: "), "{report:?}");
}

#[tokio::test]
async fn letters_that_are_too_young_are_counted_and_found_by_whoever_knows_the_id() {
    let lake = Lake::memory();
    seal_raw(&lake, Topic::Interactions, P0, 0, &[br#"{"subject":"anna"}"#.to_vec(), br#"{"subject":"annabel"}"#.to_vec()]).await;
    let patient = Rewriter::new(lake.clone(), CompactSettings::default(), "test");
    let report = patient.erase(&wish("anna", 5000)).await.expect("recorded");
    assert_eq!((report.young, report.young_letters, report.dead_letters), (1, 1, 0));
    let report = rewriter(&lake).erase(&wish("anna", 5000)).await.expect("erased");
    assert_eq!((report.young_letters, report.dead_letters), (0, 1));
}
