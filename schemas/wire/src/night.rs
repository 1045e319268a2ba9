//! The record of a night.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{generation::GenerationName, id::NightId};

/// What a night is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Reading batches and deciding what to learn from.
    Curate,
    /// Writing questions, wordings and answers for the kept sessions.
    Distill,
    /// Training the slow banks.
    Train,
    /// Measuring the candidate.
    Gate,
    /// Writing the candidate to the lake.
    Publish,
}

/// How a night ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "result")]
pub enum Outcome {
    /// A generation was published, and promoted when the plan said so.
    Published {
        /// The new generation.
        generation: GenerationName,
        /// Whether it serves now.
        promoted: bool,
    },
    /// A gate failed; the candidate was not published.
    Rejected {
        /// The gates that failed.
        gates: Vec<String>,
    },
    /// There was nothing to learn from.
    Empty {
        /// Why.
        reason: String,
    },
    /// The night broke.
    Failed {
        /// What was being done, to what, and why it failed.
        error: String,
    },
}

/// One way to ask for a lesson and what the teacher answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wording {
    /// The question.
    pub question: String,
    /// The teacher's answer.
    pub answer: String,
}

/// Something that a day taught: a line of the night's `lessons.jsonl`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lesson {
    /// Whom it is about, in the session's own words.
    pub name: String,
    /// The words of the answer that only the context gives.
    pub value: String,
    /// Ways to ask for it, for training.
    pub wordings: Vec<Wording>,
    /// A way to ask for it that is kept out of training, for the gate.
    pub held_out: Option<Wording>,
}

/// A night's file of [`Lesson`]s, one a line.
pub const LESSONS: &str = "lessons.jsonl";

impl Lesson {
    /// A file of lessons.
    pub fn write(lessons: &[Self]) -> Vec<u8> {
        let lines: Vec<String> = lessons.iter().filter_map(|lesson| serde_json::to_string(lesson).ok()).collect();
        lines.join("\n").into_bytes()
    }

    /// Reads a file of lessons, line by line: one that cannot be read does not hide the others.
    pub fn read(file: &[u8]) -> impl Iterator<Item = Result<Self, serde_json::Error>> {
        file.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(serde_json::from_slice)
    }
}

/// One gate's verdict.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GateResult {
    /// `learned`, `kept`, `honest`, `no drift`, `remembered`.
    pub gate: String,
    /// What was measured, in words.
    pub metric: String,
    /// Questions or tokens measured.
    pub count: u64,
    /// The parent's figure.
    pub baseline: f64,
    /// The candidate's figure.
    pub candidate: f64,
    /// The bound.
    pub threshold: f64,
    /// Whether the candidate meets it.
    pub passed: bool,
}

/// Progress of a running night, one object an event, so that anybody can follow it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NightEvent {
    /// Position, from 0.
    pub sequence: u64,
    /// When.
    pub time: Timestamp,
    /// What the night is doing.
    pub phase: Phase,
    /// Steps done in this phase.
    pub done: u64,
    /// Steps in this phase; 0 when unknown.
    pub total: u64,
    /// A sentence for people.
    pub message: String,
}

/// How rows fared in curation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CurationCounts {
    /// Rows in the planned batches.
    pub read: u64,
    /// Rows kept.
    pub kept: u64,
    /// Rows dropped, by reason.
    pub dropped: std::collections::BTreeMap<String, u64>,
}

/// How long a phase took.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PhaseTime {
    /// The phase.
    pub phase: Phase,
    /// Seconds.
    pub seconds: f64,
}

/// A night's full record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NightReport {
    /// The night.
    pub night: NightId,
    /// When it started.
    pub started: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
    /// How it ended.
    pub outcome: Outcome,
    /// Its phases.
    pub phases: Vec<PhaseTime>,
    /// Curation.
    pub curation: CurationCounts,
    /// Sessions that curation kept.
    pub sessions: u64,
    /// Questions that the model wrote about what it was told.
    pub questions: u64,
    /// Wordings that equal a held-out question and were dropped.
    pub held_out_dropped: u64,
    /// Optimizer steps.
    pub steps: u64,
    /// Tokens trained on.
    pub tokens: u64,
    /// Training tokens a second.
    pub tokens_per_second: f64,
    /// Mean training loss of the first and of the last tenth of the steps.
    pub loss_first: f64,
    /// See [`NightReport::loss_first`].
    pub loss_last: f64,
    /// Gates.
    pub gates: Vec<GateResult>,
    /// Tensors in slow banks whose SHA-256 changed.
    pub tensors_changed_in_slow_banks: u64,
    /// Tensors anywhere else whose SHA-256 changed; anything but 0 is a defect and fails the night.
    pub tensors_changed_outside_slow_banks: u64,
    /// Peak resident memory of the job.
    pub peak_memory_bytes: u64,
    /// Seed.
    pub seed: u64,
}
