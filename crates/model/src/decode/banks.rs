//! The banks of a block over the rows of many sequences.

use std::sync::Arc;

use super::{
    Piece,
    layers::Scratch,
    rows::{add_to, gate, normalize},
    state::FastState,
    weights::Under,
};
use crate::{
    config::{BankConfig, BankShape, CmsConfig, Wiring},
    kernels::{
        delta, fast,
        math::{axpy, simd},
        mlp::Activation,
        packed::{Packed, Spread},
        real::Real,
    },
};

/// A bank's tensors.
#[derive(Debug, Clone)]
pub(super) enum BankWeights {
    Perceptron { gate: Option<Packed>, up: Packed, down: Packed, activation: Activation },
    Memory { width: usize, period: usize, qkv: Packed, gate: Packed, retention: f32, out: Packed },
}

impl BankWeights {
    pub(super) fn of(config: &BankConfig, under: &Under<'_>) -> Self {
        match config.shape {
            BankShape::Perceptron { activation, .. } => {
                let (gate, up, down) = (under.find_matrix("gate"), under.matrix("up"), under.matrix("down"));
                Self::Perceptron { gate, up, down, activation }
            }
            BankShape::Memory { width } => Self::Memory {
                width,
                period: config.tokens().unwrap_or(1) as usize,
                qkv: under.matrix("qkv"),
                gate: under.matrix("gate"),
                retention: under.take("retention").first().map_or(1.0, |logit| logit.sigmoid()),
                out: under.matrix("out"),
            },
        }
    }
}

/// The banks of one block; what nights change is missing here.
#[derive(Debug)]
pub(super) struct CmsWeights {
    wiring: Wiring,
    norms: Vec<Arc<[f32]>>,
    banks: Vec<Option<BankWeights>>,
}

impl CmsWeights {
    pub(super) fn of(config: &CmsConfig, under: &Under<'_>) -> Self {
        let stored = config.stored();
        let norms = (0..stored.len()).map_while(|n| under.find(&format!("norms.{n}"))).collect();
        let fixed = |bank: &BankConfig| bank.period != nocturne_wire::manifest::Period::Night;
        let banks = stored.iter().map(|bank| fixed(bank).then(|| BankWeights::of(bank, &under.under(&bank.name))));
        Self { wiring: config.wiring, norms, banks: banks.collect() }
    }
}

/// One block's banks: those of the base and those of the generation.
pub(super) struct BlockBanks<'a> {
    pub base: &'a CmsWeights,
    pub nightly: &'a [Option<BankWeights>],
    pub index: usize,
    pub epsilon: f32,
}

impl BlockBanks<'_> {
    fn bank(&self, n: usize) -> Option<&BankWeights> {
        self.nightly[n].as_ref().or(self.base.banks[n].as_ref())
    }

    /// Adds what the banks say to the stream `x`; `s.normed` holds its norm.
    pub(super) fn remember(&self, s: &mut Scratch, spread: Spread, x: &mut [f32], pieces: &mut [Piece<'_>]) {
        for n in 0..self.base.banks.len() {
            if let (Wiring::Sequential, Some(before)) = (self.base.wiring, n.checked_sub(1)) {
                normalize(&mut s.normed, x, &self.base.norms[before], self.epsilon);
            }
            if let Some(bank) = self.bank(n) {
                self.say(bank, n, s, spread, pieces);
                add_to(x, &s.out);
            }
        }
    }

    fn say(&self, bank: &BankWeights, n: usize, s: &mut Scratch, spread: Spread, pieces: &mut [Piece<'_>]) {
        match bank {
            BankWeights::Perceptron { gate: gates, up, down, activation } => {
                gates.as_ref().unwrap_or(up).product(&mut s.hidden, &s.normed, spread);
                if gates.is_some() {
                    up.product(&mut s.mixed, &s.normed, spread);
                }
                let (hidden, linear_part) = (&mut s.hidden, &s.mixed);
                match gates {
                    Some(_) if *activation == Activation::Silu => {
                        // The gate's SiLU times the linear part is the linear part times the gate's SiLU.
                        std::mem::swap(&mut s.hidden, &mut s.mixed);
                        gate(&mut s.hidden, &s.mixed);
                    }
                    Some(_) => simd(|| {
                        activation.apply(hidden);
                        hidden.iter_mut().zip(linear_part).for_each(|(h, l)| *h *= l);
                    }),
                    None => simd(|| activation.apply(hidden)),
                }
                down.product(&mut s.out, &s.hidden, spread);
            }
            BankWeights::Memory { width: inner, period, qkv, gate, retention, out } => {
                qkv.product(&mut s.qkv, &s.normed, spread);
                gate.product(&mut s.gates, &s.normed, spread);
                self.write_and_read(s, (*inner, *period, *retention), n, pieces);
                out.product(&mut s.out, &s.mixed, spread);
            }
        }
    }

    /// Reads an in-session memory for every row and writes it at the end of every period.
    fn write_and_read(
        &self,
        s: &mut Scratch,
        (width, period, retention): (usize, usize, f32),
        n: usize,
        pieces: &mut [Piece<'_>],
    ) {
        s.mixed.clear();
        s.mixed.resize(s.qkv.len() / 3, 0.0);
        let mut at = 0;
        for piece in pieces.iter_mut() {
            for _ in piece.tokens {
                if let Some(fast) = &mut piece.state.blocks[self.index].banks[n] {
                    let qkv = &mut s.qkv[at * 3 * width..(at + 1) * 3 * width];
                    fast_step(fast, qkv, s.gates[at], period, retention, &mut s.mixed[at * width..(at + 1) * width]);
                }
                at += 1;
            }
        }
    }
}

fn fast_step(state: &mut FastState, qkv: &mut [f32], gate: f32, period: usize, retention: f32, out: &mut [f32]) {
    let width = out.len();
    delta::normalize(&mut qkv[..width]);
    delta::normalize(&mut qkv[width..2 * width]);
    simd(|| {
        for (q, row) in qkv[..width].iter().zip(state.memory.chunks_exact(width)) {
            axpy(out, *q, row);
        }
    });
    state.keys.extend_from_slice(&qkv[width..2 * width]);
    state.values.extend_from_slice(&qkv[2 * width..]);
    state.strengths.push(gate.sigmoid());
    if state.strengths.len() == period {
        fast::write_chunk(&mut state.memory, &state.keys, &state.values, &state.strengths, retention);
        state.keys.clear();
        state.values.clear();
        state.strengths.clear();
    }
}
