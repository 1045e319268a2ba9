//! `config.json` of the families that can be imported: Llama 2 and 3, Qwen 2, 2.5 and 3, Mistral, SmolLM.
//!
//! What a file leaves out has the value that transformers gives it (`configuration_llama.py` and its kin). Both spellings of rotary positions are read:
//! `rope_theta` with `rope_scaling`, and transformers 5's `rope_parameters`. What would change an answer and is not known here is refused; what only training or
//! speed depends on is passed over.

use serde_json::{Map, Value};

use super::{Files, error::ImportError, settings};

mod keys;
mod rope;
#[cfg(test)]
mod tests;

use keys::Keys;
pub use rope::{Rope, RopeScaling};

const CONFIG: &str = "config.json";
const GENERATION: &str = "generation_config.json";

/// Which code of transformers a checkpoint is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Llama 2 and 3, SmolLM 1 and 2, and whatever else is built like them.
    Llama,
    /// Qwen 2 and 2.5.
    Qwen2,
    /// Qwen 3.
    Qwen3,
    /// Mistral.
    Mistral,
}

const FAMILIES: &str = "llama (Llama 2 and 3, SmolLM 1 and 2), qwen2 (Qwen 2 and 2.5), qwen3, mistral";

impl Family {
    fn of(model_type: &str) -> Result<Self, ImportError> {
        match model_type {
            "llama" => Ok(Self::Llama),
            "qwen2" => Ok(Self::Qwen2),
            "qwen3" => Ok(Self::Qwen3),
            "mistral" => Ok(Self::Mistral),
            other => Err(ImportError::Unsupported { found: format!("the model type `{other}`"), supported: FAMILIES }),
        }
    }

    /// The architecture that has scores of the next token.
    const fn architecture(self) -> &'static str {
        match self {
            Self::Llama => "LlamaForCausalLM",
            Self::Qwen2 => "Qwen2ForCausalLM",
            Self::Qwen3 => "Qwen3ForCausalLM",
            Self::Mistral => "MistralForCausalLM",
        }
    }

    /// Vocabulary, hidden width of the perceptrons, heads of keys and values, longest context: what transformers takes where a file says nothing.
    const fn defaults(self) -> [usize; 4] {
        match self {
            Self::Llama => [32_000, 11_008, 32, 2_048],
            Self::Qwen2 | Self::Qwen3 => [151_936, 22_016, 32, 32_768],
            Self::Mistral => [32_000, 14_336, 8, 131_072],
        }
    }
}

/// A foreign decoder: RMS norm, rotary attention with grouped heads, RMS norm, gated perceptron, in every layer.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own in the file that this is read from")]
pub struct Foreign {
    /// The family.
    pub family: Family,
    /// Entries of the embedding.
    pub vocab: usize,
    /// Width of the residual stream.
    pub width: usize,
    /// Layers.
    pub layers: usize,
    /// Heads of queries.
    pub heads: usize,
    /// Heads of keys and values; divides those of queries.
    pub kv_heads: usize,
    /// Channels of a head; the heads together need not be as wide as the stream.
    pub head_width: usize,
    /// Hidden width of the perceptrons, whose activation is SiLU.
    pub mlp_hidden: usize,
    /// What is added to mean squares in norms.
    pub norm_epsilon: f64,
    /// Rotary positions.
    pub rope: Rope,
    /// For every layer how many tokens it attends to, itself the last of them; all of them where there is none.
    pub windows: Vec<Option<usize>>,
    /// Whether the projections of queries, keys and values have biases.
    pub qkv_bias: bool,
    /// Whether the projection of attention's output has one.
    pub out_bias: bool,
    /// Whether the three projections of a perceptron have them.
    pub mlp_bias: bool,
    /// Whether each head's queries and keys are normed.
    pub qk_norm: bool,
    /// Whether the embedding's matrix also gives the scores.
    pub tied: bool,
    /// Longest context in tokens.
    pub max_context: usize,
}

impl Foreign {
    /// Reads `config.json`.
    ///
    /// # Errors
    /// When a file is absent or malformed, contradicts itself, or asks for what is not supported.
    pub fn read(files: &Files) -> Result<Self, ImportError> {
        let json: Option<Map<String, Value>> = settings::read(files, CONFIG)?;
        let needed = "it says which kind of model this is";
        let json = json.ok_or_else(|| ImportError::Absent { file: CONFIG.to_owned(), needed })?;
        let foreign = Self::parse(&Keys::new(CONFIG, &json))?;
        foreign.check()?;
        Ok(foreign)
    }

