//! Mixers over the rows of many sequences, each with its own state.

mod attention;
mod titans;

use std::sync::Arc;

use attention::AttentionWeights;
use titans::BranchWeights;

use super::{
    Piece,
    layers::Scratch,
    rows::{add_bias, convolve, gate, normalize_here},
    state::{MixerState, Seen},
    weights::Under,
};
use crate::{
    config::{MixerConfig, ModelConfig},
    kernels::{
        delta::{self, DeltaMemory, Rule},
        math::simd,
        packed::{Packed, Spread},
        rope::Turner,
    },
    memory::{
        hope::SelfModifying,
        recurrent::{HopeHead, HopeStatics, TitansHead},
        titans::Titans,
    },
};

/// The way in.
#[derive(Debug)]
pub(super) struct InletWeights {
    qkv: Packed,
    bias: Option<Arc<[f32]>>,
    conv: Option<Arc<[f32]>>,
    silu: bool,
}

impl InletWeights {
    fn of(under: &Under<'_>, silu: bool) -> Self {
        Self { qkv: under.matrix("qkv"), bias: under.find("qkv_bias"), conv: under.find("conv"), silu }
    }

    fn channels(&self) -> usize {
        self.qkv.outputs()
    }

    /// Fills `s.qkv` from `s.normed`, convolved with what each sequence had before.
    fn enter(&self, s: &mut Scratch, spread: Spread, index: usize, pieces: &mut [Piece<'_>]) {
        self.qkv.product(&mut s.qkv, &s.normed, spread);
        add_bias(&mut s.qkv, self.bias.as_ref());
        let Some(conv) = &self.conv else { return };
        let mut rows = s.qkv.chunks_exact_mut(self.channels());
        for piece in pieces {
            let tail = &mut piece.state.blocks[index].tail;
            for row in rows.by_ref().take(piece.tokens.len()) {
                simd(|| convolve(tail, row, conv, self.silu));
            }
        }
    }
}

/// The way out.
#[derive(Debug)]
pub(super) struct OutletWeights {
    norm: Arc<[f32]>,
    gate: Option<Packed>,
    out: Packed,
    epsilon: f32,
}

impl OutletWeights {
    fn of(under: &Under<'_>, config: &ModelConfig) -> Self {
        let (norm, gate, out) = (under.take("norm"), under.find_matrix("gate"), under.matrix("out"));
        Self { norm, gate, out, epsilon: config.norm_epsilon }
    }

