//! What a session keeps between tokens.

use super::weights::Base;
use crate::{
    config::BankShape,
    memory::recurrent::{HopeHead, TitansHead},
};

/// The state of one mixer.
#[derive(Debug, Clone)]
pub(super) enum MixerState {
    /// What each group of query heads sees.
    Attention { groups: Vec<Seen> },
    /// One memory `[K, V]` a head, one after the other.
    Linear { memory: Vec<f32> },
    /// A learning perceptron a head, and what attention sees where there is any.
    Titans { heads: Vec<TitansHead>, seen: Seen },
    /// The boxes of every head.
    Hope { heads: Vec<HopeHead> },
}

/// Rotated keys and values of positions, a row each: of all of them, or of those that a window still shows.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    pub keys: Vec<f32>,
    pub values: Vec<f32>,
    /// Positions that were dropped.
    pub dropped: usize,
}

impl Seen {
    /// Drops what no later query sees: all between the first `prefix` positions and the window's. Every so often only, because it moves the rest.
    pub(super) fn drop_before(&mut self, window: usize, prefix: usize, width: usize) {
        let rows = self.keys.len() / width;
        if rows < prefix + 2 * window {
            return;
        }
        let unseen = prefix * width..(rows - window) * width;
        self.dropped += rows - window - prefix;
        for rows in [&mut self.keys, &mut self.values] {
            rows.drain(unseen.clone());
            // A long text that was read at once is not kept as room for the next one.
            if rows.capacity() > 2 * (prefix + 2 * window) * width {
                rows.shrink_to((prefix + 2 * window) * width);
            }
        }
    }

    fn floats(&self) -> usize {
        self.keys.capacity() + self.values.capacity()
    }
}

/// An in-session memory of one block.
#[derive(Debug, Clone)]
pub(super) struct FastState {
    /// Its weights `[W, W]`.
    pub memory: Vec<f32>,
    /// Unit-norm keys of the chunk that is being collected.
    pub keys: Vec<f32>,
    /// Its values.
    pub values: Vec<f32>,
    /// Its write strengths.
    pub strengths: Vec<f32>,
}

/// The state of one block.
#[derive(Debug, Clone)]
pub(super) struct BlockState {
    /// The last `taps - 1` rows before the convolution, `[taps - 1, P]`.
    pub tail: Vec<f32>,
    pub mixer: MixerState,
    /// By place in the block; `None` where a bank keeps nothing in a session.
    pub banks: Vec<Option<FastState>>,
}

/// The recurrent memories, key-value rows and fast banks of a session. Valid only for the generation that computed it.
#[derive(Debug, Clone)]
pub struct SessionState {
    pub(super) position: usize,
    pub(super) blocks: Vec<BlockState>,
    pub(super) last_logits: Option<Vec<f32>>,
}

impl SessionState {
    /// The state before the first token.
    pub fn new(base: &Base) -> Self {
        let fast = |width: usize| FastState {
            memory: vec![0.0; width * width],
            keys: Vec::new(),
            values: Vec::new(),
            strengths: Vec::new(),
        };
        let bank = |bank: &crate::config::BankConfig| match bank.shape {
            BankShape::Memory { width } => Some(fast(width)),
            BankShape::Perceptron { .. } => None,
        };
        let blocks = base.config().blocks.iter().zip(&base.blocks).map(|(config, weights)| {
            let (mixer, tail) = weights.mixer.start();
            BlockState { tail, mixer, banks: config.cms.stored().iter().map(bank).collect() }
        });
        Self { position: 0, blocks: blocks.collect(), last_logits: None }
    }

    /// Tokens read so far.
    pub fn position(&self) -> usize {
        self.position
    }

    /// Memory that the state holds, in bytes.
    pub fn bytes(&self) -> usize {
        let floats: usize = self.blocks.iter().map(BlockState::floats).sum();
        (floats + self.last_logits.as_ref().map_or(0, Vec::len)) * size_of::<f32>()
    }
}

impl BlockState {
    fn floats(&self) -> usize {
        let mixer = match &self.mixer {
            MixerState::Attention { groups } => groups.iter().map(Seen::floats).sum(),
            MixerState::Linear { memory } => memory.len(),
            MixerState::Titans { heads, seen } => heads.iter().map(TitansHead::floats).sum::<usize>() + seen.floats(),
            MixerState::Hope { heads } => heads.iter().map(HopeHead::floats).sum(),
        };
        let fast = |f: &FastState| f.memory.len() + f.keys.capacity() + f.values.capacity();
        self.tail.len() + mixer + self.banks.iter().flatten().map(fast).sum::<usize>()
    }
}
