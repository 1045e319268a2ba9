//! What mixes tokens.

use serde::{Deserialize, Serialize};

use super::{LARGEST, extent, wrong};
use crate::{
    error::ModelError,
    kernels::rope::Rope,
    memory::hope::{BoxKind, Objective, Targets},
    mixers::titans::branch::ROPE,
};

/// A mixer, by its kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum MixerConfig {
    /// Causal softmax attention, as in Llama.
    Attention(AttentionConfig),
    /// RetNet's retention.
    #[serde(rename = "retnet")]
    RetNet(RetNetConfig),
    /// The delta rule.
    #[serde(rename = "deltanet")]
    DeltaNet(DeltaNetConfig),
    /// The gated delta rule.
    GatedDelta(GatedDeltaConfig),
    /// Titans' neural memory.
    Titans(TitansConfig),
    /// Hope's self-modifying memory.
    Hope(HopeConfig),
}

/// Softmax attention.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttentionConfig {
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Channels of a head.
    pub head_width: usize,
    /// Rotary positions, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rope: Option<Rope>,
    /// Tokens that a query sees, itself included; all before it when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<usize>,
    /// Taps of a short convolution on q, k and v; none when zero.
    #[serde(default)]
    pub conv_taps: usize,
    /// Whether queries and keys are normalized by RMSNorm with a gain of their own.
    #[serde(default)]
    pub qk_norm: bool,
    /// Whether q, k and v have biases.
    #[serde(default)]
    pub qkv_bias: bool,
    /// Whether the output has a bias.
    #[serde(default)]
    pub out_bias: bool,
}

/// RetNet (2307.08621).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetNetConfig {
    /// Heads.
    pub heads: usize,
    /// Channels of a head's queries and keys.
    pub key_width: usize,
    /// Channels of a head's values.
    pub value_width: usize,
    /// Rotary positions.
    pub rope: Rope,
    /// Whether a SiLU gate multiplies the output.
    #[serde(default = "yes")]
    pub gate: bool,
}

/// DeltaNet (2406.06484).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeltaNetConfig {
    /// Heads.
    pub heads: usize,
    /// Channels of a head's queries and keys.
    pub key_width: usize,
    /// Channels of a head's values.
    pub value_width: usize,
    /// Taps of the short convolution on q, k and v.
    pub conv_taps: usize,
    /// Whether the state may have negative eigenvalues (2411.12537).
    #[serde(default)]
    pub negative_eigenvalues: bool,
    /// Whether a SiLU gate multiplies the output.
    #[serde(default)]
    pub gate: bool,
}

/// Gated DeltaNet (2412.06464).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatedDeltaConfig {
    /// Heads.
    pub heads: usize,
    /// Channels of a head's queries and keys.
    pub key_width: usize,
    /// Channels of a head's values.
    pub value_width: usize,
    /// Taps of the short convolution on q, k and v.
    pub conv_taps: usize,
    /// Whether a SiLU gate multiplies the output.
    #[serde(default)]
    pub gate: bool,
}

/// How Titans' memory and attention are put together (2501.00663, section 4).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum TitansVariant {
    /// The memory alone.
    #[default]
    Lmm,
    /// Memory as context: attention within a segment also sees what the memory says about it.
    Mac {
        /// Tokens of a segment.
        segment: usize,
        /// Learned tokens before every segment.
        persistent: usize,
    },
    /// Memory as gate: attention in a window, multiplied by what the memory says.
    Mag {
        /// Tokens that a query sees.
        window: usize,
        /// Learned tokens that every query sees.
        persistent: usize,
    },
    /// Memory as layer: the memory, then attention in a window.
    Mal {
        /// Tokens that a query sees.
        window: usize,
        /// Learned tokens that every query sees.
        persistent: usize,
    },
}

/// Titans (2501.00663).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TitansConfig {
    /// Heads.
    pub heads: usize,
    /// Channels of a head.
    pub head_width: usize,
    /// Widths of the memory's hidden layers; none makes it linear.
    pub hidden: Vec<usize>,
    /// Tokens whose gradients are taken at once.
    pub chunk: usize,
    /// The largest step θ.
    pub max_step: f64,
    /// The norm that no inner gradient exceeds; see [`crate::memory::titans::Titans`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bound: Option<f64>,
    /// Taps of the short convolution on q, k and v.
    pub conv_taps: usize,
    /// Whether a SiLU gate multiplies the output.
    #[serde(default)]
    pub gate: bool,
    /// With or without attention.
    #[serde(default)]
    pub variant: TitansVariant,
}

/// Hope's self-modifying memory (2512.24695).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HopeConfig {
    /// Heads.
    pub heads: usize,
    /// Channels of a head.
    pub head_width: usize,
    /// What the boxes are.
    pub boxes: BoxKind,
    /// Tokens for which boxes speak from one state.
    pub chunk: usize,
    /// What boxes minimize.
    pub objective: Objective,
    /// What they aim at.
    pub targets: Targets,
    /// The largest step η.
    pub max_step: f64,
    /// Whether the boxes of keys, values, steps and decays change, too.
    #[serde(default = "yes")]
    pub adaptive: bool,
    /// Whether those take a learned share of the memory's step instead of all of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shares: bool,
    /// Taps of the short convolution on q, k and v.
    pub conv_taps: usize,
    /// Whether a SiLU gate multiplies the output.
    #[serde(default)]
    pub gate: bool,
}

fn yes() -> bool {
    true
}

