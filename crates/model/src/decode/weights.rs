//! Verified weights to decode with: a base shared by all generations, and one generation's slow banks.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    chat::ChatTokens,
    config::HopeConfig,
    error::ModelError,
    kernels::{
        real::Real,
        rope::{Rope, Rotary},
    },
    params,
    tensors::{self, SLOW, Tensors, Values},
    tokenizer::Tokenizer,
};

/// Everything that never changes: configuration, tokenizer and all tensors outside the slow banks.
#[derive(Debug)]
pub struct Base {
    config: HopeConfig,
    tokenizer: Tokenizer,
    tensors: Tensors,
    pub(super) blocks: Vec<BlockWeights>,
    pub(super) rotary: Rotary,
    slow_layout: BTreeMap<String, Vec<usize>>,
}

/// The frozen weights of one block.
#[derive(Debug)]
pub(super) struct BlockWeights {
    pub mixer_norm: Arc<[f32]>,
    pub qkv: Arc<[f32]>,
    pub conv: Arc<[f32]>,
    pub out: Arc<[f32]>,
    pub delta: Option<DeltaWeights>,
    pub cms_norm: Arc<[f32]>,
    pub up: Arc<[f32]>,
    pub down: Arc<[f32]>,
    pub fast: Option<FastWeights>,
}

/// What only a gated delta block has.
#[derive(Debug)]
pub(super) struct DeltaWeights {
    pub gates: Arc<[f32]>,
    pub a_log: Arc<[f32]>,
    pub dt_bias: Arc<[f32]>,
    pub norm: Arc<[f32]>,
}

/// The fixed parts of an in-session bank.
#[derive(Debug)]
pub(super) struct FastWeights {
    pub qkv: Arc<[f32]>,
    pub gate: Arc<[f32]>,
    pub retention: f32,
    pub out: Arc<[f32]>,
}

/// The file of a base that holds its tensors.
const MODEL_FILE: &str = "model.safetensors";

impl Base {
    /// Loads and checks a base.
    ///
    /// # Errors
    /// When a file is malformed, a tensor is missing, foreign, of other extents or not finite.
    pub fn load(config_json: &[u8], tokenizer_json: &[u8], safetensors: &[u8]) -> Result<Self, ModelError> {
        let config = HopeConfig::parse(config_json)?;
        let tokenizer = Tokenizer::from_json(tokenizer_json)?;
        let tensors = tensors::read(MODEL_FILE, safetensors)?;
        Self::assemble(config, tokenizer, tensors)
    }

    /// Puts a base together from checked parts.
    ///
    /// # Errors
    /// See [`Base::load`].
    pub fn assemble(config: HopeConfig, tokenizer: Tokenizer, tensors: Tensors) -> Result<Self, ModelError> {
        config.check()?;
        if tokenizer.vocab() > config.vocab {
            let why = format!("the tokenizer has {} entries, the config allows {}", tokenizer.vocab(), config.vocab);
            return Err(ModelError::Inconsistent(why));
        }
        let (slow_layout, frozen): (BTreeMap<_, _>, _) = params::layout(&config).into_iter().partition(|(n, _)| n.contains(SLOW));
        tensors::check_layout(MODEL_FILE, &tensors, &frozen)?;
        let blocks = (0..config.mixers.len()).map(|n| BlockWeights::of(&tensors, n)).collect();
        let rotary = Rotary::new(config.max_context, config.head_width(), &Rope::new(config.rope_theta));
        Ok(Self { config, tokenizer, tensors, blocks, rotary, slow_layout })
    }

    /// The files of the base that ships in this program, by name.
    pub fn shipped_files() -> BTreeMap<String, Vec<u8>> {
        crate::shipped::files()
    }

