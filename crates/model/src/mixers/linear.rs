//! Linear memories: RetNet, DeltaNet, Gated DeltaNet.

use burn::{
    module::{Module, Param},
    tensor::Tensor,
};

use super::{Mixer, Outlet, Past, project::Inlet};
use crate::{
    config::{DeltaNetConfig, GatedDeltaConfig, RetNetConfig},
    kernels::delta::{DeltaMemory, Rule},
    model::Init,
    ops::{Way, composed},
};

/// A linear memory a head.
#[derive(Module, Debug)]
pub struct LinearMixer {
    /// The way in.
    pub inlet: Inlet,
    /// `[C, H]` or `[C, 2H]`: logits of write strengths, and of decays.
    pub gates: Option<Param<Tensor<2>>>,
    /// `[H]`: logarithm of the decay rate.
    pub a_log: Option<Param<Tensor<1>>>,
    /// `[H]`: bias of the decay logits.
    pub dt_bias: Option<Param<Tensor<1>>>,
    /// The way out.
    pub outlet: Outlet,
    #[module(skip)]
    op: DeltaMemory,
}

/// What the three have in common.
struct Extents {
    heads: usize,
    key: usize,
    value: usize,
    taps: usize,
    gate: bool,
}

impl LinearMixer {
    pub(super) fn retnet(c: &RetNetConfig, width: usize, epsilon: f32, init: &mut Init<'_>) -> Self {
        let extents = Extents { heads: c.heads, key: c.key_width, value: c.value_width, taps: 0, gate: c.gate };
        Self::new(&extents, Rule::Retention { rope: c.rope }, width, epsilon, init)
    }

    pub(super) fn deltanet(c: &DeltaNetConfig, width: usize, epsilon: f32, init: &mut Init<'_>) -> Self {
        let extents = Extents { heads: c.heads, key: c.key_width, value: c.value_width, taps: c.conv_taps, gate: c.gate };
        Self::new(&extents, Rule::Plain { negative: c.negative_eigenvalues }, width, epsilon, init)
    }

    pub(super) fn gated_delta(c: &GatedDeltaConfig, width: usize, epsilon: f32, init: &mut Init<'_>) -> Self {
        let extents = Extents { heads: c.heads, key: c.key_width, value: c.value_width, taps: c.conv_taps, gate: c.gate };
        Self::new(&extents, Rule::Gated, width, epsilon, init)
    }

    fn new(e: &Extents, rule: Rule, width: usize, epsilon: f32, init: &mut Init<'_>) -> Self {
        let inlet = Inlet::new(width, e.heads * (2 * e.key + e.value), e.taps, false, e.taps > 0, init);
        let decay = (rule == Rule::Gated).then(|| init.decay(e.heads));
        let gates = (rule.gates() > 0).then(|| init.normal([width, rule.gates() * e.heads], 0.02));
        let (a_log, dt_bias) = decay.unzip();
        let outlet = Outlet::new(width, e.heads, e.value, e.gate, epsilon, init);
        Self { inlet, gates, a_log, dt_bias, outlet, op: DeltaMemory { heads: e.heads, key: e.key, rule } }
    }

    fn decay(&self) -> Option<[Tensor<1>; 2]> {
        self.a_log.as_ref().zip(self.dt_bias.as_ref()).map(|(a, b)| [a.val(), b.val()])
    }
}

impl Mixer for LinearMixer {
    fn mix(&self, way: Way, x: Tensor<3>) -> Tensor<3> {
        let qkv = self.inlet.enter(way, x.clone());
        let gates = self.gates.as_ref().map(|gates| way.linear(x.clone(), gates.val()));
        let read = way.delta(qkv, gates, self.decay(), self.op);
        self.outlet.leave(way, x, read)
    }

    fn go_on(&self, x: Tensor<3>, past: &mut Past) -> Tensor<3> {
        let way = Way::Composed;
        let qkv = self.inlet.go_on(x.clone(), past);
        let gates = self.gates.as_ref().map(|gates| way.linear(x.clone(), gates.val()));
        let read = composed::delta(qkv, gates, self.decay(), &self.op, &mut past.linear, past.position);
        past.position += x.dims()[1];
        self.outlet.leave(way, x, read)
    }
}
