//! A task: a recipe with its settings, from which examples are drawn.

use std::collections::HashSet;

use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::{
    draw::{Draw, rng_for},
    example::{Example, Readout, Scored},
    language::LanguageSettings,
    mad::{CompressionSettings, CopyingSettings, FuzzySettings, MemorizationSettings, RecallSettings},
    mqar::MqarSettings,
    needle::NeedleSettings,
    part::{Part, hash_of, side_of},
    recipe::{Axis, Recipe, Separation, SettingsError, TestSet},
};

/// A recipe with its settings; [`crate::catalog`] has those of the papers and those for two cores.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "recipe")]
pub enum TaskSettings {
    /// Multi-query associative recall, with keys assigned anew or without.
    Mqar(MqarSettings),
    /// In-context recall, with noise or without.
    Recall(RecallSettings),
    /// Fuzzy in-context recall.
    FuzzyRecall(FuzzySettings),
    /// Selective copying.
    Copying(CopyingSettings),
    /// Memorization.
    Memorization(MemorizationSettings),
    /// Compression.
    Compression(CompressionSettings),
    /// A formal language.
    Language(LanguageSettings),
    /// A needle in a haystack.
    Needle(NeedleSettings),
}

impl TaskSettings {
    fn recipe(&self) -> &dyn Recipe {
        match self {
            Self::Mqar(settings) => settings,
            Self::Recall(settings) => settings,
            Self::FuzzyRecall(settings) => settings,
            Self::Copying(settings) => settings,
            Self::Memorization(settings) => settings,
            Self::Compression(settings) => settings,
            Self::Language(settings) => settings,
            Self::Needle(settings) => settings,
        }
    }
}

/// A recipe, and how many examples of it there are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Setup {
    /// The recipe.
    pub settings: TaskSettings,
    /// Different examples that training goes over again and again; fewer where the recipe has fewer. `None` when none is ever repeated on purpose.
    pub train_examples: Option<u64>,
    /// Different examples in each test set; fewer where the recipe has fewer.
    pub test_examples: u64,
}

/// A task whose settings can be met.
#[derive(Debug, Clone, PartialEq)]
pub struct Task {
    name: String,
    setup: Setup,
    tests: Vec<TestSet>,
}

impl Task {
    /// A task of this name.
    ///
    /// # Errors
    /// When the settings cannot be met.
    pub fn new(name: impl Into<String>, setup: Setup) -> Result<Self, SettingsError> {
        let (task, tests) = (name.into(), setup.settings.recipe().tests());
        match setup.settings.recipe().fault() {
            Some(why) => Err(SettingsError { task, why }),
            None => Ok(Self { name: task, setup, tests }),
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its recipe, and how many examples of it there are.
    pub fn setup(&self) -> &Setup {
        &self.setup
    }

    /// Tokens that ids and targets come from: 0 up to, and not including, this.
    pub fn vocab(&self) -> usize {
        self.recipe().vocab()
    }

    /// Tokens of the longest example of any part, at most.
    pub fn longest(&self) -> usize {
        self.recipe().longest()
    }

    /// The test sets, in the order of [`Part::Test`].
    pub fn tests(&self) -> &[TestSet] {
        &self.tests
    }

    /// What the test sets differ in, or the examples of each.
    pub fn axis(&self) -> Option<Axis> {
        self.recipe().axis()
    }

    /// What counts as one answer.
    pub fn scored(&self) -> Scored {
        self.recipe().scored()
    }

    /// Where targets are predicted from.
    pub fn readout(&self) -> Readout {
        self.recipe().readout()
    }

    /// What keeps the examples of training and test apart.
    pub fn separation(&self) -> Separation {
        self.recipe().separation()
    }

    /// Example `index` of a part: a function of the settings, the part, the seed and the index alone.
    ///
    /// # Panics
    /// When the part is a test set that the task does not have.
    pub fn example(&self, part: Part, seed: u64, index: u64) -> Example {
        let mut rng = rng_for(seed, part.stream(index));
        loop {
            if let Some(example) = self.recipe().draw(&mut rng, seed, part)
                && (self.separation() == Separation::ByLength || side_of(&example.ids) == part.side())
            {
                return example;
            }
        }
    }

    /// The first `amount` different examples of a part, in order; fewer where the recipe has fewer.
    pub fn examples(&self, part: Part, seed: u64, amount: u64) -> Vec<Example> {
        self.distinct(part, seed, amount).into_iter().map(|index| self.example(part, seed, index)).collect()
    }

    /// The first `amount` different examples of training.
    pub fn train(&self, seed: u64, amount: u64) -> Vec<Example> {
        self.examples(Part::Train, seed, amount)
    }

    /// The first `amount` different examples of validation: what a learning rate is chosen by.
    pub fn validation(&self, seed: u64, amount: u64) -> Vec<Example> {
        self.examples(Part::Validation, seed, amount)
    }

    /// The examples of a test set, an index into [`Task::tests`].
    pub fn test(&self, set: usize, seed: u64) -> Vec<Example> {
        self.examples(Part::Test(set), seed, self.setup.test_examples)
    }

    /// What training reads: an endless sequence that is a function of the settings and the seed.
    pub fn feed(&self, seed: u64) -> Feed<'_> {
        let indices = self.setup.train_examples.map(|amount| self.distinct(Part::Train, seed, amount));
        Feed { task: self, seed, indices, order: rng_for(seed, FEED_STREAM), next: 0 }
    }

    fn recipe(&self) -> &dyn Recipe {
        self.setup.settings.recipe()
    }

    /// Indices of the first different examples. It gives up when so many draws in a row were nothing new that a recipe with one more example would have
    /// shown it, but for one chance in a trillion.
    fn distinct(&self, part: Part, seed: u64, amount: u64) -> Vec<u64> {
        let (mut found, mut indices, mut index) = (HashSet::new(), Vec::new(), 0);
        let mut last = 0;
        while (indices.len() as u64) < amount && index - last <= 32 * (indices.len() as u64 + 32) {
            if found.insert(hash_of(&self.example(part, seed, index).ids)) {
                indices.push(index);
                last = index;
            }
            index += 1;
        }
        indices
    }
}

/// The stream of the order in which training goes over its examples.
const FEED_STREAM: u64 = crate::part::SHARED_STREAM - 1;

/// An endless sequence of training examples: each of a fixed amount once, in an order of its own in every round, or always new ones.
#[derive(Debug, Clone)]
pub struct Feed<'a> {
    task: &'a Task,
    seed: u64,
    indices: Option<Vec<u64>>,
    order: ChaCha8Rng,
    next: u64,
}

impl Feed<'_> {
    /// Examples in a round; `None` when there are no rounds.
    pub fn round(&self) -> Option<usize> {
        self.indices.as_ref().map(Vec::len)
    }
}

impl Iterator for Feed<'_> {
    type Item = Example;

    fn next(&mut self) -> Option<Example> {
        let index = match &mut self.indices {
            None => self.next,
            Some(indices) => {
                let at = (self.next % indices.len() as u64) as usize;
                if at == 0 {
                    self.order.shuffle(indices);
                }
                indices[at]
            }
        };
        self.next += 1;
        Some(self.task.example(Part::Train, self.seed, index))
    }
}

#[cfg(test)]
mod tests;
