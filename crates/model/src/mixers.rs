//! What mixes tokens: one trait, one module for each family, chosen by the configuration.
//!
//! A mixer reads whole sequences from their beginning (training) or goes on after a [`Past`] (streams that learn while they are read). Decoding has its own
//! path over slices, `decode/mixers`, which is held against this one.

mod attention;
mod hope;
mod linear;
mod past;
mod project;
pub(crate) mod titans;

use burn::{
    module::{Module, Param},
    tensor::Tensor,
};

pub use self::{attention::SoftmaxAttention, hope::HopeMixer, linear::LinearMixer, past::Past, titans::TitansMixer};
use crate::{config::MixerConfig, model::Init, ops::Way};

/// A mixer over `[B, T, C]`.
pub trait Mixer {
    /// Reads sequences from their beginning.
    fn mix(&self, way: Way, x: Tensor<3>) -> Tensor<3>;

    /// Reads the tokens that follow what `past` has read, and moves it behind them.
    fn go_on(&self, x: Tensor<3>, past: &mut Past) -> Tensor<3>;
}

/// Any of them.
#[expect(clippy::large_enum_variant, reason = "there is one a block")]
#[derive(Module, Debug)]
pub enum AnyMixer {
    /// Softmax attention.
    Attention(SoftmaxAttention),
    /// RetNet, DeltaNet or Gated DeltaNet.
    Linear(LinearMixer),
    /// Titans.
    Titans(TitansMixer),
    /// Hope.
    Hope(HopeMixer),
}

impl AnyMixer {
    pub(crate) fn new(config: &MixerConfig, width: usize, epsilon: f32, init: &mut Init<'_>) -> Self {
        match config {
            MixerConfig::Attention(c) => Self::Attention(SoftmaxAttention::new(c, width, epsilon, init)),
            MixerConfig::RetNet(c) => Self::Linear(LinearMixer::retnet(c, width, epsilon, init)),
            MixerConfig::DeltaNet(c) => Self::Linear(LinearMixer::deltanet(c, width, epsilon, init)),
            MixerConfig::GatedDelta(c) => Self::Linear(LinearMixer::gated_delta(c, width, epsilon, init)),
            MixerConfig::Titans(c) => Self::Titans(TitansMixer::new(c, width, epsilon, init)),
            MixerConfig::Hope(c) => Self::Hope(HopeMixer::new(c, width, epsilon, init)),
        }
    }

    fn as_mixer(&self) -> &dyn Mixer {
        match self {
            Self::Attention(mixer) => mixer,
            Self::Linear(mixer) => mixer,
            Self::Titans(mixer) => mixer,
            Self::Hope(mixer) => mixer,
        }
    }
}

impl Mixer for AnyMixer {
    fn mix(&self, way: Way, x: Tensor<3>) -> Tensor<3> {
        self.as_mixer().mix(way, x)
    }

    fn go_on(&self, x: Tensor<3>, past: &mut Past) -> Tensor<3> {
        self.as_mixer().go_on(x, past)
    }
}

/// The way out of a memory: a norm for each head, a gate if there is one, the output projection.
#[derive(Module, Debug)]
pub struct Outlet {
    /// `[V]`: gain of the norm of a head.
    pub norm: Param<Tensor<1>>,
    /// `[C, H V]`: logits of the SiLU gate.
    pub gate: Option<Param<Tensor<2>>>,
    /// `[H V, C]`
    pub out: Param<Tensor<2>>,
    #[module(skip)]
    epsilon: f32,
}

impl Outlet {
    fn new(width: usize, heads: usize, value: usize, gated: bool, epsilon: f32, init: &mut Init<'_>) -> Self {
        Self {
            norm: init.constant([value], 1.0),
            gate: gated.then(|| init.weight(width, heads * value)),
            out: init.quiet_weight(heads * value, width),
            epsilon,
        }
    }

    /// `x` is the mixer's input, `read` what its memory gave.
    fn leave(&self, way: Way, x: Tensor<3>, read: Tensor<3>) -> Tensor<3> {
        let read = way.norm(read, self.norm.val(), self.epsilon);
        let read = match &self.gate {
            Some(gate) => way.gate(read, way.linear(x, gate.val())),
            None => read,
        };
        way.linear(read, self.out.val())
    }
}
