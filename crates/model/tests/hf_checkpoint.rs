//! Configs and checkpoints against transformers: what a file comes to, and every bit of every tensor of what transformers saves.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that panics says what it found")]

use std::{collections::BTreeMap, fs, path::Path};

use nocturne_model::{
    import::{Checkpoint, FILES, Files, Foreign, RopeScaling, checkpoint::layout},
    tensors::Values,
};
use nocturne_support::{Reference, or_skip};
use serde::Deserialize;
use serde_json::{Value, json};

/// What a config comes to.
#[derive(Debug, PartialEq, Deserialize)]
struct Plain {
    vocab: usize,
    width: usize,
    layers: usize,
    heads: usize,
    kv_heads: usize,
    head_width: usize,
    mlp_hidden: usize,
    norm_epsilon: f64,
    theta: f64,
    rope: String,
    scaling: [f64; 4],
    windows: Vec<Option<usize>>,
    tied: bool,
    max_context: usize,
}

#[derive(Debug, Deserialize)]
struct Tensor {
    shape: Vec<usize>,
    sum: u64,
}

#[derive(Debug, Deserialize)]
struct Saved {
    config: Plain,
    tensors: BTreeMap<String, Tensor>,
}

#[derive(Debug, Deserialize)]
struct Answers {
    configs: BTreeMap<String, Plain>,
    models: BTreeMap<String, Saved>,
}

fn plain(foreign: &Foreign) -> Plain {
    let (rope, scaling) = match foreign.rope.scaling {
        RopeScaling::None => ("default", [0.0; 4]),
        RopeScaling::Linear { factor } => ("linear", [factor, 0.0, 0.0, 0.0]),
        RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_position } => {
            ("llama3", [factor, low_freq_factor, high_freq_factor, original_max_position])
        }
    };
    Plain {
        vocab: foreign.vocab,
        width: foreign.width,
        layers: foreign.layers,
        heads: foreign.heads,
        kv_heads: foreign.kv_heads,
        head_width: foreign.head_width,
        mlp_hidden: foreign.mlp_hidden,
        norm_epsilon: foreign.norm_epsilon,
        theta: foreign.rope.theta,
        rope: rope.to_owned(),
        scaling,
        windows: foreign.windows.clone(),
        tied: foreign.tied,
        max_context: foreign.max_context,
    }
}

/// Configs of both spellings, with as much left out as may be.
fn configs() -> Value {
    let llama3 = json!({"factor": 32.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0, "original_max_position_embeddings": 8192, "rope_type": "llama3"});
    let mut llama3_with_theta = llama3.clone();
    llama3_with_theta["rope_theta"] = 500_000.0.into();
    json!({
        "llama": {"model_type": "llama"},
        "qwen2": {"model_type": "qwen2"},
        "qwen3": {"model_type": "qwen3"},
        "mistral": {"model_type": "mistral"},
        "mistral-nulls": {"model_type": "mistral", "sliding_window": null, "head_dim": null},
        "qwen2-nulls": {"model_type": "qwen2", "num_key_value_heads": null, "rope_scaling": null, "eos_token_id": 5, "bos_token_id": 6},
        "llama-3.2": {"model_type": "llama", "hidden_size": 2048, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 64,
            "num_hidden_layers": 16, "max_position_embeddings": 131_072, "rope_theta": 500_000.0, "rope_scaling": llama3,
            "tie_word_embeddings": true, "vocab_size": 128_256, "eos_token_id": [128_001, 128_008, 128_009], "bos_token_id": 128_000},
        "llama-3.2-v5": {"model_type": "llama", "max_position_embeddings": 131_072, "rope_parameters": llama3_with_theta},
        "llama-linear": {"model_type": "llama", "rope_scaling": {"type": "linear", "factor": 4.0}, "rope_theta": 20_000},
        "llama-odd-heads": {"model_type": "llama", "hidden_size": 576, "num_attention_heads": 9, "num_key_value_heads": 3, "intermediate_size": 1536},
        "qwen2-windows": {"model_type": "qwen2", "num_hidden_layers": 6, "use_sliding_window": true, "sliding_window": 64, "max_window_layers": 4},
        "qwen3-kinds": {"model_type": "qwen3", "num_hidden_layers": 3, "use_sliding_window": true, "sliding_window": 32,
            "layer_types": ["full_attention", "sliding_attention", "full_attention"]},
        "mistral-v5": {"model_type": "mistral", "rope_parameters": {"rope_type": "default", "rope_theta": 1_000_000.0}, "sliding_window": 16}
    })
}

