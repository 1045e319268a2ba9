//! Decoding with recurrent state: what serves.
//!
//! One code path runs prefill and single steps: a call takes any number of sequences with any number of new tokens each, multiplies all rows with the
//! weights at once and mixes every sequence with its own state. Weights are `f32`, or bf16 where they were published so; the base is shared by every generation.

mod banks;
mod layers;
mod mixers;
mod rows;
mod state;
mod weights;

use std::sync::Arc;

use layers::{Scratch, block_forward};
use rayon::prelude::*;
use rows::normalize;
pub use state::SessionState;
pub use weights::{Banks, Base, CHAT_FILE, Weights};

use crate::kernels::{
    math::{max, simd},
    packed::Spread,
    real::Real,
};

/// One sequence of a call: its state and its new tokens.
#[derive(Debug)]
pub struct Piece<'a> {
    /// The state; moved to the end of the tokens.
    pub state: &'a mut SessionState,
    /// New tokens, at least one, each below the vocabulary's size.
    pub tokens: &'a [u32],
}

/// One sequence of a step: its state and its next token.
#[derive(Debug)]
pub struct StepInput<'a> {
    /// The state.
    pub state: &'a mut SessionState,
    /// The next token.
    pub token: u32,
}

/// What a prefill gives.
#[derive(Debug, Clone, PartialEq)]
pub struct Prefill {
    /// Logits after the last token, `[V]`.
    pub logits: Vec<f32>,
    /// Negative log-likelihood of each token given what came before, in nats; the first one is missing when nothing came before.
    pub nll: Vec<f32>,
}

/// Scratch memory of one decoding thread.
#[derive(Debug)]
pub struct Decoder {
    base: Arc<Base>,
    /// One for every thread that takes a share of a call's sequences.
    scratch: Vec<Scratch>,
    logits: Vec<f32>,
}

impl Decoder {
    /// A decoder for one base.
    pub fn new(base: &Arc<Base>) -> Self {
        let scratch = std::iter::repeat_with(Scratch::default).take(rayon::current_num_threads().max(1)).collect();
        Self { base: Arc::clone(base), scratch, logits: Vec::new() }
    }

    /// Reads tokens into a state.
    ///
    /// # Panics
    /// When `tokens` is empty or holds an id outside the vocabulary.
    pub fn prefill(&mut self, weights: &Weights, state: &mut SessionState, tokens: &[u32]) -> Prefill {
        let mut pieces = [Piece { state, tokens }];
        let nll = self.score_many(weights, &mut pieces).pop().unwrap_or_default();
        let logits = pieces[0].state.last_logits.clone().unwrap_or_default();
        Prefill { logits, nll }
    }

