mod dying;
mod erasing;
mod merging;
mod retaining;

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use nocturne_columns::{AuditReport, Range, audit, feedback, interactions, open_batch, seal_records};
use nocturne_lake::{Auditable, Lake};
use nocturne_wire::{BatchName, Feedback, Interaction, Offset, Partition, SubjectId, Topic, avro};

use crate::{CompactSettings, Rewriter};

const P0: Partition = Partition(0);

/// When the first record was said.
fn dawn() -> Timestamp {
    Timestamp::from_second(1_790_000_000).expect("a time")
}

fn at(number: u64) -> Timestamp {
    dawn().checked_add(SignedDuration::from_secs(number as i64)).expect("a time")
}

/// Three subjects take turns.
fn subject(number: u64) -> &'static str {
    ["anna", "bert", "cleo"][number as usize % 3]
}

fn said(number: u64) -> Interaction {
    let session = format!("s-{}", number % 7);
    let text = format!("This is number {number}.");
    let said = nocturne_records::said(format!("pod-1-{number}"), at(number), subject(number), &session, text);
    Interaction { turn: (number / 7) as u32, ..said }
}

/// Feedback of `by` on interaction `number`.
fn judged(number: u64, by: &str) -> Feedback {
    let correction = format!("Number {number} is wrong.");
    let judged =
        nocturne_records::judged(format!("feedback-{number}"), at(number + 1000), &said(number), -1.0, Some(&correction));
    Feedback { subject: SubjectId::parse(by).expect("an id"), ..judged }
}

/// Seals a batch of raw records at consecutive offsets.
async fn seal_raw(lake: &Lake, topic: Topic, partition: Partition, first: u64, raw: &[Vec<u8>]) {
    let range = Range {
        name: BatchName::new(topic, partition, Offset(first)),
        last: Offset(first + raw.len() as u64 - 1),
        begin: Offset(0),
        topic_id: "topic-a".to_owned(),
        writer: "batcher-1".to_owned(),
    };
    let records: Vec<_> = raw.iter().zip(first..).map(|(raw, offset)| (Offset(offset), raw.as_slice())).collect();
    let sealed = seal_records(range, &records, Vec::new(), &[], None, 1).expect("sealed");
    lake.batches().seal(&sealed.footer, sealed.parquet, sealed.dead).await.expect("created");
}

/// Seals `batches` batches of `rows` interactions each, from offset 0 on.
async fn seal_many(lake: &Lake, batches: u64, rows: u64) {
    for batch in 0..batches {
        let first = batch * rows;
        let raw: Vec<_> = (first..first + rows).map(|number| avro::encode_interaction(&said(number))).collect();
        seal_raw(lake, Topic::Interactions, P0, first, &raw).await;
    }
}

/// Merges whatever it may, however young.
fn eager() -> CompactSettings {
    CompactSettings { min_age: SignedDuration::ZERO, keep_newest: 1, min_batches: 2, ..CompactSettings::default() }
}

fn rewriter(lake: &Lake) -> Rewriter {
    Rewriter::new(lake.clone(), eager(), "test")
}

/// What readers see, by offset. A batch that makes way between listing and reading is looked for again.
async fn rows_by_offset(lake: &Lake) -> BTreeMap<u64, Interaction> {
    'listing: loop {
        let mut rows = BTreeMap::new();
        for name in lake.batches().names(Topic::Interactions, P0).await.expect("listed") {
            let bytes = match lake.batches().get(&name).await {
                Err(error) if error.is_not_found() => continue 'listing,
                read => read.expect("read"),
            };
            let (_, batch) = open_batch(&name, &bytes).expect("undamaged");
            for record in interactions(&batch).expect("interactions") {
                let number = record.id.as_str().rsplit('-').next().and_then(|digits| digits.parse().ok()).expect("a number");
                assert!(rows.insert(number, record).is_none(), "number {number} is read twice");
            }
        }
        return rows;
    }
}

async fn feedback_of(lake: &Lake) -> Vec<Feedback> {
    let mut rows = Vec::new();
    for name in lake.batches().names(Topic::Feedback, P0).await.expect("listed") {
        let bytes = lake.batches().get(&name).await.expect("read");
        rows.extend(feedback(&open_batch(&name, &bytes).expect("undamaged").1).expect("feedback"));
    }
    rows
}

async fn audited(lake: &Lake) -> AuditReport {
    let Auditable { objects, superseded } = lake.auditable().await.expect("listed");
    let mut read = Vec::new();
    for object in objects {
        let bytes = lake.get(&object.path).await.expect("read");
        read.push((object.path, bytes));
    }
    let mut report = audit(read, []);
    report.leftovers.extend(superseded);
    report
}

async fn assert_clean(lake: &Lake) {
    let report = audited(lake).await;
    assert!(report.clean() && report.leftovers.is_empty(), "{report:?}");
}
