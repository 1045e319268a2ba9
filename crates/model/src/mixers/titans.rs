//! Titans' neural memory as a mixer, alone or with attention (2501.00663, section 4).
//!
//! What the paper leaves open: in MAC what the memory says about a token stands right before it, so that causal attention over
//! `[p | h₁ x₁ h₂ x₂ …]` shows a token its segment so far and nothing of later tokens; where the paper multiplies attention by the memory the factor is
//! `1 + m` (MAC) or `σ(m)` (MAG), because an empty memory says zero.

pub(crate) mod branch;

use burn::{
    module::{Module, Param},
    tensor::{Tensor, activation},
};

use self::branch::Branch;
use super::{Mixer, Outlet, Past, project::Inlet};
use crate::{
    algebra::batched::Batched,
    config::{TitansConfig, TitansVariant},
    memory::{run_batched, segments, titans::Titans},
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
    /// Attention, in the variants that have it.
    pub branch: Option<Branch>,
    #[module(skip)]
    program: Titans,
    #[module(skip)]
    heads: usize,
    #[module(skip)]
    variant: TitansVariant,
    #[module(skip)]
    epsilon: f32,
}

impl TitansConfig {
    /// The equations of one head; a segment of MAC is a chunk.
    pub fn program(&self) -> Titans {
        let chunk = if let TitansVariant::Mac { segment, .. } = self.variant { segment } else { self.chunk };
        Titans { width: self.head_width, hidden: self.hidden.clone(), chunk, max_step: self.max_step, bound: self.bound }
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
            branch: (c.variant != TitansVariant::Lmm).then(|| Branch::new(c, width, init)),
            program,
            heads: c.heads,
            variant: c.variant,
            epsilon,
        }
    }

    /// What the memory gives for every token, writing as it reads.
    fn read(&self, way: Way, x: Tensor<3>, past: Option<&mut Past>) -> Tensor<3> {
        let params = [self.statics.val(), self.memory.val()];
        let Some(past) = past else {
            let qkv = self.inlet.enter(way, x.clone());
            return way.program(&self.program, self.heads, [qkv, way.linear(x, self.gates.val())], params);
        };
        let qkv = self.inlet.go_on(x.clone(), past);
        let gates = Way::Composed.linear(x, self.gates.val());
        run_batched(&self.program, self.heads, &[qkv, gates], &params, &mut past.titans)
    }

    fn flow(&self, way: Way, x: Tensor<3>, mut past: Option<&mut Past>) -> Tensor<3> {
        let Some(branch) = &self.branch else {
            let read = self.read(way, x.clone(), past);
            return self.outlet.leave(way, x, read);
        };
        match self.variant {
            TitansVariant::Lmm | TitansVariant::Mag { .. } => {
                let read = self.read(way, x.clone(), past.as_deref_mut());
                let seen = branch.attend(way, x, past);
                let seen = branch.normed(way, seen, self.epsilon);
                let open = activation::sigmoid(way.norm(read, self.outlet.norm.val(), self.epsilon));
                way.linear(seen * open, self.outlet.out.val())
            }
            TitansVariant::Mal { .. } => {
                let read = self.read(way, x.clone(), past.as_deref_mut());
                let said = self.outlet.leave(way, x.clone(), read);
                let input = branch.normed(way, x + said.clone(), self.epsilon);
                said + branch.project(way, branch.attend(way, input, past))
            }
            TitansVariant::Mac { segment, .. } => {
                let mut fresh = Past::default();
                self.context(branch, segment, x, past.unwrap_or(&mut fresh))
            }
        }
    }

    /// MAC: segment after segment, because each one's attention sees what the memory has become by the one before.
    fn context(&self, branch: &Branch, segment: usize, x: Tensor<3>, past: &mut Past) -> Tensor<3> {
        let way = Way::Composed;
        let filled = past.titans.as_ref().map_or(0, |state| state.filled);
        let mut outputs = Vec::new();
        for (from, to, ends) in segments(filled, x.dims()[1], segment) {
            let x = x.clone().narrow(1, from, to - from);
            let said = self.recall(branch, x.clone(), past);
            let y = branch.project(way, branch.attend_with(x, said, past));
            let read = self.read(way, y.clone(), Some(past));
            let memory = self.outlet.leave(way, y.clone(), read);
            outputs.push(y.clone() * (memory + 1.0));
            if ends {
                past.seen = None;
            }
        }
        Tensor::cat(outputs, 1)
    }

    /// What the memory of the segment's start says about tokens, as rows of the stream `[B, T, C]`.
    fn recall(&self, branch: &Branch, x: Tensor<3>, past: &Past) -> Tensor<3> {
        let [batch, time, _] = x.dims();
        let (heads, width) = (self.heads, self.program.width);
        let q = branch.queries(x);
        let q = q.reshape([batch, time, heads, width]).swap_dims(1, 2).reshape([batch * heads, time, width]);
        let algebra = Batched::like(&q);
        let weights = match &past.titans {
            Some(state) => state.snapshot.clone(),
            None => self.program.split(&self.memory.val(), batch),
        };
        let said = self.program.say(&algebra, &weights, &q);
        let said = said.reshape([batch, heads, time, width]).swap_dims(1, 2).reshape([batch, time, heads * width]);
        branch.back(said)
    }
}

impl Mixer for TitansMixer {
    fn mix(&self, way: Way, x: Tensor<3>) -> Tensor<3> {
        self.flow(way, x, None)
    }

    fn go_on(&self, x: Tensor<3>, past: &mut Past) -> Tensor<3> {
        let time = x.dims()[1];
        let out = self.flow(Way::Composed, x, Some(past));
        past.position += time;
        out
    }
}

impl Init<'_> {
    /// Half of the largest step, hardly any forgetting, little momentum.
    fn titans_statics(&mut self, heads: usize) -> Param<Tensor<2>> {
        self.values([heads, 3], |_| [0.0, 5.0, -2.0].repeat(heads))
    }

    /// Layers of unit scale but the last, which is zero, so that a memory without content adds nothing.
    fn titans_memory(&mut self, program: &Titans, heads: usize) -> Param<Tensor<2>> {
        let layers = program.layers();
        let row = layers.iter().map(|[rows, cols]| rows * cols).sum();
        self.values([heads, row], |init| {
            let mut values = Vec::with_capacity(heads * row);
            for _ in 0..heads {
                for (n, [rows, cols]) in layers.iter().enumerate() {
                    let std = if n + 1 < layers.len() { (*rows as f32).sqrt().recip() } else { 0.0 };
                    values.extend((0..rows * cols).map(|_| init.gaussian() * std));
                }
            }
            values
        })
    }
}
