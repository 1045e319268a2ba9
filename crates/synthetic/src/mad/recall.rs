//! In-context recall, with and without noise.
//!
//! A sequence is a run of pairs: a key drawn at random, and its value, drawn when the key first occurs and kept for the sequence. What is asked for is the
//! value of each key that occurs again, at the key; the last pair repeats a key that was shown, so that something is always asked. With noise, a pair is
//! replaced by two tokens of the noise vocabulary with the given probability; one pair at least is spared.

use std::{collections::HashMap, ops::Range};

use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::{
    draw::Draw,
    example::{Aim, Example},
    part::Part,
    recipe::{Recipe, too_few},
};

/// Settings of in-context recall.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecallSettings {
    /// Tokens in the vocabulary; keys are the lower half of those that are not noise, values the upper one.
    pub vocab: usize,
    /// Tokens of the vocabulary that are noise, the last ones.
    pub noise_vocab: usize,
    /// Share of the pairs that are noise.
    pub noise: f64,
    /// Tokens in a sequence with its last value, which is not read.
    pub length: usize,
    /// Whether training asks for every next token instead of those that are scored.
    pub every_token: bool,
}

impl RecallSettings {
    fn keys(&self) -> Range<u32> {
        0..((self.vocab - self.noise_vocab) / 2) as u32
    }

    fn values(&self) -> Range<u32> {
        self.keys().end..(self.vocab - self.noise_vocab) as u32
    }

    fn noise_tokens(&self) -> Range<u32> {
        self.values().end..self.vocab as u32
    }
}

impl Recipe for RecallSettings {
    fn fault(&self) -> Option<String> {
        let Self { vocab, noise_vocab, noise, length, .. } = self;
        if *length < 4 || !length.is_multiple_of(2) {
            return Some(format!("sequences of {length} tokens; at least two pairs are needed, and an even number of tokens"));
        }
        if *noise_vocab + 2 > *vocab || !(0.0..1.0).contains(noise) || (*noise > 0.0 && *noise_vocab == 0) {
            return Some(format!("a share of {noise} noise, {noise_vocab} of {vocab} tokens for it"));
        }
        too_few(self.keys().len() * self.values().len(), length / 2)
    }

    fn vocab(&self) -> usize {
        self.vocab
    }

    fn longest(&self) -> usize {
        self.length - 1
    }

    fn draw(&self, rng: &mut ChaCha8Rng, _: u64, part: Part) -> Option<Example> {
        let pairs = self.length / 2;
        let spared = rng.below(pairs - 1);
        let mut shown: HashMap<u32, u32> = HashMap::new();
        let mut order = Vec::new();
        let (mut ids, mut aims) = (Vec::with_capacity(self.length), Vec::new());
        for pair in 0..pairs - 1 {
            if pair != spared && rng.chance(self.noise) {
                ids.extend(rng.tokens(&self.noise_tokens(), 2));
                continue;
            }
            let key = rng.token(&self.keys());
            if let Some(value) = shown.get(&key) {
                aims.push(Aim { position: ids.len() as u32, target: *value });
            } else {
                shown.insert(key, rng.token(&self.values()));
                order.push(key);
            }
            ids.extend([key, shown[&key]]);
        }
        let probe = order[rng.below(order.len())];
        aims.push(Aim { position: ids.len() as u32, target: shown[&probe] });
        ids.extend([probe, shown[&probe]]);
        if part == Part::Train && self.every_token {
            return Some(Example::next_tokens(ids));
        }
        ids.pop();
        Some(Example { ids, aims })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draw::rng_for;

    fn clean() -> RecallSettings {
        RecallSettings { vocab: 16, noise_vocab: 0, noise: 0.0, length: 128, every_token: true }
    }

    fn noisy() -> RecallSettings {
        RecallSettings { vocab: 32, noise_vocab: 16, noise: 0.2, ..clean() }
    }

    fn drawn(settings: &RecallSettings, part: Part) -> impl Iterator<Item = Example> {
        assert_eq!(settings.fault(), None);
        (0..400).map(move |at| settings.draw(&mut rng_for(5, at), 5, part).expect("always drawn"))
    }

    /// Reads the sequence only: what followed the key when it occurred before.
    fn oracle(ids: &[u32], position: u32) -> Option<u32> {
        let at = (0..position as usize).step_by(2).find(|at| ids[*at] == ids[position as usize])?;
        Some(ids[at + 1])
    }

    #[test]
    fn an_oracle_that_looks_back_predicts_every_target() {
        for settings in [clean(), noisy()] {
            for example in drawn(&settings, Part::Test(0)).chain(drawn(&settings, Part::Validation)) {
                assert!(!example.aims.is_empty());
                assert!(example.aims.iter().all(|aim| oracle(&example.ids, aim.position) == Some(aim.target)), "{example:?}");
            }
        }
    }

    #[test]
    fn every_key_that_occurs_again_is_asked_for_and_no_other() {
        for example in drawn(&noisy(), Part::Test(0)) {
            let again = (0..127).step_by(2).filter(|at| example.ids[*at as usize] < 8 && oracle(&example.ids, *at).is_some());
            assert!(again.eq(example.aims.iter().map(|aim| aim.position)));
            assert_eq!(example.aims.last().map(|aim| aim.position), Some(126), "the last pair repeats a key");
        }
    }

    #[test]
    fn keys_values_and_noise_have_vocabularies_of_their_own() {
        let (mut noise, mut pairs) = (0, 0);
        for example in drawn(&noisy(), Part::Test(0)) {
            assert_eq!(example.ids.len(), 127);
            for pair in example.ids[..126].chunks_exact(2) {
                let is_noise = pair.iter().all(|id| (16..32).contains(id));
                assert!(is_noise || ((0..8).contains(&pair[0]) && (8..16).contains(&pair[1])), "{pair:?}");
                noise += usize::from(is_noise);
                pairs += 1;
            }
        }
        let share = f64::from(noise as u32) / f64::from(pairs);
        assert!((0.18..0.215).contains(&share), "a fifth, less the pair that is spared: {share}");
    }

    #[test]
    fn a_sequence_of_noise_alone_cannot_be() {
        let settings = RecallSettings { noise: 0.99, ..noisy() };
        assert!(drawn(&settings, Part::Train).all(|example| example.ids.iter().any(|id| *id < 8)));
    }

    #[test]
    fn training_asks_for_every_next_token_unless_told_otherwise() {
        let aims =
            |every_token| drawn(&RecallSettings { every_token, ..clean() }, Part::Train).map(|e| e.aims.len()).sum::<usize>();
        assert_eq!(aims(true), 400 * 127);
        assert!(aims(false) < 400 * 64);
        for example in drawn(&clean(), Part::Train) {
            assert!(example.aims.iter().zip(&example.ids[1..]).all(|(aim, next)| aim.target == *next));
        }
    }

    #[test]
    fn settings_that_cannot_be_met_are_refused() {
        assert!(RecallSettings { length: 127, ..clean() }.fault().is_some());
        assert!(RecallSettings { noise_vocab: 15, ..clean() }.fault().is_some());
        assert!(RecallSettings { noise: 0.2, ..clean() }.fault().is_some());
        assert!(RecallSettings { length: 4, ..clean() }.fault().is_some_and(|why| why.contains("too few")));
    }
}
