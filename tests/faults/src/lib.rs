//! The oracle: which records were issued and acknowledged, and what the lake holds of them.
//!
//! A fault test issues records with ids of its own, kills or breaks something, and at the end asks the lake. Nothing that was acknowledged
//! may be missing, nothing may be there twice, nothing may be there that was never issued, and the audit must agree.

pub mod deaths;
pub mod rounds;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead as _, BufReader},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp};
use nocturne_batcher::{BatcherSettings, SealSettings};
use nocturne_bus::{KafkaSettings, LogSettings, Partitions};
use nocturne_columns::{AuditReport, Range, audit, interactions, open_batch, seal_records};
use nocturne_compact::CompactSettings;
use nocturne_lake::{Auditable, Lake};
use nocturne_wire::{BatchName, Interaction, Offset, Partition, Topic, avro};

/// An interaction with an id of its own and a text of about so many bytes.
///
/// # Panics
/// When a name is not an identifier, which it is.
pub fn interaction(prefix: &str, n: u64, text_bytes: usize) -> Interaction {
    let told = format!("the code of door {n} is {}; ", n.wrapping_mul(2_654_435_761));
    let time = Timestamp::from_second(1_700_000_000 + i64::try_from(n % 100_000).unwrap_or(0)).expect("in range");
    let (subject, session) = (format!("subject-{}", n % 97), format!("session-{}", n % 31));
    let text = told.repeat(text_bytes.div_ceil(told.len()).max(1));
    nocturne_records::said(format!("{prefix}-1-{n}"), time, &subject, &session, text)
}

/// The record as it is published: key and bytes.
pub fn encoded(record: &Interaction) -> (Vec<u8>, Vec<u8>) {
    (record.session.as_str().as_bytes().to_vec(), avro::encode_interaction(record))
}

/// A small log, so that kills meet many segments.
pub fn log_settings() -> LogSettings {
    LogSettings {
        partitions: Partitions { interactions: 2, feedback: 1 },
        segment_bytes: 16 << 10,
        max_bytes: 256 << 20,
        ..LogSettings::default()
    }
}

/// Small batches, so that kills meet many of them.
pub fn sealing() -> BatcherSettings {
    let seal = SealSettings { records: 40, age_seconds: 3600, idle_seconds: 1, ..SealSettings::default() };
    BatcherSettings { seal, ..BatcherSettings::default() }
}

/// Topics and a group of a test's own.
pub fn kafka_settings(brokers: &str, name: &str) -> KafkaSettings {
    let mut settings = KafkaSettings { brokers: brokers.to_owned(), ..KafkaSettings::default() };
    settings.topics.interactions = format!("{name}.interactions");
    settings.topics.feedback = format!("{name}.feedback");
    settings.create.interactions = 4;
    settings.consumer.group = format!("{name}.batcher");
    settings.consumer.session_timeout_milliseconds = 6_000;
    settings.producer.linger_milliseconds = 5;
    settings
}

/// A command as a process that is killed with its value, and what it said.
#[derive(Debug)]
pub struct Victim {
    process: Child,
    said: std::sync::mpsc::Receiver<String>,
}

