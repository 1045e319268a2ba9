//! The attention beside, before or behind Titans' memory.

use burn::{
    module::{Module, Param},
    tensor::Tensor,
};

use super::super::{Past, project::Inlet};
use crate::{
    config::{TitansConfig, TitansVariant},
    kernels::{attention::Attention, rope::Rope},
    model::Init,
    ops::{Way, composed},
};

/// Attention with learned tokens that every query sees.
#[derive(Module, Debug)]
pub struct Branch {
    /// `[P, C]`: learned tokens.
    pub persistent: Option<Param<Tensor<2>>>,
    /// Its own way in.
    pub inlet: Inlet,
    /// `[H W, C]`; MAG has none, its heads are gated before they leave.
    pub out: Option<Param<Tensor<2>>>,
    /// Gain of a norm: of heads `[W]` (MAG) or of the input `[C]` (MAL); MAC has none.
    pub norm: Option<Param<Tensor<1>>>,
    /// `[C, H W]`: what MAC asks the memory.
    pub ask: Option<Param<Tensor<2>>>,
    /// `[H W, C]`: what it answers, as a token.
    pub answer: Option<Param<Tensor<2>>>,
    #[module(skip)]
    op: Attention,
}

/// Base of the rotary frequencies.
pub(crate) const ROPE: Rope = Rope::new(10_000.0);

impl TitansConfig {
    /// The attention of a variant; none for the memory alone.
    pub(crate) fn attention(&self) -> Option<Attention> {
        let (window, prefix) = match self.variant {
            TitansVariant::Lmm => return None,
            TitansVariant::Mac { persistent, .. } => (None, persistent),
            TitansVariant::Mag { window, persistent } | TitansVariant::Mal { window, persistent } => (Some(window), persistent),
        };
        Some(Attention { heads: self.heads, kv_heads: self.heads, rope: Some(ROPE), window, prefix })
    }
}

impl Branch {
    pub(super) fn new(c: &TitansConfig, width: usize, init: &mut Init<'_>) -> Self {
        let inner = c.heads * c.head_width;
        let op = c.attention().unwrap_or(Attention { heads: c.heads, kv_heads: c.heads, rope: None, window: None, prefix: 0 });
        let mac = matches!(c.variant, TitansVariant::Mac { .. });
        let mag = matches!(c.variant, TitansVariant::Mag { .. });
        Self {
            persistent: (op.prefix > 0).then(|| init.normal([op.prefix, width], 1.0)),
            inlet: Inlet::new(width, 3 * inner, 0, false, false, init),
            out: (!mag).then(|| init.quiet_weight(inner, width)),
            norm: (!mac).then(|| init.constant([if mag { c.head_width } else { width }], 1.0)),
            ask: mac.then(|| init.weight(width, inner)),
            answer: mac.then(|| init.weight(inner, width)),
            op,
        }
    }

    /// Learned tokens for every sequence.
    fn prefix(&self, batch: usize) -> Option<Tensor<3>> {
        let tokens = self.persistent.as_ref()?.val();
        let [count, width] = tokens.dims();
        Some(tokens.reshape([1, count, width]).expand([batch, count, width]))
    }

    /// What heads see, `[B, T, H W]`.
    pub(super) fn attend(&self, way: Way, x: Tensor<3>, past: Option<&mut Past>) -> Tensor<3> {
        let [batch, time, _] = x.dims();
        if let Some(past) = past {
            return self.follow(x, past);
        }
        let all = match self.prefix(batch) {
            Some(prefix) => Tensor::cat(vec![prefix, x], 1),
            None => x,
        };
        let qkv = self.inlet.enter(way, all);
        way.attention(qkv, self.op).narrow(1, self.op.prefix, time)
    }

    /// The same for tokens that follow others, the learned ones first of all.
    fn follow(&self, x: Tensor<3>, past: &mut Past) -> Tensor<3> {
        let mut seen = past.seen.take();
        if seen.is_none()
            && let Some(prefix) = self.prefix(x.dims()[0])
        {
            seen = Some(composed::attention(self.inlet.enter(Way::Composed, prefix), &self.op, 0, None).1);
        }
        // Without a window all is kept, of a segment that begins with the learned tokens.
        let all = seen.as_ref().map_or(0, |(keys, _)| keys.dims()[2]);
        let position = if self.op.window.is_some() { self.op.prefix + past.position } else { all };
        let (out, seen) = composed::attention(self.inlet.enter(Way::Composed, x), &self.op, position, seen);
        past.seen = Some(seen);
        out
    }

    /// What heads see of tokens before each of which stands what the memory says about it.
    pub(super) fn attend_with(&self, x: Tensor<3>, said: Tensor<3>, past: &mut Past) -> Tensor<3> {
        let [batch, time, width] = x.dims();
        let pairs = Tensor::cat(vec![said, x], 2).reshape([batch, 2 * time, width]);
        let out = self.follow(pairs, past);
        let inner = out.dims()[2];
        out.reshape([batch, time, 2 * inner]).narrow(2, inner, inner)
    }

    pub(super) fn normed(&self, way: Way, x: Tensor<3>, epsilon: f32) -> Tensor<3> {
        match &self.norm {
            Some(gain) => way.norm(x, gain.val(), epsilon),
            None => x,
        }
    }

    pub(super) fn project(&self, way: Way, heads: Tensor<3>) -> Tensor<3> {
        match &self.out {
            Some(out) => way.linear(heads, out.val()),
            None => heads,
        }
    }

    /// What is asked about tokens, `[B, T, H W]`.
    pub(super) fn queries(&self, x: Tensor<3>) -> Tensor<3> {
        match &self.ask {
            Some(ask) => Way::Composed.linear(x, ask.val()),
            None => x,
        }
    }

    /// An answer as rows of the stream.
    pub(super) fn back(&self, said: Tensor<3>) -> Tensor<3> {
        match &self.answer {
            Some(answer) => Way::Composed.linear(said, answer.val()),
            None => said,
        }
    }
}
