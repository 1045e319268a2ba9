//! Multi-query associative recall (Zoology, arXiv 2312.04927, section 4), and the variant in which keys are assigned anew.
//!
//! A sequence of `length` tokens begins with its pairs, `k1 v1 k2 v2 …`, keys from the lower half of the vocabulary (0 excepted) and values from the upper
//! one, all different. Then each key is asked for once, in a slot at an even distance from the pairs; slot `g` is drawn without replacement with
//! p(g) ~ a (g + 1)^(a - 1). The value has to be predicted *at* the key's position, so that the token after it says nothing. All other places hold random
//! tokens of the whole vocabulary.
//!
//! When keys are assigned anew, further pairs follow the first ones, with another value each, and the last value is asked for. There the random tokens
//! leave out the sequence's keys, unlike in the published generator: a key at random would be one more assignment, and which one is last would not be
//! decided. (That generator also takes care that the new value differs from the value of a key that may be another one; here it is the key's own.)

use std::ops::Range;

use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::{
    draw::Draw,
    example::{Aim, Example},
    part::Part,
    recipe::{Axis, Recipe, TestSet, too_few},
};

/// A kind of sequence.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shape {
    /// Tokens in a sequence.
    pub length: usize,
    /// Keys in a sequence.
    pub pairs: usize,
    /// How often it is drawn in training, relative to the others; a test set of its own takes no notice.
    pub weight: f64,
}

/// Settings of multi-query associative recall.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MqarSettings {
    /// Tokens in the vocabulary.
    pub vocab: usize,
    /// What is trained on, mixed by weight.
    pub train: Vec<Shape>,
    /// What is tested on, one test set each.
    pub test: Vec<Shape>,
    /// The `a` of the slots' power law; 1 is uniform.
    pub power: f64,
    /// How often the pairs are shown.
    pub passes: usize,
    /// Share of the keys that are assigned anew; 0 in the task proper.
    pub reassigned: f64,
    /// Whether places without a pair or a query hold random tokens; otherwise they hold 0.
    pub random_fillers: bool,
}

impl MqarSettings {
    /// Sequences of these lengths and numbers of pairs, in training as often as each other, and the same in test.
    pub fn over(vocab: usize, shapes: &[(usize, usize)]) -> Self {
        let shapes: Vec<_> = shapes.iter().map(|(length, pairs)| Shape { length: *length, pairs: *pairs, weight: 1.0 }).collect();
        Self { vocab, train: shapes.clone(), test: shapes, power: 0.01, passes: 1, reassigned: 0.0, random_fillers: true }
    }

    fn keys(&self) -> Range<u32> {
        1..(self.vocab / 2) as u32
    }

    fn values(&self) -> Range<u32> {
        (self.vocab / 2) as u32..self.vocab as u32
    }

    /// Keys that are assigned anew in a sequence of so many pairs.
    fn updates(&self, pairs: usize) -> usize {
        (pairs as f64 * self.reassigned).round() as usize
    }

    /// Tokens of all pairs of a sequence.
    fn context(&self, pairs: usize) -> usize {
        2 * (pairs * self.passes + self.updates(pairs))
    }

    fn shape(&self, rng: &mut ChaCha8Rng, part: Part) -> Shape {
        match part {
            Part::Train | Part::Validation => self.train[rng.weighted(self.train.iter().map(|shape| shape.weight))],
            Part::Test(set) => self.test[set],
        }
    }

    fn shape_fault(&self, shape: Shape) -> Option<String> {
        let Shape { length, pairs, .. } = shape;
        let context = self.context(pairs);
        if pairs == 0 || !length.is_multiple_of(2) {
            return Some(format!("{pairs} pairs in {length} tokens; there has to be a pair, and an even number of tokens"));
        }
        if context + 2 * pairs > length {
            return Some(format!("{pairs} pairs and their queries need {} tokens, not {length}", context + 2 * pairs));
        }
        if self.vocab <= length || self.keys().len() < pairs {
            return Some(format!("a vocabulary of {} is too small for {pairs} pairs in {length} tokens", self.vocab));
        }
        too_few(self.keys().len() * self.values().len(), pairs)
    }
}

