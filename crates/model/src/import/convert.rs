//! From a foreign decoder to a model of ours that says the same, and which of its banks nights may change.

use std::{collections::BTreeSet, str::FromStr};

use nocturne_wire::manifest::Period;

use super::{
    Files,
    checkpoint::{Checkpoint, Source},
    config::{Foreign, RopeScaling},
    error::ImportError,
};
use crate::{
    config::{AttentionConfig, BankConfig, BankShape, BlockConfig, CmsConfig, HeadConfig, MixerConfig, ModelConfig, Wiring},
    error::ModelError,
    kernels::{
        mlp::Activation,
        rope::{Rope, Stretch},
    },
    tensors::{Precision, Tensors, Values},
};

/// Where an imported model keeps what nights teach it. Its logits are those of the original until the first night, either way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SlowBanks {
    /// Level stacking (Nested Learning, section 7.3): the pre-trained perceptrons of these layers become the slow bank.
    Stack(Layers),
    /// A perceptron is added beside those of these layers; its output projection is zero.
    Add {
        /// Its hidden width.
        hidden: usize,
        /// Where.
        layers: Layers,
    },
}

/// Some of a model's layers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Layers {
    /// Every one.
    All,
    /// So many of the last ones.
    Last(usize),
    /// These, counted from 0.
    These(BTreeSet<usize>),
}

/// What is written where [`SlowBanks`] cannot be read.
const FORMS: &str = "stack=LAYERS or add=HIDDEN[@LAYERS], where LAYERS is `all`, `last:4` or `0,5,10-15`";

impl FromStr for SlowBanks {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not of the form {FORMS}");
        match text.split_once('=').ok_or_else(wrong)? {
            ("stack", layers) => Ok(Self::Stack(layers.parse().map_err(|()| wrong())?)),
            ("add", rest) => {
                let (hidden, layers) = rest.split_once('@').unwrap_or((rest, "all"));
                let hidden = hidden.parse().ok().filter(|hidden| *hidden > 0).ok_or_else(wrong)?;
                Ok(Self::Add { hidden, layers: layers.parse().map_err(|()| wrong())? })
            }
            _ => Err(wrong()),
        }
    }
}

impl FromStr for Layers {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        if text == "all" {
            return Ok(Self::All);
        }
        if let Some(count) = text.strip_prefix("last:") {
            return Ok(Self::Last(count.parse().map_err(drop)?));
        }
        let mut layers = BTreeSet::new();
        for part in text.split(',') {
            let (from, to) = part.split_once('-').unwrap_or((part, part));
            let (from, to): (usize, usize) = (from.parse().map_err(drop)?, to.parse().map_err(drop)?);
            // A model of so many layers is a slip of the keyboard, and its list would fill memory.
            if from > to || to > 1 << 16 {
                return Err(());
            }
            layers.extend(from..=to);
        }
        Ok(Self::These(layers))
    }
}

impl Layers {
    /// The layers of a model of `count`.
    ///
    /// # Errors
    /// When one that is named is not there.
    fn of(&self, count: usize) -> Result<BTreeSet<usize>, ImportError> {
        let within = |layers: BTreeSet<usize>| match layers.last() {
            Some(last) if *last >= count => {
                let why = format!("it has {count} layers, counted from 0; a slow bank is asked for in layer {last}");
                Err(ImportError::Inconsistent { file: "config.json".into(), why })
            }
            _ => Ok(layers),
        };
        match self {
            Self::All => Ok((0..count).collect()),
            Self::Last(n) if *n > count => within([*n - 1].into()),
            Self::Last(n) => Ok((count - n..count).collect()),
            Self::These(layers) => within(layers.clone()),
        }
    }
}

/// What an import gives.
#[derive(Debug)]
pub struct Imported {
    /// The model.
    pub config: ModelConfig,
    /// Its tensors; slow banks that are stacked are among them, as generation 0 has them.
    pub tensors: Tensors,
    /// The precision in which they can be kept without loss.
    pub precision: Precision,
}

