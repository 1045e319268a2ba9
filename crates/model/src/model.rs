//! The model as a burn module: embedding, blocks of mixer and Continuum Memory System, head.
//!
//! A block is `x + mixer(norm(x))`, then `x + cms(norm(x))`.

mod again;
mod init;

use std::sync::{Arc, Mutex};

use burn::{
    module::{Module, Param},
    tensor::{Device, Tensor},
};

pub use self::again::Again;
pub(crate) use self::init::Init;
pub use crate::cms::SlowBank;
use crate::{
    cms::{Beside, Cms, Memories, Pass},
    config::{HeadConfig, ModelConfig},
    kernels::head::{Tally, Targets},
    mixers::{AnyMixer, Mixer, Past},
    ops::Way,
};

/// One block.
#[derive(Module, Debug)]
pub struct Block {
    /// `[C]`
    pub mixer_norm: Param<Tensor<1>>,
    /// The mixer.
    pub mixer: AnyMixer,
    /// `[C]`
    pub cms_norm: Param<Tensor<1>>,
    /// The banks.
    pub cms: Cms,
}

/// The model.
#[derive(Module, Debug)]
pub struct Model {
    /// `[V, C]`
    pub embed: Param<Tensor<2>>,
    /// The blocks.
    pub blocks: Vec<Block>,
    /// `[C]`
    pub norm: Param<Tensor<1>>,
    /// `[V, C]`; the embedding where there is none.
    pub head: Option<Param<Tensor<2>>>,
    /// What makes every position's state from the last one, in auto-encoders.
    pub again: Option<Again>,
    #[module(skip)]
    epsilon: f32,
    #[module(skip)]
    way: Way,
}

/// What every block has read of a stream.
#[derive(Debug, Clone, Default)]
pub struct Stream {
    pub(crate) blocks: Vec<(Past, Memories)>,
}

impl Stream {
    /// The same values without the operations that led to them.
    #[must_use]
    pub fn detached(self) -> Self {
        let memories = |all: Memories| all.into_iter().map(|m| m.map(crate::memory::fast::State::detached)).collect();
        Self { blocks: self.blocks.into_iter().map(|(past, all)| (past.detached(), memories(all))).collect() }
    }
}

/// Hidden states after the last norm, and what the way there adds to a loss.
#[derive(Debug)]
pub struct Hidden {
    /// `[B, T, C]`
    pub states: Tensor<3>,
    /// Terms without a value that carry a gradient.
    penalties: Vec<Tensor<1>>,
}

impl Model {
    /// A freshly initialized model.
    pub fn new(config: &ModelConfig, seed: u64, device: &Device) -> Self {
        Self::drawn(config, &mut Init::new(seed, device), device)
    }

    /// The nightly banks that [`Model::new`] draws, in a model whose other parameters have only extents.
    pub(crate) fn nightly(config: &ModelConfig, seed: u64, device: &Device) -> Self {
        Self::drawn(config, &mut Init::nightly(seed, device), device)
    }

    /// A model that has extents and no values yet: for those who only look at it, or bring every value themselves.
    pub(crate) fn outline(config: &ModelConfig, device: &Device) -> Self {
        Self::drawn(config, &mut Init::outlines(device), device)
    }

    fn drawn(config: &ModelConfig, init: &mut Init<'_>, device: &Device) -> Self {
        let embed = init.normal([config.vocab, config.width], (config.width as f32).sqrt().recip());
        let blocks = config.blocks.iter().map(|block| Block {
            mixer_norm: init.constant([config.width], 1.0),
            mixer: AnyMixer::new(&block.mixer, config.width, config.norm_epsilon, init),
            cms_norm: init.constant([config.width], 1.0),
            cms: Cms::new(&block.cms, config.width, config.norm_epsilon, init),
        });
        let blocks = blocks.collect();
        let norm = init.constant([config.width], 1.0);
        let head = (config.head != HeadConfig::Tied).then(|| init.weight_of_head(config.vocab, config.width));
        let again = if let HeadConfig::FromLast { positions } = config.head {
            Some(Again::new(positions, config.width, init))
        } else {
            None
        };
        Self { embed, blocks, norm, head, again, epsilon: config.norm_epsilon, way: Way::of(device) }
    }

    /// The same model whose operations go a way that its device can go.
    #[must_use]
    pub fn by(self, way: Way) -> Self {
        Self { way, ..self }
    }

    /// The way of its operations.
    pub fn way(&self) -> Way {
        self.way
    }

    /// Hidden states after the last norm, `[B, T, C]`, of token ids `[B, T]` (row-major).
    pub fn hidden(&self, ids: &Arc<Vec<u32>>, batch: usize, slow: SlowBank) -> Tensor<3> {
        self.hidden_beside(ids, batch, slow, &Beside::default()).states
    }

    /// The same for training.
    pub fn hidden_beside(&self, ids: &Arc<Vec<u32>>, batch: usize, slow: SlowBank, beside: &Beside<'_>) -> Hidden {
        let mut pass = Pass { way: self.way, slow, beside, hidden: Vec::new() };
        let mut x = self.way.embed(self.embed.val(), ids, batch);
        for block in &self.blocks {
            let normed = self.normed(x.clone(), &block.mixer_norm);
            x = x + block.mixer.mix(self.way, normed);
            let normed = self.normed(x.clone(), &block.cms_norm);
            let said = block.cms.remember(&x, normed, &mut pass, None);
            x = x + said;
        }
        if let Some(again) = &self.again {
            x = again.say(self.way, x);
        }
        Hidden { states: self.normed(x, &self.norm), penalties: pass.hidden }
    }

    /// Hidden states `[1, T, C]` of the tokens that follow what `stream` has read, which is moved behind them.
    pub fn follow(&self, ids: &Arc<Vec<u32>>, stream: &mut Stream) -> Hidden {
        let way = Way::Composed;
        let mut pass = Pass { way, slow: SlowBank::On, beside: &Beside::default(), hidden: Vec::new() };
        let normed = |x: Tensor<3>, gain: &Param<Tensor<1>>| way.norm(x, gain.val(), self.epsilon);
        let mut x = way.embed(self.embed.val(), ids, 1);
        stream.blocks.resize_with(self.blocks.len(), Default::default);
        for (block, (past, memories)) in self.blocks.iter().zip(&mut stream.blocks) {
            x = x.clone() + block.mixer.go_on(normed(x, &block.mixer_norm), past);
            let said = block.cms.remember(&x, normed(x.clone(), &block.cms_norm), &mut pass, Some(memories));
            x = x + said;
        }
        Hidden { states: normed(x, &self.norm), penalties: pass.hidden }
    }

    /// The matrix of the head, `[V, C]`.
    pub fn head_matrix(&self) -> Tensor<2> {
        self.head.as_ref().unwrap_or(&self.embed).val()
    }

    /// The weighted loss of hidden states against targets, divided by `normalizer`.
    pub fn loss(&self, hidden: Hidden, targets: Arc<Targets>, normalizer: f32) -> (Tensor<1>, Arc<Mutex<Tally>>) {
        let (loss, tally) = self.way.loss(hidden.states, self.head_matrix(), targets, normalizer);
        (hidden.penalties.into_iter().fold(loss, |loss, penalty| loss + penalty), tally)
    }

    fn normed(&self, x: Tensor<3>, gain: &Param<Tensor<1>>) -> Tensor<3> {
        self.way.norm(x, gain.val(), self.epsilon)
    }
}

impl Init<'_> {
    fn weight_of_head(&mut self, vocab: usize, width: usize) -> Param<Tensor<2>> {
        self.normal([vocab, width], (width as f32).sqrt().recip())
    }
}
