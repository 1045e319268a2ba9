//! The head of an auto-encoder: every position's state from that of the last one.

use burn::{
    module::{Module, Param},
    tensor::Tensor,
};

use super::Init;
use crate::{kernels::mlp::Activation, ops::Way};

/// `z_i = h + p_i`, then `z + mlp(z)`.
#[derive(Module, Debug)]
pub struct Again {
    /// `[L, C]`: one row for each position that may be asked for.
    pub positions: Param<Tensor<2>>,
    /// `[C, 2C]`
    pub up: Param<Tensor<2>>,
    /// `[2C, C]`
    pub down: Param<Tensor<2>>,
}

impl Again {
    pub(super) fn new(positions: usize, width: usize, init: &mut Init<'_>) -> Self {
        Self {
            positions: init.normal([positions, width], 1.0),
            up: init.weight(width, 2 * width),
            down: init.quiet_weight(2 * width, width),
        }
    }

    /// The states of `[B, T, C]` from the last one's; T is L at most.
    pub(super) fn say(&self, way: Way, x: Tensor<3>) -> Tensor<3> {
        let [batch, time, width] = x.dims();
        let last = x.narrow(1, time - 1, 1).expand([batch, time, width]);
        let z = last + self.positions.val().narrow(0, 0, time).reshape([1, time, width]);
        z.clone() + way.mlp(z, self.up.val(), self.down.val(), Activation::Silu)
    }
}
