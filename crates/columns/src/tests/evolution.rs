//! Records and batches of other releases. The golden records of a later one were written by fastavro 1.13, not by us.

use bytes::Bytes;
use nocturne_wire::{Feedback, Interaction, Offset, Topic, avro, record::FinishReason};
use proptest::prelude::*;

use super::decoded;
use crate::{Resolved, Schemas, feedback, interactions, read_batch, resolve};

const V1: &[u8] = include_bytes!("../../../../schemas/wire/golden/interaction.v1.avro");
const V1_JSON: &str = include_str!("../../../../schemas/wire/golden/interaction.v1.json");
const V2: &[u8] = include_bytes!("../../../../schemas/wire/golden/interaction.v2.avro");
const V2_JSON: &str = include_str!("../../../../schemas/wire/golden/interaction.v2.json");
const LATER: &[u8] = include_bytes!("../../../../schemas/wire/golden/interaction.later.avro");
const LATER_SYMBOL: &[u8] = include_bytes!("../../../../schemas/wire/golden/interaction.later-symbol.avro");
const LATER_SCHEMA: &str = include_str!("../../../../schemas/wire/golden/interaction.later.avsc");

fn later() -> Schemas {
    let mut schemas = Schemas::default();
    schemas.add(avro::peek_fingerprint(LATER).expect("a record"), LATER_SCHEMA).expect("its schema");
    schemas
}

fn resolved<'a>(schemas: &Schemas, raw: &[&'a [u8]]) -> Resolved<'a> {
    resolve(Topic::Interactions, schemas, (0..).map(Offset).zip(raw.iter().copied()))
}

/// Resolves, decodes and reads back.
fn read(schemas: &Schemas, raw: &[&[u8]]) -> Vec<Interaction> {
    let records: Vec<_> = resolved(schemas, raw).records.into_iter().map(|(_, record)| record.into_owned()).collect();
    interactions(&decoded(Topic::Interactions, 0, &records).batch).expect("interactions")
}

fn golden(json: &str) -> Interaction {
    serde_json::from_str(json).expect("golden JSON")
}

#[test]
fn a_record_of_an_earlier_release_has_the_defaults_of_what_it_lacks() {
    let record = golden(V1_JSON);
    assert_eq!(record.channel, "production");
    assert_eq!(read(&Schemas::default(), &[V1]), [record]);
}

#[test]
fn a_record_of_a_later_release_is_read_without_what_is_unknown_here() {
    assert_eq!(read(&later(), &[LATER]), [golden(V2_JSON)]);
}

#[test]
fn a_symbol_that_is_unknown_here_becomes_the_enumerations_default() {
    assert_eq!(read(&later(), &[LATER_SYMBOL]), [Interaction { finish: FinishReason::Stop, ..golden(V2_JSON) }]);
}

#[test]
fn releases_mix_in_one_batch_and_one_bad_record_spoils_only_itself() {
    let cut = &LATER[..LATER.len() - 3];
    let records = [V2, LATER, cut, V1, b"poison", LATER];
    let Resolved { records, dead } = resolved(&later(), &records);
    assert_eq!(records.iter().map(|(offset, _)| offset.0).collect::<Vec<_>>(), [0, 1, 3, 4, 5]);
    assert_eq!((dead.len(), dead[0].offset, dead[0].raw.as_slice()), (1, Offset(2), cut));
    assert!(dead[0].reason.contains("cannot be resolved"), "{}", dead[0].reason);
}

#[test]
fn a_schema_that_nobody_published_is_named_and_its_records_are_left_as_they_are() {
    let missing = Schemas::default().missing(Topic::Interactions, [V1, V2, LATER, b"poison"].into_iter());
    assert_eq!(missing, [avro::peek_fingerprint(LATER).expect("a record")].into());
    let records = resolved(&Schemas::default(), &[LATER]).records;
    let decoded = decoded(Topic::Interactions, 0, &[records[0].1.to_vec()]);
    assert!(decoded.dead[0].reason.contains("is not known"), "{}", decoded.dead[0].reason);
}

#[test]
fn a_schema_under_another_ones_fingerprint_is_refused() {
    let print = avro::peek_fingerprint(LATER).expect("a record");
    for text in [avro::INTERACTION_SCHEMA, "{}", "not JSON", ""] {
        Schemas::default().add(print, text).expect_err(text);
    }
}

#[test]
fn a_schema_that_came_under_another_name_is_known_by_its_fingerprint() {
    let mut schemas = Schemas::default();
    let later = avro::peek_fingerprint(LATER).expect("a record");
    assert_eq!(schemas.learn(LATER_SCHEMA).expect("a schema"), later);
    assert_eq!(schemas.learn(LATER_SCHEMA).expect("again"), later);
    assert!(schemas.missing(Topic::Interactions, [LATER].into_iter()).is_empty());
    assert_eq!(read(&schemas, &[LATER]), [golden(V2_JSON)]);
    // What clients of other languages add to a schema is no part of its canonical form.
    let java = avro::INTERACTION_SCHEMA.replacen(
        r#""type": "string""#,
        r#""type": {"type": "string", "avro.java.string": "String"}"#,
        1,
    );
    assert_eq!(schemas.learn(&java).expect("a schema"), avro::fingerprint(Topic::Interactions));
    for text in ["{}", "not JSON", "", &"[".repeat(100_000)] {
        schemas.learn(text).expect_err("no schema");
    }
}