    /// The configuration.
    pub fn config(&self) -> &HopeConfig {
        &self.config
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The conversation's token layout.
    pub fn chat(&self) -> ChatTokens {
        ChatTokens
    }

    /// Longest conversation in tokens.
    pub fn max_context(&self) -> usize {
        self.config.max_context
    }

    /// Every tensor outside the slow banks.
    pub fn tensors(&self) -> &Tensors {
        &self.tensors
    }

    /// Names and extents of the slow banks' tensors.
    pub fn slow_layout(&self) -> &BTreeMap<String, Vec<usize>> {
        &self.slow_layout
    }

    /// The slow banks of generation 0: a fixed random input projection, a zero output projection.
    ///
    /// # Errors
    /// When the tensors cannot be written.
    pub fn untrained_banks(&self) -> Result<Vec<u8>, ModelError> {
        let model = crate::Hope::new(&self.config, SLOW_SEED, &burn::tensor::Device::flex());
        let slow: Tensors = params::collect(&model).into_iter().filter(|(name, _)| name.contains(SLOW)).collect();
        tensors::write("the untrained slow bank", &slow)
    }

    pub(super) fn embed(&self) -> &[f32] {
        &self.tensors["embed"].data
    }

    pub(super) fn norm(&self) -> &[f32] {
        &self.tensors["norm"].data
    }
}

/// Seed of the slow banks' first input projection: the same base always has the same generation 0.
const SLOW_SEED: u64 = 0x6e6f_6374;

impl BlockWeights {
    fn of(tensors: &Tensors, n: usize) -> Self {
        let find = |name: &str| tensors.get(&format!("blocks.{n}.{name}")).map(|v: &Values| Arc::from(v.data.as_slice()));
        let take = |name: &str| find(name).unwrap_or_default();
        Self {
            mixer_norm: take("mixer_norm"),
            qkv: take("mixer.qkv"),
            conv: take("mixer.conv"),
            out: take("mixer.out"),
            delta: find("mixer.delta.gates").map(|gates| DeltaWeights {
                gates,
                a_log: take("mixer.delta.a_log"),
                dt_bias: take("mixer.delta.dt_bias"),
                norm: take("mixer.delta.norm"),
            }),
            cms_norm: take("cms_norm"),
            up: take("cms.frozen.up"),
            down: take("cms.frozen.down"),
            fast: find("cms.fast.qkv").map(|qkv| FastWeights {
                qkv,
                gate: take("cms.fast.gate"),
                retention: take("cms.fast.retention")[0].sigmoid(),
                out: take("cms.fast.out"),
            }),
        }
    }
}

/// A perceptron's two projections.
type UpDown = (Arc<[f32]>, Arc<[f32]>);

/// The slow banks of one generation.
#[derive(Debug, Clone)]
pub struct Banks {
    pub(super) blocks: Vec<UpDown>,
}

impl Banks {
    /// Loads and checks slow banks against a base.
    ///
    /// # Errors
    /// When the file is malformed, or a tensor is missing, foreign, of other extents or not finite.
    pub fn load(base: &Base, safetensors: &[u8]) -> Result<Self, ModelError> {
        let what = "the slow bank";
        let tensors = tensors::read(what, safetensors)?;
        Self::from_tensors(base, &tensors)
    }

    /// The same from tensors in memory.
    ///
    /// # Errors
    /// When a tensor is missing, foreign or of other extents.
    pub fn from_tensors(base: &Base, tensors: &Tensors) -> Result<Self, ModelError> {
        tensors::check_layout("the slow bank", tensors, &base.slow_layout)?;
        let take = |n: usize, part: &str| Arc::from(tensors[&format!("blocks.{n}.cms.slow.{part}")].data.as_slice());
        Ok(Self { blocks: (0..base.config.mixers.len()).map(|n| (take(n, "up"), take(n, "down"))).collect() })
    }
}

/// What one generation decodes with.
#[derive(Debug, Clone)]
pub struct Weights {
    pub(super) base: Arc<Base>,
    pub(super) banks: Banks,
}

impl Weights {
    /// A base with one generation's banks.
    pub fn new(base: Arc<Base>, banks: Banks) -> Self {
        Self { base, banks }
    }

    /// The base.
    pub fn base(&self) -> &Arc<Base> {
        &self.base
    }
}
