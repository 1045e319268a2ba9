//! What every recipe of the crate says about itself.

use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::{
    example::{Example, Readout, Scored},
    part::Part,
};

/// Settings from which no task can be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the settings of {task} cannot be met: {why}")]
pub struct SettingsError {
    /// The task's name.
    pub task: String,
    /// What is wrong, with the numbers.
    pub why: String,
}

/// What the test sets of a task differ in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Axis {
    /// Key-value pairs in a sequence.
    Pairs,
    /// Tokens in a sequence.
    Tokens,
}

/// Examples that are scored together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TestSet {
    /// Its name, unique within the task.
    pub name: String,
    /// Where it lies on the task's axis; `None` where its examples lie in many places.
    pub at: Option<u64>,
}

/// What keeps the examples of training and test apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Separation {
    /// No sequence is on two sides ([`crate::side_of`]).
    BySequence,
    /// There are too few sequences to divide: test sets of the lengths of training repeat its sequences, those of other lengths do not.
    ByLength,
}

/// One recipe with its settings.
pub(crate) trait Recipe {
    /// Why no example can be drawn, if so.
    fn fault(&self) -> Option<String>;
    /// Tokens from which ids and targets come.
    fn vocab(&self) -> usize;
    /// Tokens of the longest example of any part.
    fn longest(&self) -> usize;
    /// Draws an example for the part, on whatever side it falls; `None` when the draw missed the recipe's bounds and has to be repeated. `seed` is that
    /// of everything that all examples share.
    fn draw(&self, rng: &mut ChaCha8Rng, seed: u64, part: Part) -> Option<Example>;
    /// The test sets, in the order of [`Part::Test`].
    fn tests(&self) -> Vec<TestSet> {
        vec![TestSet { name: "test".to_owned(), at: None }]
    }
    /// What the test sets differ in.
    fn axis(&self) -> Option<Axis> {
        None
    }
    fn scored(&self) -> Scored {
        Scored::PerAim
    }
    fn readout(&self) -> Readout {
        Readout::AtPosition
    }
    fn separation(&self) -> Separation {
        Separation::BySequence
    }
}

/// Bits of choice that a recipe must have, so that every side has sequences enough.
const ROOM_BITS: f64 = 14.0;

/// Why the sequences are too few, if they are: `choices` places with so many choices each.
pub(crate) fn too_few(choices: usize, places: usize) -> Option<String> {
    let bits = (choices.max(1) as f64).log2() * places as f64;
    (bits < ROOM_BITS)
        .then(|| format!("{choices} choices in {places} places are too few sequences to divide into training and test"))
}
