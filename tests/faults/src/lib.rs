//! The oracle: which records were issued and acknowledged, and what the lake holds of them.
//!
//! A fault test issues records with ids of its own, kills or breaks something, and at the end asks the lake. Nothing that was acknowledged
//! may be missing, nothing may be there twice, nothing may be there that was never issued, and the audit must agree.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use nocturne_columns::{AuditReport, audit, interactions, open_batch};
use nocturne_lake::Lake;
use nocturne_wire::{
    Generation, Interaction, InteractionId, SessionId, SubjectId, TenantId, Topic, avro,
    record::{Consent, FinishReason, Message, Origin, Role, Surprise},
};

/// An interaction with an id of its own and a text of about so many bytes.
///
/// # Panics
/// When a name is not an identifier, which it is.
pub fn interaction(prefix: &str, n: u64, text_bytes: usize) -> Interaction {
    let name = |text: String| text;
    let told = format!("the code of door {n} is {}; ", n.wrapping_mul(2_654_435_761));
    Interaction {
        id: InteractionId::parse(name(format!("{prefix}-1-{n}"))).expect("an id"),
        time: Timestamp::from_second(1_700_000_000 + i64::try_from(n % 100_000).unwrap_or(0)).expect("in range"),
        tenant: TenantId::parse("tenant").expect("an id"),
        subject: SubjectId::parse(format!("subject-{}", n % 97)).expect("an id"),
        session: SessionId::parse(format!("session-{}", n % 31)).expect("an id"),
        turn: (n / 31) as u32,
        model: "nocturne".to_owned(),
        generation: Generation::ZERO,
        messages: vec![Message { role: Role::User, content: told.repeat(text_bytes.div_ceil(told.len()).max(1)) }],
        answer: "I will remember.".to_owned(),
        prompt_tokens: 9,
        answer_tokens: 4,
        prompt_surprise: Surprise::default(),
        answer_surprise: Surprise::default(),
        finish: FinishReason::Stop,
        latency_ms: 1.5,
        consent: Consent::Train,
        redactions: 0,
        origin: Origin::Human,
        truncated: false,
    }
}

/// The record as it is published: key and bytes.
pub fn encoded(record: &Interaction) -> (Vec<u8>, Vec<u8>) {
    (record.session.as_str().as_bytes().to_vec(), avro::encode_interaction(record))
}

/// What was issued.
#[derive(Debug, Clone, Default)]
pub struct Oracle {
    issued: BTreeSet<String>,
    acknowledged: BTreeSet<String>,
}

impl Oracle {
    /// A record was handed to a publisher.
    pub fn issue(&mut self, id: impl ToString) {
        self.issued.insert(id.to_string());
    }

    /// Its acknowledgement came.
    pub fn acknowledge(&mut self, id: impl ToString) {
        self.acknowledged.insert(id.to_string());
    }

    /// Records that were acknowledged.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.len() as u64
    }

    /// Reads the whole lake.
    ///
    /// # Errors
    /// Everything that is wrong, in words.
    pub async fn check(&self, lake: &Lake) -> Result<Verdict, String> {
        let mut found: BTreeMap<String, u64> = BTreeMap::new();
        let mut verdict = Verdict::default();
        let text = |error: &dyn std::error::Error| nocturne_kit::telemetry::chain(error);
        for name in lake.batches().list(Topic::Interactions).await.map_err(|error| text(&error))?.into_values().flatten() {
            let bytes = lake.batches().get(&name).await.map_err(|error| text(&error))?;
            let (footer, rows) = open_batch(&name, &bytes).map_err(|error| text(&error))?;
            verdict.batches += 1;
            verdict.duplicates_dropped += footer.duplicates;
            verdict.dead += footer.dead;
            for row in interactions(&rows).map_err(|error| text(&error))? {
                *found.entry(row.id.to_string()).or_default() += 1;
            }
        }
        verdict.rows = found.len() as u64;
        let mut faults: Vec<String> = Vec::new();
        let missing: Vec<_> = self.acknowledged.iter().filter(|id| !found.contains_key(*id)).collect();
        if !missing.is_empty() {
            faults.push(format!("{} acknowledged records are missing, the first is {}", missing.len(), missing[0]));
        }
        let doubled: Vec<_> = found.iter().filter(|(_, times)| **times > 1).collect();
        if !doubled.is_empty() {
            faults.push(format!("{} records are there more than once, the first is {}", doubled.len(), doubled[0].0));
        }
        if let Some(foreign) = found.keys().find(|id| !self.issued.contains(*id)) {
            faults.push(format!("{foreign} was never issued"));
        }
        let report = audited(lake).await?;
        faults.extend(report.faults.iter().map(ToString::to_string));
        if faults.is_empty() { Ok(verdict) } else { Err(faults.join("\n")) }
    }
}

/// What the lake holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Batches.
    pub batches: u64,
    /// Rows, each with an id of its own.
    pub rows: u64,
    /// Records that were recognized as sent twice.
    pub duplicates_dropped: u64,
    /// Dead letters.
    pub dead: u64,
}

/// The audit of a lake.
///
/// # Errors
/// When the lake cannot be read.
pub async fn audited(lake: &Lake) -> Result<AuditReport, String> {
    let mut objects = Vec::new();
    for object in lake.list("").await.map_err(|error| error.to_string())? {
        let bytes = lake.get(&object.path).await.map_err(|error| error.to_string())?;
        objects.push((object.path, bytes));
    }
    Ok(audit(objects, []))
}
