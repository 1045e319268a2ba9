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
