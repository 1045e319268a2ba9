mod audits;
mod evolution;
mod faults;
mod late;
mod queries;
mod round_trips;

use jiff::Timestamp;
use nocturne_wire::{
    BatchName, Feedback, Generation, Interaction, InteractionId, Offset, Partition, SessionId, SubjectId, TenantId, Topic, avro,
    batch::BatchFooter,
    record::{Consent, FinishReason, Message, Origin, Role, Surprise},
};

use crate::Decoded;

pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_790_000_000 + seconds).expect("a time")
}

/// What a subject said at a time, in session `s`; the id is made of the time.
pub(crate) fn said(subject: &str, seconds: i64, text: &str) -> Interaction {
    Interaction {
        id: InteractionId::parse(format!("pod-1-{seconds}")).expect("an id"),
        time: at(seconds),
        tenant: TenantId::parse("acme").expect("an id"),
        subject: SubjectId::parse(subject).expect("an id"),
        session: SessionId::parse("s").expect("an id"),
        turn: seconds.unsigned_abs() as u32,
        model: "small".to_owned(),
        generation: Generation(3),
        messages: vec![
            Message { role: Role::System, content: "Be brief.".to_owned() },
            Message { role: Role::User, content: text.to_owned() },
        ],
        answer: "Noted.".to_owned(),
        prompt_tokens: 9,
        answer_tokens: 2,
        prompt_surprise: Surprise { mean_nats: 2.5, max_nats: 9.0 },
        answer_surprise: Surprise { mean_nats: 0.5, max_nats: 1.0 },
        finish: FinishReason::Stop,
        latency_ms: 12.5,
        consent: Consent::Train,
        redactions: 0,
        origin: Origin::Human,
        truncated: false,
        channel: "production".to_owned(),
    }
}

pub(crate) fn judged(interaction: &Interaction, seconds: i64, score: f32, correction: Option<&str>) -> Feedback {
    Feedback {
        id: InteractionId::parse(format!("feedback-{seconds}")).expect("an id"),
        time: at(seconds),
        tenant: interaction.tenant.clone(),
        subject: interaction.subject.clone(),
        interaction: interaction.id.clone(),
        score,
        correction: correction.map(str::to_owned),
    }
}

/// Decodes raw records at consecutive offsets.
pub(crate) fn decoded(topic: Topic, first: u64, raw: &[Vec<u8>]) -> Decoded {
    let records: Vec<_> = raw.iter().zip(first..).map(|(raw, offset)| (Offset(offset), raw.as_slice())).collect();
    crate::decode(topic, &records, None).expect("decoded")
}

pub(crate) fn encoded(records: &[Interaction]) -> Vec<Vec<u8>> {
    records.iter().map(avro::encode_interaction).collect()
}

/// A true footer for what was decoded from this many offsets.
pub(crate) fn footer(topic: Topic, first: u64, count: u64, decoded: &Decoded) -> BatchFooter {
    BatchFooter {
        name: BatchName::new(topic, Partition(0), Offset(first)),
        last: Offset(first + count - 1),
        begin: Offset(first),
        topic_id: "topic-a".to_owned(),
        schema_fingerprint: avro::fingerprint_hex(topic),
        writer: "batcher-1".to_owned(),
        rows: decoded.batch.num_rows() as u64,
        dead: decoded.dead.len() as u64,
        duplicates: decoded.duplicates,
        erased: 0,
    }
}
