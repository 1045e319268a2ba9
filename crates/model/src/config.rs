//! The model's configuration, `config.json` of a base.

use nocturne_wire::manifest::Period;
use serde::{Deserialize, Serialize};

use crate::{error::ModelError, kernels::mlp::Activation};

/// Which memory a block mixes tokens with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MixerKind {
    /// Causal softmax attention with rotary positions.
    Attention,
    /// Gated delta rule: a linear memory with forgetting.
    GatedDelta,
}

/// A bank of a Continuum Memory System that is a perceptron beside the others.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PerceptronBank {
    /// Hidden width.
    pub hidden: usize,
    /// Hidden non-linearity.
    pub activation: Activation,
    /// How often it changes.
    pub period: Period,
}

/// The in-session bank: a linear memory written every `period` tokens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FastBankConfig {
    /// Width of its keys and values.
    pub width: usize,
    /// Tokens between two changes.
    pub period_tokens: u32,
    /// The blocks that have it.
    pub blocks: Vec<usize>,
}

/// The whole model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HopeConfig {
    /// Name under which it is served.
    pub name: String,
    /// Size of the vocabulary.
    pub vocab: usize,
    /// Width of the residual stream.
    pub width: usize,
    /// Heads of every mixer; divides the width.
    pub heads: usize,
    /// One mixer a block.
    pub mixers: Vec<MixerKind>,
    /// Taps of the short convolution on q, k and v.
    pub conv_taps: usize,
    /// Base of the rotary frequencies.
    pub rope_theta: f32,
    /// Longest conversation in tokens.
    pub max_context: usize,
    /// The bank that never changes after pre-training, in every block.
    pub frozen: PerceptronBank,
    /// The bank that nights change, in every block.
    pub slow: PerceptronBank,
    /// The bank that a session changes.
    pub fast: FastBankConfig,
}

impl HopeConfig {
    /// Reads a `config.json`.
    ///
    /// # Errors
    /// When it is not valid JSON, has unknown keys or contradicts itself.
    pub fn parse(json: &[u8]) -> Result<Self, ModelError> {
        let config: Self = serde_json::from_slice(json).map_err(ModelError::Config)?;
        config.check()?;
        Ok(config)
    }

    /// Channels of one head.
    pub fn head_width(&self) -> usize {
        self.width / self.heads
    }

    /// Checks that the parts fit together.
    ///
    /// # Errors
    /// Names the first contradiction.
    pub fn check(&self) -> Result<(), ModelError> {
        let wrong = |why: String| Err(ModelError::Inconsistent(why));
        if self.width == 0 || self.heads == 0 || !self.width.is_multiple_of(self.heads) || !self.head_width().is_multiple_of(2) {
            return wrong(format!("{} heads do not divide a width of {} into even parts", self.heads, self.width));
        }
        if self.mixers.is_empty() || self.vocab == 0 || self.conv_taps == 0 || self.fast.period_tokens == 0 {
            return wrong("blocks, vocabulary, convolution taps and the fast period must not be zero".into());
        }
        if let Some(block) = self.fast.blocks.iter().find(|b| **b >= self.mixers.len()) {
            return wrong(format!("the fast bank names block {block}, there are {}", self.mixers.len()));
        }
        if self.frozen.period != Period::Never || self.slow.period != Period::Night {
            return wrong("the frozen bank's period must be `never` and the slow bank's `night`".into());
        }
        if self.max_context > 1 << 20 || self.width > 1 << 16 || self.vocab > 1 << 24 {
            return wrong("extents are beyond what this model supports".into());
        }
        Ok(())
    }
}
