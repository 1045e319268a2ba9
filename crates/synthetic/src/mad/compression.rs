//! Compression: the whole sequence has to be said again from the state at its last token.
//!
//! Random tokens, then the token V - 1. Every token is a target, read out from the last position's hidden state and the position that is asked for
//! ([`Readout::FromLast`]); the published model adds a fixed sine code of the position to that state and puts two dense layers on it. As there, the last
//! token counts too, though it is always the same: with 32 tokens knowing nothing scores 3 % and chance.

use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::{
    draw::Draw,
    example::{Aim, Example, Readout},
    part::Part,
    recipe::{Recipe, too_few},
};

/// Settings of compression.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CompressionSettings {
    /// Tokens in the vocabulary.
    pub vocab: usize,
    /// Tokens in a sequence.
    pub length: usize,
}

impl Recipe for CompressionSettings {
    fn fault(&self) -> Option<String> {
        let Self { vocab, length } = self;
        if *vocab < 3 || *length < 2 {
            return Some(format!("a vocabulary of {vocab} and sequences of {length} tokens"));
        }
        too_few(vocab - 1, length - 1)
    }

    fn vocab(&self) -> usize {
        self.vocab
    }

    fn longest(&self) -> usize {
        self.length
    }

    fn draw(&self, rng: &mut ChaCha8Rng, _: u64, _: Part) -> Option<Example> {
        let compress = self.vocab as u32 - 1;
        let mut ids = rng.tokens(&(0..compress), self.length - 1);
        ids.push(compress);
        let aims = ids.iter().zip(0..).map(|(target, position)| Aim { position, target: *target }).collect();
        Some(Example { ids, aims })
    }

    fn readout(&self) -> Readout {
        Readout::FromLast
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draw::rng_for;

    const SETTINGS: CompressionSettings = CompressionSettings { vocab: 16, length: 32 };

    #[test]
    fn an_oracle_that_says_the_sequence_again_predicts_every_target() {
        assert_eq!((SETTINGS.fault(), SETTINGS.readout()), (None, Readout::FromLast));
        for at in 0..200 {
            let Example { ids, aims } = SETTINGS.draw(&mut rng_for(5, at), 5, Part::Train).expect("always drawn");
            assert_eq!((ids.len(), ids[31]), (32, 15));
            assert!(ids[..31].iter().all(|id| *id < 15));
            assert!(aims.iter().map(|aim| aim.position).eq(0..32));
            assert!(aims.iter().all(|aim| ids[aim.position as usize] == aim.target));
        }
    }

    #[test]
    fn every_token_is_as_likely_at_every_place() {
        let mut counts = [[0_u32; 15]; 2];
        for at in 0..15_000 {
            let ids = SETTINGS.draw(&mut rng_for(6, at), 6, Part::Train).expect("always drawn").ids;
            counts[0][ids[0] as usize] += 1;
            counts[1][ids[30] as usize] += 1;
        }
        assert!(counts.iter().flatten().all(|count| (850..1_150).contains(count)), "{counts:?}");
    }

    #[test]
    fn settings_that_cannot_be_met_are_refused() {
        assert!(CompressionSettings { vocab: 3, length: 10 }.fault().is_some_and(|why| why.contains("too few")));
        assert!(CompressionSettings { vocab: 16, length: 1 }.fault().is_some());
    }
}
