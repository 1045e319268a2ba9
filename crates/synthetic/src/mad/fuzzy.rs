//! Fuzzy in-context recall: keys and values are runs of one to three tokens.
//!
//! Keys are runs without repetition over the lower half of the vocabulary (its last token, the pad, excepted), values over the upper one; since the two
//! share no token, where one ends is to be seen. Training and validation draw keys of any length, test only the longest. What is asked for is each token of the value of
//! a key that occurs again, and the last pair repeats the sequence's probe, a pair that is put in at a random place. The sequence is padded on its left.
//!
//! The published generator may never come to the place of the probe, which then cannot be known; here the place is always reached.

use std::{collections::HashMap, ops::Range};

use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::{
    draw::Draw,
    example::{Aim, Example},
    part::Part,
    recipe::{Recipe, too_few},
};

/// Settings of fuzzy in-context recall.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FuzzySettings {
    /// Tokens in the vocabulary.
    pub vocab: usize,
    /// Tokens in a sequence.
    pub length: usize,
    /// Tokens of the longest key.
    pub key_motif: usize,
    /// Tokens of the longest value.
    pub value_motif: usize,
    /// Whether training asks for every next token instead of those that are scored.
    pub every_token: bool,
}

impl FuzzySettings {
    fn pad(&self) -> u32 {
        self.vocab as u32 - 1
    }

    fn keys(&self) -> Range<u32> {
        0..self.pad() / 2
    }

    fn values(&self) -> Range<u32> {
        self.pad() / 2..self.pad()
    }

    /// Tokens of the longest pair.
    const fn pair(&self) -> usize {
        self.key_motif + self.value_motif
    }

    fn key(&self, rng: &mut ChaCha8Rng, part: Part) -> Vec<u32> {
        let tested = matches!(part, Part::Test(_));
        let length = if tested { self.key_motif } else { rng.between(1, self.key_motif) };
        rng.distinct(&self.keys(), length)
    }

    fn value(&self, rng: &mut ChaCha8Rng) -> Vec<u32> {
        let length = rng.between(1, self.value_motif);
        rng.distinct(&self.values(), length)
    }
}

/// A sequence as it grows.
#[derive(Default)]
struct Growing {
    ids: Vec<u32>,
    aims: Vec<Aim>,
    shown: HashMap<Vec<u32>, Vec<u32>>,
}

impl Growing {
    /// Appends a key with its value: the one it was shown with before, else this one.
    fn push(&mut self, key: Vec<u32>, value: impl FnOnce() -> Vec<u32>) {
        self.ids.extend(&key);
        let known = self.shown.contains_key(&key);
        let value = self.shown.entry(key).or_insert_with(value);
        if known {
            let from = self.ids.len() as u32 - 1;
            self.aims.extend(value.iter().zip(from..).map(|(target, position)| Aim { position, target: *target }));
        }
        self.ids.extend(value.iter());
    }
}

impl Recipe for FuzzySettings {
    fn fault(&self) -> Option<String> {
        let Self { vocab, length, key_motif, value_motif, .. } = self;
        if *key_motif == 0
            || *value_motif == 0
            || *vocab < 2
            || self.keys().len() < *key_motif
            || self.values().len() < *value_motif
        {
            return Some(format!("keys of {key_motif} and values of {value_motif} different tokens out of {vocab}"));
        }
        if *length < 4 * self.pair() {
            return Some(format!("sequences of {length} tokens; {} are needed", 4 * self.pair()));
        }
        too_few(self.values().len(), length / self.pair())
    }

    fn vocab(&self) -> usize {
        self.vocab
    }

    fn longest(&self) -> usize {
        self.length
    }