/// Reads a checkpoint as a model of ours.
///
/// # Errors
/// When a file is malformed or asks for what is not supported.
pub fn convert<S: Source>(name: &str, files: &Files, source: S, slow: &SlowBanks) -> Result<Imported, ModelError> {
    let foreign = Foreign::read(files)?;
    if foreign.mlp_bias {
        let found = "perceptrons with biases (`mlp_bias`)".to_owned();
        return Err(ImportError::Unsupported { found, supported: "perceptrons without" }.into());
    }
    let checkpoint = Checkpoint::open(source)?;
    checkpoint.check(&foreign)?;
    let own_head = checkpoint.has(super::checkpoint::HEAD) || !foreign.tied;
    let config = config(name, &foreign, own_head, slow)?;
    config.check()?;
    let tensors = tensors(&foreign, &checkpoint, &config)?;
    Ok(Imported { precision: checkpoint.precision(), config, tensors })
}

fn config(name: &str, foreign: &Foreign, own_head: bool, slow: &SlowBanks) -> Result<ModelConfig, ModelError> {
    let (SlowBanks::Stack(layers) | SlowBanks::Add { layers, .. }) = slow;
    let nightly = layers.of(foreign.layers)?;
    let own = |name: &str, period| BankConfig {
        name: name.into(),
        period,
        shape: BankShape::Perceptron { hidden: foreign.mlp_hidden, activation: Activation::Silu, gated: true },
    };
    let block = |n: usize| {
        let banks = match slow {
            SlowBanks::Stack(_) if nightly.contains(&n) => vec![own("slow", Period::Night)],
            SlowBanks::Add { hidden, .. } if nightly.contains(&n) => {
                vec![BankConfig::perceptron("slow", Period::Night, *hidden, Activation::Silu), own("frozen", Period::Never)]
            }
            SlowBanks::Stack(_) | SlowBanks::Add { .. } => vec![own("frozen", Period::Never)],
        };
        let mixer = MixerConfig::Attention(AttentionConfig {
            heads: foreign.heads,
            kv_heads: foreign.kv_heads,
            head_width: foreign.head_width,
            rope: Some(rope(foreign)),
            window: foreign.windows.get(n).copied().flatten(),
            conv_taps: 0,
            qk_norm: foreign.qk_norm,
            qkv_bias: foreign.qkv_bias,
            out_bias: foreign.out_bias,
        });
        BlockConfig { mixer, cms: CmsConfig { wiring: Wiring::Independent, banks } }
    };
    Ok(ModelConfig {
        name: name.into(),
        vocab: foreign.vocab,
        width: foreign.width,
        max_context: foreign.max_context,
        norm_epsilon: foreign.norm_epsilon as f32,
        head: if own_head { HeadConfig::Own } else { HeadConfig::Tied },
        blocks: (0..foreign.layers).map(block).collect(),
    })
}

fn rope(foreign: &Foreign) -> Rope {
    let stretch = match foreign.rope.scaling {
        RopeScaling::None => None,
        RopeScaling::Linear { factor } => Some(Stretch::Linear { factor: factor as f32 }),
        RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_position } => Some(Stretch::Llama3 {
            factor: factor as f32,
            low_freq_factor: low_freq_factor as f32,
            high_freq_factor: high_freq_factor as f32,
            original_context: original_max_position as usize,
        }),
    };
    Rope { theta: foreign.rope.theta as f32, stretch }
}