fn models() -> Value {
    let small = |family: &str, more: Value| {
        let mut config = json!({"model_type": family, "vocab_size": 60, "hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": 3,
            "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64, "head_dim": 12, "bos_token_id": 1, "eos_token_id": 2,
            "pad_token_id": null});
        let (Value::Object(all), Value::Object(more)) = (&mut config, more) else { panic!("objects") };
        all.extend(more);
        config
    };
    json!({
        "llama": {"config": small("llama", json!({})), "dtype": "bfloat16", "shard": "5GB"},
        "llama-biased": {"config": small("llama", json!({"attention_bias": true, "mlp_bias": true, "tie_word_embeddings": true})), "dtype": "float32", "shard": "20KB"},
        "qwen2": {"config": small("qwen2", json!({"use_sliding_window": true, "sliding_window": 8, "max_window_layers": 1})), "dtype": "float16", "shard": "10KB"},
        "qwen2-tied": {"config": small("qwen2", json!({"tie_word_embeddings": true})), "dtype": "bfloat16", "shard": "8KB"},
        "qwen3": {"config": small("qwen3", json!({"head_dim": 16})), "dtype": "bfloat16", "shard": "12KB"},
        "qwen3-biased": {"config": small("qwen3", json!({"attention_bias": true})), "dtype": "float32", "shard": "5GB"},
        "mistral": {"config": small("mistral", json!({})), "dtype": "float16", "shard": "5GB"}
    })
}

/// Everything in a folder.
fn files(folder: &Path) -> Files {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    entries.map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())).collect()
}

/// What the reference computes of a tensor's bits.
fn sum(values: &Values) -> u64 {
    let bits = values.data.iter().map(|x| u64::from(x.to_bits()));
    bits.zip(1_u64..).map(|(bits, position)| bits * position % 1_000_003).sum()
}

#[test]
fn configs_and_tensors_are_those_of_transformers() {
    let reference = or_skip!(Reference::install());
    let folder = tempfile::tempdir().unwrap();
    let asked = folder.path().join("asked.json");
    fs::write(&asked, json!({"configs": configs(), "models": models()}).to_string()).unwrap();
    let paths = [folder.path(), &asked].map(|path| path.to_str().unwrap());
    reference.run(include_str!("hf/checkpoints.py"), &paths).unwrap_or_else(|error| panic!("{error}"));
    let answers: Answers = serde_json::from_slice(&fs::read(folder.path().join("answers.json")).unwrap()).unwrap();
    for (name, theirs) in &answers.configs {
        let ours = Foreign::read(&files(&folder.path().join(format!("config-{name}")))).unwrap();
        assert_eq!(&plain(&ours), theirs, "{name}");
    }
    for (name, saved) in &answers.models {
        let files = files(&folder.path().join(name));
        assert!(FILES[..2].iter().all(|file| files.contains_key(*file)));
        let foreign = Foreign::read(&files).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(plain(&foreign), saved.config, "{name}");
        let shards = files.keys().filter(|file| file.ends_with(".safetensors")).count();
        let checkpoint = Checkpoint::open(files).unwrap_or_else(|error| panic!("{name}: {error}"));
        checkpoint.check(&foreign).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(layout(&foreign, false).keys().collect::<Vec<_>>(), saved.tensors.keys().collect::<Vec<_>>(), "{name}");
        for (tensor, theirs) in &saved.tensors {
            let ours = checkpoint.tensor(tensor).unwrap();
            assert_eq!((&ours.shape, sum(&ours)), (&theirs.shape, theirs.sum), "{name} {tensor}");
        }
        println!("{name}: {} tensors in {shards} files", saved.tensors.len());
    }
}
