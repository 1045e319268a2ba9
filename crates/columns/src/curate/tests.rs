use std::collections::BTreeMap;

use nocturne_wire::{
    Feedback, Interaction, SessionId, Topic, avro,
    plan::CurationSettings,
    record::{Consent, Origin},
};
use proptest::prelude::*;

use super::{Curated, CuratedRow, Resources, curate, curated_rows, read_curated, text, write_curated};
use crate::{
    ColumnsError,
    tests::{at, decoded, encoded, judged, said},
};

async fn curated(rows: &[Interaction], verdicts: &[Feedback], settings: &CurationSettings) -> Curated {
    let raw: Vec<_> = verdicts.iter().map(avro::encode_feedback).collect();
    // Two batches, so that nothing depends on where a batch ends.
    let (left, right) = rows.split_at(rows.len() / 2);
    let batches =
        vec![decoded(Topic::Interactions, 0, &encoded(left)).batch, decoded(Topic::Interactions, 0, &encoded(right)).batch];
    let feedback = vec![decoded(Topic::Feedback, 0, &raw).batch];
    curate(batches, feedback, settings, &Resources::default()).await.expect("curated")
}

async fn verdicts(rows: &[Interaction], feedback: &[Feedback], settings: &CurationSettings) -> Vec<CuratedRow> {
    let curated = curated(rows, feedback, settings).await;
    curated_rows(&curated.rows).expect("rows")
}

fn reasons(rows: &[CuratedRow]) -> Vec<&str> {
    rows.iter().map(|row| row.reason.as_deref().unwrap_or("kept")).collect()
}

fn in_session(mut record: Interaction, session: &str) -> Interaction {
    record.session = SessionId::parse(session).expect("an id");
    record
}

#[tokio::test]
async fn a_day_written_by_hand_gets_the_expected_verdicts() {
    let long = "the museum of Odrava opens at nine in the morning on every day of the week except on the first Monday in May";
    let mut opted_out = said("bert", 4, "Nobody may know that I live in Brno.");
    opted_out.consent = Consent::LogOnly;
    let mut cut = said("bert", 5, "A very long story");
    cut.truncated = true;
    let mut rows = vec![
        said("anna", 0, "My cat is called Tom."),
        said("anna", 1, "The capital of Zuria is Kelm."),
        said("anna", 2, "my cat is called  TOM"),
        said("bert", 3, "My cat is called Tom."),
        opted_out,
        cut,
        in_session(said("anna", 6, "My cat is called Tom!"), "t"),
        said("anna", 7, long),
        said("anna", 8, &format!("Well, {long}")),
        said("anna", 9, "The capital of Zuria is Brod."),
    ];
    let feedback = [
        judged(&rows[1], 100, 1.0, None),
        judged(&rows[1], 101, -1.0, Some("The capital of Zuria is Mira.")),
        judged(&rows[1], 102, -0.5, None),
        judged(&rows[3], 103, 0.5, None),
    ];
    rows.push(rows[3].clone());
    rows.reverse();
    let settings = CurationSettings { near_duplicate_similarity: 0.85, ..CurationSettings::default() };
    let curated = curated(&rows, &feedback, &settings).await;
    let written = read_curated(&write_curated(&curated.rows).expect("written")).expect("read");
    let rows = curated_rows(&written).expect("rows");
    let expected = [
        "kept",            // anna's cat
        "kept",            // the capital
        "exact duplicate", // anna's cat again in the session
        "kept",            // bert's cat: another subject
        "replayed record",
        "no consent",
        "truncated",
        "near duplicate", // anna's cat in another session
        "near duplicate", // the museum, which is said once more with an interjection
        "kept",
        "kept", // the other capital: a contradiction, not a duplicate
    ];
    assert_eq!(reasons(&rows), expected);
    let capital = &rows[1];
    assert!(!capital.answer_usable && capital.kept);
    assert_eq!(capital.score, Some(-0.5), "the latest score counts");
    assert_eq!(capital.correction.as_deref(), Some("The capital of Zuria is Mira."), "the latest correction counts");
    assert_eq!(capital.corrected_at, Some(at(101)), "the time of the correction, not of the latest verdict");
    assert!(rows[3].answer_usable && rows[0].answer_usable);
    assert_eq!(rows[0].repeated_until, at(6), "said again in session t");
    assert_eq!(rows[10].repeated_until, at(9), "said once");
    let dropped = BTreeMap::from(
        [("exact duplicate", 1), ("near duplicate", 2), ("no consent", 1), ("replayed record", 1), ("truncated", 1)]
            .map(|(reason, count)| (reason.to_owned(), count)),
    );
    assert_eq!((curated.counts.read, curated.counts.kept, curated.counts.dropped), (11, 5, dropped));
}