fn tensors<S: Source>(foreign: &Foreign, from: &Checkpoint<S>, config: &ModelConfig) -> Result<Tensors, ModelError> {
    let mut tensors = Tensors::new();
    tensors.insert("embed".into(), from.tensor("model.embed_tokens.weight")?);
    tensors.insert("norm".into(), from.tensor("model.norm.weight")?);
    if config.head == HeadConfig::Own {
        tensors.insert("head".into(), from.tensor(super::checkpoint::HEAD)?);
    }
    for (n, block) in config.blocks.iter().enumerate() {
        let theirs = |name: &str| from.tensor(&format!("model.layers.{n}.{name}"));
        let mut put = |name: &str, values: Values| tensors.insert(format!("blocks.{n}.{name}"), values);
        put("mixer_norm", theirs("input_layernorm.weight")?);
        put("cms_norm", theirs("post_attention_layernorm.weight")?);
        let projections = ["q", "k", "v"].map(|part| format!("self_attn.{part}_proj"));
        let weights: Vec<Values> = projections.iter().map(|name| theirs(&format!("{name}.weight"))).collect::<Result<_, _>>()?;
        put("mixer.qkv", transposed(&weights));
        if foreign.qkv_bias {
            let biases: Vec<Values> = projections.iter().map(|name| theirs(&format!("{name}.bias"))).collect::<Result<_, _>>()?;
            put("mixer.qkv_bias", joined(&biases));
        }
        put("mixer.out", transposed(&[theirs("self_attn.o_proj.weight")?]));
        if foreign.out_bias {
            put("mixer.out_bias", theirs("self_attn.o_proj.bias")?);
        }
        if foreign.qk_norm {
            put("mixer.q_norm", theirs("self_attn.q_norm.weight")?);
            put("mixer.k_norm", theirs("self_attn.k_norm.weight")?);
        }
        // What is added comes with the base; the last bank is the checkpoint's own perceptron.
        let bank = block.cms.banks.last().map_or("frozen", |bank| &bank.name);
        for part in ["gate", "up", "down"] {
            put(&format!("cms.{bank}.{part}"), transposed(&[theirs(&format!("mlp.{part}_proj.weight"))?]));
        }
    }
    Ok(tensors)
}

/// Matrices `[out, in]`, one below the other, as one `[in, Σ out]`.
fn transposed(parts: &[Values]) -> Values {
    let inputs = parts[0].shape[1];
    let outputs: usize = parts.iter().map(|part| part.shape[0]).sum();
    let mut data = vec![0.0; inputs * outputs];
    let rows = parts.iter().flat_map(|part| part.data.chunks_exact(inputs)).enumerate();
    for (o, row) in rows {
        for (i, x) in row.iter().enumerate() {
            data[i * outputs + o] = *x;
        }
    }
    Values { shape: vec![inputs, outputs], data }
}

