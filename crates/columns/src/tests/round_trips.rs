use std::collections::HashSet;

use arrow_avro::schema::{AvroSchema, Fingerprint, FingerprintAlgorithm};
use bytes::Bytes;
use nocturne_wire::{
    BatchName, Interaction, InteractionId, Offset, Partition, Topic, avro,
    record::{Consent, FinishReason, Message, Origin, Role},
};
use proptest::prelude::*;

use super::{at, decoded, encoded, footer, judged, said};
use crate::{
    IdHash, MetricRow, feedback, feedback_from_avro, interactions, open_batch, read_batch, read_dead_letters, read_footer,
    read_metrics, seal, seal_dead_letters, write_metrics,
};

#[test]
fn arrow_and_wire_agree_on_the_fingerprints() {
    for topic in Topic::ALL {
        let computed = AvroSchema::new(avro::schema(topic).to_owned()).fingerprint(FingerprintAlgorithm::Rabin);
        assert_eq!(computed.expect("a fingerprint"), Fingerprint::Rabin(avro::fingerprint(topic)), "{topic}");
    }
}

#[test]
fn interactions_come_back_from_a_sealed_batch_as_they_were() {
    let mut records: Vec<_> = (0..50).map(|n| said("anna", n, &format!("My {n}th cat is called Ünal."))).collect();
    records[7].messages.clear();
    records[8].finish = FinishReason::Cancelled;
    records[9].consent = Consent::LogOnly;
    let decoded = decoded(Topic::Interactions, 100, &encoded(&records));
    let footer = footer(Topic::Interactions, 100, 50, &decoded);
    let sealed = seal(&decoded.batch, &footer).expect("sealed");
    assert_eq!(read_footer(&sealed).expect("a footer"), footer);
    let (read, rows) = open_batch(&footer.name, &sealed).expect("opened");
    assert_eq!((read, &rows), (footer, &decoded.batch));
    assert_eq!(interactions(&rows).expect("rows"), records);
    assert_eq!(decoded.ids, records.iter().map(|record| IdHash::of(record.id.as_str())).collect::<Vec<_>>());
}

#[test]
fn feedback_comes_back_from_a_sealed_batch_as_it_was() {
    let told = said("anna", 0, "The sky is green.");
    let records = vec![judged(&told, 5, -1.0, Some("The sky is blue.")), judged(&told, 6, 0.25, None)];
    let raw: Vec<_> = records.iter().map(avro::encode_feedback).collect();
    let decoded = decoded(Topic::Feedback, 0, &raw);
    let footer = footer(Topic::Feedback, 0, 2, &decoded);
    let (_, rows) = open_batch(&footer.name, &seal(&decoded.batch, &footer).expect("sealed")).expect("opened");
    assert_eq!(feedback(&rows).expect("rows"), records);
}

#[test]
fn a_range_of_nothing_but_poison_is_a_batch_without_rows() {
    let decoded = decoded(Topic::Interactions, 4, &[b"poison".to_vec(), Vec::new()]);
    let footer = footer(Topic::Interactions, 4, 2, &decoded);
    assert_eq!((footer.rows, footer.dead), (0, 2));
    let (_, rows) = open_batch(&footer.name, &seal(&decoded.batch, &footer).expect("sealed")).expect("opened");
    assert!(interactions(&rows).expect("rows").is_empty());
    let letters = read_dead_letters(&seal_dead_letters(&decoded.dead, &footer).expect("sealed")).expect("read");
    assert_eq!(letters, decoded.dead);
    assert_eq!((letters[0].offset, letters[0].raw.as_slice()), (Offset(4), b"poison".as_slice()));
}

#[test]
fn the_same_id_is_dropped_and_counted_within_a_batch_and_against_recent_ones() {
    let record = judged(&said("anna", 0, "Hello."), 1, 1.0, None);
    let other = judged(&said("anna", 0, "Hello."), 2, 1.0, None);
    let raw = [avro::encode_feedback(&record), avro::encode_feedback(&other)];
    let records = [(Offset(0), raw[0].as_slice()), (Offset(1), raw[1].as_slice()), (Offset(2), raw[0].as_slice())];
    let recent = HashSet::from([IdHash::of(other.id.as_str())]);
    let decoded = feedback_from_avro(&records, Some(&recent)).expect("decoded");
    assert_eq!((decoded.ids, decoded.duplicates, decoded.dead.len()), (vec![IdHash::of(record.id.as_str())], 2, 0));
}