    /// Fills `s.out` from `s.mixed`.
    fn leave(&self, s: &mut Scratch, spread: Spread) {
        normalize_here(&mut s.mixed, &self.norm, self.epsilon);
        if let Some(weights) = &self.gate {
            weights.product(&mut s.gates, &s.normed, spread);
            gate(&mut s.mixed, &s.gates);
        }
        self.out.product(&mut s.out, &s.mixed, spread);
    }
}

/// A memory's parts besides the ways in and out.
#[derive(Debug)]
enum Memory {
    Linear { op: DeltaMemory, value: usize, a_log: Arc<[f32]>, dt_bias: Arc<[f32]>, turner: Option<Turner> },
    Titans { program: Titans, statics: Arc<[f32]>, start: Vec<TitansHead> },
    Hope { program: SelfModifying, statics: Arc<[f32]>, start: Vec<HopeHead> },
}

/// A mixer's tensors.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one a block")]
pub(super) enum MixerWeights {
    Attention(AttentionWeights),
    Memory(MemoryWeights),
}

/// A mixer with a memory of constant size; attention beside it, if any, sees a window or a segment.
#[derive(Debug)]
pub(super) struct MemoryWeights {
    inlet: InletWeights,
    gates: Option<Packed>,
    memory: Memory,
    outlet: OutletWeights,
    /// Attention, in those variants of Titans that have it.
    branch: Option<BranchWeights>,
    heads: usize,
}

impl MixerWeights {
    pub(super) fn of(mixer: &MixerConfig, config: &ModelConfig, under: &Under<'_>) -> Self {
        let linear = |heads: usize, key: usize, value: usize, rule: Rule| {
            let turner = if let Rule::Retention { rope } = &rule { Some(Turner::new(key, rope)) } else { None };
            let op = DeltaMemory { heads, key, rule };
            (heads, Memory::Linear { op, value, a_log: under.take("a_log"), dt_bias: under.take("dt_bias"), turner })
        };
        let (heads, memory) = match mixer {
            MixerConfig::Attention(c) => return Self::Attention(AttentionWeights::of(c, config, under)),
            MixerConfig::RetNet(c) => linear(c.heads, c.key_width, c.value_width, Rule::Retention { rope: c.rope }),
            MixerConfig::DeltaNet(c) => {
                linear(c.heads, c.key_width, c.value_width, Rule::Plain { negative: c.negative_eigenvalues })
            }
            MixerConfig::GatedDelta(c) => linear(c.heads, c.key_width, c.value_width, Rule::Gated),
            MixerConfig::Titans(c) => {
                let (program, params) = (c.program(), under.take("memory"));
                let start = params.chunks_exact(params.len() / c.heads).map(|row| TitansHead::new(&program, row)).collect();
                (c.heads, Memory::Titans { program, statics: under.take("statics"), start })
            }
            MixerConfig::Hope(c) => {
                let (program, params) = (c.program(), under.take("boxes"));
                let start = params.chunks_exact(params.len() / c.heads).map(|row| HopeHead::new(&program, row)).collect();
                (c.heads, Memory::Hope { program, statics: under.take("statics"), start })
            }
        };
        let silu = !matches!(mixer, MixerConfig::RetNet(_));
        let inlet = InletWeights::of(under, silu);
        let branch = if let MixerConfig::Titans(c) = mixer { BranchWeights::of(c, config, under) } else { None };
        let outlet = OutletWeights::of(under, config);
        Self::Memory(MemoryWeights { inlet, gates: under.find_matrix("gates"), memory, outlet, branch, heads })
    }

    /// The state before the first token, and the rows that a convolution keeps.
    pub(super) fn start(&self) -> (MixerState, Vec<f32>) {
        match self {
            Self::Attention(w) => (w.start(), w.inlet().tail()),
            Self::Memory(w) => (w.start(), w.inlet.tail()),
        }
    }

    /// Fills `s.out` from `s.normed`.
    pub(super) fn mix(&self, s: &mut Scratch, spread: Spread, index: usize, pieces: &mut [Piece<'_>]) {
        match self {
            Self::Attention(w) => w.mix(s, spread, index, pieces),
            Self::Memory(w) => w.mix(s, spread, index, pieces),
        }
    }
}

impl InletWeights {
    fn tail(&self) -> Vec<f32> {
        self.conv.as_ref().map_or_else(Vec::new, |conv| vec![0.0; conv.len() - self.channels()])
    }
}

impl MemoryWeights {
    fn start(&self) -> MixerState {
        match &self.memory {
            Memory::Linear { op, value, .. } => MixerState::Linear { memory: vec![0.0; op.heads * op.key * value] },
            Memory::Titans { start, .. } => {
                let seen = self.branch.as_ref().map_or_else(Seen::default, BranchWeights::start);
                MixerState::Titans { heads: start.clone(), seen }
            }
            Memory::Hope { start, .. } => MixerState::Hope { heads: start.clone() },
        }
    }

