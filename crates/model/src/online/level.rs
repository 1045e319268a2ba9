//! One in-session bank of one session.

use std::collections::BTreeMap;

use super::OnlineSettings;
use crate::{
    config::{ModelConfig, Wiring},
    kernels::math::{axpy, dot, scale},
    tensors::Tensors,
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
    /// Periods whose gradients were no numbers.
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

    /// Whether a period may be so far: whole chunks, and not at its end.
    pub(super) fn may_have_counted(&self, tokens: usize, chunk: usize) -> bool {
        tokens < self.period && tokens.is_multiple_of(chunk)
    }

    /// Adds the gradients of so many tokens.
    pub(super) fn count(&mut self, gradients: &Tensors, tokens: usize) {
        for name in self.weights.keys() {
            let Some(gradient) = gradients.get(name) else { continue };
            match self.gathered.get_mut(name) {
                Some(sum) => axpy(&mut sum.data, 1.0, &gradient.data),
                None => {
                    self.gathered.insert(name.clone(), gradient.clone());
                }
            }
        }
        self.counted += tokens;
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
        let norm = self.gathered.values().map(|g| dot(&g.data, &g.data)).sum::<f32>().sqrt();
        if !norm.is_finite() {
            // A step that is no number would be the end of the session; the tokens are lost to this bank instead.
            self.skipped += 1;
            self.gathered.clear();
            self.counted = 0;
            return;
        }
        let factor = settings.clip.filter(|clip| norm > *clip).map_or(1.0, |clip| clip / norm);
        for (name, gradient) in &mut self.gathered {
            scale(&mut gradient.data, factor);
            if let Some(weights) = self.weights.get_mut(name) {
                // A rate of zero leaves every bit as it is, that of negative zeros included.
                if rate != 0.0 {
                    axpy(&mut weights.data, -rate, &gradient.data);
                }
            }
        }
        self.last_move = rate * norm * factor;
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
