//! Titans' memory with attention; equations in [`crate::mixers`], row by row here.

use std::sync::Arc;

use super::{
    super::{
        Piece,
        layers::Scratch,
        rows::{add_bias, add_to, normalize, normalize_here},
        state::{MixerState, Seen},
        weights::Under,
    },
    InletWeights, MemoryWeights,
};
use crate::{
    config::{ModelConfig, TitansConfig, TitansVariant},
    kernels::{
        attention::{self, Attention},
        math::simd,
        packed::{Packed, Spread},
        real::Real,
        rope::Turner,
    },
    mixers::titans::branch::ROPE,
};

/// The attention of a variant.
#[derive(Debug)]
pub(super) struct BranchWeights {
    variant: TitansVariant,
    op: Attention,
    inlet: InletWeights,
    turner: Turner,
    /// What every query sees: rotated keys and values of the learned tokens.
    start: Seen,
    out: Option<Packed>,
    norm: Arc<[f32]>,
    /// Where the memory is the attention's context: what it is asked and what its answer becomes.
    ask: Option<[Packed; 2]>,
    inner: usize,
    epsilon: f32,
}

impl BranchWeights {
    /// Nothing for the memory alone.
    pub(super) fn of(c: &TitansConfig, config: &ModelConfig, under: &Under<'_>) -> Option<Self> {
        let op = c.attention()?;
        let under = under.under("branch");
        let mut weights = Self {
            variant: c.variant,
            op,
            inlet: InletWeights::of(&under, false),
            turner: Turner::new(c.head_width, &ROPE),
            start: Seen::default(),
            out: under.find_matrix("out"),
            norm: under.find("norm").unwrap_or_default(),
            ask: under.find_matrix("ask").map(|ask| [ask, under.matrix("answer")]),
            inner: c.heads * c.head_width,
            epsilon: config.norm_epsilon,
        };
        if let Some(tokens) = under.find("persistent") {
            let mut seen = Seen::default();
            for token in tokens.chunks_exact(config.width) {
                weights.look(&mut seen, token, &mut Vec::new());
            }
            weights.start = seen;
        }
        Some(weights)
    }

    pub(super) fn start(&self) -> Seen {
        self.start.clone()
    }

    /// One token of the stream after those that were seen: what its heads see.
    fn look(&self, seen: &mut Seen, token: &[f32], scores: &mut Vec<f32>) -> Vec<f32> {
        let mut qkv = Vec::new();
        self.inlet.qkv.product(&mut qkv, token, Spread::Here);
        add_bias(&mut qkv, self.inlet.bias.as_ref());
        self.attend(seen, &mut qkv, scores)
    }

    fn attend(&self, seen: &mut Seen, qkv: &mut [f32], scores: &mut Vec<f32>) -> Vec<f32> {
        let width = self.inner / self.op.heads;
        let position = seen.keys.len() / self.inner + seen.dropped;
        let (q, rest) = qkv.split_at_mut(self.inner);
        let (k, v) = rest.split_at_mut(self.inner);
        q.chunks_exact_mut(width).chain(k.chunks_exact_mut(width)).for_each(|head| self.turner.turn(head, position));
        seen.keys.extend_from_slice(k);
        seen.values.extend_from_slice(v);
        let (keys, values) = self.visible(seen, position);
        let mut out = vec![0.0; self.inner];
        simd(|| {
            for (h, (q, out)) in q.chunks_exact(width).zip(out.chunks_exact_mut(width)).enumerate() {
                attention::read(out, q, &keys, &values, self.inner, h * width, scores);
            }
        });
        drop((keys, values));
        if let Some(window) = self.op.window {
            seen.drop_before(window, self.op.prefix, self.inner);
        }
        out
    }

    /// The learned tokens and the window.
    fn visible<'a>(&self, seen: &'a Seen, position: usize) -> (std::borrow::Cow<'a, [f32]>, std::borrow::Cow<'a, [f32]>) {
        let first = self.op.window.map_or(0, |window| (position + 1).saturating_sub(window)).saturating_sub(seen.dropped);
        if first <= self.op.prefix {
            return (seen.keys.as_slice().into(), seen.values.as_slice().into());
        }
        let cut = |x: &[f32]| [&x[..self.op.prefix * self.inner], &x[first * self.inner..]].concat();
        (cut(&seen.keys).into(), cut(&seen.values).into())
    }
}