    fn mix(&self, s: &mut Scratch, spread: Spread, index: usize, pieces: &mut [Piece<'_>]) {
        match &self.branch {
            Some(branch) if branch.is_context() => return self.context(branch, s, index, pieces),
            _ => self.write(s, spread, index, pieces),
        }
        match &self.branch {
            Some(branch) => self.join(branch, s, spread, index, pieces),
            None => self.outlet.leave(s, spread),
        }
    }

    /// Fills `s.mixed` with what the memory gives for every row of `s.normed`, writing as it reads.
    fn write(&self, s: &mut Scratch, spread: Spread, index: usize, pieces: &mut [Piece<'_>]) {
        self.inlet.enter(s, spread, index, pieces);
        if let Some(gates) = &self.gates {
            gates.product(&mut s.gates, &s.normed, spread);
        }
        let rows: usize = pieces.iter().map(|p| p.tokens.len()).sum();
        let width = self.outlet.out.inputs();
        s.mixed.clear();
        s.mixed.resize(rows * width, 0.0);
        let logits = s.gates.len() / rows.max(1);
        let mut rows = s.qkv.chunks_exact_mut(self.inlet.channels()).zip(s.mixed.chunks_exact_mut(width)).enumerate();
        for piece in pieces {
            let position = piece.state.position;
            let state = &mut piece.state.blocks[index].mixer;
            for n in 0..piece.tokens.len() {
                let Some((at, (qkv, out))) = rows.next() else { break };
                let gates = if self.gates.is_some() { &s.gates[at * logits..(at + 1) * logits] } else { &[] };
                simd(|| self.token(state, qkv, gates, position + n, out));
            }
        }
    }

    /// One token of all heads.
    fn token(&self, state: &mut MixerState, qkv: &mut [f32], gates: &[f32], position: usize, out: &mut [f32]) {
        match (&self.memory, state) {
            (Memory::Linear { op, value, a_log, dt_bias, turner }, MixerState::Linear { memory }) => {
                let (q, rest) = qkv.split_at_mut(op.heads * op.key);
                let (k, v) = rest.split_at_mut(op.heads * op.key);
                let heads = q.chunks_exact_mut(op.key).zip(k.chunks_exact_mut(op.key)).zip(v.chunks_exact(*value));
                let memories = memory.chunks_exact_mut(op.key * value).zip(out.chunks_exact_mut(*value));
                for (h, (((q, k), v), (memory, out))) in heads.zip(memories).enumerate() {
                    match turner {
                        None => {
                            delta::normalize(q);
                            delta::normalize(k);
                        }
                        Some(turner) => {
                            turner.turn(q, position);
                            turner.turn(k, position);
                            crate::kernels::math::scale(q, (q.len() as f32).sqrt().recip());
                        }
                    }
                    let (beta, decay) = op.rule.strengths(gates, h, a_log, dt_bias);
                    delta::step(memory, q, k, v, beta, decay, op.rule.erases(), out);
                }
            }
            (Memory::Titans { program, statics, .. }, MixerState::Titans { heads, .. }) => {
                let width = program.width;
                for (h, (head, out)) in heads.iter_mut().zip(out.chunks_exact_mut(width)).enumerate() {
                    let logits = [0, 1, 2].map(|n| gates[n * self.heads + h] + statics[h * 3 + n]);
                    head.step(program, self.parts(qkv, h, width), logits, out);
                }
            }
            (Memory::Hope { program, statics, .. }, MixerState::Hope { heads }) => {
                let width = program.width;
                let row = statics.len() / self.heads;
                for (h, (head, out)) in heads.iter_mut().zip(out.chunks_exact_mut(width)).enumerate() {
                    let statics = HopeStatics::of(program, &statics[h * row..(h + 1) * row]);
                    head.step(program, &statics, self.parts(qkv, h, width), [0, 1].map(|n| gates[n * self.heads + h]), out);
                }
            }
            _ => unreachable!("a session's state was made by the same block"),
        }
    }

    /// Queries, keys and values of one head, of equal width.
    fn parts<'a>(&self, qkv: &'a [f32], h: usize, width: usize) -> [&'a [f32]; 3] {
        [0, 1, 2].map(|part| {
            let at = (part * self.heads + h) * width;
            &qkv[at..at + width]
        })
    }
}