#[test]
fn a_schema_that_differs_in_its_units_of_time_only_is_refused() {
    let millis = avro::INTERACTION_SCHEMA.replace("timestamp-micros", "timestamp-millis");
    let refused = Schemas::default().learn(&millis).expect_err("another unit under the same fingerprint");
    assert!(refused.to_string().contains("timestamp-millis"), "{refused}");
    let bare = avro::INTERACTION_SCHEMA.replace(r#"{"type": "long", "logicalType": "timestamp-micros"}"#, r#""long""#);
    assert_eq!(Schemas::default().learn(&bare).expect("no unit"), avro::fingerprint(Topic::Interactions));
}

fn range() -> crate::Range {
    crate::Range {
        name: nocturne_wire::BatchName::new(Topic::Interactions, nocturne_wire::Partition(0), Offset(4)),
        last: Offset(4),
        begin: Offset(0),
        topic_id: "a".to_owned(),
        writer: "b".to_owned(),
    }
}

#[test]
fn a_letter_keeps_its_record_as_it_came() {
    let translated = [(Offset(4), &b"translated"[..])];
    let came = [(Offset(4), &b"as it came"[..])];
    let sealed = crate::seal_records(range(), &translated, Vec::new(), &came, None, 1).expect("sealed");
    let letters = crate::read_dead_letters(&sealed.dead.expect("a letter")).expect("read");
    assert_eq!((letters.len(), letters[0].raw.as_slice()), (1, &b"as it came"[..]));
}

#[test]
fn batches_that_the_first_release_sealed_are_still_read() {
    let batch = Bytes::from_static(include_bytes!("../../golden/interactions.v1.parquet"));
    assert_eq!(interactions(&read_batch(&batch).expect("read")).expect("interactions"), [golden(V1_JSON)]);
    let batch = Bytes::from_static(include_bytes!("../../golden/feedback.v1.parquet"));
    let record: Feedback =
        serde_json::from_str(include_str!("../../../../schemas/wire/golden/feedback.v1.json")).expect("golden JSON");
    assert_eq!(feedback(&read_batch(&batch).expect("read")).expect("feedback"), [record]);
}

#[test]
fn columns_that_only_a_later_release_knows_are_left_out() {
    let rows = decoded(Topic::Interactions, 0, &[V2.to_vec()]).batch;
    let (mut fields, mut columns) = (rows.schema().fields().to_vec(), rows.columns().to_vec());
    fields.insert(3, std::sync::Arc::new(arrow::datatypes::Field::new("region", arrow::datatypes::DataType::Int32, true)));
    columns.insert(3, std::sync::Arc::new(arrow::array::Int32Array::from(vec![7])));
    let wider = crate::RecordBatch::try_new(std::sync::Arc::new(arrow::datatypes::Schema::new(fields)), columns).expect("rows");
    assert_eq!(crate::seal::adapt(Topic::Interactions, &wider).expect("adapted"), rows);
    // Writing such a batch again would lose them.
    let sealed = crate::seal_records(range(), &[(Offset(4), V2)], Vec::new(), &[], None, 1).expect("sealed");
    crate::check_columns(&sealed.parquet).expect("all known");
    let footer = crate::seal::footer_json(&sealed.footer).expect("JSON");
    let properties = crate::parquet_file::properties().build();
    let footer = [(nocturne_wire::batch::FOOTER_KEY, footer)];
    let object = crate::parquet_file::write("batch", &wider, properties, &footer).expect("written");
    let refused = crate::check_columns(&object).expect_err("a column of a later release");
    assert!(refused.is_about_input() && refused.to_string().contains("region"), "{refused}");
}

#[test]
fn symbols_that_a_later_release_sealed_are_read_as_the_schemas_defaults() {
    let rows = decoded(Topic::Interactions, 0, &[V2.to_vec()]).batch;
    let schema = rows.schema();
    let mut columns = rows.columns().to_vec();
    let (index, field) = schema.column_with_name("finish").expect("a column");
    let symbols = arrow::array::StringArray::from(vec!["tool_calls"]);
    columns[index] = arrow::compute::cast(&symbols, field.data_type()).expect("a dictionary");
    let rows = crate::RecordBatch::try_new(schema, columns).expect("rows");
    assert_eq!(interactions(&rows).expect("interactions"), [Interaction { finish: FinishReason::Stop, ..golden(V2_JSON) }]);
}

proptest! {
    /// Whatever a record of a later release holds, it is a row or a dead letter.
    #[test]
    fn a_damaged_record_of_a_later_release_is_accounted_for(at in any::<prop::sample::Index>(), with in 1..=255_u8) {
        let mut bytes = LATER.to_vec();
        let at = 10 + at.index(LATER.len() - 10);
        bytes[at] ^= with;
        let Resolved { records, dead } = resolved(&later(), &[&bytes]);
        prop_assert_eq!(records.len() + dead.len(), 1);
    }
}