fn joined(parts: &[Values]) -> Values {
    let data: Vec<f32> = parts.iter().flat_map(|part| part.data.clone()).collect();
    Values { shape: vec![data.len()], data }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn perceptrons_with_biases_are_refused_with_what_is_not() {
        let config = serde_json::json!({"model_type": "llama", "vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 3,
            "num_attention_heads": 4, "intermediate_size": 48, "mlp_bias": true});
        let files: Files = [("config.json".to_owned(), config.to_string().into_bytes())].into();
        let slow = SlowBanks::Add { hidden: 8, layers: Layers::All };
        let refused = convert("test", &files, files.clone(), &slow).unwrap_err().to_string();
        assert!(refused.contains("perceptrons with biases (`mlp_bias`)") && refused.contains("perceptrons without"), "{refused}");
    }

    /// `hidden_size`, `num_hidden_layers`, `num_attention_heads`, `num_key_value_heads`, `intermediate_size`, `vocab_size`, `max_position_embeddings`, as the
    /// published `config.json` files have them.
    const PUBLISHED: [(&str, &str, [u64; 7]); 9] = [
        ("Llama 2 70B", "llama", [8192, 80, 64, 8, 28_672, 32_000, 4096]),
        ("Llama 3.2 1B", "llama", [2048, 16, 32, 8, 8192, 128_256, 131_072]),
        ("Llama 3.1 405B", "llama", [16_384, 126, 128, 8, 53_248, 128_256, 131_072]),
        ("SmolLM2 360M", "llama", [960, 32, 15, 5, 2560, 49_152, 8192]),
        ("Mistral 7B v0.1", "mistral", [4096, 32, 32, 8, 14_336, 32_000, 32_768]),
        ("Mistral Large", "mistral", [12_288, 88, 96, 8, 28_672, 32_768, 131_072]),
        ("Qwen2.5 72B", "qwen2", [8192, 80, 64, 8, 29_568, 152_064, 131_072]),
        ("Qwen2.5 7B 1M", "qwen2", [3584, 28, 28, 4, 18_944, 152_064, 1_010_000]),
        ("Qwen3 32B", "qwen3", [5120, 64, 64, 8, 25_600, 151_936, 40_960]),
    ];

    #[test]
    fn extents_of_published_models_are_within_what_is_supported() {
        for (name, family, [width, layers, heads, kv_heads, hidden, vocab, context]) in PUBLISHED {
            // Without a key for it, Mistral's window is 4096 tokens.
            let json = serde_json::json!({"model_type": family, "vocab_size": vocab, "hidden_size": width, "num_hidden_layers": layers,
                "num_attention_heads": heads, "num_key_value_heads": kv_heads, "intermediate_size": hidden,
                "max_position_embeddings": context, "use_sliding_window": true});
            let files: Files = [("config.json".to_owned(), json.to_string().into_bytes())].into();
            let foreign = Foreign::read(&files).unwrap();
            let slow = SlowBanks::Add { hidden: 512, layers: Layers::All };
            let config = config(name, &foreign, true, &slow).unwrap();
            assert!(config.check().is_ok(), "{name}: {:?}", config.check());
        }
    }

    #[test]
    fn rotations_beyond_single_precision_are_refused() {
        let json = serde_json::json!({"model_type": "llama", "vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 1,
            "num_attention_heads": 4, "intermediate_size": 48, "rope_theta": 1e300});
        let files: Files = [("config.json".to_owned(), json.to_string().into_bytes())].into();
        let foreign = Foreign::read(&files).unwrap();
        let config = config("test", &foreign, true, &SlowBanks::Add { hidden: 8, layers: Layers::All }).unwrap();
        let refused = config.check().unwrap_err().to_string();
        assert!(refused.contains("theta of its rotary positions is inf"), "{refused}");
    }

    #[test]
    fn slow_banks_are_named_by_layers() {
        let these = |layers: &[usize]| Layers::These(layers.iter().copied().collect());
        assert_eq!("stack=0,5,10-12".parse(), Ok(SlowBanks::Stack(these(&[0, 5, 10, 11, 12]))));
        assert_eq!("add=64".parse(), Ok(SlowBanks::Add { hidden: 64, layers: Layers::All }));
        assert_eq!("add=64@last:2".parse(), Ok(SlowBanks::Add { hidden: 64, layers: Layers::Last(2) }));
        for wrong in ["", "stack", "stack=", "stack=3-1", "add=0", "add=x@all", "merge=all", "stack=1,,2", "stack=0-99999999"] {
            assert!(wrong.parse::<SlowBanks>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn layers_that_are_not_there_are_refused() {
        assert_eq!(Layers::Last(2).of(5).unwrap(), [3, 4].into());
        assert!(Layers::Last(6).of(5).is_err());
        assert!(Layers::These([5].into()).of(5).unwrap_err().to_string().contains("5 layers"));
    }

    #[test]
    fn matrices_are_turned_and_joined() {
        let part =
            |rows: usize, first: f32| Values { shape: vec![rows, 2], data: (0..rows * 2).map(|n| first + n as f32).collect() };
        let joined = transposed(&[part(2, 0.0), part(1, 10.0)]);
        assert_eq!(joined, Values { shape: vec![2, 3], data: vec![0.0, 2.0, 10.0, 1.0, 3.0, 11.0] });
    }
}
