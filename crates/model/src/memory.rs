//! Memories that are themselves learners: Titans' neural memory and Hope's self-modifying one, and the linear memories in the same terms.
//!
//! Each is a [`Program`] over an [`Algebra`], one head at a time, with a state that may be carried from one part of a stream to the next, cut anywhere;
//! beside it stands its recurrence over slices, one token at a time, for decoding.

pub mod delta;
pub mod fast;
pub mod hope;
mod per_head;
pub mod recurrent;
pub mod titans;

#[cfg(test)]
mod tests;

use burn::tensor::Tensor;

pub use self::per_head::PerHead;
use crate::algebra::{Algebra, batched::Batched};

/// How an input is dealt out to heads. Parts lie one after the other; within a part of tokens, heads do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// `[B, T, H Σ widths]`: each part is a matrix `[T, width]` a head.
    Tokens(Vec<usize>),
    /// `[H, Σ rows × cols]`: each part is a matrix a head, the same for every sequence.
    Heads(Vec<[usize; 2]>),
}

/// What a head reads: for every input its parts.
pub type Parts<M> = [Vec<M>];

/// A memory's equations for one head.
pub trait Program: std::fmt::Debug + Send + Sync {
    /// What is carried from one part of a stream to the next.
    type State<M: Clone>: Clone;

    /// What it reads.
    fn inputs(&self) -> Vec<Input>;

    /// Channels of its output, a head.
    fn output(&self) -> usize;

    /// The state before the first token.
    fn begin<A: Algebra>(&self, a: &A, x: &Parts<A::M>) -> Self::State<A::M>;

    /// Reads tokens and moves the state behind them; the output is `[T, output]`.
    fn run<A: Algebra>(&self, a: &A, x: &Parts<A::M>, state: &mut Self::State<A::M>) -> A::M;
}

/// Splits `length` tokens, the first of which is number `filled` of its chunk, at the ends of chunks: `(from, to, whether a chunk ends at to)`.
pub(crate) fn segments(filled: usize, length: usize, chunk: usize) -> Vec<(usize, usize, bool)> {
    let mut parts = Vec::new();
    let (mut from, mut filled) = (0, filled);
    while from < length {
        let to = (from + chunk - filled).min(length);
        filled += to - from;
        parts.push((from, to, filled == chunk));
        filled %= chunk;
        from = to;
    }
    parts
}

/// A program on tensors of any device: inputs as in [`Program::inputs`], all heads at once; the output is `[B, T, H output]`. Carries `state`, or begins.
pub fn run_batched<P: Program>(
    program: &P,
    heads: usize,
    tokens: &[Tensor<3>],
    params: &[Tensor<2>],
    state: &mut Option<P::State<Tensor<3>>>,
) -> Tensor<3> {
    let [batch, time, _] = tokens[0].dims();
    let (mut tokens, mut params) = (tokens.iter(), params.iter());
    let deal = |input: Input| match input {
        Input::Tokens(widths) => tokens.next().map(|x| deal_tokens(x, heads, &widths)).unwrap_or_default(),
        Input::Heads(extents) => params.next().map(|x| deal_params(x, batch, &extents)).unwrap_or_default(),
    };
    let parts: Vec<Vec<Tensor<3>>> = program.inputs().into_iter().map(deal).collect();
    let algebra = Batched::like(&parts[0][0]);
    let mut carried = state.take().unwrap_or_else(|| program.begin(&algebra, &parts));
    let out = program.run(&algebra, &parts, &mut carried);
    *state = Some(carried);
    let width = program.output();
    out.reshape([batch, heads, time, width]).swap_dims(1, 2).reshape([batch, time, heads * width])
}

/// `[B, T, H Σ w]` as one `[B H, T, w]` a part.
fn deal_tokens(x: &Tensor<3>, heads: usize, widths: &[usize]) -> Vec<Tensor<3>> {
    let [batch, time, _] = x.dims();
    let mut at = 0;
    let part = |width: &usize| {
        let part = x.clone().narrow(2, at, heads * width);
        at += heads * width;
        part.reshape([batch, time, heads, *width]).swap_dims(1, 2).reshape([batch * heads, time, *width])
    };
    widths.iter().map(part).collect()
}

/// `[H, Σ r c]` as one `[B H, r, c]` a part.
fn deal_params(x: &Tensor<2>, batch: usize, extents: &[[usize; 2]]) -> Vec<Tensor<3>> {
    let [heads, _] = x.dims();
    let mut at = 0;
    let part = |[rows, cols]: &[usize; 2]| {
        let part = x.clone().narrow(1, at, rows * cols);
        at += rows * cols;
        let part = part.reshape([1, heads, *rows, *cols]).expand([batch, heads, *rows, *cols]);
        part.reshape([batch * heads, *rows, *cols])
    };
    extents.iter().map(part).collect()
}
