//! Hope's self-modifying memory as a mixer.

use burn::{
    module::{Module, Param},
    tensor::Tensor,
};

use super::{Mixer, Outlet, Past, project::Inlet};
use crate::{
    config::HopeConfig,
    memory::{
        hope::{BOXES, BoxKind, MEMORY, SelfModifying, Targets},
        run_batched,
    },
    model::Init,
    ops::Way,
};

/// Five boxes a head; see [`crate::memory::hope`].
#[derive(Module, Debug)]
pub struct HopeMixer {
    /// The way in: queries, what keys are made from, what values are made from.
    pub inlet: Inlet,
    /// `[C, 2H]`: static logits of steps and decays.
    pub gates: Param<Tensor<2>>,
    /// `[H, 3 + 2W]`: bias of the step, logarithm of the decay's rate, bias of the decay, readouts; with shares `[H, 3 + 2W + 4]`, their logits behind.
    pub statics: Param<Tensor<2>>,
    /// `[H, n]`: the boxes before the first token.
    pub boxes: Param<Tensor<2>>,
    /// The way out.
    pub outlet: Outlet,
    #[module(skip)]
    program: SelfModifying,
    #[module(skip)]
    heads: usize,
}

impl HopeConfig {
    /// The equations of one head.
    pub fn program(&self) -> SelfModifying {
        SelfModifying {
            width: self.head_width,
            chunk: self.chunk,
            boxes: self.boxes,
            objective: self.objective,
            targets: self.targets,
            max_step: self.max_step,
            adaptive: self.adaptive,
            shares: self.shares,
        }
    }
}

impl HopeMixer {
    pub(super) fn new(c: &HopeConfig, width: usize, epsilon: f32, init: &mut Init<'_>) -> Self {
        let program = c.program();
        Self {
            inlet: Inlet::new(width, 3 * c.heads * c.head_width, c.conv_taps, false, true, init),
            gates: init.normal([width, 2 * c.heads], 0.02),
            statics: init.hope_statics(c),
            boxes: init.boxes(&program, c.heads),
            outlet: Outlet::new(width, c.heads, c.head_width, c.gate, epsilon, init),
            program,
            heads: c.heads,
        }
    }
}

/// The logit of a share at first: a twentieth; a four-hundredth beside a memory that counts with what the other boxes say.
const SHARE: f32 = -3.0;
const SHARE_BESIDE_COUNTS: f32 = -6.0;

impl Mixer for HopeMixer {
    fn mix(&self, way: Way, x: Tensor<3>) -> Tensor<3> {
        let qkv = self.inlet.enter(way, x.clone());
        let gates = way.linear(x.clone(), self.gates.val());
        let read = way.program(&self.program, self.heads, [qkv, gates], [self.statics.val(), self.boxes.val()]);
        self.outlet.leave(way, x, read)
    }

    fn go_on(&self, x: Tensor<3>, past: &mut Past) -> Tensor<3> {
        let qkv = self.inlet.go_on(x.clone(), past);
        let gates = Way::Composed.linear(x.clone(), self.gates.val());
        let params = [self.statics.val(), self.boxes.val()];
        let read = run_batched(&self.program, self.heads, &[qkv, gates], &params, &mut past.hope);
        past.position += x.dims()[1];
        self.outlet.leave(Way::Composed, x, read)
    }
}

impl Init<'_> {
    /// Steps begin near a quarter of the largest, decays as Gated DeltaNet's, readouts at zero.
    fn hope_statics(&mut self, c: &HopeConfig) -> Param<Tensor<2>> {
        let shares = if c.shares { MEMORY } else { 0 };
        let share = if c.targets == Targets::Live { SHARE_BESIDE_COUNTS } else { SHARE };
        let (heads, row) = (c.heads, 3 + 2 * c.head_width + shares);
        self.values([heads, row], |init| {
            let mut values = vec![0.0; heads * row];
            let decays = init.decays(heads);
            for (row, (a_log, dt_bias)) in values.chunks_exact_mut(row).zip(decays) {
                row[..3].copy_from_slice(&[-1.0, a_log, dt_bias]);
                row[3 + 2 * c.head_width..].fill(share);
            }
            values
        })
    }

    /// `M(z) = z` at first: what a matrix adds to its input is zero, and so is what a perceptron's second layer does.
    fn boxes(&mut self, program: &SelfModifying, heads: usize) -> Param<Tensor<2>> {
        let half = match program.boxes {
            BoxKind::Linear => 0,
            BoxKind::Perceptron { hidden } => program.width * hidden,
        };
        let whole = if half == 0 { program.width * program.width } else { 2 * half };
        self.values([heads, BOXES * whole], |init| {
            let std = (program.width as f32).sqrt().recip();
            let mut value = |n: usize| if n % whole < half { init.gaussian() * std } else { 0.0 };
            (0..heads * BOXES * whole).map(&mut value).collect()
        })
    }
}
