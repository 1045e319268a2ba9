//! Formal languages, tested on strings longer than those of training (arXiv 2009.11264; as classification by arXiv 2310.16076).
//!
//! The model reads a string of the language and says something about every prefix, as the published sets do:
//!
//! | language | said at each symbol |
//! |---|---|
//! | parity, (aa)*, (abab)* | whether the prefix belongs to the language (2 classes) |
//! | a^n b^n | which symbols may follow: a or b, only b, or the end (3 classes) |
//! | a^n b^n c^n | a or b, only b, only c, or the end (4 classes) |
//! | shuffle-2 | which of the two brackets may be closed next (4 classes) |
//!
//! A string counts when all of its symbols are right. Classes are tokens of their own after the symbols, so that they need no other vocabulary. Training and
//! bin 0 have 2 to 50 symbols, bin 1 has 52 to 100. Where this differs from the published generators:
//!
//! * Bins bound the length of every language. The released generator of a^n b^n and a^n b^n c^n bounds n.
//! * (aa)*, (abab)*, a^n b^n and a^n b^n c^n have one string a length, so bin 0 repeats training (as it does there); only bin 1 measures more than fit. Bin 1
//!   of these has 13 to 25 strings, so a single wrong one costs 4 to 8 %.
//! * Strings of shuffle-2 come from the grammar S → (S) | \[S\] | S S | nothing, as published, which nests brackets and never crosses them, a part of the
//!   language. A string that outgrows its bin is drawn again, where the published grammar empties the part that does. [`Language::Shuffle2Crossing`] is ours:
//!   one balanced string of each bracket, interleaved, of any length as often.

mod strings;

use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::{
    example::{Aim, Example, Scored},
    part::Part,
    recipe::{Axis, Recipe, Separation, TestSet},
};

/// A language.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Language {
    /// Strings of 0 and 1 with an even number of 1.
    Parity,
    /// (aa)*: strings of a of even length.
    Aa,
    /// (abab)*.
    Abab,
    /// a^n b^n.
    Anbn,
    /// a^n b^n c^n.
    Anbncn,
    /// Two kinds of brackets, each balanced for itself; the strings are nested.
    Shuffle2,
    /// Two kinds of brackets, each balanced for itself; the strings cross.
    Shuffle2Crossing,
}

impl Language {
    /// Symbols that strings consist of: the first tokens of the vocabulary.
    pub const fn symbols(self) -> u32 {
        match self {
            Self::Aa => 1,
            Self::Parity | Self::Abab | Self::Anbn => 2,
            Self::Anbncn => 3,
            Self::Shuffle2 | Self::Shuffle2Crossing => 4,
        }
    }

    /// Classes that are said about prefixes: the tokens after the symbols.
    pub const fn classes(self) -> u32 {
        match self {
            Self::Parity | Self::Aa | Self::Abab => 2,
            Self::Anbn => 3,
            Self::Anbncn | Self::Shuffle2 | Self::Shuffle2Crossing => 4,
        }
    }

    /// Symbols of the string after a shortest one, in languages that have one string for each multiple of it.
    const fn period(self) -> Option<usize> {
        match self {
            Self::Aa | Self::Anbn => Some(2),
            Self::Anbncn => Some(3),
            Self::Abab => Some(4),
            Self::Parity | Self::Shuffle2 | Self::Shuffle2Crossing => None,
        }
    }

