//! What a session keeps between tokens.

use crate::config::{HopeConfig, MixerKind};

/// The state of one mixer.
#[derive(Debug, Clone)]
pub(super) enum MixerState {
    /// Rotated keys and values of every position, `[T, C]` each.
    Attention {
        /// Keys.
        keys: Vec<f32>,
        /// Values.
        values: Vec<f32>,
    },
    /// One memory `[W, W]` a head.
    GatedDelta {
        /// All heads, one after the other.
        memory: Vec<f32>,
    },
}

/// The in-session bank of one block.
#[derive(Debug, Clone)]
pub(super) struct FastState {
    /// The bank's weights `[W, W]`.
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
    /// The last `taps - 1` rows before the convolution, `[taps - 1, 3C]`.
    pub tail: Vec<f32>,
    pub mixer: MixerState,
    pub fast: Option<FastState>,
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
    pub fn new(config: &HopeConfig) -> Self {
        let block = |(n, kind): (usize, &MixerKind)| BlockState {
            tail: vec![0.0; (config.conv_taps - 1) * 3 * config.width],
            mixer: match kind {
                MixerKind::Attention => MixerState::Attention { keys: Vec::new(), values: Vec::new() },
                MixerKind::GatedDelta => MixerState::GatedDelta { memory: vec![0.0; config.width * config.head_width()] },
            },
            fast: config.fast.blocks.contains(&n).then(|| FastState {
                memory: vec![0.0; config.fast.width * config.fast.width],
                keys: Vec::new(),
                values: Vec::new(),
                strengths: Vec::new(),
            }),
        };
        Self { position: 0, blocks: config.mixers.iter().enumerate().map(block).collect(), last_logits: None }
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
            MixerState::Attention { keys, values } => keys.capacity() + values.capacity(),
            MixerState::GatedDelta { memory } => memory.len(),
        };
        let fast = self.fast.as_ref().map_or(0, |f| f.memory.len() + f.keys.capacity() + f.values.capacity());
        self.tail.len() + mixer + fast
    }
}
