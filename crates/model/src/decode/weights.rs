//! Verified weights to decode with: a base shared by all generations, and one generation's slow banks.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    banks::{BankWeights, CmsWeights},
    mixers::MixerWeights,
};
use crate::{
    chat::{Chat, ChatLayout, Writing},
    config::{HeadConfig, ModelConfig},
    error::ModelError,
    kernels::packed::Packed,
    params,
    tensors::{self, Precision, SLOW, Tensors},
    tokenizer::Tokenizer,
};

/// Everything that never changes: configuration, tokenizer and all tensors outside the slow banks.
#[derive(Debug)]
pub struct Base {
    config: ModelConfig,
    tokenizer: Tokenizer,
    chat: Chat,
    tensors: Tensors,
    /// The slow banks of generation 0, where they are parts of the original.
    stacked: Option<Tensors>,
    /// A column a token, `[W, V]`.
    pub(super) embed: Packed,
    /// `[W, V]`
    pub(super) head: Packed,
    pub(super) norm: Arc<[f32]>,
    pub(super) blocks: Vec<BlockWeights>,
    slow_layout: BTreeMap<String, Vec<usize>>,
    pub(super) parameters: usize,
}

/// The frozen weights of one block.
#[derive(Debug)]
pub(super) struct BlockWeights {
    pub mixer_norm: Arc<[f32]>,
    pub mixer: MixerWeights,
    pub cms_norm: Arc<[f32]>,
    pub cms: CmsWeights,
}

/// Tensors under one name, `blocks.3.mixer`.
pub(super) struct Under<'a> {
    tensors: &'a Tensors,
    name: String,
}

impl Under<'_> {
    /// A tensor that may be missing.
    pub(super) fn find(&self, name: &str) -> Option<Arc<[f32]>> {
        self.tensors.get(&format!("{}.{name}", self.name)).map(|values| Arc::from(values.data.as_slice()))
    }

    /// A tensor that the layout was checked to have.
    pub(super) fn take(&self, name: &str) -> Arc<[f32]> {
        self.find(name).unwrap_or_default()
    }

    /// A matrix that may be missing, ready for products.
    pub(super) fn find_matrix(&self, name: &str) -> Option<Packed> {
        let values = self.tensors.get(&format!("{}.{name}", self.name))?;
        Some(Packed::new(&values.data, *values.shape.first()?))
    }

    /// A matrix that the layout was checked to have.
    pub(super) fn matrix(&self, name: &str) -> Packed {
        self.find_matrix(name).unwrap_or_else(|| Packed::new(&[], 1))
    }

    /// One level deeper.
    pub(super) fn under(&self, name: &str) -> Self {
        Self { tensors: self.tensors, name: format!("{}.{name}", self.name) }
    }
}

/// The file of an imported base that holds its chat template.
pub const CHAT_FILE: &str = "chat.json";

/// The file of a base that holds its tensors.
const MODEL_FILE: &str = "model.safetensors";

impl Base {
    /// Loads and checks a base.
    ///
    /// # Errors
    /// When a file is malformed, a tensor is missing, foreign, of other extents or not finite.
    pub fn load(config_json: &[u8], tokenizer_json: &[u8], safetensors: &[u8]) -> Result<Self, ModelError> {
        let config = ModelConfig::parse(config_json)?;
        let tokenizer = Tokenizer::from_json(tokenizer_json)?;
        let tensors = tensors::read(MODEL_FILE, safetensors)?;
        Self::assemble(config, tokenizer, tensors)
    }

    /// Loads and checks an imported base; `chat_json` is its chat template.
    ///
    /// # Errors
    /// See [`Base::load`], and when the template or the tokenizer cannot be used.
    pub fn load_imported(config: &[u8], tokenizer: &[u8], chat_json: &[u8], safetensors: &[u8]) -> Result<Self, ModelError> {
        let config = ModelConfig::parse(config)?;
        let layout = ChatLayout::parse(chat_json)?;
        let tokenizer = Tokenizer::foreign(tokenizer, &layout.written.template)?;
        let chat = Chat::imported(layout, &tokenizer)?;
        let tensors = tensors::read(MODEL_FILE, safetensors)?;
        Ok(Self { chat, ..Self::assemble(config, tokenizer, tensors)? })
    }

