use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{
    Feedback, Generation, Interaction, InteractionId, SessionId, SubjectId, TenantId,
    record::{Consent, FinishReason, Message, Origin, Role, Surprise, Symbol},
};

const GOLDEN_INTERACTION: &[u8] = include_bytes!("../../golden/interaction.v2.avro");
const GOLDEN_INTERACTION_JSON: &str = include_str!("../../golden/interaction.v2.json");
const GOLDEN_FEEDBACK: &[u8] = include_bytes!("../../golden/feedback.v1.avro");
const GOLDEN_FEEDBACK_JSON: &str = include_str!("../../golden/feedback.v1.json");

#[test]
fn the_golden_interaction_still_decodes_and_encodes_identically() {
    let record: Interaction = serde_json::from_str(GOLDEN_INTERACTION_JSON).expect("golden JSON");
    assert_eq!(decode_interaction(GOLDEN_INTERACTION).expect("golden bytes"), record);
    assert_eq!(encode_interaction(&record), GOLDEN_INTERACTION);
}

#[test]
fn the_golden_feedback_still_decodes_and_encodes_identically() {
    let record: Feedback = serde_json::from_str(GOLDEN_FEEDBACK_JSON).expect("golden JSON");
    assert_eq!(decode_feedback(GOLDEN_FEEDBACK).expect("golden bytes"), record);
    assert_eq!(encode_feedback(&record), GOLDEN_FEEDBACK);
}

#[test]
fn a_foreign_schema_is_named_by_its_fingerprint() {
    let refused = decode_feedback(GOLDEN_INTERACTION).expect_err("another schema");
    assert_eq!(refused, DecodeError::UnknownSchema { found: INTERACTION_FINGERPRINT, expected: FEEDBACK_FINGERPRINT });
}

#[test]
fn every_cut_and_every_extension_of_a_record_is_refused() {
    for end in 0..GOLDEN_INTERACTION.len() {
        decode_interaction(&GOLDEN_INTERACTION[..end]).expect_err("a cut record");
    }
    let longer = [GOLDEN_INTERACTION, &[0]].concat();
    assert_eq!(decode_interaction(&longer), Err(DecodeError::Trailing { bytes: 1 }));
}

#[test]
fn a_score_outside_its_range_is_refused() {
    let mut record: Feedback = serde_json::from_str(GOLDEN_FEEDBACK_JSON).expect("golden JSON");
    for score in [1.5, f32::NAN, f32::NEG_INFINITY] {
        record.score = score;
        let refused = decode_feedback(&encode_feedback(&record)).expect_err("a score out of range");
        assert!(matches!(refused, DecodeError::Invalid { field: "score", .. }), "{refused}");
    }
}

fn an_id() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9 .:äß_-]{1,40}"
}

fn a_time() -> impl Strategy<Value = Timestamp> {
    (-62_000_000_000_000_000_i64..250_000_000_000_000_000)
        .prop_map(|micros| Timestamp::from_microsecond(micros).expect("in range"))
}

fn a_surprise() -> impl Strategy<Value = Surprise> {
    (0.0..100_f32, 0.0..100_f32).prop_map(|(mean_nats, max_nats)| Surprise { mean_nats, max_nats })
}

fn an_interaction() -> impl Strategy<Value = Interaction> {
    let message = (prop::sample::select(vec![Role::System, Role::User, Role::Assistant, Role::Tool]), ".{0,60}")
        .prop_map(|(role, content)| Message { role, content });
    let identity = (an_id(), a_time(), an_id(), an_id(), an_id(), any::<u32>(), ".{0,20}", 0..u64::MAX / 4);
    let content = (prop::collection::vec(message, 0..5), ".{0,80}", any::<u32>(), any::<u32>(), a_surprise(), a_surprise());
    let rest = (
        prop::sample::select(vec![FinishReason::Stop, FinishReason::Length, FinishReason::Cancelled]),
        0.0..1e9_f32,
        prop::sample::select(vec![Consent::Train, Consent::LogOnly]),
        any::<u32>(),
        prop::sample::select(vec![Origin::Human, Origin::Model, Origin::Tool]),
        any::<bool>(),
        "[a-z]{1,12}",
    );
    (identity, content, rest).prop_map(|(identity, content, rest)| Interaction {
        id: InteractionId::parse(identity.0).expect("an id"),
        time: identity.1,
        tenant: TenantId::parse(identity.2).expect("an id"),
        subject: SubjectId::parse(identity.3).expect("an id"),
        session: SessionId::parse(identity.4).expect("an id"),
        turn: identity.5,
        model: identity.6,
        generation: Generation(identity.7),
        messages: content.0,
        answer: content.1,
        prompt_tokens: content.2,
        answer_tokens: content.3,
        prompt_surprise: content.4,
        answer_surprise: content.5,
        finish: rest.0,
        latency_ms: rest.1,
        consent: rest.2,
        redactions: rest.3,
        origin: rest.4,
        truncated: rest.5,
        channel: rest.6,
    })
}

