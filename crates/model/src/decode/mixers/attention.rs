//! Softmax attention over keys and values that a session keeps.

use std::sync::Arc;

use rayon::prelude::*;

use super::{
    super::{
        Piece,
        layers::Scratch,
        rows::{add_bias, normalize_here},
        state::{MixerState, Seen},
        weights::Under,
    },
    InletWeights,
};
use crate::{
    config::{AttentionConfig, ModelConfig},
    kernels::{
        attention,
        math::simd,
        packed::{Packed, Spread},
        rope::Turner,
    },
};

#[derive(Debug)]
pub(in crate::decode) struct AttentionWeights {
    config: AttentionConfig,
    inlet: InletWeights,
    q_norm: Option<Arc<[f32]>>,
    k_norm: Option<Arc<[f32]>>,
    out: Packed,
    out_bias: Option<Arc<[f32]>>,
    turner: Option<Turner>,
    epsilon: f32,
}

/// What one group of query heads of one sequence does.
struct Task<'a> {
    seen: &'a Seen,
    /// Its queries, one head after the other, `[heads of the group, T, W]`.
    q: Vec<f32>,
}

/// Calls that read fewer cached numbers are not worth a second thread.
const PARALLEL_FROM: usize = 1 << 16;

impl AttentionWeights {
    pub(super) fn of(c: &AttentionConfig, config: &ModelConfig, under: &Under<'_>) -> Self {
        Self {
            config: c.clone(),
            inlet: InletWeights::of(under, false),
            q_norm: under.find("q_norm"),
            k_norm: under.find("k_norm"),
            out: under.matrix("out"),
            out_bias: under.find("out_bias"),
            turner: c.rope.as_ref().map(|rope| Turner::new(c.head_width, rope)),
            epsilon: config.norm_epsilon,
        }
    }

    pub(super) fn inlet(&self) -> &InletWeights {
        &self.inlet
    }

    pub(super) fn start(&self) -> MixerState {
        MixerState::Attention { groups: vec![Seen::default(); self.config.kv_heads] }
    }

    pub(super) fn mix(&self, s: &mut Scratch, spread: Spread, index: usize, pieces: &mut [Piece<'_>]) {
        self.inlet.enter(s, spread, index, pieces);
        let mut rows = s.qkv.chunks_exact_mut(self.inlet.channels());
        for piece in pieces.iter_mut() {
            let position = piece.state.position;
            let MixerState::Attention { groups } = &mut piece.state.blocks[index].mixer else {
                unreachable!("a session's state was made by the same block")
            };
            for (n, qkv) in rows.by_ref().take(piece.tokens.len()).enumerate() {
                self.look(groups, qkv, position + n);
            }
        }
        self.read(s, spread, index, pieces);
        if let Some(window) = self.config.window {
            for piece in pieces {
                let MixerState::Attention { groups } = &mut piece.state.blocks[index].mixer else { continue };
                groups.iter_mut().for_each(|seen| seen.drop_before(window, 0, self.config.head_width));
            }
        }
        self.out.product(&mut s.out, &s.mixed, spread);
        add_bias(&mut s.out, self.out_bias.as_ref());
    }

    /// Readies the heads of one token and keeps its keys and values.
    fn look(&self, groups: &mut [Seen], qkv: &mut [f32], position: usize) {
        let (c, width) = (&self.config, self.config.head_width);
        let (q, rest) = qkv.split_at_mut(c.heads * width);
        let (k, v) = rest.split_at_mut(c.kv_heads * width);
        self.ready(q, self.q_norm.as_ref(), position);
        self.ready(k, self.k_norm.as_ref(), position);
        for (seen, (k, v)) in groups.iter_mut().zip(k.chunks_exact(width).zip(v.chunks_exact(width))) {
            seen.keys.extend_from_slice(k);
            seen.values.extend_from_slice(v);
        }
    }

    /// Normalizes and rotates the heads of one token.
    fn ready(&self, heads: &mut [f32], gain: Option<&Arc<[f32]>>, position: usize) {
        if let Some(gain) = gain {
            normalize_here(heads, gain, self.epsilon);
        }
        if let Some(turner) = &self.turner {
            simd(|| heads.chunks_exact_mut(self.config.head_width).for_each(|head| turner.turn(head, position)));
        }
    }

    /// Fills `s.mixed` with every head's answer to every token.
    fn read(&self, s: &mut Scratch, spread: Spread, index: usize, pieces: &[Piece<'_>]) {
        let (c, width) = (&self.config, self.config.head_width);
        let channels = self.inlet.channels();
        let mut tasks = Vec::with_capacity(pieces.len() * c.kv_heads);
        let mut first = 0;
        for piece in pieces {
            let MixerState::Attention { groups } = &piece.state.blocks[index].mixer else { continue };
            let rows = &s.qkv[first * channels..(first + piece.tokens.len()) * channels];
            first += piece.tokens.len();
            for (seen, at) in groups.iter().zip((0..).step_by(self.each() * width)) {
                let head = |h: usize| rows.chunks_exact(channels).flat_map(move |row| &row[at + h * width..at + (h + 1) * width]);
                tasks.push(Task { seen, q: (0..self.each()).flat_map(head).copied().collect() });
            }
        }
        let work: usize = tasks.iter().map(|task| task.seen.keys.len() * task.q.len() / width).sum();
        let answers: Vec<Vec<f32>> = if spread == Spread::All && work >= PARALLEL_FROM {
            tasks.par_iter().map(|task| self.answer(task)).collect()
        } else {
            tasks.iter().map(|task| self.answer(task)).collect()
        };
        s.mixed.clear();
        s.mixed.resize(first * c.heads * width, 0.0);
        let mut rows = s.mixed.chunks_exact_mut(c.heads * width);
        for (piece, answers) in pieces.iter().zip(answers.chunks_exact(c.kv_heads)) {
            for (t, row) in rows.by_ref().take(piece.tokens.len()).enumerate() {
                for (h, out) in row.chunks_exact_mut(width).enumerate() {
                    let at = (h % self.each() * piece.tokens.len() + t) * width;
                    out.copy_from_slice(&answers[h / self.each()][at..at + width]);
                }
            }
        }
    }

    /// Query heads of a group.
    fn each(&self) -> usize {
        self.config.heads / self.config.kv_heads
    }

    /// The answers to a group's queries, laid out like them.
    fn answer(&self, task: &Task<'_>) -> Vec<f32> {
        let (width, seen) = (self.config.head_width, task.seen);
        let mut out = vec![0.0; task.q.len()];
        let tokens = task.q.len() / width / self.each();
        let heads = task.q.chunks_exact(tokens * width).zip(out.chunks_exact_mut(tokens * width));
        heads.for_each(|(q, out)| attention::answer(out, q, (&seen.keys, &seen.values), width, self.config.window));
        out
    }
}
