//! Memorization: a map from keys to values that no sequence shows, so that it has to be in the weights.
//!
//! A sequence is a run of keys, each followed by the token V - 1, at which the key's value has to be predicted. Keys are the lower half of the other tokens,
//! values the upper one; each key has a value of its own. The map belongs to the seed: training, validation and test of one seed share it, and their
//! sequences differ.

use std::ops::Range;

use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::{
    draw::{Draw, rng_for},
    example::{Aim, Example},
    part::{Part, SHARED_STREAM},
    recipe::{Recipe, too_few},
};

/// Settings of memorization.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemorizationSettings {
    /// Tokens in the vocabulary.
    pub vocab: usize,
    /// Tokens in a sequence.
    pub length: usize,
}

impl MemorizationSettings {
    fn insert(&self) -> u32 {
        self.vocab as u32 - 1
    }

    fn keys(&self) -> Range<u32> {
        0..self.insert() / 2
    }

    fn values(&self) -> Range<u32> {
        self.insert() / 2..self.insert()
    }

    /// The value of each key.
    fn map(&self, seed: u64) -> Vec<u32> {
        rng_for(seed, SHARED_STREAM).distinct(&self.values(), self.keys().len())
    }
}

impl Recipe for MemorizationSettings {
    fn fault(&self) -> Option<String> {
        let Self { vocab, length } = self;
        if *vocab < 3 || *length < 2 || !length.is_multiple_of(2) {
            return Some(format!("a vocabulary of {vocab} and sequences of {length} tokens, which have to be pairs"));
        }
        too_few(self.keys().len(), length / 2)
    }

    fn vocab(&self) -> usize {
        self.vocab
    }

    fn longest(&self) -> usize {
        self.length
    }

    fn draw(&self, rng: &mut ChaCha8Rng, seed: u64, _: Part) -> Option<Example> {
        let map = self.map(seed);
        let keys = rng.tokens(&self.keys(), self.length / 2);
        let aims =
            keys.iter().zip((1..).step_by(2)).map(|(key, position)| Aim { position, target: map[*key as usize] }).collect();
        Some(Example { ids: keys.iter().flat_map(|key| [*key, self.insert()]).collect(), aims })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use super::*;

    const SETTINGS: MemorizationSettings = MemorizationSettings { vocab: 256, length: 32 };

    fn drawn(seed: u64, part: Part, amount: u64) -> impl Iterator<Item = Example> {
        assert_eq!(SETTINGS.fault(), None);
        (0..amount).map(move |at| SETTINGS.draw(&mut rng_for(seed, part.stream(at)), seed, part).expect("always drawn"))
    }

    fn pairs(examples: impl Iterator<Item = Example>) -> impl Iterator<Item = (u32, u32)> {
        examples.flat_map(|Example { ids, aims }| aims.into_iter().map(move |aim| (ids[aim.position as usize - 1], aim.target)))
    }

    #[test]
    fn an_oracle_that_learned_the_map_from_training_predicts_every_target_of_test() {
        let learned: HashMap<u32, u32> = pairs(drawn(5, Part::Train, 256)).collect();
        assert_eq!(learned.len(), 127, "the published amount of training shows every key");
        assert!(pairs(drawn(5, Part::Test(0), 200)).all(|(key, value)| learned.get(&key) == Some(&value)));
    }

    #[test]
    fn the_map_belongs_to_the_seed_and_gives_each_key_a_value_of_its_own() {
        let map = |seed| pairs(drawn(seed, Part::Train, 400)).collect::<HashMap<_, _>>();
        let (one, other) = (map(5), map(6));
        assert_eq!(one.values().collect::<HashSet<_>>().len(), 127);
        assert!(one.keys().all(|key| *key < 127) && one.values().all(|value| (127..255).contains(value)));
        assert!(one.iter().filter(|(key, value)| other.get(key) == Some(value)).count() < 10);
    }

    #[test]
    fn values_are_asked_for_after_each_key_and_never_shown() {
        for Example { ids, aims } in drawn(5, Part::Train, 100) {
            assert_eq!((ids.len(), aims.len()), (32, 16));
            assert!(aims.iter().map(|aim| aim.position).eq((1..32).step_by(2)));
            assert!(ids.iter().enumerate().all(|(at, id)| if at % 2 == 0 { *id < 127 } else { *id == 255 }));
        }
    }

    #[test]
    fn settings_that_cannot_be_met_are_refused() {
        assert!(MemorizationSettings { length: 31, ..SETTINGS }.fault().is_some());
        assert!(MemorizationSettings { vocab: 4, ..SETTINGS }.fault().is_some());
    }
}
