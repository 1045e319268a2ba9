//! One block over the rows of many sequences.

use super::{
    Piece, Weights,
    banks::BlockBanks,
    rows::{add_to, normalize},
};
use crate::kernels::packed::Spread;

/// Buffers that keep their capacity between calls.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    pub normed: Vec<f32>,
    pub qkv: Vec<f32>,
    pub mixed: Vec<f32>,
    pub gates: Vec<f32>,
    pub hidden: Vec<f32>,
    pub out: Vec<f32>,
    pub scores: Vec<f32>,
}

/// Moves the rows `x` of all pieces through block `index`.
pub(super) fn block_forward(
    s: &mut Scratch,
    spread: Spread,
    weights: &Weights,
    index: usize,
    x: &mut [f32],
    pieces: &mut [Piece<'_>],
) {
    let base = &*weights.base;
    let epsilon = base.config().norm_epsilon;
    let w = &base.blocks[index];
    normalize(&mut s.normed, x, &w.mixer_norm, epsilon);
    w.mixer.mix(s, spread, index, pieces);
    add_to(x, &s.out);

    normalize(&mut s.normed, x, &w.cms_norm, epsilon);
    let banks = BlockBanks { base: &w.cms, nightly: &weights.banks.blocks[index], index, epsilon };
    banks.remember(s, spread, x, pieces);
}