impl MixerConfig {
    /// A short name for tables.
    pub fn name(&self) -> String {
        match self {
            Self::Attention(_) => "attention".into(),
            Self::RetNet(_) => "retnet".into(),
            Self::DeltaNet(c) if c.negative_eigenvalues => "deltanet-negative".into(),
            Self::DeltaNet(_) => "deltanet".into(),
            Self::GatedDelta(_) => "gated-delta".into(),
            Self::Titans(c) => match c.variant {
                TitansVariant::Lmm => "titans".into(),
                TitansVariant::Mac { .. } => "titans-mac".into(),
                TitansVariant::Mag { .. } => "titans-mag".into(),
                TitansVariant::Mal { .. } => "titans-mal".into(),
            },
            Self::Hope(c) => match c.boxes {
                BoxKind::Linear if c.targets == Targets::Live => "hope-live".into(),
                BoxKind::Linear => "hope".into(),
                BoxKind::Perceptron { .. } => "hope-mlp".into(),
            },
        }
    }

    /// Checks that the parts fit together.
    ///
    /// # Errors
    /// Names the first contradiction.
    pub fn check(&self) -> Result<(), ModelError> {
        match self {
            Self::Attention(c) => {
                heads(c.heads, &[("head_width", c.head_width)])?;
                extent("kv_heads", c.kv_heads, MOST_HEADS)?;
                c.window.map_or(Ok(()), |window| extent("window", window, LARGEST))?;
                if !c.heads.is_multiple_of(c.kv_heads) {
                    return wrong(format!("{} query heads cannot share {} key heads", c.heads, c.kv_heads));
                }
                c.rope.as_ref().map_or(Ok(()), |rope| rotary(rope, c.head_width))?;
                taps(c.conv_taps, 0)
            }
            Self::RetNet(c) => {
                heads(c.heads, &[("key_width", c.key_width), ("value_width", c.value_width)])?;
                rotary(&c.rope, c.key_width)
            }
            Self::DeltaNet(c) => {
                heads(c.heads, &[("key_width", c.key_width), ("value_width", c.value_width)])?;
                taps(c.conv_taps, 1)
            }
            Self::GatedDelta(c) => {
                heads(c.heads, &[("key_width", c.key_width), ("value_width", c.value_width)])?;
                taps(c.conv_taps, 1)
            }
            Self::Titans(c) => c.check(),
            Self::Hope(c) => {
                heads(c.heads, &[("head_width", c.head_width)])?;
                extent("chunk", c.chunk, MOST_IN_CHUNK)?;
                if c.shares && !c.adaptive {
                    return wrong("shares are those of boxes that change: leave them out, or make the boxes adaptive");
                }
                if let BoxKind::Perceptron { hidden } = c.boxes {
                    if c.targets == Targets::Live {
                        return wrong(
                            "live targets are those of linear boxes: perceptrons aim at what they said at the chunk's start (own_unit)",
                        );
                    }
                    extent("hidden", hidden, MOST_CHANNELS)?;
                }
                step(c.max_step)?;
                taps(c.conv_taps, 1)
            }
        }
    }
}

impl TitansConfig {
    fn check(&self) -> Result<(), ModelError> {
        heads(self.heads, &[("head_width", self.head_width)])?;
        extent("chunk", self.chunk, MOST_IN_CHUNK)?;
        self.hidden.iter().try_for_each(|hidden| extent("hidden", *hidden, MOST_CHANNELS))?;
        step(self.max_step)?;
        if let Some(bound) = self.bound.filter(|bound| !(*bound > 0.0 && bound.is_finite())) {
            return wrong(format!("the bound of inner gradients is {bound}; it must be above zero"));
        }
        let seen = match self.variant {
            TitansVariant::Lmm => None,
            TitansVariant::Mac { segment, persistent } => Some(("segment", segment, MOST_IN_CHUNK, persistent)),
            TitansVariant::Mag { window, persistent } | TitansVariant::Mal { window, persistent } => {
                Some(("window", window, LARGEST, persistent))
            }
        };
        if let Some((name, tokens, most, persistent)) = seen {
            extent(name, tokens, most)?;
            if persistent > MOST_IN_CHUNK {
                return wrong(format!("persistent is {persistent}; up to {MOST_IN_CHUNK} are supported"));
            }
            rotary(&ROPE, self.head_width)?;
        }
        if self.gate && matches!(self.variant, TitansVariant::Mag { .. }) {
            return wrong("in the variant `mag` the memory is the gate; a second one has no place");
        }
        taps(self.conv_taps, 1)
    }
}

const MOST_HEADS: usize = 1 << 12;
/// Channels of a head, and of what is hidden in one.
const MOST_CHANNELS: usize = 1 << 16;
/// Tokens whose gradients are taken at once: every pair of them has a weight.
const MOST_IN_CHUNK: usize = 1 << 13;

fn heads(count: usize, widths: &[(&str, usize)]) -> Result<(), ModelError> {
    extent("heads", count, MOST_HEADS)?;
    widths.iter().try_for_each(|(name, width)| extent(name, *width, MOST_CHANNELS))
}

fn rotary(rope: &Rope, width: usize) -> Result<(), ModelError> {
    if !width.is_multiple_of(2) {
        return wrong(format!("rotary positions turn pairs of channels, heads have {width}"));
    }
    rope.check()
}

/// Longest convolution: its tail is kept for every session.
const MOST_TAPS: usize = 64;

fn taps(taps: usize, least: usize) -> Result<(), ModelError> {
    if taps < least || taps > MOST_TAPS {
        return wrong(format!("a convolution of {taps} taps; there must be {least} to {MOST_TAPS}"));
    }
    Ok(())
}

fn step(max_step: f64) -> Result<(), ModelError> {
    if !(0.0..=8.0).contains(&max_step) {
        return wrong(format!("the largest inner step is {max_step}, it must lie in 0 to 8"));
    }
    Ok(())
}
