//! The way in: projections to queries, keys and values, and their short convolution.

use burn::{
    module::{Module, Param},
    tensor::Tensor,
};

use super::Past;
use crate::{model::Init, ops::Way};

/// `[C, P]`, perhaps a bias, perhaps a convolution over the P channels.
#[derive(Module, Debug)]
pub struct Inlet {
    /// `[C, P]`: queries, keys, values.
    pub qkv: Param<Tensor<2>>,
    /// `[P]`
    pub qkv_bias: Option<Param<Tensor<1>>>,
    /// `[J, P]`
    pub conv: Option<Param<Tensor<2>>>,
    #[module(skip)]
    silu: bool,
}

impl Inlet {
    /// SiLU follows the convolution with `silu`.
    pub(super) fn new(width: usize, channels: usize, taps: usize, bias: bool, silu: bool, init: &mut Init<'_>) -> Self {
        Self {
            qkv: init.weight(width, channels),
            qkv_bias: bias.then(|| init.constant([channels], 0.0)),
            conv: (taps > 0).then(|| init.conv(taps, channels)),
            silu,
        }
    }

    pub(super) fn enter(&self, way: Way, x: Tensor<3>) -> Tensor<3> {
        let x = self.biased(way.linear(x, self.qkv.val()));
        match &self.conv {
            Some(conv) => way.conv(x, conv.val(), self.silu, None),
            None => x,
        }
    }

    pub(super) fn go_on(&self, x: Tensor<3>, past: &mut Past) -> Tensor<3> {
        let x = self.biased(Way::Composed.linear(x, self.qkv.val()));
        let Some(conv) = &self.conv else { return x };
        let [batch, time, channels] = x.dims();
        let kept = conv.dims()[0] - 1;
        let tail = past.tail.take().unwrap_or_else(|| Tensor::zeros([batch, kept, channels], (&x.device(), x.dtype())));
        let out = Way::Composed.conv(x.clone(), conv.val(), self.silu, Some(tail.clone()));
        past.tail = (kept > 0).then(|| Tensor::cat(vec![tail, x], 1).narrow(1, time, kept));
        out
    }

    fn biased(&self, x: Tensor<3>) -> Tensor<3> {
        match &self.qkv_bias {
            Some(bias) => x + bias.val().reshape([1, 1, -1]),
            None => x,
        }
    }
}
