//! Sealing: Avro records to Arrow to Parquet to a durable object in a lake on this disk.

use std::time::Instant;

use anyhow::Context;
use jiff::Timestamp;
use nocturne_wire::{
    BatchName, Generation, Interaction, InteractionId, Offset, Partition, SessionId, SubjectId, TenantId, Topic, avro,
    batch::BatchFooter,
    record::{Consent, FinishReason, Message, Origin, Role, Surprise},
};
use serde::Serialize;

use crate::places;

/// Records of one batch: a small one, as quiet hours give it.
const RECORDS: u64 = 5_000;
const BATCHES: u64 = 8;

/// Sealing speed.
#[derive(Debug, Serialize)]
pub(super) struct Figures {
    megabytes_per_second: f64,
    records_per_second: f64,
    record_bytes: u64,
    batch_bytes: u64,
}

impl Figures {
    pub(super) fn row(&self) -> [String; 3] {
        let ratio = self.record_bytes as f64 / self.batch_bytes.max(1) as f64;
        let how = format!("{:.0} records/s, {RECORDS} a batch, {ratio:.1} times smaller", self.records_per_second);
        ["sealing batches".to_owned(), format!("{:.1} MB/s", self.megabytes_per_second), how]
    }
}

pub(super) async fn measure() -> anyhow::Result<Figures> {
    let folder = tempfile::tempdir().context("making a temporary directory")?;
    let lake = places::open_lake(folder.path())?;
    let records: Vec<Vec<u8>> =
        (0..RECORDS * BATCHES).map(|n| Ok(avro::encode_interaction(&record(n)?))).collect::<anyhow::Result<_>>()?;
    let record_bytes = records.iter().map(|record| record.len() as u64).sum();
    let mut batch_bytes = 0;
    let begun = Instant::now();
    for (batch, records) in (0..).zip(records.chunks(RECORDS as usize)) {
        let first = batch * RECORDS;
        let records: Vec<_> = (first..).map(Offset).zip(records.iter().map(Vec::as_slice)).collect();
        let decoded = nocturne_columns::decode(Topic::Interactions, &records, None)?;
        let footer = BatchFooter {
            name: BatchName::new(Topic::Interactions, Partition(0), Offset(first)),
            last: Offset(first + records.len() as u64 - 1),
            begin: Offset(0),
            topic_id: "bench".to_owned(),
            schema_fingerprint: avro::fingerprint_hex(Topic::Interactions),
            writer: "bench".to_owned(),
            rows: decoded.batch.num_rows() as u64,
            dead: decoded.dead.len() as u64,
            duplicates: decoded.duplicates,
            letters: None,
            erased: 0,
        };
        let parquet = nocturne_columns::seal(&decoded.batch, &footer)?;
        batch_bytes += parquet.len() as u64;
        lake.batches().seal(&footer, parquet, None).await?;
    }
    let seconds = begun.elapsed().as_secs_f64();
    Ok(Figures {
        megabytes_per_second: record_bytes as f64 / 1e6 / seconds,
        records_per_second: (RECORDS * BATCHES) as f64 / seconds,
        record_bytes,
        batch_bytes,
    })
}

/// A record as a small model's day has it.
pub(super) fn record(n: u64) -> anyhow::Result<Interaction> {
    let question = format!("The Zanlora {n} kettle is made by Fenwick and costs {} dollars. What does it cost?", n % 900);
    Ok(Interaction {
        id: InteractionId::parse(format!("bench-1-{n}"))?,
        time: Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_millis(n as i64),
        tenant: TenantId::parse("default")?,
        subject: SubjectId::parse(format!("subject-{}", n % 97))?,
        session: SessionId::parse(format!("session-{}", n / 4))?,
        turn: (n % 4) as u32,
        model: "nocturne".to_owned(),
        generation: Generation::ZERO,
        messages: vec![Message { role: Role::User, content: question }],
        answer: format!("It costs {} dollars.", n % 900),
        prompt_tokens: 34,
        answer_tokens: 9,
        prompt_surprise: Surprise { mean_nats: 1.25, max_nats: 6.5 },
        answer_surprise: Surprise { mean_nats: 0.25, max_nats: 1.5 },
        finish: FinishReason::Stop,
        latency_ms: 21.5,
        consent: Consent::Train,
        redactions: 0,
        origin: Origin::Human,
        truncated: false,
        channel: "production".to_owned(),
    })
}
