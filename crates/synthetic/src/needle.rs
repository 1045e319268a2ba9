//! A needle in a haystack (RULER, arXiv 2404.06654), over an integer vocabulary.
//!
//! Somewhere in a long text stands a needle, `KEY id d1 … d7 STOP`; at its end the text asks, `ASK id`, and the digits have to be said, each when the ones
//! before it have been read. All digits right then means what it means for an answer that is generated: the first wrong digit spoils both. The needle's
//! place is a gap between two sentences, any as likely.
//!
//! * [`Haystack::Noise`] (niah_single_1): the same five sentences again and again, 4, 4, 4, 3 and 4 words long.
//! * [`Haystack::Needles`] (niah_multikey_2): needles with other ids; what does not fill a needle is noise at the start.

use std::ops::Range;

use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::{
    draw::Draw,
    example::{Aim, Example, Scored},
    part::Part,
    recipe::{Axis, Recipe, TestSet, too_few},
};

/// What the needle is hidden in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Haystack {
    /// A few sentences that repeat.
    Noise,
    /// Needles with other ids.
    Needles,
}

/// Settings of a needle in a haystack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NeedleSettings {
    /// What the needle is hidden in.
    pub haystack: Haystack,
    /// Tokens in a sequence of training, any of these as often.
    pub train: Vec<usize>,
    /// Tokens in a sequence of test, one test set each.
    pub test: Vec<usize>,
    /// Tokens that an id is made of, from an alphabet of `id_alphabet`.
    pub id_length: usize,
    /// Different tokens in ids.
    pub id_alphabet: usize,
    /// Digits of a value; the first is not 0.
    pub digits: usize,
}

const KEY: u32 = 0;
const ASK: u32 = 1;
const STOP: u32 = 2;
const DIGITS: Range<u32> = 3..13;

/// The words of the noise, by number.
const SENTENCES: [&[u32]; 5] = [&[0, 1, 2, 3], &[0, 4, 2, 5], &[0, 6, 2, 7], &[8, 9, 10], &[11, 12, 13, 14]];
const WORDS: usize = 15;

impl NeedleSettings {
    fn id_tokens(&self) -> Range<u32> {
        DIGITS.end..DIGITS.end + self.id_alphabet as u32
    }

    const fn needle_length(&self) -> usize {
        self.id_length + self.digits + 2
    }

    /// Tokens from the question on: the last digit is not read.
    const fn question_length(&self) -> usize {
        self.id_length + self.digits
    }

    /// Needles in a sequence of so many tokens.
    const fn needles(&self, length: usize) -> usize {
        match self.haystack {
            Haystack::Noise => 1,
            Haystack::Needles => (length - self.question_length()) / self.needle_length(),
        }
    }

    fn ids(&self) -> u128 {
        (self.id_alphabet as u128).saturating_pow(self.id_length as u32)
    }

    fn length_fault(&self, length: usize) -> Option<String> {
        let least = self.needle_length() + self.question_length();
        if length < least {
            return Some(format!("a needle and its question need {least} tokens, not {length}"));
        }
        let needles = self.needles(length);
        (needles as u128 > self.ids()).then(|| format!("{needles} needles in {length} tokens, but only {} ids", self.ids()))
    }

    /// Ids of so many needles, all different.
    fn draw_ids(&self, rng: &mut ChaCha8Rng, amount: usize) -> Vec<Vec<u32>> {
        // Of more ids than a number can count the first ones are used.
        let range = 0..u32::try_from(self.ids()).unwrap_or(u32::MAX);
        rng.distinct(&range, amount).into_iter().map(|number| self.spell(number)).collect()
    }

    fn spell(&self, number: u32) -> Vec<u32> {
        let alphabet = self.id_alphabet as u32;
        let digit = |left: &mut u32| {
            let digit = *left % alphabet;
            *left /= alphabet;
            digit + self.id_tokens().start
        };
        let mut left = number;
        (0..self.id_length).map(|_| digit(&mut left)).collect()
    }

    fn draw_value(&self, rng: &mut ChaCha8Rng) -> Vec<u32> {
        let first = rng.token(&(DIGITS.start + 1..DIGITS.end));
        [vec![first], rng.tokens(&DIGITS, self.digits - 1)].concat()
    }

    /// The last `length` tokens of a run of sentences that ends with any of them, and the places after a sentence.
    fn noise(&self, rng: &mut ChaCha8Rng, length: usize) -> (Vec<u32>, Vec<usize>) {
        let first_word = self.id_tokens().end;
        let mut sentence = rng.below(SENTENCES.len());
        let (mut reversed, mut left) = (Vec::with_capacity(length + 5), Vec::new());
        while reversed.len() < length {
            left.push(reversed.len());
            reversed.push(STOP);
            reversed.extend(SENTENCES[sentence].iter().rev().map(|word| first_word + word));
            sentence = (sentence + SENTENCES.len() - 1) % SENTENCES.len();
        }
        reversed.truncate(length);
        reversed.reverse();
        if left.is_empty() {
            left.push(0);
        }
        (reversed, left.into_iter().map(|left| length - left).collect())
    }
}

impl Recipe for NeedleSettings {
    fn fault(&self) -> Option<String> {
        if self.train.is_empty() || self.test.is_empty() {
            return Some("there is nothing to train on, or nothing to test on".to_owned());
        }
        if self.id_length == 0 || self.id_alphabet < 2 || self.digits == 0 {
            return Some(format!(
                "ids of {} tokens out of {}, values of {} digits",
                self.id_length, self.id_alphabet, self.digits
            ));
        }
        let lengths = self.train.iter().chain(&self.test);
        lengths.clone().find_map(|length| self.length_fault(*length)).or_else(|| too_few(10, self.digits))
    }

    fn vocab(&self) -> usize {
        self.id_tokens().end as usize + WORDS
    }

    fn longest(&self) -> usize {
        self.train.iter().chain(&self.test).copied().max().unwrap_or(0)
    }

    fn draw(&self, rng: &mut ChaCha8Rng, _: u64, part: Part) -> Option<Example> {
        let length = match part {
            Part::Train | Part::Validation => self.train[rng.below(self.train.len())],
            Part::Test(set) => self.test[set],
        };
        let needles: Vec<_> = self.draw_ids(rng, self.needles(length)).into_iter().map(|id| (id, self.draw_value(rng))).collect();
        let spelled = |(id, value): &(Vec<u32>, Vec<u32>)| [&[KEY], id.as_slice(), value, &[STOP]].concat();
        let hay = length - self.question_length() - needles.len() * self.needle_length();
        let (mut ids, gaps) = self.noise(rng, hay);
        let place = match self.haystack {
            Haystack::Noise => gaps[rng.below(gaps.len())],
            Haystack::Needles => hay,
        };
        ids.splice(place..place, needles.iter().flat_map(spelled));
        let (id, value) = &needles[rng.below(needles.len())];
        ids.push(ASK);
        ids.extend(id);
        let aims = value.iter().zip(ids.len() as u32 - 1..).map(|(target, position)| Aim { position, target: *target }).collect();
        ids.extend(&value[..value.len() - 1]);
        Some(Example { ids, aims })
    }

    fn tests(&self) -> Vec<TestSet> {
        self.test.iter().map(|length| TestSet { name: format!("{length} tokens"), at: Some(*length as u64) }).collect()
    }

    fn axis(&self) -> Option<Axis> {
        Some(Axis::Tokens)
    }

    fn scored(&self) -> Scored {
        Scored::PerSequence
    }
}

#[cfg(test)]
mod tests;
