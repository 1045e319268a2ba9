//! One in-session bank of one session.

use std::collections::BTreeMap;

use super::OnlineSettings;
use crate::{
    config::{ModelConfig, Wiring},
    kernels::math::{axpy, scale},
    tensors::{Tensors, Values},
};

/// Weights of a bank, and the gradients of its period so far.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Level {
    block: usize,
    name: String,
    /// The bank in whose place it is read.
    place: String,
    period: usize,
    nested: bool,
    weights: Tensors,
    pub(super) gathered: Tensors,
    pub(super) counted: usize,
    pub(super) fired: u64,
    /// Chunks whose gradients were no numbers.
    pub(super) skipped: u64,
    pub(super) last_move: f32,
}

impl Level {
    /// All levels of a model, block by block, the fastest of a block first.
    pub(super) fn all(config: &ModelConfig, initial: &Tensors) -> Vec<Self> {
        let mut levels = Vec::new();
        for (block, cms) in config.blocks.iter().map(|block| &block.cms).enumerate() {
            let nested = cms.wiring == Wiring::Nested;
            for bank in cms.learning() {
                let place = cms.stored().last().filter(|_| nested).unwrap_or(bank).name.clone();
                let under = format!("blocks.{block}.cms.{place}.");
                let own = initial.iter().filter(|(name, _)| name.starts_with(&under));
                levels.push(Self {
                    block,
                    name: bank.name.clone(),
                    place,
                    period: bank.tokens().unwrap_or(1) as usize,
                    nested,
                    weights: own.map(|(name, values)| (name.clone(), values.clone())).collect(),
                    gathered: BTreeMap::new(),
                    counted: 0,
                    fired: 0,
                    skipped: 0,
                    last_move: 0.0,
                });
            }
        }
        levels
    }

    pub(super) fn bank(&self) -> String {
        format!("blocks.{}.cms.{}", self.block, self.name)
    }

    pub(super) fn weights(&self) -> &Tensors {
        &self.weights
    }

    pub(super) fn set_weights(&mut self, weights: Tensors) {
        self.weights = weights;
    }

    /// Whether a level that has seen so many tokens, in chunks, has counted these of its period, and moved as often as periods have ended.
    pub(super) fn is_after(&self, [tokens, chunk]: [usize; 2], counted: usize, [fired, skipped]: [u64; 2]) -> bool {
        counted == tokens % self.period && fired == (tokens / self.period) as u64 && skipped <= (tokens / chunk) as u64
    }

    /// Adds the gradients of a chunk of so many tokens. Where they are no numbers the chunk is lost to this bank: they would be the end of the session.
    pub(super) fn count(&mut self, gradients: &Tensors, tokens: usize) {
        self.counted += tokens;
        for (name, weights) in &self.weights {
            let zero = || Values { shape: weights.shape.clone(), data: vec![0.0; weights.data.len()] };
            self.gathered.entry(name.clone()).or_insert_with(zero);
        }
        let sums = self.gathered.iter().filter_map(|(name, sum)| Some(sum.data.iter().zip(&gradients.get(name)?.data)));
        if !sums.flatten().all(|(sum, gradient)| (sum + gradient).is_finite()) {
            self.skipped += 1;
            return;
        }
        for (name, sum) in &mut self.gathered {
            if let Some(gradient) = gradients.get(name) {
                axpy(&mut sum.data, 1.0, &gradient.data);
            }
        }
    }

    /// Moves every level whose period is over; gives the tensors that the model reads from now on.
    pub(super) fn move_due(levels: &mut [Self], settings: &OnlineSettings) -> Tensors {
        let mut changed = Tensors::new();
        for n in 0..levels.len() {
            if levels[n].counted < levels[n].period {
                continue;
            }
            levels[n].descend(settings);
            if levels[n].nested {
                Self::begin_again(levels, n);
            }
            let read = levels.iter().position(|l| l.block == levels[n].block && l.place == levels[n].place).unwrap_or(n);
            changed.extend(levels[read].weights.clone());
        }
        changed
    }

    /// The tensors that the model reads: those of the fastest level of each place.
    pub(super) fn read(levels: &[Self]) -> Tensors {
        let mut read = Tensors::new();
        for level in levels.iter().rev() {
            read.extend(level.weights.clone());
        }
        read
    }

    fn descend(&mut self, settings: &OnlineSettings) {
        let rate = settings.rates.get(&self.name).copied().unwrap_or(settings.rate);
        // Squares of single precision overflow long before its numbers do.
        let squares = self.gathered.values().flat_map(|g| &g.data).map(|x| f64::from(*x).powi(2));
        let norm = squares.sum::<f64>().sqrt();
        let factor = settings.clip.map(f64::from).filter(|clip| norm > *clip).map_or(1.0, |clip| clip / norm);
        for (name, gradient) in &mut self.gathered {
            scale(&mut gradient.data, factor as f32);
            if let Some(weights) = self.weights.get_mut(name) {
                // A rate of zero leaves every bit as it is, that of negative zeros included.
                if rate != 0.0 {
                    axpy(&mut weights.data, -rate, &gradient.data);
                }
            }
        }
        self.last_move = (f64::from(rate) * norm * factor) as f32;
        self.fired += 1;
        self.gathered.clear();
        self.counted = 0;
    }

    /// The faster levels of the block begin again where level `n` is.
    fn begin_again(levels: &mut [Self], n: usize) {
        let (block, weights) = (levels[n].block, levels[n].weights.clone());
        for level in levels[..n].iter_mut().filter(|level| level.block == block) {
            level.weights.clone_from(&weights);
            level.gathered.clear();
            level.counted = 0;
        }
    }
}