    /// Reads tokens of many sequences at once; gives what each token cost, as in [`Prefill::nll`].
    ///
    /// # Panics
    /// When a piece is empty or holds an id outside the vocabulary.
    pub fn score_many(&mut self, weights: &Weights, pieces: &mut [Piece<'_>]) -> Vec<Vec<f32>> {
        let hidden = self.hidden(weights, pieces);
        let (width, vocab) = (self.base.config().width, self.base.config().vocab);
        let mut rows = hidden.chunks(PROJECTED_ROWS * width).flat_map(|part| Rows::new(self.project(part), vocab));
        let mut scores = Vec::with_capacity(pieces.len());
        for piece in pieces.iter_mut() {
            let mut last = piece.state.last_logits.take();
            let mut nll = Vec::with_capacity(piece.tokens.len());
            for token in piece.tokens {
                nll.extend(last.map(|row| surprise(&row, *token)));
                last = rows.next();
            }
            piece.state.last_logits = last;
            scores.push(nll);
        }
        scores
    }

    /// Reads tokens into a state and gives the logits after every one of them, `[tokens, V]`.
    ///
    /// # Panics
    /// When `tokens` is empty or holds an id outside the vocabulary.
    pub fn prefill_all(&mut self, weights: &Weights, state: &mut SessionState, tokens: &[u32]) -> Vec<f32> {
        let hidden = self.hidden(weights, &mut [Piece { state, tokens }]);
        self.project(&hidden)
    }

    /// Reads tokens of many sequences at once; returns the logits after each one's last token, `[pieces, V]`.
    ///
    /// # Panics
    /// When a piece is empty or holds an id outside the vocabulary.
    pub fn prefill_many(&mut self, weights: &Weights, pieces: &mut [Piece<'_>]) -> &[f32] {
        let hidden = self.hidden(weights, pieces);
        let width = self.base.config().width;
        let mut row = 0;
        let mut last = Vec::with_capacity(pieces.len() * width);
        for piece in pieces.iter() {
            row += piece.tokens.len();
            last.extend_from_slice(&hidden[(row - 1) * width..row * width]);
        }
        self.logits = self.project(&last);
        let vocab = self.base.config().vocab;
        for (piece, logits) in pieces.iter_mut().zip(self.logits.chunks_exact(vocab)) {
            piece.state.last_logits = Some(logits.to_vec());
        }
        &self.logits
    }

    /// Moves every sequence by one token; returns the logits, `[batch, V]`.
    ///
    /// # Panics
    /// When a token lies outside the vocabulary.
    pub fn step(&mut self, weights: &Weights, batch: &mut [StepInput<'_>]) -> &[f32] {
        let tokens: Vec<[u32; 1]> = batch.iter().map(|s| [s.token]).collect();
        let mut pieces: Vec<Piece<'_>> =
            batch.iter_mut().zip(&tokens).map(|(s, token)| Piece { state: s.state, tokens: token }).collect();
        self.prefill_many(weights, &mut pieces)
    }

    /// Hidden states after the last norm, all rows of all pieces. Sequences do not meet before the head, so that every thread takes some of them and
    /// none waits for another; unless the weights do not fit into caches, when all threads read each of them together, once.
    fn hidden(&mut self, weights: &Weights, pieces: &mut [Piece<'_>]) -> Vec<f32> {
        let base = &*self.base;
        let width = base.config().width;
        assert!(pieces.iter().all(|piece| !piece.tokens.is_empty()), "a piece without tokens");
        let total: usize = pieces.iter().map(|p| p.tokens.len()).sum();
        let mut hidden = vec![0.0; total * width];
        let scratch = &mut self.scratch;
        if base.parameters >= PARAMETERS_TO_READ_ONCE {
            // On a thread of the pool, which need not be woken for every product.
            rayon::scope(|_| share(base, weights, &mut scratch[0], Spread::All, pieces, &mut hidden));
            return hidden;
        }
        let threads = if total * width < ELEMENTS_FOR_THREADS { 1 } else { scratch.len().min(pieces.len()) };
        if threads < 2 {
            share(base, weights, &mut scratch[0], Spread::All, pieces, &mut hidden);
            return hidden;
        }
        let mut shares = Vec::with_capacity(threads);
        let (mut left, mut out) = (pieces, hidden.as_mut_slice());
        for n in 0..threads {
            let count = if n + 1 == threads { left.len() } else { take(left, out.len() / width / (threads - n)) };
            let (mine, rest) = std::mem::take(&mut left).split_at_mut(count);
            let rows: usize = mine.iter().map(|p| p.tokens.len()).sum();
            let (rows, others) = std::mem::take(&mut out).split_at_mut(rows * width);
            shares.push((mine, rows));
            (left, out) = (rest, others);
        }
        shares.into_par_iter().zip(scratch).for_each(|((pieces, out), scratch)| {
            share(base, weights, scratch, Spread::Here, pieces, out);
        });
        hidden
    }

    fn project(&self, hidden: &[f32]) -> Vec<f32> {
        let mut logits = Vec::new();
        self.base.head.product(&mut logits, hidden, Spread::All);
        logits
    }
}

/// Rows whose logits are in memory at once: those of a long text and a large vocabulary take gigabytes.
const PROJECTED_ROWS: usize = 128;

/// Logits, a row at a time.
struct Rows {
    logits: Vec<f32>,
    vocab: usize,
    at: usize,
}

impl Rows {
    fn new(logits: Vec<f32>, vocab: usize) -> Self {
        Self { logits, vocab, at: 0 }
    }
}

impl Iterator for Rows {
    type Item = Vec<f32>;

    fn next(&mut self) -> Option<Vec<f32>> {
        let row = self.logits.get(self.at..self.at + self.vocab)?.to_vec();
        self.at += self.vocab;
        Some(row)
    }
}

/// Weights of so many parameters come from memory, not from caches.
const PARAMETERS_TO_READ_ONCE: usize = 1 << 23;

/// Calls with fewer elements than this are not worth a second thread.
const ELEMENTS_FOR_THREADS: usize = 1 << 10;

/// How many of the first pieces hold about `tokens` tokens; at least one.
fn take(pieces: &[Piece<'_>], tokens: usize) -> usize {
    let mut sum = 0;
    let over = pieces.iter().position(|p| {
        sum += p.tokens.len();
        sum >= tokens
    });
    over.map_or(pieces.len(), |n| n + 1)
}

/// Moves some sequences through all blocks; `out` gets the rows after the last norm.
fn share(base: &Base, weights: &Weights, scratch: &mut Scratch, spread: Spread, pieces: &mut [Piece<'_>], out: &mut [f32]) {
    let mut x = Vec::with_capacity(out.len());
    pieces.iter().flat_map(|p| p.tokens).for_each(|token| base.embed.column(*token as usize, &mut x));
    for index in 0..base.config().blocks.len() {
        block_forward(scratch, spread, weights, index, &mut x, pieces);
    }
    for piece in pieces.iter_mut() {
        piece.state.position += piece.tokens.len();
    }
    normalize(&mut scratch.normed, &x, &base.norm, base.config().norm_epsilon);
    out.copy_from_slice(&scratch.normed);
}

/// Negative log-likelihood of a token under logits, in nats.
pub fn surprise(logits: &[f32], token: u32) -> f32 {
    simd(|| {
        let top = max(logits);
        let sum: f32 = logits.iter().map(|l| (l - top).exponential()).sum();
        top + sum.ln() - logits[token as usize]
    })
}