    /// Loads and checks a base from its files by name, an imported one where there is a [chat template](CHAT_FILE).
    ///
    /// # Errors
    /// See [`Base::load_imported`].
    pub fn from_files<'f>(file: impl Fn(&str) -> Option<&'f [u8]>) -> Result<Self, ModelError> {
        let [config, tokenizer, tensors] =
            ["config.json", "tokenizer.json", MODEL_FILE].map(|name| file(name).unwrap_or_default());
        match file(CHAT_FILE) {
            Some(chat) => Self::load_imported(config, tokenizer, chat, tensors),
            None => Self::load(config, tokenizer, tensors),
        }
    }

    /// Puts a base together from checked parts.
    ///
    /// # Errors
    /// See [`Base::load`].
    pub fn assemble(config: ModelConfig, tokenizer: Tokenizer, tensors: Tensors) -> Result<Self, ModelError> {
        config.check()?;
        if matches!(config.head, HeadConfig::FromLast { .. }) {
            return Err(ModelError::Inconsistent("an auto-encoder does not predict the next token and cannot be served".into()));
        }
        if tokenizer.vocab() > config.vocab {
            let why = format!("the tokenizer has {} entries, the config allows {}", tokenizer.vocab(), config.vocab);
            return Err(ModelError::Inconsistent(why));
        }
        let (slow_layout, frozen): (BTreeMap<_, _>, _) = params::layout(&config).into_iter().partition(|(n, _)| n.contains(SLOW));
        let (slow, tensors): (Tensors, Tensors) = tensors.into_iter().partition(|(name, _)| name.contains(SLOW));
        let stacked = (!slow.is_empty()).then_some(slow);
        if let Some(slow) = &stacked {
            tensors::check_layout(MODEL_FILE, slow, &slow_layout)?;
        }
        tensors::check_layout(MODEL_FILE, &tensors, &frozen)?;
        let blocks = config.blocks.iter().enumerate().map(|(n, block)| {
            let under = Under { tensors: &tensors, name: format!("blocks.{n}") };
            BlockWeights {
                mixer_norm: under.take("mixer_norm"),
                mixer: MixerWeights::of(&block.mixer, &config, &under.under("mixer")),
                cms_norm: under.take("cms_norm"),
                cms: CmsWeights::of(&block.cms, &under.under("cms")),
            }
        });
        let blocks = blocks.collect();
        let embed = Packed::transposed(&tensors["embed"].data, config.width);
        let head = match config.head {
            HeadConfig::Tied => embed.clone(),
            HeadConfig::Own | HeadConfig::FromLast { .. } => Packed::transposed(&tensors["head"].data, config.width),
        };
        let norm = Arc::from(tensors["norm"].data.as_slice());
        let chat = Chat::default();
        let parameters = frozen.values().chain(slow_layout.values()).map(|shape| shape.iter().product::<usize>()).sum();
        Ok(Self { config, tokenizer, chat, tensors, stacked, embed, head, norm, blocks, slow_layout, parameters })
    }

    /// The files of the base that ships in this program, by name.
    pub fn shipped_files() -> BTreeMap<String, Vec<u8>> {
        crate::shipped::files()
    }

    /// The configuration.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// How conversations are written, by our own layout or by the template of an imported base.
    pub fn chat(&self) -> &Chat {
        &self.chat
    }

    /// What turns texts into its tokens.
    pub fn writing(&self) -> Writing<'_> {
        Writing { chat: &self.chat, tokenizer: &self.tokenizer }
    }

    /// Longest conversation in tokens.
    pub fn max_context(&self) -> usize {
        self.config.max_context
    }

    /// Lets go of the tensors that only training needs, so that serving holds frozen weights once; stacked banks of generation 0 stay.
    #[must_use]
    pub fn to_serve(self) -> Self {
        Self { tensors: Tensors::new(), ..self }
    }

    /// The same base at a time that stands still: where chat templates tell the date, the same conversation has the same tokens on every day.
    #[must_use]
    pub fn at(self, now: jiff::civil::DateTime) -> Self {
        Self { chat: self.chat.at(now), ..self }
    }

    /// Every tensor outside the slow banks; none [to serve](Base::to_serve).
    pub fn tensors(&self) -> &Tensors {
        &self.tensors
    }

    /// Names and extents of the slow banks' tensors.
    pub fn slow_layout(&self) -> &BTreeMap<String, Vec<usize>> {
        &self.slow_layout
    }

    /// The slow banks of generation 0 where they are parts of the original: level stacking.
    pub fn stacked(&self) -> Option<&Tensors> {
        self.stacked.as_ref()
    }

    /// How generations' banks are written: parts of a foreign original, which need not survive half precision, in full.
    pub fn bank_precision(&self) -> Precision {
        if self.stacked.is_some() { Precision::Single } else { Precision::Half }
    }

    /// The slow banks of generation 0: what is stacked, or a fixed random input projection and a zero output projection.
    ///
    /// # Errors
    /// When the tensors cannot be written.
    pub fn untrained_banks(&self) -> Result<Vec<u8>, ModelError> {
        if let Some(stacked) = &self.stacked {
            return tensors::write_as("the stacked slow bank", stacked, self.bank_precision());
        }
        let model = crate::Model::nightly(&self.config, SLOW_SEED, &burn::tensor::Device::flex());
        let slow = params::collect_some(&self.config, &model, &|name| name.contains(SLOW));
        tensors::write("the untrained slow bank", &slow)
    }
}

/// Seed of the slow banks' first input projection: the same base always has the same generation 0.
const SLOW_SEED: u64 = 0x6e6f_6374;

/// The slow banks of one generation.
#[derive(Debug, Clone)]
pub struct Banks {
    /// By block and place in it; `None` where the bank is the base's.
    pub(super) blocks: Vec<Vec<Option<BankWeights>>>,
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
        let block = |(n, block): (usize, &crate::config::BlockConfig)| {
            let under = Under { tensors, name: format!("blocks.{n}.cms") };
            let nightly = |bank: &crate::config::BankConfig| bank.period == nocturne_wire::manifest::Period::Night;
            block.cms.stored().iter().map(|bank| nightly(bank).then(|| BankWeights::of(bank, &under.under(&bank.name)))).collect()
        };
        Ok(Self { blocks: base.config.blocks.iter().enumerate().map(block).collect() })
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