    fn parse(keys: &Keys<'_>) -> Result<Self, ImportError> {
        let family = Family::of(keys.text("model_type")?.ok_or_else(|| keys.wrong("it has no `model_type`"))?)?;
        refuse(keys, family)?;
        let [vocab, mlp_hidden, kv_heads, max_context] = family.defaults();
        let (width, layers) = (keys.count("hidden_size")?.unwrap_or(4096), keys.count("num_hidden_layers")?.unwrap_or(32));
        let heads = keys.count("num_attention_heads")?.unwrap_or(32);
        // A null stands for as many as there are heads, a key that is not there for the default, which Llama has none of.
        let kv_heads = if keys.has("num_key_value_heads") || family == Family::Llama { heads } else { kv_heads };
        let own_width = if family == Family::Qwen3 && !keys.has("head_dim") { Some(128) } else { keys.count("head_dim")? };
        let max_context = keys.count("max_position_embeddings")?.unwrap_or(max_context);
        let bias = keys.flag("attention_bias")?.unwrap_or(false);
        if layers > MOST_LAYERS {
            return Err(keys.wrong(format!("{layers} layers are beyond what is supported ({MOST_LAYERS})")));
        }
        Ok(Self {
            family,
            vocab: keys.count("vocab_size")?.unwrap_or(vocab),
            width,
            layers,
            heads,
            kv_heads: keys.count("num_key_value_heads")?.unwrap_or(kv_heads),
            head_width: own_width.unwrap_or(width / heads.max(1)),
            mlp_hidden: keys.count("intermediate_size")?.unwrap_or(mlp_hidden),
            norm_epsilon: keys.number("rms_norm_eps")?.unwrap_or(1e-6),
            rope: rope::read(keys, max_context)?,
            windows: windows(keys, family, layers)?,
            // Qwen 2 has these biases whatever its file says, and Mistral has none.
            qkv_bias: family == Family::Qwen2 || bias && matches!(family, Family::Llama | Family::Qwen3),
            out_bias: bias && matches!(family, Family::Llama | Family::Qwen3),
            mlp_bias: family == Family::Llama && keys.flag("mlp_bias")?.unwrap_or(false),
            qk_norm: family == Family::Qwen3,
            tied: keys.flag("tie_word_embeddings")?.unwrap_or(false),
            max_context,
        })
    }

    /// That the extents fit together, and are such that nothing overflows or asks for all of a machine's memory.
    fn check(&self) -> Result<(), ImportError> {
        let wrong = |why: String| Err(ImportError::Inconsistent { file: CONFIG.to_owned(), why });
        let extents = [
            ("hidden_size", self.width, 1 << 16),
            ("num_attention_heads", self.heads, 1 << 12),
            ("num_key_value_heads", self.kv_heads, 1 << 12),
            ("head_dim", self.head_width, 1 << 12),
            ("intermediate_size", self.mlp_hidden, 1 << 20),
            ("vocab_size", self.vocab, 1 << 24),
            ("max_position_embeddings", self.max_context, 1 << 24),
            ("num_hidden_layers", self.layers, MOST_LAYERS),
        ];
        if let Some((name, extent, most)) = extents.into_iter().find(|(_, extent, most)| *extent == 0 || extent > most) {
            return wrong(format!("its `{name}` is {extent}; 1 to {most} are supported"));
        }
        if !self.heads.is_multiple_of(self.kv_heads) {
            return wrong(format!("{} heads of queries cannot share {} of keys and values", self.heads, self.kv_heads));
        }
        if !self.head_width.is_multiple_of(2) {
            return wrong(format!("a head of {} channels cannot be rotated in pairs", self.head_width));
        }
        if !(self.norm_epsilon > 0.0 && self.norm_epsilon < 1.0) {
            return wrong(format!("its `rms_norm_eps` is {}", self.norm_epsilon));
        }
        Ok(())
    }
}

/// Layers of the deepest model that is imported.
const MOST_LAYERS: usize = 1 << 10;