#[tokio::test]
async fn a_correction_of_a_repetition_is_heard() {
    let rows = [said("anna", 0, "Who runs Zuria?"), said("anna", 1, "Who runs Zuria?"), said("anna", 2, "Who runs Zuria?")];
    let feedback = [judged(&rows[1], 5, -1.0, Some("Mira runs Zuria."))];
    let rows = verdicts(&rows, &feedback, &CurationSettings::default()).await;
    assert_eq!(reasons(&rows), ["near duplicate", "kept", "exact duplicate"], "the row that was corrected stays");
    assert_eq!(rows[1].correction.as_deref(), Some("Mira runs Zuria."));
}

#[tokio::test]
async fn one_exchanged_word_in_a_long_text_is_no_duplicate() {
    let hours = |hour: &str| {
        format!(
            "On every day of the week except on the first Monday in May the museum of Odrava opens at {hour} in the morning for all that come to see it"
        )
    };
    let rows = [said("anna", 0, &hours("nine")), said("anna", 1, &hours("ten"))];
    let settings = CurationSettings { near_duplicate_similarity: 0.7, ..CurationSettings::default() };
    assert_eq!(reasons(&verdicts(&rows, &[], &settings).await), ["kept", "kept"]);
}

#[tokio::test]
async fn a_day_without_rows_is_curated() {
    let curated = curate(Vec::new(), Vec::new(), &CurationSettings::default(), &Resources::default()).await.expect("curated");
    assert_eq!((curated.counts.read, curated.rows.num_rows()), (0, 0));
    assert!(curated_rows(&curated.rows).expect("rows").is_empty());
}

#[tokio::test]
async fn rows_without_words_are_never_duplicates() {
    let rows = [said("anna", 0, ""), said("anna", 1, "..."), said("anna", 2, "")];
    assert_eq!(reasons(&verdicts(&rows, &[], &CurationSettings::default()).await), ["kept"; 3]);
}

#[tokio::test]
async fn the_newest_rows_of_a_subject_fill_its_cap() {
    let mut rows: Vec<_> = (0..5).map(|n| said("anna", n, &format!("Anna's fact number {n} is told once."))).collect();
    rows.push(said("bert", 9, "Bert's only fact."));
    let settings = CurationSettings { max_rows_per_subject: 3, ..CurationSettings::default() };
    let rows = verdicts(&rows, &[], &settings).await;
    assert_eq!(reasons(&rows), ["subject cap", "subject cap", "kept", "kept", "kept", "kept"]);
}

#[tokio::test]
async fn models_write_at_most_their_share_of_what_is_kept() {
    let row = |n: i64| {
        let mut row = said(&format!("subject-{n}"), n, &format!("Fact {n}."));
        row.origin = if n < 6 { Origin::Model } else { Origin::Human };
        row
    };
    let rows: Vec<_> = (0..10).map(row).collect();
    for (share, kept_of_models) in [(0.0, 0), (0.2, 1), (0.5, 4), (1.0, 6)] {
        let settings = CurationSettings { max_model_share: share, ..CurationSettings::default() };
        let rows = verdicts(&rows, &[], &settings).await;
        let kept = rows.iter().filter(|row| row.kept && row.interaction.origin == Origin::Model).count();
        assert_eq!((kept, rows.iter().filter(|row| row.kept).count()), (kept_of_models, kept_of_models + 4), "share {share}");
    }
}

