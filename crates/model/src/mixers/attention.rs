//! Softmax attention.

use burn::{
    module::{Module, Param},
    tensor::Tensor,
};

use super::{Mixer, Past, project::Inlet};
use crate::{
    config::AttentionConfig,
    kernels::attention::Attention,
    model::Init,
    ops::{Way, composed},
};

/// Causal softmax attention with grouped queries.
#[derive(Module, Debug)]
pub struct SoftmaxAttention {
    /// The way in.
    pub inlet: Inlet,
    /// `[W]`: gain of the queries' norm.
    pub q_norm: Option<Param<Tensor<1>>>,
    /// `[W]`: gain of the keys' norm.
    pub k_norm: Option<Param<Tensor<1>>>,
    /// `[H W, C]`
    pub out: Param<Tensor<2>>,
    /// `[C]`
    pub out_bias: Option<Param<Tensor<1>>>,
    #[module(skip)]
    op: Attention,
    #[module(skip)]
    epsilon: f32,
}

impl AttentionConfig {
    /// The operation.
    pub(crate) fn attention(&self) -> Attention {
        Attention { heads: self.heads, kv_heads: self.kv_heads, rope: self.rope, window: self.window, prefix: 0 }
    }
}

impl SoftmaxAttention {
    pub(super) fn new(c: &AttentionConfig, width: usize, epsilon: f32, init: &mut Init<'_>) -> Self {
        let channels = (c.heads + 2 * c.kv_heads) * c.head_width;
        Self {
            inlet: Inlet::new(width, channels, c.conv_taps, c.qkv_bias, false, init),
            q_norm: c.qk_norm.then(|| init.constant([c.head_width], 1.0)),
            k_norm: c.qk_norm.then(|| init.constant([c.head_width], 1.0)),
            out: init.quiet_weight(c.heads * c.head_width, width),
            out_bias: c.out_bias.then(|| init.constant([width], 0.0)),
            op: c.attention(),
            epsilon,
        }
    }

    fn normed(&self, way: Way, qkv: Tensor<3>) -> Tensor<3> {
        let (Some(q_norm), Some(k_norm)) = (&self.q_norm, &self.k_norm) else { return qkv };
        let width = q_norm.dims()[0];
        let (q, k) = (self.op.heads * width, self.op.kv_heads * width);
        let queries = way.norm(qkv.clone().narrow(2, 0, q), q_norm.val(), self.epsilon);
        let keys = way.norm(qkv.clone().narrow(2, q, k), k_norm.val(), self.epsilon);
        Tensor::cat(vec![queries, keys, qkv.narrow(2, q + k, k)], 2)
    }

    fn leave(&self, way: Way, read: Tensor<3>) -> Tensor<3> {
        let out = way.linear(read, self.out.val());
        match &self.out_bias {
            Some(bias) => out + bias.val().reshape([1, 1, -1]),
            None => out,
        }
    }
}

impl Mixer for SoftmaxAttention {
    fn mix(&self, way: Way, x: Tensor<3>) -> Tensor<3> {
        let qkv = self.normed(way, self.inlet.enter(way, x));
        self.leave(way, way.attention(qkv, self.op))
    }

    fn go_on(&self, x: Tensor<3>, past: &mut Past) -> Tensor<3> {
        let qkv = self.normed(Way::Composed, self.inlet.go_on(x, past));
        let time = qkv.dims()[1];
        let (read, seen) = composed::attention(qkv, &self.op, past.position, past.seen.take());
        past.position += time;
        past.seen = Some(seen);
        self.leave(Way::Composed, read)
    }
}
