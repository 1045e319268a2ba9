mod audits;
mod evolution;
mod faults;
mod late;
mod queries;
mod round_trips;

use jiff::Timestamp;
use nocturne_wire::{
    BatchName, Feedback, Interaction, Offset, Partition, Topic, avro,
    batch::BatchFooter,
    record::{Message, Role},
};

use crate::Decoded;

pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_790_000_000 + seconds).expect("a time")
}

/// What a subject said at a time, in session `s`; the id is made of the time.
pub(crate) fn said(subject: &str, seconds: i64, text: &str) -> Interaction {
    let said = nocturne_records::said(format!("pod-1-{seconds}"), at(seconds), subject, "s", text);
    let system = Message { role: Role::System, content: "Be brief.".to_owned() };
    let messages = [vec![system], said.messages].concat();
    Interaction { turn: seconds.unsigned_abs() as u32, messages, ..said }
}

pub(crate) fn judged(interaction: &Interaction, seconds: i64, score: f32, correction: Option<&str>) -> Feedback {
    nocturne_records::judged(format!("feedback-{seconds}"), at(seconds), interaction, score, correction)
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
        letters: None,
        erased: 0,
    }
}
