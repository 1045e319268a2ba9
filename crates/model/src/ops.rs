//! The operations of the forward pass, by one of two ways.
//!
//! On the CPU each is one fused operation with its own gradient (`kernels/`); on other devices it is a chain of burn's operations, whose gradient burn
//! finds. The second way runs on the CPU, too, so that tests can hold each against the other.

pub(crate) mod composed;
pub(crate) mod product;

use std::sync::{Arc, Mutex};

use burn::{
    backend::DispatchDevice,
    tensor::{Device, Tensor},
};

use crate::{
    host::{apply1, apply2, apply3, apply4},
    kernels::{
        attention::Attention,
        conv::ShortConv,
        delta::DeltaMemory,
        embed::Embed,
        gate::SiluGate,
        head::{HeadLoss, Tally, Targets},
        linear::Linear,
        mlp::{Activation, GatedMlp, Mlp},
        norm::RmsNorm,
        quiet::Quiet,
    },
    memory::{PerHead, Program, run_batched},
};

/// Which way operations go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Fused, over slices: on the CPU only.
    Fused,
    /// Composed of burn's operations: on any device.
    Composed,
}

impl Way {
    /// The fast one of a device.
    pub fn of(device: &Device) -> Self {
        if on_slices(device.as_dispatch()) { Self::Fused } else { Self::Composed }
    }
}

fn on_slices(device: &DispatchDevice) -> bool {
    match device {
        DispatchDevice::Flex(_) => true,
        DispatchDevice::Autodiff(device) => on_slices(&device.clone().inner()),
        #[allow(unreachable_patterns, reason = "other devices are features")]
        _ => false,
    }
}

impl Way {
    /// Rows of a table `[V, C]` as `[B, T, C]`.
    pub(crate) fn embed(self, table: Tensor<2>, ids: &Arc<Vec<u32>>, batch: usize) -> Tensor<3> {
        match self {
            Self::Fused => apply1(table, Arc::new(Embed { ids: Arc::clone(ids), batch })),
            Self::Composed => composed::embed(table, ids, batch),
        }
    }

    /// `x W`
    pub(crate) fn linear(self, x: Tensor<3>, w: Tensor<2>) -> Tensor<3> {
        match self {
            Self::Fused => apply2(x, w, Arc::new(Linear)),
            Self::Composed => composed::linear(x, w),
        }
    }

    /// RMSNorm of groups as wide as the gain.
    pub(crate) fn norm(self, x: Tensor<3>, gain: Tensor<1>, epsilon: f32) -> Tensor<3> {
        match self {
            Self::Fused => apply2(x, gain, Arc::new(RmsNorm { epsilon })),
            Self::Composed => composed::norm(x, gain, epsilon),
        }
    }

    /// A convolution from the beginning of sequences, or after the rows `tail` (`[B, taps - 1, C]`), which go the composed way.
    pub(crate) fn conv(self, x: Tensor<3>, w: Tensor<2>, silu: bool, tail: Option<Tensor<3>>) -> Tensor<3> {
        match (self, tail) {
            (Self::Fused, None) => apply2(x, w, Arc::new(ShortConv { silu })),
            (_, tail) => composed::conv(x, w, silu, tail),
        }
    }

    /// Attention from the beginning of sequences.
    pub(crate) fn attention(self, qkv: Tensor<3>, op: Attention) -> Tensor<3> {
        match self {
            Self::Fused => apply1(qkv, Arc::new(op)),
            Self::Composed => composed::attention(qkv, &op, 0, None).0,
        }
    }