impl Victim {
    /// Starts `program` with arguments.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(program: &str, args: &[&str]) -> std::io::Result<Self> {
        Self::start_with(program, args, &[])
    }

    /// Starts `program` with arguments and variables of the environment.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_with(program: &str, args: &[&str], variables: &[(String, String)]) -> std::io::Result<Self> {
        let mut command = Command::new(program);
        command.args(args).envs(variables.iter().cloned()).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut process = command.spawn()?;
        let (sender, said) = std::sync::mpsc::channel();
        if let Some(out) = process.stdout.take() {
            std::thread::spawn(move || {
                for line in BufReader::new(out).lines().map_while(Result::ok) {
                    if sender.send(line).is_err() {
                        return;
                    }
                }
            });
        }
        Ok(Self { process, said })
    }

    /// Waits for it to say something, noting what it issues and acknowledges meanwhile; false when it ends or time passes first.
    pub fn wait_for(&self, line: &str, patience: Duration, oracle: &mut Oracle) -> bool {
        let end = Instant::now() + patience;
        while let Ok(said) = self.said.recv_timeout(end.saturating_duration_since(Instant::now())) {
            oracle.note(&said);
            if said == line {
                return true;
            }
        }
        false
    }

    /// Lets it go on for so long, noting what it says.
    pub fn leave_alone(&self, time: Duration, oracle: &mut Oracle) {
        let end = Instant::now() + time;
        while let Ok(said) = self.said.recv_timeout(end.saturating_duration_since(Instant::now())) {
            oracle.note(&said);
        }
        std::thread::sleep(end.saturating_duration_since(Instant::now()));
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// `kill -9`, and what it had said before.
    pub fn kill(mut self, oracle: &mut Oracle) {
        self.process.kill().ok();
        self.process.wait().ok();
        while let Ok(said) = self.said.recv_timeout(Duration::from_secs(5)) {
            oracle.note(&said);
        }
    }

    /// Waits for its end; whether it went well.
    pub fn finish(self, patience: Duration, oracle: &mut Oracle) -> bool {
        self.end(patience, oracle).is_some_and(|status| status.success())
    }

    /// Waits for its end, noting what it says meanwhile; how it ended, or nothing when time passes first.
    pub fn end(mut self, patience: Duration, oracle: &mut Oracle) -> Option<ExitStatus> {
        let end = Instant::now() + patience;
        while let Ok(said) = self.said.recv_timeout(end.saturating_duration_since(Instant::now())) {
            oracle.note(&said);
        }
        if Instant::now() >= end {
            return None;
        }
        self.process.wait().ok()
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// What was issued.
#[derive(Debug, Clone, Default)]
pub struct Oracle {
    issued: BTreeSet<String>,
    acknowledged: BTreeSet<String>,
}

impl Oracle {
    /// A record was handed to a publisher.
    pub fn issue(&mut self, id: &impl ToString) {
        self.issued.insert(id.to_string());
    }

    /// Its acknowledgement came.
    pub fn acknowledge(&mut self, id: &impl ToString) {
        self.acknowledged.insert(id.to_string());
    }

    /// Records that are sealed without a publisher.
    pub fn acknowledge_all(&mut self, records: &[Interaction]) {
        for record in records {
            self.issue(&record.id);
            self.acknowledge(&record.id);
        }
    }

    /// Its subject asked to be forgotten: from now on it may be gone.
    pub fn forget(&mut self, id: &impl ToString) {
        self.acknowledged.remove(&id.to_string());
    }

    /// Takes in what a victim said: `issue ID` or `ack ID`.
    pub fn note(&mut self, line: &str) {
        match line.split_once(' ') {
            Some(("issue", id)) => self.issue(&id),
            Some(("ack", id)) => self.acknowledge(&id),
            _ => {}
        }
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

/// The audit of a lake; batches whose place others took are among its leftovers.
///
/// # Errors
/// When the lake cannot be read.
pub async fn audited(lake: &Lake) -> Result<AuditReport, String> {
    let Auditable { objects, superseded } = lake.auditable().await.map_err(|error| error.to_string())?;
    let mut read = Vec::new();
    for object in objects {
        let bytes = lake.get(&object.path).await.map_err(|error| error.to_string())?;
        read.push((object.path, bytes));
    }
    let mut report = audit(read, []);
    report.leftovers.extend(superseded);
    Ok(report)
}

/// Seals records as one batch of partition 0, from the offset `first` on.
///
/// # Errors
/// When they cannot be encoded, or the lake fails.
pub async fn seal_batch(lake: &Lake, first: u64, records: &[Interaction]) -> Result<(), String> {
    let range = Range {
        name: BatchName::new(Topic::Interactions, Partition(0), Offset(first)),
        last: Offset(first + (records.len() as u64).max(1) - 1),
        begin: Offset(0),
        topic_id: "topic-a".to_owned(),
        writer: "a test".to_owned(),
    };
    let payloads: Vec<_> = records.iter().map(avro::encode_interaction).collect();
    let payloads: Vec<_> = payloads.iter().zip(first..).map(|(bytes, offset)| (Offset(offset), bytes.as_slice())).collect();
    let sealed = seal_records(range, &payloads, Vec::new(), &[], None, 1).map_err(|error| error.to_string())?;
    lake.batches().seal(&sealed.footer, sealed.parquet, sealed.dead).await.map_err(|error| error.to_string())
}

/// Settings of a rewriter that merges whatever it may, however young.
pub fn eager_compaction() -> CompactSettings {
    CompactSettings { min_age: SignedDuration::ZERO, keep_newest: 1, min_batches: 2, ..CompactSettings::default() }
}