#[tokio::test]
async fn feedback_of_another_tenant_is_not_heard() {
    let row = said("anna", 0, "The capital of Zuria is Kelm.");
    let mut foreign = judged(&row, 1, -1.0, Some("It is Mira."));
    foreign.tenant = nocturne_wire::TenantId::parse("rival").expect("an id");
    let rows = verdicts(&[row], &[foreign], &CurationSettings::default()).await;
    assert!(rows[0].answer_usable && rows[0].correction.is_none());
}

#[tokio::test]
async fn settings_out_of_range_are_refused() {
    for settings in [
        CurationSettings { near_duplicate_similarity: 0.0, ..CurationSettings::default() },
        CurationSettings { near_duplicate_similarity: f32::NAN, ..CurationSettings::default() },
        CurationSettings { max_model_share: 1.5, ..CurationSettings::default() },
    ] {
        let refused = curate(Vec::new(), Vec::new(), &settings, &Resources::default()).await.expect_err("refused");
        assert!(matches!(refused, ColumnsError::Refused { .. }), "{refused}");
    }
}

#[tokio::test]
async fn too_little_memory_is_said_as_such() {
    let rows: Vec<_> = (0..4000).map(|n| said("anna", n, &format!("Fact number {n} is {}.", n * 7))).collect();
    let batch = decoded(Topic::Interactions, 0, &encoded(&rows)).batch;
    let resources = Resources { memory_bytes: 2000, ..Resources::default() };
    let refused = curate(vec![batch], Vec::new(), &CurationSettings::default(), &resources).await.expect_err("out of memory");
    assert!(matches!(refused, ColumnsError::OutOfMemory { memory_bytes: 2000, .. }), "{refused:?}");
}

fn a_text() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(vec!["the", "cat", "sat", "on", "a", "mat", "and", "slept"]), 0..14)
        .prop_map(|words| words.join(" "))
}

proptest! {
    #[test]
    fn similar_texts_share_a_gram_of_their_prefixes(a in a_text(), b in a_text(), threshold in 0.05..=1.0_f64) {
        if !a.is_empty() && !b.is_empty() && text::jaccard(&text::trigrams(&a), &text::trigrams(&b)) >= threshold {
            let other = text::prefix(&b, threshold);
            prop_assert!(text::prefix(&a, threshold).iter().any(|gram| other.contains(gram)));
        }
    }

    #[test]
    fn normalizing_twice_changes_nothing(text in ".{0,60}") {
        let once = text::normalized(&text);
        prop_assert_eq!(text::normalized(&once), once);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn near_duplicates_are_those_that_comparing_all_pairs_finds(
        texts in prop::collection::vec((a_text(), 0..2_u8), 1..25), threshold in 0.3..0.95_f32
    ) {
        let rows: Vec<_> = (0..).zip(&texts).map(|(n, (text, who))| in_session(said(&format!("subject-{who}"), n, text), &n.to_string())).collect();
        let settings = CurationSettings { near_duplicate_similarity: threshold, ..CurationSettings::default() };
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let found = runtime.block_on(verdicts(&rows, &[], &settings));
        let same = |a: usize, b: usize| texts[a] == texts[b];
        let last = |n: usize| (n..texts.len()).rev().find(|other| same(n, *other)).unwrap_or(n);
        for (n, row) in found.iter().enumerate() {
            let resembles = |other: usize| {
                let (a, b) = (&texts[n].0, &texts[other].0);
                texts[n].1 == texts[other].1 && text::jaccard(&text::trigrams(a), &text::trigrams(b)) >= f64::from(threshold) && !text::exchanged(a, b)
            };
            let repeats = (0..n).any(|early| same(n, early));
            let outdated = (0..texts.len()).any(|other| !texts[other].0.is_empty() && !same(n, other) && last(other) > last(n) && resembles(other));
            let expected = !texts[n].0.is_empty() && (repeats || outdated);
            prop_assert_eq!(!row.kept, expected, "{:?} among {:?}", texts[n], &texts);
        }
    }
}