    /// What is said at each symbol of a string of the language, a class from 0 on.
    fn classes_of(self, string: &[u32]) -> Vec<u32> {
        match self {
            Self::Parity => {
                let even = |ones: &mut u32, symbol: &u32| {
                    *ones += symbol;
                    Some(u32::from(ones.is_multiple_of(2)))
                };
                string.iter().scan(0, even).collect()
            }
            Self::Aa | Self::Abab => {
                let period = self.period().unwrap_or(1);
                (1..=string.len()).map(|length| u32::from(length.is_multiple_of(period))).collect()
            }
            Self::Anbn | Self::Anbncn => {
                let letters = self.symbols() as usize;
                let n = string.len() / letters;
                // Before the first b any number of a may follow; from then on n is known, and the class is the next letter's.
                (1..=string.len()).map(|length| if length <= n { 0 } else { (length / n) as u32 }).collect()
            }
            Self::Shuffle2 | Self::Shuffle2Crossing => {
                let open = |open: &mut [u32; 2], symbol: &u32| {
                    let kind = (symbol / 2) as usize;
                    open[kind] = if symbol.is_multiple_of(2) { open[kind] + 1 } else { open[kind].saturating_sub(1) };
                    Some(u32::from(open[0] > 0) + 2 * u32::from(open[1] > 0))
                };
                string.iter().scan([0, 0], open).collect()
            }
        }
    }
}

/// Lengths that strings may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bin {
    /// Symbols of the shortest string.
    pub shortest: usize,
    /// Symbols of the longest string.
    pub longest: usize,
}

/// Settings of a formal language.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LanguageSettings {
    /// The language.
    pub language: Language,
    /// Lengths in training and validation.
    pub train: Bin,
    /// Lengths in test, one test set each: bin 0, bin 1, …
    pub bins: Vec<Bin>,
}

impl LanguageSettings {
    /// The published bins.
    pub fn published(language: Language) -> Self {
        let (train, longer) = (Bin { shortest: 2, longest: 50 }, Bin { shortest: 52, longest: 100 });
        Self { language, train, bins: vec![train, longer] }
    }

    fn bin_fault(&self, bin: Bin) -> Option<String> {
        let Bin { shortest, longest } = bin;
        if shortest == 0 || shortest > longest {
            return Some(format!("strings of {shortest} to {longest} symbols"));
        }
        match self.language.period() {
            Some(period) => (longest / period * period < shortest)
                .then(|| format!("no string has {shortest} to {longest} symbols; lengths are multiples of {period}")),
            // Every side of the experiment needs strings.
            None => (longest < 20)
                .then(|| format!("strings of at most {longest} symbols are too few to divide into training and test")),
        }
    }
}

impl Recipe for LanguageSettings {
    fn fault(&self) -> Option<String> {
        if self.bins.is_empty() {
            return Some("there are no bins to test on".to_owned());
        }
        self.bins.iter().chain([&self.train]).find_map(|bin| self.bin_fault(*bin))
    }

    fn vocab(&self) -> usize {
        (self.language.symbols() + self.language.classes()) as usize
    }

    fn longest(&self) -> usize {
        self.bins.iter().chain([&self.train]).map(|bin| bin.longest).max().unwrap_or(0)
    }

    fn draw(&self, rng: &mut ChaCha8Rng, _: u64, part: Part) -> Option<Example> {
        let bin = match part {
            Part::Train | Part::Validation => self.train,
            Part::Test(bin) => self.bins[bin],
        };
        let ids = strings::draw(rng, self.language, bin)?;
        let classes = self.language.classes_of(&ids).into_iter().map(|class| self.language.symbols() + class);
        let aims = classes.zip(0..).map(|(target, position)| Aim { position, target }).collect();
        Some(Example { ids, aims })
    }

    fn tests(&self) -> Vec<TestSet> {
        let name = |(at, bin): (usize, &Bin)| format!("bin {at}, {} to {} symbols", bin.shortest, bin.longest);
        self.bins.iter().enumerate().map(|bin| TestSet { name: name(bin), at: None }).collect()
    }

    fn axis(&self) -> Option<Axis> {
        Some(Axis::Tokens)
    }

    fn scored(&self) -> Scored {
        Scored::PerSequence
    }

    fn separation(&self) -> Separation {
        if self.language.period().is_some() { Separation::ByLength } else { Separation::BySequence }
    }
}

#[cfg(test)]
mod tests;
