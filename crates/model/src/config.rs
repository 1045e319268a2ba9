//! The model's configuration, `config.json` of a base.

mod bank;
mod mixer;

use serde::{Deserialize, Serialize};

pub use self::{
    bank::{BankConfig, BankShape, CmsConfig, Wiring},
    mixer::{
        AttentionConfig, DeltaNetConfig, GatedDeltaConfig, HopeConfig, MixerConfig, RetNetConfig, TitansConfig, TitansVariant,
    },
};
use crate::{error::ModelError, kernels::norm::EPSILON};

/// One block: a mixer over tokens, then a Continuum Memory System over channels.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlockConfig {
    /// What mixes tokens.
    pub mixer: MixerConfig,
    /// The banks.
    #[serde(default)]
    pub cms: CmsConfig,
}

/// Where the matrix of the output head comes from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeadConfig {
    /// It is the embedding.
    #[default]
    Tied,
    /// It is a matrix of its own.
    Own,
    /// A matrix of its own over states that are all made from that of the last position: for position i of `positions`, what token i was. An
    /// auto-encoder for comparisons; it cannot be served.
    FromLast {
        /// Positions that are asked for.
        positions: usize,
    },
}

/// The whole model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// Name under which it is served.
    pub name: String,
    /// Size of the vocabulary.
    pub vocab: usize,
    /// Width of the residual stream.
    pub width: usize,
    /// Longest conversation in tokens.
    pub max_context: usize,
    /// What norms add to the mean square.
    #[serde(default = "epsilon")]
    pub norm_epsilon: f32,
    /// The output head.
    #[serde(default)]
    pub head: HeadConfig,
    /// The blocks.
    pub blocks: Vec<BlockConfig>,
}

fn epsilon() -> f32 {
    EPSILON
}

pub(crate) fn wrong<T>(why: impl Into<String>) -> Result<T, ModelError> {
    Err(ModelError::Inconsistent(why.into()))
}

/// Extents beyond which a configuration is taken for a mistake, not for a model.
const LARGEST: usize = 1 << 24;
/// The same for positions that a model has learned by heart.
const MOST_POSITIONS: usize = 1 << 16;

/// That an extent is neither zero nor beyond what is taken for a model's.
pub(crate) fn extent(name: &str, found: usize, most: usize) -> Result<(), ModelError> {
    if (1..=most).contains(&found) { Ok(()) } else { wrong(format!("{name} is {found}; 1 to {most} are supported")) }
}

impl ModelConfig {
    /// Reads a `config.json`.
    ///
    /// # Errors
    /// When it is not valid JSON, has unknown keys or contradicts itself.
    pub fn parse(json: &[u8]) -> Result<Self, ModelError> {
        let config: Self = serde_json::from_slice(json).map_err(ModelError::Config)?;
        config.check()?;
        Ok(config)
    }

    /// Checks that the parts fit together.
    ///
    /// # Errors
    /// Names the first contradiction.
    pub fn check(&self) -> Result<(), ModelError> {
        extent("the number of blocks", self.blocks.len(), 1 << 10)?;
        extent("vocab", self.vocab, LARGEST)?;
        extent("width", self.width, 1 << 16)?;
        extent("max_context", self.max_context, LARGEST)?;
        if let HeadConfig::FromLast { positions } = self.head {
            extent("positions", positions, MOST_POSITIONS)?;
        }
        if !(self.norm_epsilon > 0.0 && self.norm_epsilon < 1.0) {
            return wrong(format!("norm_epsilon is {}, it must lie between 0 and 1", self.norm_epsilon));
        }
        for (n, block) in self.blocks.iter().enumerate() {
            let within = |error: ModelError| match error {
                ModelError::Inconsistent(why) => ModelError::Inconsistent(format!("block {n}: {why}")),
                other => other,
            };
            block.mixer.check().map_err(within)?;
            block.cms.check().map_err(within)?;
        }
        Ok(())
    }

    /// Every bank that has parameters by its block, with its place there.
    pub fn banks(&self) -> impl Iterator<Item = (usize, usize, &BankConfig)> {
        self.blocks
            .iter()
            .enumerate()
            .flat_map(|(b, block)| block.cms.stored().iter().enumerate().map(move |(n, bank)| (b, n, bank)))
    }
}
