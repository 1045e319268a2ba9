//! Whether a saved stream is one of this model: a file may be damaged, or somebody else's.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    Online,
    saved::{Counts, WHAT, keep},
};
use crate::{
    config::{BankConfig, BankShape, BlockConfig, MixerConfig, wrong},
    error::ModelError,
    model::Stream,
    tensors::{self, Tensors},
};

/// The axis of attention's keys and values along which tokens lie.
const TOKENS: usize = 2;

impl Online {
    /// Checks everything but the levels.
    pub(super) fn check_stream(&self, counts: &Counts, all: &Tensors) -> Result<(), ModelError> {
        if counts.tokens.len() > self.chunk || counts.tokens.iter().any(|token| *token as usize >= self.config.vocab) {
            return wrong(format!("{WHAT} waits for tokens that this model cannot read"));
        }
        let found: Tensors =
            all.iter().filter(|(name, _)| name.starts_with("stream.")).map(|(name, v)| (name.clone(), v.clone())).collect();
        if counts.blocks.is_empty() && found.is_empty() {
            return Ok(());
        }
        if counts.blocks.len() != self.config.blocks.len() {
            return wrong(format!("{WHAT} has {} blocks, the model {}", counts.blocks.len(), self.config.blocks.len()));
        }
        for (block, counts) in self.config.blocks.iter().zip(&counts.blocks) {
            if counts.filled >= chunk(&block.mixer) || !banks_fit(block, &counts.banks) {
                return wrong(format!("{WHAT} is farther in a chunk than the chunk is long"));
            }
        }
        tensors::check_layout(WHAT, &found, &self.layout(&found))
    }

    /// Extents of a stream's tensors: those of one that has read a token. How many tokens attention has seen, and whether it and the banks' next period have
    /// begun, is another matter in every stream.
    fn layout(&self, found: &Tensors) -> BTreeMap<String, Vec<usize>> {
        let mut stream = Stream::default();
        self.model.follow(&Arc::new(vec![0]), &mut stream);
        let mut expected = BTreeMap::new();
        for (name, values) in keep(&stream).0 {
            let mut shape = values.shape;
            let seen = ["keys", "values"].contains(&name.rsplit('.').next().unwrap_or_default());
            let saved = found.get(&name);
            if saved.is_none() && (seen || name.ends_with(".gathered")) {
                continue;
            }
            if seen && let Some(tokens) = saved.and_then(|saved| saved.shape.get(TOKENS)) {
                shape[TOKENS] = *tokens;
            }
            expected.insert(name, shape);
        }
        expected
    }
}

/// Tokens of a mixer's chunk; one where it has none.
fn chunk(mixer: &MixerConfig) -> usize {
    match mixer {
        MixerConfig::Titans(c) => c.program().chunk,
        MixerConfig::Hope(c) => c.chunk,
        _ => 1,
    }
}

fn banks_fit(block: &BlockConfig, filled: &[Option<usize>]) -> bool {
    let stored = block.cms.stored();
    let fits = |(bank, filled): (&BankConfig, &Option<usize>)| match (&bank.shape, filled) {
        (BankShape::Memory { .. }, Some(filled)) => bank.tokens().is_some_and(|period| *filled < period as usize),
        (BankShape::Memory { .. }, None) => false,
        (BankShape::Perceptron { .. }, filled) => filled.is_none(),
    };
    filled.len() == stored.len() && stored.iter().zip(filled).all(fits)
}