#[test]
fn metrics_come_back_as_they_were() {
    let rows: Vec<_> = (0..9).map(|step| MetricRow { step, name: "loss".to_owned(), value: 1.0 / (step + 1) as f64 }).collect();
    assert_eq!(read_metrics(&write_metrics(&rows).expect("written")).expect("read"), rows);
    assert!(read_metrics(&write_metrics(&[]).expect("written")).expect("read").is_empty());
}

fn an_interaction() -> impl Strategy<Value = Interaction> {
    let role = prop::sample::select(vec![Role::System, Role::User, Role::Assistant, Role::Tool]);
    let messages = prop::collection::vec((role, ".{0,40}").prop_map(|(role, content)| Message { role, content }), 0..4);
    let origin = prop::sample::select(vec![Origin::Human, Origin::Model, Origin::Tool]);
    (0..1_000_000_i64, messages, ".{0,40}", any::<u32>(), origin, any::<bool>(), 0.0..50_f32).prop_map(
        |(seconds, messages, answer, tokens, origin, truncated, nats)| {
            let mut record = said("anna", seconds, "");
            record.messages = messages;
            record.answer = answer;
            record.prompt_tokens = tokens;
            record.origin = origin;
            record.truncated = truncated;
            record.prompt_surprise.max_nats = nats;
            record.time = at(seconds);
            record
        },
    )
}