impl MemoryWeights {
    /// MAG and MAL: `s.mixed` holds what the memory gave for every row; fills `s.out`.
    pub(super) fn join(&self, branch: &BranchWeights, s: &mut Scratch, spread: Spread, index: usize, pieces: &mut [Piece<'_>]) {
        if matches!(branch.variant, TitansVariant::Mal { .. }) {
            self.outlet.leave(s, spread);
            let mut input = s.normed.clone();
            add_to(&mut input, &s.out);
            normalize(&mut s.hidden, &input, &branch.norm, branch.epsilon);
            let said = std::mem::take(&mut s.out);
            let seen = branch.rows(s, index, pieces);
            match &branch.out {
                Some(out) => out.product(&mut s.out, &seen, spread),
                None => s.out = seen,
            }
            add_to(&mut s.out, &said);
            return;
        }
        s.hidden.clone_from(&s.normed);
        let mut seen = branch.rows(s, index, pieces);
        normalize_here(&mut seen, &branch.norm, branch.epsilon);
        normalize_here(&mut s.mixed, &self.outlet.norm, self.outlet.epsilon);
        simd(|| seen.iter_mut().zip(&s.mixed).for_each(|(seen, m)| *seen *= m.sigmoid()));
        self.outlet.out.product(&mut s.out, &seen, spread);
    }

    /// MAC, token by token: what the memory says about a token, attention over both, the memory of what came out. Fills `s.out`.
    pub(super) fn context(&self, branch: &BranchWeights, s: &mut Scratch, index: usize, pieces: &mut [Piece<'_>]) {
        let width = self.inlet.qkv.inputs();
        let rows = std::mem::take(&mut s.normed);
        let mut out = Vec::with_capacity(rows.len());
        let mut tokens = rows.chunks_exact(width);
        for piece in pieces.iter_mut() {
            for token in tokens.by_ref().take(piece.tokens.len()) {
                let y = self.think(branch, s, index, piece, token);
                let mut one = [Piece { state: &mut *piece.state, tokens: &[0] }];
                s.normed.clone_from(&y);
                self.write(s, Spread::Here, index, &mut one);
                self.outlet.leave(s, Spread::Here);
                out.extend(y.iter().zip(&s.out).map(|(y, m)| y * (m + 1.0)));
                Self::forget_segment(branch, index, piece);
            }
        }
        s.normed = rows;
        s.out = out;
    }

    /// The attention of one token and what the memory says about it.
    fn think(&self, branch: &BranchWeights, s: &mut Scratch, index: usize, piece: &mut Piece<'_>, token: &[f32]) -> Vec<f32> {
        let super::Memory::Titans { program, .. } = &self.memory else { unreachable!("attention belongs to Titans") };
        let MixerState::Titans { heads, seen } = &mut piece.state.blocks[index].mixer else {
            unreachable!("a session's state was made by the same block")
        };
        let Some([ask, answer]) = &branch.ask else { unreachable!("such attention asks the memory") };
        let (mut q, mut said, mut y) = (Vec::new(), Vec::new(), Vec::new());
        ask.product(&mut q, token, Spread::Here);
        let answers: Vec<f32> =
            heads.iter().zip(q.chunks_exact(program.width)).flat_map(|(head, q)| head.recall(program, q)).collect();
        answer.product(&mut said, &answers, Spread::Here);
        branch.look(seen, &said, &mut s.scores);
        let heads = branch.look(seen, token, &mut s.scores);
        match &branch.out {
            Some(out) => out.product(&mut y, &heads, Spread::Here),
            None => y = heads,
        }
        y
    }

    fn forget_segment(branch: &BranchWeights, index: usize, piece: &mut Piece<'_>) {
        if let MixerState::Titans { heads, seen } = &mut piece.state.blocks[index].mixer
            && heads.iter().all(crate::memory::recurrent::TitansHead::begins_chunk)
        {
            *seen = branch.start();
        }
    }
}

impl BranchWeights {
    /// What the heads of every row in `s.hidden` see.
    fn rows(&self, s: &mut Scratch, index: usize, pieces: &mut [Piece<'_>]) -> Vec<f32> {
        let width = self.inlet.qkv.inputs();
        let mut out = Vec::new();
        let mut tokens = s.hidden.chunks_exact(width);
        for piece in pieces {
            if let MixerState::Titans { seen, .. } = &mut piece.state.blocks[index].mixer {
                for token in tokens.by_ref().take(piece.tokens.len()) {
                    out.extend(self.look(seen, token, &mut s.scores));
                }
            }
        }
        out
    }

    /// Whether the memory comes after the attention.
    pub(super) fn is_context(&self) -> bool {
        matches!(self.variant, TitansVariant::Mac { .. })
    }
}
