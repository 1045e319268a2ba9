//! A night's plan: everything that the sleep job is told.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    batch::{BatchName, Offset},
    generation::GenerationName,
    hash::Sha256Hex,
    id::NightId,
};

/// Version of the plan's own format.
pub const PLAN_VERSION: u32 = 1;

/// Why a night runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    /// A person asked for it.
    Manual,
    /// Its slot in the schedule came.
    Schedule,
    /// Its slot passed while nothing ran.
    CatchUp,
}

/// One batch that a night reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedBatch {
    /// The batch.
    pub name: BatchName,
    /// Offset of its last record.
    pub last: Offset,
}

/// Limits and knobs of curation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CurationSettings {
    /// Most rows of one subject that are kept.
    pub max_rows_per_subject: u32,
    /// Largest share of kept rows whose user message was written by a model.
    pub max_model_share: f32,
    /// Similarity (0 to 1, Jaccard over word trigrams) from which two texts count as near duplicates.
    pub near_duplicate_similarity: f32,
}

impl Default for CurationSettings {
    fn default() -> Self {
        Self { max_rows_per_subject: 200, max_model_share: 0.5, near_duplicate_similarity: 0.9 }
    }
}

/// Thresholds of the gates.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GateSettings {
    /// *learned*: smallest share of the day's lessons recalled in a held-out wording with the context cleared.
    pub min_learned: f32,
    /// *kept*: largest share of rehearsal answers that were right before and are wrong after.
    pub max_lost: f32,
    /// *honest*: smallest share of questions that nobody answered, about strangers and about taught names, that are answered as generation 0 answers.
    pub min_honest: f32,
    /// *remembered*: smallest share of what earlier nights taught and the parent recalls that is still recalled.
    pub min_remembered: f32,
    /// *no drift*: largest mean Kullback-Leibler divergence (nats a token) to generation 0 on canary texts.
    pub max_drift_nats: f32,
}

impl GateSettings {
    /// Whether every threshold can be met and missed.
    ///
    /// # Errors
    /// Names the first that cannot.
    pub fn check(&self) -> Result<(), String> {
        let shares = [
            ("min_learned", self.min_learned),
            ("max_lost", self.max_lost),
            ("min_honest", self.min_honest),
            ("min_remembered", self.min_remembered),
        ];
        match shares.into_iter().find(|(_, share)| !(0.0..=1.0).contains(share)) {
            Some((name, share)) => Err(format!("{name} is {share}; it is a share, from 0 to 1")),
            None if self.max_drift_nats >= 0.0 => Ok(()),
            None => Err(format!("max_drift_nats is {}; it must be a number, not below 0", self.max_drift_nats)),
        }
    }
}

impl Default for GateSettings {
    fn default() -> Self {
        Self { min_learned: 0.6, max_lost: 0.03, min_honest: 0.85, min_remembered: 0.6, max_drift_nats: 0.1 }
    }
}

/// What trains the slow banks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NightOptimizer {
    /// Momentum, orthogonalized.
    #[default]
    Muon,
    /// AdamW.
    Adam,
    /// Momentum as a memory of gradients.
    Momentum,
    /// Momentum that makes room before it writes.
    DeltaMomentum,
    /// Momentum as a perceptron.
    Dmgd,
    /// Gradient descent that erases along what a layer read.
    Dgd,
    /// Muon at two scales of time.
    M3,
}

/// Knobs of training. How an optimizer is set is the night's own affair.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainingSettings {
    /// What trains the slow banks.
    pub optimizer: NightOptimizer,
    /// Whether a night goes on from what its parent's optimizer remembered, and publishes what its own does. Where the parent has nothing, or another
    /// optimizer's, it begins afresh, as every night does with this off.
    pub keep_optimizer_state: bool,
}

/// A night's plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NightPlan {
    /// [`PLAN_VERSION`].
    pub version: u32,
    /// The night.
    pub night: NightId,
    /// The channel whose generation is the parent and that the result may be promoted on.
    pub channel: String,
    /// When the plan was made.
    pub created: Timestamp,
    /// Why the night runs.
    pub trigger: Trigger,
    /// When training must stop at the latest; `None` for no deadline.
    pub deadline: Option<Timestamp>,
    /// Fingerprint of the base.
    pub base: Sha256Hex,
    /// Generation 0: teacher and anchor.
    pub zero: GenerationName,
    /// The generation that serves now: where the banks start from.
    pub parent: GenerationName,
    /// The nights that the parent comes from, oldest first: what they taught is rehearsed.
    #[serde(default)]
    pub lineage: Vec<NightId>,
    /// The batches to read.
    pub batches: Vec<PlannedBatch>,
    /// Interactions that earlier nights have read, the newest first: of these only what the planned feedback corrects is read again, because
    /// corrections come when people find the time.
    #[serde(default)]
    pub earlier: Vec<PlannedBatch>,
    /// Questions that must never be trained on: SHA-256 of their normalized text. A measure that is trained on measures nothing.
    pub held_out: Vec<Sha256Hex>,
    /// Seed of everything random.
    pub seed: u64,
    /// Curation.
    pub curation: CurationSettings,
    /// Training.
    #[serde(default)]
    pub training: TrainingSettings,
    /// Gates.
    pub gates: GateSettings,
    /// Whether a candidate that passes is promoted at once.
    pub promote: bool,
}

/// A question as it is compared: its words in lower case, without the marks around them. "Tell me the price of X." and "tell me the price of X?" are one
/// question to a model.
pub fn normalize_question(question: &str) -> String {
    let words = question.split_whitespace().map(|word| word.trim_matches(|c: char| !c.is_alphanumeric()));
    words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ").to_lowercase()
}

/// What [`NightPlan::held_out`] lists for a question: the night can recognize it, and learns nothing from the list.
pub fn question_digest(question: &str) -> Sha256Hex {
    Sha256Hex::of(normalize_question(question).as_bytes())
}