/// A record that may be poisoned: cut, extended, flipped or replaced.
fn maybe_poisoned() -> impl Strategy<Value = (Interaction, Vec<u8>, bool)> {
    (an_interaction(), 0..8_u8, any::<prop::sample::Index>()).prop_map(|(record, kind, at)| {
        let whole = avro::encode_interaction(&record);
        let raw = match kind {
            0 => whole[..at.index(whole.len())].to_vec(),
            1 => [whole.as_slice(), b"?"].concat(),
            2 => b"not avro at all".to_vec(),
            3 => avro::encode_feedback(&judged(&record, 0, 1.0, None)),
            _ => whole.clone(),
        };
        let poisoned = raw != whole;
        (record, raw, poisoned)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn poison_in_any_position_becomes_a_dead_letter_and_costs_no_row(mut records in prop::collection::vec(maybe_poisoned(), 0..20)) {
        for (n, (record, raw, poisoned)) in records.iter_mut().enumerate() {
            if !*poisoned {
                record.id = InteractionId::parse(format!("unique-{n}")).expect("an id");
                *raw = avro::encode_interaction(record);
            }
        }
        let raw: Vec<_> = records.iter().map(|(_, raw, _)| raw.clone()).collect();
        let decoded = decoded(Topic::Interactions, 0, &raw);
        let expected_dead: Vec<_> = (0..).zip(&records).filter(|(_, record)| record.2).map(|(n, _)| Offset(n)).collect();
        prop_assert_eq!(decoded.dead.iter().map(|letter| letter.offset).collect::<Vec<_>>(), expected_dead);
        prop_assert!(decoded.dead.iter().all(|letter| letter.raw == raw[letter.offset.0 as usize]));
        let expected: Vec<_> = records.into_iter().filter(|record| !record.2).map(|record| record.0).collect();
        let footer = footer(Topic::Interactions, 0, raw.len().max(1) as u64, &decoded);
        let (_, rows) = open_batch(&footer.name, &seal(&decoded.batch, &footer).expect("sealed")).expect("opened");
        prop_assert_eq!(interactions(&rows).expect("rows"), expected);
    }

    #[test]
    fn a_flipped_byte_in_any_record_never_stops_the_batch(at in any::<prop::sample::Index>(), with in 1..=255_u8) {
        let mut raw = encoded(&[said("anna", 0, "One."), said("anna", 1, "Two."), said("anna", 2, "Three.")]);
        let index = at.index(raw[1].len());
        raw[1][index] ^= with;
        let decoded = decoded(Topic::Interactions, 0, &raw);
        let accounted = decoded.batch.num_rows() as u64 + decoded.dead.len() as u64 + decoded.duplicates;
        prop_assert_eq!(accounted, 3);
        prop_assert!(decoded.batch.num_rows() >= 2);
    }
}

#[test]
fn a_batch_that_several_threads_seal_is_the_same_as_one_that_one_seals() {
    let text = "A sentence that is said again and again. ".repeat(120);
    let records: Vec<_> = (0..1500).map(|n| said("anna", n, &text)).collect();
    let mut raw = encoded(&records);
    raw[700] = b"poison".to_vec();
    raw[1499] = raw[3].clone();
    let raw: Vec<_> = (0..).map(Offset).zip(raw.iter().map(Vec::as_slice)).collect();
    let seal = |threads| {
        let range = crate::Range {
            name: BatchName::new(Topic::Interactions, Partition(0), Offset(0)),
            last: Offset(1499),
            begin: Offset(0),
            topic_id: "topic-a".to_owned(),
            writer: "w".to_owned(),
        };
        crate::seal_records(range, &raw, Vec::new(), &[], None, threads).expect("sealed")
    };
    let one = seal(1);
    for threads in [0, 2, 3, 16] {
        let several = seal(threads);
        assert_eq!((&several.footer, &several.ids), (&one.footer, &one.ids));
        assert_eq!(read_batch(&several.parquet).expect("read"), read_batch(&one.parquet).expect("read"));
        let letters = |bytes: Option<&Bytes>| read_dead_letters(bytes.expect("dead letters")).expect("read");
        assert_eq!(letters(several.dead.as_ref()), letters(one.dead.as_ref()));
    }
}

#[test]
fn rows_are_sealed_by_whose_they_are_and_read_by_when_they_came() {
    // Enough for two row groups of several slices each.
    let text = "Hello there. ".repeat(10_000);
    let records: Vec<_> = (0..40).map(|n| said(["carl", "anna", "ben"][n as usize % 3], 40 - n, &text)).collect();
    let raw = encoded(&records);
    let raw: Vec<_> = (7..).map(Offset).zip(raw.iter().map(Vec::as_slice)).collect();
    let name = BatchName::new(Topic::Interactions, Partition(0), Offset(7));
    let range = crate::Range { name, last: Offset(46), begin: Offset(0), topic_id: "topic-a".to_owned(), writer: "w".to_owned() };
    let sealed = crate::seal_records(range, &raw, Vec::new(), &[], None, 2).expect("sealed");
    let ids: Vec<_> = records.iter().map(|record| IdHash::of(record.id.as_str())).collect();
    assert_eq!((&sealed.ids, &crate::open_ids(&name, &sealed.parquet).expect("read").1), (&ids, &ids));

    assert_eq!(crate::merge::order(Topic::Interactions), ["tenant", "subject", "session", "turn", "offset"]);
    let rows = interactions(&read_batch(&sealed.parquet).expect("read")).expect("interactions");
    assert!(rows.is_sorted_by_key(|row| (row.subject.clone(), row.turn)) && rows.len() == 40);
    let between = |first, last| {
        let rows = crate::rows_between(&name, &sealed.parquet, Offset(first), Offset(last)).expect("read");
        interactions(&rows).expect("interactions")
    };
    assert_eq!((between(0, 100), between(10, 19)), (records.clone(), records[3..13].to_vec()));
}

#[test]
fn feedback_is_sealed_by_whose_it_is() {
    let verdicts: Vec<_> =
        (0..30).map(|n| judged(&said(["carl", "anna"][n as usize % 2], 30 - n, "Hello."), n, 0.5, None)).collect();
    let raw: Vec<_> = verdicts.iter().map(avro::encode_feedback).collect();
    let raw: Vec<_> = (0..).map(Offset).zip(raw.iter().map(Vec::as_slice)).collect();
    let name = BatchName::new(Topic::Feedback, Partition(0), Offset(0));
    let range = crate::Range { name, last: Offset(29), begin: Offset(0), topic_id: "topic-a".to_owned(), writer: "w".to_owned() };
    let sealed = crate::seal_records(range, &raw, Vec::new(), &[], None, 1).expect("sealed");
    assert_eq!(crate::merge::order(Topic::Feedback), ["tenant", "subject", "interaction", "offset"]);
    let rows = feedback(&read_batch(&sealed.parquet).expect("read")).expect("feedback");
    assert!(rows.is_sorted_by_key(|row| (row.subject.clone(), row.interaction.clone())) && rows.len() == 30);
    let came = crate::rows_between(&name, &sealed.parquet, Offset(0), Offset(29)).expect("read");
    assert_eq!(feedback(&came).expect("feedback"), verdicts);
}