/// The tokens that end what a checkpoint generates: `generation_config.json` says it, or `config.json`.
///
/// # Errors
/// When one of them is malformed.
pub(crate) fn ends(files: &Files) -> Result<Vec<u32>, ImportError> {
    for file in [GENERATION, CONFIG] {
        let json: Option<Map<String, Value>> = settings::read(files, file)?;
        let ids = json.as_ref().map(|json| Keys::new(file, json).ids("eos_token_id")).transpose()?.flatten();
        if let Some(ids) = ids.filter(|ids| !ids.is_empty()) {
            return Ok(ids);
        }
    }
    Ok(Vec::new())
}

/// What would give other answers than the original's.
fn refuse(keys: &Keys<'_>, family: Family) -> Result<(), ImportError> {
    let unsupported = |found: String, supported| Err(ImportError::Unsupported { found, supported });
    if let Some(how) = keys.object("quantization_config")? {
        let method = how.text("quant_method")?.unwrap_or("unknown");
        return unsupported(
            format!("a checkpoint quantized by `{method}`"),
            "weights in bf16, f16 or f32: the one that it was quantized from",
        );
    }
    let named = keys.texts("architectures")?.unwrap_or_default();
    if let Some(other) = named.iter().find(|named| **named != family.architecture()) {
        let supported = match family {
            Family::Llama => "LlamaForCausalLM, for the model type llama",
            Family::Qwen2 => "Qwen2ForCausalLM, for the model type qwen2",
            Family::Qwen3 => "Qwen3ForCausalLM, for the model type qwen3",
            Family::Mistral => "MistralForCausalLM, for the model type mistral",
        };
        return unsupported(format!("the architecture `{other}`"), supported);
    }
    let activation = keys.text("hidden_act")?.unwrap_or("silu");
    if !["silu", "swish"].contains(&activation) {
        return unsupported(format!("the activation `{activation}`"), "silu");
    }
    let experts = ["num_experts", "num_local_experts", "n_routed_experts"];
    if let Some(key) = experts.into_iter().find(|key| keys.count(key).ok().flatten().is_some_and(|n| n > 1)) {
        return unsupported(format!("a mixture of experts (`{key}`)"), "models in which every token goes through every weight");
    }
    Ok(())
}

/// The window of each layer.
fn windows(keys: &Keys<'_>, family: Family, layers: usize) -> Result<Vec<Option<usize>>, ImportError> {
    let given = keys.count("sliding_window")?;
    let default = if keys.has("sliding_window") { None } else { Some(4096) };
    let window = match family {
        Family::Mistral => given.or(default),
        Family::Qwen2 | Family::Qwen3 if keys.flag("use_sliding_window")? == Some(true) => given.or(default),
        Family::Llama | Family::Qwen2 | Family::Qwen3 => None,
    };
    if window == Some(0) {
        return Err(keys.wrong("its `sliding_window` is 0"));
    }
    let kinds = keys.texts("layer_types")?;
    match (family, kinds) {
        (Family::Llama | Family::Mistral, Some(kinds)) if kinds.iter().any(|kind| *kind != kinds[0]) => {
            let found = "layers of several kinds (`layer_types`) in a model type that has one".to_owned();
            Err(ImportError::Unsupported { found, supported: "`layer_types` of qwen2 and qwen3" })
        }
        (Family::Llama | Family::Mistral, _) => Ok(vec![window; layers]),
        (Family::Qwen2 | Family::Qwen3, Some(kinds)) => {
            if kinds.len() != layers {
                return Err(keys.wrong(format!("it has {layers} layers and names the kinds of {}", kinds.len())));
            }
            kinds.into_iter().map(|kind| window_of(keys, kind, window)).collect()
        }
        (Family::Qwen2 | Family::Qwen3, None) => {
            let from = keys.count("max_window_layers")?.unwrap_or(28);
            Ok((0..layers).map(|layer| window.filter(|_| layer >= from)).collect())
        }
    }
}

fn window_of(keys: &Keys<'_>, kind: &str, window: Option<usize>) -> Result<Option<usize>, ImportError> {
    match (kind, window) {
        ("full_attention", _) => Ok(None),
        ("sliding_attention", Some(window)) => Ok(Some(window)),
        ("sliding_attention", None) => Err(keys.wrong("it has layers with a sliding window and no width of it")),
        (other, _) => Err(ImportError::Unsupported {
            found: format!("a layer of kind `{other}`"),
            supported: "full_attention, sliding_attention",
        }),
    }
}