impl Recipe for MqarSettings {
    fn fault(&self) -> Option<String> {
        if self.train.is_empty() || self.test.is_empty() {
            return Some("there is nothing to train on, or nothing to test on".to_owned());
        }
        if self.passes == 0 || !(0.0..=1.0).contains(&self.reassigned) || self.power <= 0.0 {
            let Self { passes, reassigned, power, .. } = self;
            return Some(format!("{passes} passes, a share of {reassigned} assigned anew, a power of {power}"));
        }
        if self.train.iter().any(|shape| shape.weight < 0.0) || self.train.iter().map(|shape| shape.weight).sum::<f64>() <= 0.0 {
            return Some("no kind of sequence has a weight in training".to_owned());
        }
        self.train.iter().chain(&self.test).find_map(|shape| self.shape_fault(*shape))
    }

    fn vocab(&self) -> usize {
        self.vocab
    }

    fn longest(&self) -> usize {
        self.train.iter().chain(&self.test).map(|shape| shape.length).max().unwrap_or(0)
    }

    fn draw(&self, rng: &mut ChaCha8Rng, _: u64, part: Part) -> Option<Example> {
        let Shape { length, pairs, .. } = self.shape(rng, part);
        let keys = rng.distinct(&self.keys(), pairs);
        let mut values = rng.distinct(&self.values(), pairs);
        let mut ids = Vec::with_capacity(length);
        for _ in 0..self.passes {
            ids.extend(keys.iter().zip(&values).flat_map(|(key, value)| [*key, *value]));
        }
        for at in rng.distinct(&(0..pairs as u32), self.updates(pairs)) {
            let at = at as usize;
            values[at] = another(rng, &self.values(), values[at]);
            ids.extend([keys[at], values[at]]);
        }
        let context = ids.len();
        ids.resize(length, 0);
        let slots = slots(rng, (length - context) / 2, pairs, self.power);
        let mut aims = Vec::with_capacity(pairs);
        for ((slot, key), value) in slots.into_iter().zip(&keys).zip(values) {
            let position = context + 2 * slot;
            ids[position] = *key;
            aims.push(Aim { position: position as u32, target: value });
        }
        aims.sort_unstable_by_key(|aim| aim.position);
        if self.random_fillers {
            let avoid: &[u32] = if self.reassigned > 0.0 { &keys } else { &[] };
            ids.iter_mut().filter(|id| **id == 0).for_each(|id| *id = filler(rng, self.vocab, avoid));
        }
        Some(Example { ids, aims })
    }

    fn tests(&self) -> Vec<TestSet> {
        let name = |shape: &Shape| format!("{} pairs in {} tokens", shape.pairs, shape.length);
        self.test.iter().map(|shape| TestSet { name: name(shape), at: Some(shape.pairs as u64) }).collect()
    }

    fn axis(&self) -> Option<Axis> {
        Some(Axis::Pairs)
    }
}

/// A token of the range, but not this one.
fn another(rng: &mut ChaCha8Rng, range: &Range<u32>, not: u32) -> u32 {
    let drawn = rng.token(&(range.start..range.end - 1));
    if drawn >= not { drawn + 1 } else { drawn }
}

fn filler(rng: &mut ChaCha8Rng, vocab: usize, avoid: &[u32]) -> u32 {
    loop {
        let id = rng.token(&(0..vocab as u32));
        if !avoid.contains(&id) {
            return id;
        }
    }
}

/// Different slots in the order in which they are drawn, each from those left with p(g) ~ (g + 1)^(power - 1).
///
/// Drawing by weight without replacement is sorting by `u^(1 / weight)` for uniform `u` (Efraimidis and Spirakis 2006), here by its logarithm.
fn slots(rng: &mut ChaCha8Rng, space: usize, amount: usize, power: f64) -> Vec<usize> {
    let rank = |slot: usize, uniform: f64| (1.0 - uniform).ln() * ((slot + 1) as f64).powf(1.0 - power);
    let mut ranked: Vec<_> = (0..space).map(|slot| (rank(slot, rng.unit()), slot)).collect();
    ranked.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
    ranked.into_iter().take(amount).map(|(_, slot)| slot).collect()
}

#[cfg(test)]
mod tests;
