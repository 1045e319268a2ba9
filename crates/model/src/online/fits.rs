//! Whether a saved stream is one of this model: a file may be damaged, or somebody else's.
//!
//! A stream moves by whole chunks, and everything that it counts follows from how many tokens it has read. So do the extents of its tensors, which are
//! otherwise those of a stream that has read one token.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    Online,
    saved::{Counts, WHAT, keep},
};
use crate::{
    config::{BankShape, MixerConfig, TitansVariant, wrong},
    error::ModelError,
    model::Stream,
    tensors::{self, Tensors},
};

/// The axis of attention's keys and values along which tokens lie.
const TOKENS: usize = 2;
/// More tokens than any stream has: a number beyond is damage.
const MOST: usize = 1 << 40;

impl Online {
    /// Checks everything but the levels; gives the tokens that the stream has read.
    pub(super) fn check_stream(&self, counts: &Counts, all: &Tensors) -> Result<usize, ModelError> {
        if counts.tokens.len() > self.chunk || counts.tokens.iter().any(|token| *token as usize >= self.config.vocab) {
            return wrong(format!("{WHAT} waits for tokens that this model cannot read"));
        }
        let found: Tensors =
            all.iter().filter(|(name, _)| name.starts_with("stream.")).map(|(name, v)| (name.clone(), v.clone())).collect();
        let Some(position) = counts.blocks.first().map(|block| block.position) else {
            return tensors::check_layout(WHAT, &found, &BTreeMap::new()).map(|()| 0);
        };
        if counts.blocks.len() != self.config.blocks.len() {
            return wrong(format!("{WHAT} has {} blocks, the model {}", counts.blocks.len(), self.config.blocks.len()));
        }
        if position == 0 || position > MOST || !position.is_multiple_of(self.chunk) {
            return wrong(format!("{WHAT} has read {position} tokens, which are no whole chunks of {}", self.chunk));
        }
        for (n, (block, counts)) in self.config.blocks.iter().zip(&counts.blocks).enumerate() {
            let banks = block.cms.stored().iter().map(|bank| match bank.shape {
                BankShape::Memory { .. } => bank.tokens().map(|period| position % period as usize),
                BankShape::Perceptron { .. } => None,
            });
            let follows = (counts.position, counts.filled) == (position, position % chunk(&block.mixer));
            if !follows || !counts.banks.iter().copied().eq(banks) {
                return wrong(format!("{WHAT} contradicts itself: block {n} is not where {position} tokens lead"));
            }
        }
        tensors::check_layout(WHAT, &found, &self.layout(position))?;
        Ok(position)
    }

    /// Extents of the tensors of a stream that has read so much.
    fn layout(&self, position: usize) -> BTreeMap<String, Vec<usize>> {
        let mut stream = Stream::default();
        self.model.follow(&Arc::new(vec![0]), &mut stream);
        let mut expected: BTreeMap<String, Vec<usize>> =
            keep(&stream).0.into_iter().map(|(name, values)| (name, values.shape)).collect();
        for (n, block) in self.config.blocks.iter().enumerate() {
            for part in ["keys", "values"] {
                let name = format!("stream.{n}.{part}");
                match (seen(&block.mixer, position), expected.get_mut(&name)) {
                    (0, _) => drop(expected.remove(&name)),
                    (tokens, Some(shape)) => shape[TOKENS] = tokens,
                    (_, None) => {}
                }
            }
            for (i, bank) in block.cms.stored().iter().enumerate() {
                if bank.tokens().is_some_and(|period| position.is_multiple_of(period as usize)) {
                    expected.remove(&format!("stream.{n}.bank.{i}.gathered"));
                }
            }
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

/// Keys that a mixer's attention keeps after so many tokens.
fn seen(mixer: &MixerConfig, position: usize) -> usize {
    match mixer {
        MixerConfig::Attention(c) => c.attention().kept(position),
        MixerConfig::Titans(c) => match (c.variant, c.attention()) {
            // A segment begins anew, with the learned tokens; two for every token are what the memory says about it and itself.
            (TitansVariant::Mac { segment, persistent }, _) => match position % segment {
                0 => 0,
                tokens => persistent + 2 * tokens,
            },
            (_, Some(attention)) => attention.kept(attention.prefix + position),
            (_, None) => 0,
        },
        _ => 0,
    }
}