    /// A linear memory from the beginning of sequences; `gates`, `a_log` and `dt_bias` as its rule wants them.
    pub(crate) fn delta(
        self,
        qkv: Tensor<3>,
        gates: Option<Tensor<3>>,
        decay: Option<[Tensor<1>; 2]>,
        op: DeltaMemory,
    ) -> Tensor<3> {
        match (self, gates, decay) {
            (Self::Fused, None, _) => apply1(qkv, Arc::new(op)),
            (Self::Fused, Some(gates), None) => apply2(qkv, gates, Arc::new(op)),
            (Self::Fused, Some(gates), Some([a_log, dt_bias])) => apply4(qkv, gates, a_log, dt_bias, Arc::new(op)),
            (Self::Composed, gates, decay) => composed::delta(qkv, gates, decay, &op, &mut None, 0),
        }
    }

    /// A program from the beginning of sequences; `tokens` and `params` are its inputs in their order, two of each at most.
    pub(crate) fn program<P: Program + Clone + 'static>(
        self,
        program: &P,
        heads: usize,
        tokens: [Tensor<3>; 2],
        params: [Tensor<2>; 2],
    ) -> Tensor<3> {
        match self {
            Self::Fused => {
                let ([x, gates], [statics, memory]) = (tokens, params);
                apply4(x, gates, statics, memory, Arc::new(PerHead { program: program.clone(), heads }))
            }
            Self::Composed => run_batched(program, heads, &tokens, &params, &mut None),
        }
    }

    /// `x ∘ silu(g)`
    pub(crate) fn gate(self, x: Tensor<3>, g: Tensor<3>) -> Tensor<3> {
        match self {
            Self::Fused => apply2(x, g, Arc::new(SiluGate)),
            Self::Composed => x * burn::tensor::activation::silu(g),
        }
    }

    /// A perceptron.
    pub(crate) fn mlp(self, x: Tensor<3>, up: Tensor<2>, down: Tensor<2>, activation: Activation) -> Tensor<3> {
        match self {
            Self::Fused => apply3(x, up, down, Arc::new(Mlp { activation })),
            Self::Composed => composed::linear(composed::activate(composed::linear(x, up), activation), down),
        }
    }

    /// A gated perceptron.
    pub(crate) fn gated_mlp(self, x: Tensor<3>, [gate, up, down]: [Tensor<2>; 3], activation: Activation) -> Tensor<3> {
        match self {
            Self::Fused => apply4(x, gate, up, down, Arc::new(GatedMlp { activation })),
            Self::Composed => {
                let gates = composed::activate(composed::linear(x.clone(), gate), activation);
                composed::linear(gates * composed::linear(x, up), down)
            }
        }
    }

    /// Lets `y` through; its size is penalized in the gradient, and, the composed way, by what is added to the loss, which has no value.
    pub(crate) fn quiet(self, y: Tensor<3>, penalty: &Quiet, hidden: &mut Vec<Tensor<1>>) -> Tensor<3> {
        match self {
            Self::Fused => apply1(y, Arc::new(penalty.clone())),
            Self::Composed => {
                hidden.push(composed::quiet(&y, penalty));
                y
            }
        }
    }

    /// The weighted loss of hidden states against targets under the head `[V, C]`.
    pub(crate) fn loss(
        self,
        hidden: Tensor<3>,
        head: Tensor<2>,
        targets: Arc<Targets>,
        normalizer: f32,
    ) -> (Tensor<1>, Arc<Mutex<Tally>>) {
        match self {
            Self::Fused => {
                let tally = Arc::new(Mutex::new(Tally::default()));
                (apply2(hidden, head, Arc::new(HeadLoss { targets, normalizer, tally: Arc::clone(&tally) })), tally)
            }
            Self::Composed => {
                let (loss, tally) = composed::loss(hidden, head, &targets, normalizer);
                (loss, Arc::new(Mutex::new(tally)))
            }
        }
    }
}

/// The fast bank's read, from the beginning of sequences.
pub(crate) fn fast(way: Way, qkv: Tensor<3>, gate: Tensor<3>, retention: Tensor<1>, period: usize) -> Tensor<3> {
    match way {
        Way::Fused => apply3(qkv, gate, retention, Arc::new(crate::kernels::fast::FastBank { period })),
        Way::Composed => composed::fast(qkv, gate, retention, period, &mut None),
    }
}
