//! Softmax attention over keys and values that a session keeps.

use std::sync::Arc;

use super::{
    super::{
        Piece,
        layers::Scratch,
        rows::{Spread, add_bias, linear, normalize_here},
        state::MixerState,
        weights::Under,
    },
    InletWeights,
};
use crate::{
    config::{AttentionConfig, ModelConfig},
    kernels::{attention, math::simd, rope::Turner},
};

#[derive(Debug)]
pub(in crate::decode) struct AttentionWeights {
    config: AttentionConfig,
    inlet: InletWeights,
    q_norm: Option<Arc<[f32]>>,
    k_norm: Option<Arc<[f32]>>,
    out: Arc<[f32]>,
    out_bias: Option<Arc<[f32]>>,
    turner: Option<Turner>,
    epsilon: f32,
}

impl AttentionWeights {
    pub(super) fn of(c: &AttentionConfig, config: &ModelConfig, under: &Under<'_>) -> Self {
        Self {
            config: c.clone(),
            inlet: InletWeights::of(under, config.width, false),
            q_norm: under.find("q_norm"),
            k_norm: under.find("k_norm"),
            out: under.take("out"),
            out_bias: under.find("out_bias"),
            turner: c.rope.as_ref().map(|rope| Turner::new(c.head_width, rope)),
            epsilon: config.norm_epsilon,
        }
    }

    pub(super) fn inlet(&self) -> &InletWeights {
        &self.inlet
    }

    pub(super) fn mix(&self, s: &mut Scratch, spread: Spread, index: usize, pieces: &mut [Piece<'_>]) {
        self.inlet.enter(s, spread, index, pieces);
        let c = &self.config;
        let (width, queries) = (c.head_width, c.heads * c.head_width);
        let rows: usize = pieces.iter().map(|p| p.tokens.len()).sum();
        s.mixed.clear();
        s.mixed.resize(rows * queries, 0.0);
        let (qkv, mixed, scores) = (&mut s.qkv, &mut s.mixed, &mut s.scores);
        let mut rows = qkv.chunks_exact_mut(self.inlet.channels).zip(mixed.chunks_exact_mut(queries));
        for piece in pieces.iter_mut() {
            let position = piece.state.position;
            let MixerState::Attention { keys, values } = &mut piece.state.blocks[index].mixer else {
                unreachable!("a session's state was made by the same block")
            };
            for (n, (qkv, out)) in rows.by_ref().take(piece.tokens.len()).enumerate() {
                let (q, rest) = qkv.split_at_mut(queries);
                let (k, v) = rest.split_at_mut(c.kv_heads * width);
                self.ready(q, self.q_norm.as_ref(), position + n);
                self.ready(k, self.k_norm.as_ref(), position + n);
                keys.extend_from_slice(k);
                values.extend_from_slice(v);
                self.read(q, keys, values, out, scores);
            }
        }
        linear(&mut s.out, spread, &s.mixed, &self.out, queries);
        add_bias(&mut s.out, self.out_bias.as_ref());
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

    /// Every head's answer to one token.
    fn read(&self, q: &[f32], keys: &[f32], values: &[f32], out: &mut [f32], scores: &mut Vec<f32>) {
        let c = &self.config;
        let row = c.kv_heads * c.head_width;
        let first = c.window.map_or(0, |window| (keys.len() / row).saturating_sub(window));
        let (keys, values) = (&keys[first * row..], &values[first * row..]);
        let each = c.heads / c.kv_heads;
        simd(|| {
            for (h, (q, out)) in q.chunks_exact(c.head_width).zip(out.chunks_exact_mut(c.head_width)).enumerate() {
                attention::read(out, q, keys, values, row, h / each * c.head_width, scores);
            }
        });
    }
}
