//! The recipe of a base model: everything that decides what is trained, in one file.

use nocturne_model::{DeviceName, ModelConfig, optim::MuonSettings};
use nocturne_world::CorpusConfig;
use serde::{Deserialize, Serialize};

/// A recipe, TOML.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Where it is trained: `flex`, `tch`, `cuda` and so on. A run may go on elsewhere.
    #[serde(default)]
    pub device: DeviceName,
    /// Seed of the corpus and of the initialization.
    pub seed: u64,
    /// Optimizer steps.
    pub steps: u64,
    /// Tokens a step, about.
    pub tokens_a_step: u64,
    /// Steps of linear warm-up.
    pub warm_up_steps: u64,
    /// Share of the steps after which the rate falls linearly to zero.
    pub decay_from: f64,
    /// Steps between two checkpoints.
    pub checkpoint_every_steps: u64,
    /// Conversations that the tokenizer is trained on.
    pub tokenizer_conversations: usize,
    /// Conversations of the rehearsal set.
    pub rehearsal_conversations: usize,
    /// Peak rate of AdamW: embedding, gains, convolutions.
    pub adam_rate: f64,
    /// Muon: every other matrix.
    pub muon: MuonSettings,
    /// Weights of the loss.
    pub weights: Weights,
    /// The mixture of conversations.
    pub corpus: CorpusConfig,
    /// The model.
    pub model: ModelConfig,
}

/// Weight of predicting the text of a turn, by what the turn does.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Weights {
    /// Answers and saying that one does not know.
    pub answer: f32,
    /// Questions that the model writes: asked, reworded, transferred.
    pub skill: f32,
    /// Small talk of the model.
    pub small_talk: f32,
    /// Acknowledgements.
    pub acknowledgement: f32,
    /// Whatever the user says.
    pub user: f32,
}

impl Recipe {
    /// What no run could be made of.
    pub(crate) fn fault(&self) -> Option<String> {
        let counts = [
            ("steps", self.steps),
            ("tokens_a_step", self.tokens_a_step),
            ("checkpoint_every_steps", self.checkpoint_every_steps),
            ("tokenizer_conversations", self.tokenizer_conversations as u64),
        ];
        if let Some((key, _)) = counts.into_iter().find(|(_, count)| *count == 0) {
            return Some(format!("`{key}` is 0; it must be at least 1"));
        }
        let Weights { answer, skill, small_talk, acknowledgement, user } = self.weights;
        let weights = [answer, skill, small_talk, acknowledgement, user];
        let within = [
            ("adam_rate", self.adam_rate, 0.0..=1.0),
            ("muon.rate", self.muon.rate, 0.0..=1.0),
            ("muon.momentum", f64::from(self.muon.momentum), 0.0..=0.9999),
            ("muon.weight_decay", f64::from(self.muon.weight_decay), 0.0..=1.0),
            ("decay_from", self.decay_from, 0.0..=1.0),
        ];
        if let Some((key, value, range)) = within.into_iter().find(|(_, value, range)| !range.contains(value)) {
            return Some(format!("`{key}` is {value}; it must lie between {} and {}", range.start(), range.end()));
        }
        if !weights.iter().all(|weight| weight.is_finite() && *weight >= 0.0) || weights.iter().all(|weight| *weight == 0.0) {
            return Some("the `weights` must be 0 or more, and one of them above".to_owned());
        }
        None
    }
}
