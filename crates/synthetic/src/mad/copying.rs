//! Selective copying: say again what was said between blanks.
//!
//! So many tokens at random, between them blanks at random gaps (never after the last one, as in the published generator), then the token that asks for
//! them, then as many blanks. At each of these the next of the tokens has to be predicted. Of V tokens V - 1 asks and V - 2 is the blank.

use std::ops::Range;

use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::{
    draw::Draw,
    example::{Aim, Example},
    part::Part,
    recipe::{Recipe, too_few},
};

/// Settings of selective copying.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CopyingSettings {
    /// Tokens in the vocabulary.
    pub vocab: usize,
    /// Tokens in a sequence.
    pub length: usize,
    /// Tokens to copy.
    pub copies: usize,
}

impl CopyingSettings {
    fn tokens(&self) -> Range<u32> {
        0..self.blank()
    }

    fn blank(&self) -> u32 {
        self.vocab as u32 - 2
    }

    fn ask(&self) -> u32 {
        self.vocab as u32 - 1
    }
}

impl Recipe for CopyingSettings {
    fn fault(&self) -> Option<String> {
        let Self { vocab, length, copies } = self;
        if *vocab < 3 || *copies == 0 || *length <= 2 * copies + 1 {
            return Some(format!("{copies} tokens to copy out of {vocab}, in sequences of {length}"));
        }
        too_few(vocab - 2, *copies)
    }

    fn vocab(&self) -> usize {
        self.vocab
    }

    fn longest(&self) -> usize {
        self.length
    }

    fn draw(&self, rng: &mut ChaCha8Rng, _: u64, _: Part) -> Option<Example> {
        let copied = rng.tokens(&self.tokens(), self.copies);
        let mut blanks = vec![0; self.copies];
        for _ in 0..self.length - 2 * self.copies - 1 {
            blanks[rng.below(self.copies)] += 1;
        }
        let mut ids = Vec::with_capacity(self.length);
        for (token, blanks) in copied.iter().zip(blanks) {
            ids.resize(ids.len() + blanks, self.blank());
            ids.push(*token);
        }
        ids.push(self.ask());
        let aims = copied.into_iter().zip(ids.len() as u32..).map(|(target, position)| Aim { position, target }).collect();
        ids.resize(self.length, self.blank());
        Some(Example { ids, aims })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draw::rng_for;

    const SETTINGS: CopyingSettings = CopyingSettings { vocab: 16, length: 256, copies: 16 };

    fn drawn() -> impl Iterator<Item = Example> {
        assert_eq!(SETTINGS.fault(), None);
        (0..400).map(|at| SETTINGS.draw(&mut rng_for(5, at), 5, Part::Train).expect("always drawn"))
    }

    /// Reads the sequence only: everything before the request that is no blank.
    fn oracle(ids: &[u32]) -> Vec<u32> {
        ids.iter().take_while(|id| **id != 15).filter(|id| **id != 14).copied().collect()
    }

    #[test]
    fn an_oracle_that_reads_what_is_no_blank_predicts_every_target() {
        for example in drawn() {
            assert!(example.aims.iter().map(|aim| aim.target).eq(oracle(&example.ids)));
        }
    }

    #[test]
    fn the_sequence_has_the_published_layout() {
        for Example { ids, aims } in drawn() {
            assert_eq!(ids.len(), 256);
            assert_eq!(ids.iter().position(|id| *id == 15), Some(239));
            assert_ne!(ids[238], 14, "no blank follows the last token");
            assert!(ids[240..].iter().all(|id| *id == 14));
            assert!(aims.iter().map(|aim| aim.position).eq(240..256));
            assert_eq!(ids[..239].iter().filter(|id| **id == 14).count(), 256 - 33);
        }
    }

    #[test]
    fn blanks_lie_in_any_gap() {
        let before_first = drawn().map(|example| example.ids.iter().take_while(|id| **id == 14).count()).sum::<usize>();
        let mean = before_first as f64 / 400.0;
        assert!((mean - 223.0 / 16.0).abs() < 1.0, "{mean}");
    }

    #[test]
    fn settings_that_cannot_be_met_are_refused() {
        assert!(CopyingSettings { length: 33, ..SETTINGS }.fault().is_some());
        assert!(CopyingSettings { vocab: 3, ..SETTINGS }.fault().is_some_and(|why| why.contains("too few")));
    }
}
