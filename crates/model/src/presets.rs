//! Small models of every kind, for comparisons: the same width, heads and banks, and mixers with the extents of their papers.
//!
//! What departs from the papers: no way out has a gate but RetNet's, whose Eq. 8 is one. A gate of SiLU makes every channel depend on the token that asks before
//! anything is known about it, and costs most of a short budget (figures in `tests/benches/README.md`). Titans'
//! inner gradients are bounded, Hope's targets have unit length (but for those of `hope-live`) and its objective is Eq. 92; see [`crate::memory`] for why.

use nocturne_wire::manifest::Period;

use crate::{
    config::{
        AttentionConfig, BankConfig, BlockConfig, CmsConfig, DeltaNetConfig, GatedDeltaConfig, HeadConfig, HopeConfig,
        MixerConfig, ModelConfig, RetNetConfig, TitansConfig, TitansVariant,
    },
    kernels::{mlp::Activation, norm::EPSILON, rope::Rope},
    memory::hope::{BoxKind, Objective, Targets},
};

/// Names that [`mixer`] knows, in the order of tables.
pub const MIXERS: [&str; 12] = [
    "attention",
    "retnet",
    "deltanet",
    "deltanet-negative",
    "gated-delta",
    "titans",
    "titans-mac",
    "titans-mag",
    "titans-mal",
    "hope",
    "hope-live",
    "hope-mlp",
];

/// Taps of short convolutions, as in the papers.
const TAPS: usize = 4;

/// Tokens whose gradients Titans takes at once. They are taken where the chunk began and add up: with keys that are all alike, steps `2 θ` that sum to more than
/// 2 overshoot by more in every chunk. Half of the largest step, where gates begin, is just stable then; what is deep needs the bound besides.
const TITANS_CHUNK: usize = 16;

/// A mixer over `width` channels in `heads` heads; `None` for an unknown name.
pub fn mixer(name: &str, width: usize, heads: usize) -> Option<MixerConfig> {
    let head = width / heads;
    let rope = Rope::new(10_000.0);
    let titans = |variant| {
        // A segment of MAC is a chunk.
        let chunk = if let TitansVariant::Mac { segment, .. } = variant { segment } else { TITANS_CHUNK };
        MixerConfig::Titans(TitansConfig {
            heads,
            head_width: head,
            hidden: vec![2 * head],
            chunk,
            max_step: 2.0 / chunk as f64,
            bound: Some(4.0),
            conv_taps: TAPS,
            gate: false,
            variant,
        })
    };
    let deltanet = |negative_eigenvalues| {
        MixerConfig::DeltaNet(DeltaNetConfig {
            heads,
            key_width: head,
            value_width: head,
            conv_taps: TAPS,
            negative_eigenvalues,
            gate: false,
        })
    };
    let hope = |boxes, targets| {
        MixerConfig::Hope(HopeConfig {
            heads,
            head_width: head,
            boxes,
            chunk: 16,
            objective: Objective::Alignment,
            targets,
            max_step: 2.0,
            adaptive: true,
            shares: true,
            conv_taps: TAPS,
            gate: false,
        })
    };
    Some(match name {
        "attention" => MixerConfig::Attention(AttentionConfig {
            heads,
            kv_heads: heads,
            head_width: head,
            rope: Some(rope),
            window: None,
            conv_taps: 0,
            qk_norm: false,
            qkv_bias: false,
            out_bias: false,
        }),
        "retnet" => MixerConfig::RetNet(RetNetConfig { heads, key_width: head, value_width: 2 * head, rope, gate: true }),
        "deltanet" => deltanet(false),
        "deltanet-negative" => deltanet(true),
        "gated-delta" => MixerConfig::GatedDelta(GatedDeltaConfig {
            heads,
            key_width: head,
            value_width: 2 * head,
            conv_taps: TAPS,
            gate: false,
        }),
        "titans" => titans(TitansVariant::Lmm),
        "titans-mac" => titans(TitansVariant::Mac { segment: 32, persistent: 4 }),
        "titans-mag" => titans(TitansVariant::Mag { window: 32, persistent: 4 }),
        "titans-mal" => titans(TitansVariant::Mal { window: 32, persistent: 4 }),
        "hope" => hope(BoxKind::Linear, Targets::OwnUnit),
        "hope-live" => hope(BoxKind::Linear, Targets::Live),
        "hope-mlp" => hope(BoxKind::Perceptron { hidden: 2 * head }, Targets::OwnUnit),
        _ => return None,
    })
}

/// A model of equal blocks with a gated perceptron each, or with none when `hidden` is zero.
pub fn model(name: &str, mixer: &MixerConfig, vocab: usize, width: usize, blocks: usize, hidden: usize) -> ModelConfig {
    let bank = |hidden| BankConfig {
        shape: crate::config::BankShape::Perceptron { hidden, activation: Activation::Silu, gated: true },
        ..BankConfig::perceptron("frozen", Period::Never, hidden, Activation::Silu)
    };
    let cms = CmsConfig { banks: (hidden > 0).then(|| bank(hidden)).into_iter().collect(), ..CmsConfig::default() };
    ModelConfig {
        name: name.into(),
        vocab,
        width,
        max_context: 1 << 16,
        norm_epsilon: EPSILON,
        head: HeadConfig::Own,
        blocks: vec![BlockConfig { mixer: mixer.clone(), cms }; blocks],
    }
}