fn checked<'a>(id: &'a str, time: jiff::Timestamp, place: Place<'a>) -> Checked<'a> {
    Checked { id, time_micros: time.as_microsecond(), place }
}

proptest! {
    #[test]
    fn interactions_survive_the_round_trip(record in an_interaction()) {
        let bytes = encode_interaction(&record);
        prop_assert_eq!(check(Topic::Interactions, &bytes).map(|checked| checked.id), Ok(record.id.as_str()));
        prop_assert_eq!(peek_time(&bytes), Some(record.time.as_microsecond()));
        prop_assert_eq!(decode_interaction(&bytes), Ok(record));
    }

    #[test]
    fn feedback_survives_the_round_trip(
        id in an_id(), time in a_time(), who in an_id(), score in -1.0..=1.0_f32, correction in prop::option::of(".{0,60}")
    ) {
        let record = Feedback {
            id: InteractionId::parse(id.clone()).expect("an id"),
            time,
            tenant: TenantId::parse(who.clone()).expect("an id"),
            subject: SubjectId::parse(who).expect("an id"),
            interaction: InteractionId::parse(id).expect("an id"),
            score,
            correction,
        };
        prop_assert_eq!(decode_feedback(&encode_feedback(&record)), Ok(record));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), framed in any::<bool>()) {
        for topic in Topic::ALL {
            let mut input = if framed { begin(topic, 0).finish() } else { Vec::new() };
            input.extend_from_slice(&bytes);
            let _ = decode_interaction(&input);
            let _ = decode_feedback(&input);
            let _ = peek_time(&input);
        }
    }

    #[test]
    fn a_flipped_byte_never_panics_and_checking_says_what_decoding_says(at in any::<prop::sample::Index>(), with in 1..=255_u8) {
        let mut bytes = GOLDEN_INTERACTION.to_vec();
        bytes[at.index(GOLDEN_INTERACTION.len())] ^= with;
        let decoded = decode_interaction(&bytes);
        let decoded = decoded.as_ref().map(|record| {
            let (tenant, subject, session) = (record.tenant.as_str(), record.subject.as_str(), record.session.as_str());
            checked(record.id.as_str(), record.time, Place { tenant, subject, session, turn: record.turn })
        });
        prop_assert_eq!(check(Topic::Interactions, &bytes), decoded.map_err(Clone::clone));
        let mut bytes = GOLDEN_FEEDBACK.to_vec();
        bytes[at.index(GOLDEN_FEEDBACK.len())] ^= with;
        let decoded = decode_feedback(&bytes);
        let decoded = decoded.as_ref().map(|record| {
            let (tenant, subject, session) = (record.tenant.as_str(), record.subject.as_str(), record.interaction.as_str());
            checked(record.id.as_str(), record.time, Place { tenant, subject, session, turn: 0 })
        });
        prop_assert_eq!(check(Topic::Feedback, &bytes), decoded.map_err(Clone::clone));
    }
}

#[test]
fn symbols_of_a_later_release_are_read_as_the_schemas_defaults() {
    fn named<T: Symbol + serde::Serialize>(name: &str) -> serde_json::Value {
        json!({ "name": name, "default": T::UNKNOWN })
    }
    fn enums(schema: &serde_json::Value, found: &mut Vec<serde_json::Value>) {
        if schema["type"] == "enum" {
            found.push(json!({ "name": schema["name"], "default": schema["default"] }));
        }
        match schema {
            serde_json::Value::Object(fields) => fields.values().for_each(|inner| enums(inner, found)),
            serde_json::Value::Array(items) => items.iter().for_each(|inner| enums(inner, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    enums(&serde_json::from_str(INTERACTION_SCHEMA).expect("JSON"), &mut found);
    let known =
        [named::<Role>("Role"), named::<FinishReason>("FinishReason"), named::<Consent>("Consent"), named::<Origin>("Origin")];
    assert_eq!(found, known);
}
