//! A Llama-shaped checkpoint with random weights, as transformers saves one.

use std::{fs, io, path::Path};

use clap::ValueEnum;
use nocturne_model::tensors::{self, Precision, Tensors, Values};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::json;

/// The extents of a published model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Shape {
    /// SmolLM2-135M: 30 layers of 576 channels
    #[value(name = "smollm2-135m")]
    Smollm2_135m,
    /// SmolLM2-360M: 32 layers of 960 channels
    #[value(name = "smollm2-360m")]
    Smollm2_360m,
    /// Two layers of 64 channels, to see that everything runs
    Tiny,
}

struct Extents {
    width: usize,
    hidden: usize,
    layers: usize,
    heads: usize,
    kv_heads: usize,
    vocab: usize,
}

impl Shape {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Smollm2_135m => "smollm2-135m",
            Self::Smollm2_360m => "smollm2-360m",
            Self::Tiny => "tiny",
        }
    }

    fn extents(self) -> Extents {
        match self {
            Self::Smollm2_135m => Extents { width: 576, hidden: 1_536, layers: 30, heads: 9, kv_heads: 3, vocab: 49_152 },
            Self::Smollm2_360m => Extents { width: 960, hidden: 2_560, layers: 32, heads: 15, kv_heads: 5, vocab: 49_152 },
            Self::Tiny => Extents { width: 64, hidden: 128, layers: 2, heads: 4, kv_heads: 2, vocab: 512 },
        }
    }
}

/// The files of a checkpoint that hold numbers.
pub(super) const CONFIG: &str = "config.json";
pub(super) const WEIGHTS: &str = "model.safetensors";

fn config(e: &Extents) -> serde_json::Value {
    json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "torch_dtype": "bfloat16", "hidden_act": "silu",
        "hidden_size": e.width, "intermediate_size": e.hidden, "num_hidden_layers": e.layers, "num_attention_heads": e.heads,
        "num_key_value_heads": e.kv_heads, "vocab_size": e.vocab, "max_position_embeddings": 8_192, "rms_norm_eps": 1e-5,
        "rope_theta": 100_000.0, "tie_word_embeddings": true, "attention_bias": false, "mlp_bias": false,
        "bos_token_id": 1, "eos_token_id": 2, "initializer_range": 0.04, "use_cache": true,
    })
}

fn layout(e: &Extents) -> Vec<(String, Vec<usize>)> {
    let kv = e.width / e.heads * e.kv_heads;
    let mut all =
        vec![("model.embed_tokens.weight".to_owned(), vec![e.vocab, e.width]), ("model.norm.weight".to_owned(), vec![e.width])];
    for layer in 0..e.layers {
        let parts = [
            ("input_layernorm", vec![e.width]),
            ("self_attn.q_proj", vec![e.width, e.width]),
            ("self_attn.k_proj", vec![kv, e.width]),
            ("self_attn.v_proj", vec![kv, e.width]),
            ("self_attn.o_proj", vec![e.width, e.width]),
            ("post_attention_layernorm", vec![e.width]),
            ("mlp.gate_proj", vec![e.hidden, e.width]),
            ("mlp.up_proj", vec![e.hidden, e.width]),
            ("mlp.down_proj", vec![e.width, e.hidden]),
        ];
        all.extend(parts.map(|(part, shape)| (format!("model.layers.{layer}.{part}.weight"), shape)));
    }
    all
}

/// Writes a checkpoint in bf16; the same shape always gives the same weights.
pub(super) fn write(shape: Shape, folder: &Path) -> io::Result<()> {
    let extents = shape.extents();
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let mut tensor = |shape: Vec<usize>| {
        let gain = shape.len() == 1;
        let weight = |_| if gain { 1.0 } else { random.random_range(-0.07..0.07) };
        Values { data: (0..shape.iter().product()).map(weight).collect(), shape }
    };
    let tensors: Tensors = layout(&extents).into_iter().map(|(name, shape)| (name, tensor(shape))).collect();
    let bytes = tensors::write_as("the checkpoint", &tensors, Precision::Brain).map_err(io::Error::other)?;
    fs::write(folder.join(WEIGHTS), bytes)?;
    fs::write(folder.join(CONFIG), serde_json::to_vec_pretty(&config(&extents))?)
}