    fn draw(&self, rng: &mut ChaCha8Rng, _: u64, part: Part) -> Option<Example> {
        let (key, value) = (self.key(rng, part), self.value(rng));
        let room = self.length - key.len() - value.len() - self.pair();
        // A pair moves on by at most so many tokens: one always begins between here and the end of the room.
        let place = rng.below(room - self.pair() + 1);
        let mut growing = Growing::default();
        let mut probe = Some((key.clone(), value));
        while growing.ids.len() < room {
            match probe.take_if(|_| growing.ids.len() >= place) {
                Some((key, value)) => growing.push(key, || value),
                None => {
                    let other = self.key(rng, part);
                    match probe.take_if(|(key, _)| *key == other) {
                        Some((key, value)) => growing.push(key, || value),
                        None => growing.push(other, || self.value(rng)),
                    }
                }
            }
        }
        growing.push(key, Vec::new);
        let Growing { ids, mut aims, .. } = growing;
        let padding = self.length + 1 - ids.len();
        let mut ids = [vec![self.pad(); padding], ids].concat();
        if part == Part::Train && self.every_token {
            return Some(Example::next_tokens(ids));
        }
        ids.pop();
        aims.iter_mut().for_each(|aim| aim.position += padding as u32);
        Some(Example { ids, aims })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::draw::rng_for;

    fn settings() -> FuzzySettings {
        FuzzySettings { vocab: 16, length: 128, key_motif: 3, value_motif: 3, every_token: true }
    }

    fn drawn(settings: &FuzzySettings, part: Part) -> impl Iterator<Item = Example> {
        assert_eq!(settings.fault(), None);
        (0..500).map(move |at| settings.draw(&mut rng_for(5, at), 5, part).expect("always drawn"))
    }

    /// A key and its value as they stand in a sequence.
    type Runs = (Vec<u32>, Vec<u32>);

    /// Reads the sequence only: the runs of keys and values.
    fn pairs(ids: &[u32]) -> Vec<Runs> {
        let mut pairs: Vec<Runs> = Vec::new();
        for id in ids.iter().skip_while(|id| **id == 15) {
            let is_key = *id < 7;
            if is_key && pairs.last().is_none_or(|(_, value)| !value.is_empty()) {
                pairs.push(Runs::default());
            }
            let (key, value) = pairs.last_mut().expect("a key comes first");
            if is_key { key.push(*id) } else { value.push(*id) }
        }
        pairs
    }

    /// Reads the sequence up to the position only: the next token of the value that the last key had before.
    fn oracle(ids: &[u32], position: u32) -> Option<u32> {
        let mut read = pairs(&ids[..=position as usize]);
        let (key, begun) = read.pop()?;
        let (_, value) = read.into_iter().find(|(before, _)| *before == key)?;
        value.get(begun.len()).copied()
    }

    #[test]
    fn an_oracle_that_looks_back_predicts_every_target() {
        for example in drawn(&settings(), Part::Test(0)).chain(drawn(&settings(), Part::Validation)) {
            assert!(example.aims.iter().all(|aim| oracle(&example.ids, aim.position) == Some(aim.target)), "{example:?}");
            assert_eq!(example.aims.last().map(|aim| aim.position), Some(127), "the last pair is asked for");
        }
        let some = FuzzySettings { every_token: false, ..settings() };
        for example in drawn(&some, Part::Train) {
            assert!(example.aims.iter().all(|aim| oracle(&example.ids, aim.position) == Some(aim.target)), "{example:?}");
        }
    }

    #[test]
    fn test_keys_have_the_greatest_length_and_training_keys_any() {
        let lengths = |part, of: fn(&Runs) -> usize| -> HashSet<usize> {
            drawn(&settings(), part).flat_map(|example| pairs(&example.ids)).map(|pair| of(&pair)).collect()
        };
        assert_eq!(lengths(Part::Test(0), |(key, _)| key.len()), HashSet::from([3]));
        for trained in [Part::Train, Part::Validation] {
            assert_eq!(lengths(trained, |(key, _)| key.len()), HashSet::from([1, 2, 3]));
        }
        // The last value is cut off by the token that is not read.
        assert!(lengths(Part::Test(0), |(_, value)| value.len()).is_superset(&HashSet::from([1, 2, 3])));
    }

    #[test]
    fn runs_repeat_no_token_and_a_key_keeps_its_value() {
        for example in drawn(&settings(), Part::Test(0)) {
            let mut pairs = pairs(&example.ids);
            pairs.pop();
            let mut values = HashMap::new();
            for (key, value) in pairs {
                assert_eq!(key.iter().chain(&value).collect::<HashSet<_>>().len(), key.len() + value.len());
                assert_eq!(values.entry(key).or_insert_with(|| value.clone()), &value);
            }
        }
    }

    #[test]
    fn sequences_are_padded_on_the_left_to_their_length() {
        for example in drawn(&settings(), Part::Train) {
            assert_eq!((example.ids.len(), example.aims.len()), (128, 128));
            let padding = example.ids.iter().take_while(|id| **id == 15).count();
            assert!(padding <= 7 && !example.ids[padding..].contains(&15), "{padding}");
        }
    }

    #[test]
    fn settings_that_cannot_be_met_are_refused() {
        assert!(FuzzySettings { vocab: 6, ..settings() }.fault().is_some());
        assert!(FuzzySettings { length: 20, ..settings() }.fault().is_some());
        assert!(FuzzySettings { value_motif: 0, ..settings() }.fault().is_some());
    }
}
