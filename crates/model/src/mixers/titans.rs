//! Titans' neural memory as a mixer, alone or with attention.

use burn::{
    module::{Module, Param},
    tensor::Tensor,
};

use super::{Mixer, Outlet, Past, project::Inlet};
use crate::{
    config::TitansConfig,
    memory::{run_batched, titans::Titans},
    model::Init,
    ops::Way,
};

/// A learning perceptron a head; see [`crate::memory::titans`].
#[derive(Module, Debug)]
pub struct TitansMixer {
    /// The way in.
    pub inlet: Inlet,
    /// `[C, 3H]`: logits of step, kept share and momentum.
    pub gates: Param<Tensor<2>>,
    /// `[H, 3]`: their biases.
    pub statics: Param<Tensor<2>>,
    /// `[H, n]`: the memory before the first token.
    pub memory: Param<Tensor<2>>,
    /// The way out.
    pub outlet: Outlet,
    #[module(skip)]
    program: Titans,
    #[module(skip)]
    heads: usize,
}

impl TitansConfig {
    /// The equations of one head.
    pub fn program(&self) -> Titans {
        Titans { width: self.head_width, hidden: self.hidden.clone(), chunk: self.chunk, max_step: self.max_step }
    }
}

impl TitansMixer {
    pub(super) fn new(c: &TitansConfig, width: usize, epsilon: f32, init: &mut Init<'_>) -> Self {
        let program = c.program();
        Self {
            inlet: Inlet::new(width, 3 * c.heads * c.head_width, c.conv_taps, false, true, init),
            gates: init.normal([width, 3 * c.heads], 0.02),
            statics: init.titans_statics(c.heads),
            memory: init.titans_memory(&program, c.heads),
            outlet: Outlet::new(width, c.heads, c.head_width, c.gate, epsilon, init),
            program,
            heads: c.heads,
        }
    }
}

impl Mixer for TitansMixer {
    fn mix(&self, way: Way, x: Tensor<3>) -> Tensor<3> {
        let qkv = self.inlet.enter(way, x.clone());
        let gates = way.linear(x.clone(), self.gates.val());
        let read = way.program(&self.program, self.heads, [qkv, gates], [self.statics.val(), self.memory.val()]);
        self.outlet.leave(way, x, read)
    }

    fn go_on(&self, x: Tensor<3>, past: &mut Past) -> Tensor<3> {
        let qkv = self.inlet.go_on(x.clone(), past);
        let gates = Way::Composed.linear(x.clone(), self.gates.val());
        let params = [self.statics.val(), self.memory.val()];
        let read = run_batched(&self.program, self.heads, &[qkv, gates], &params, &mut past.titans);
        past.position += x.dims()[1];
        self.outlet.leave(Way::Composed, x, read)
    }
}

impl Init<'_> {
    /// Half of the largest step, hardly any forgetting, little momentum.
    fn titans_statics(&mut self, heads: usize) -> Param<Tensor<2>> {
        let values = [0.0, 5.0, -2.0].repeat(heads);
        self.values(values, [heads, 3])
    }

    /// Layers of unit scale but the last, which is zero, so that a memory without content adds nothing.
    fn titans_memory(&mut self, program: &Titans, heads: usize) -> Param<Tensor<2>> {
        let layers = program.layers();
        let mut values = Vec::new();
        for _ in 0..heads {
            for (n, [rows, cols]) in layers.iter().enumerate() {
                let std = if n + 1 < layers.len() { (*rows as f32).sqrt().recip() } else { 0.0 };
                values.extend((0..rows * cols).map(|_| self.gaussian() * std));
            }
        }
        let row = values.len() / heads;
        self.values(values, [heads, row])
    }
}
