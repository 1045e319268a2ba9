//! What is measured: learners of an architecture, behind one boundary.

use nocturne_synthetic::{Example, Tally, Task};
use serde::{Deserialize, Serialize};

/// How much a run may train; whatever is spent first ends it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Budget {
    /// Of training alone, without making the model and without scoring it.
    pub(super) seconds: f64,
    /// Optimizer steps.
    pub(super) steps: Option<u64>,
}

impl Budget {
    /// The share that is spent; at 1 a run ends. The learning rate goes by it, so that its schedule ends with the run, whichever part ends it.
    pub(super) fn spent(&self, seconds: f64, steps: u64) -> f64 {
        let of_steps = self.steps.map_or(0.0, |all| steps as f64 / all as f64);
        (seconds / self.seconds).max(of_steps)
    }

    /// A share of it, at least one step.
    pub(super) fn part(self, share: f64) -> Self {
        let steps = self.steps.map(|steps| ((steps as f64 * share).round() as u64).max(1));
        Self { seconds: self.seconds * share, steps }
    }
}

/// What training came to.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Trained {
    /// Optimizer steps.
    pub(super) steps: u64,
    /// Tokens that were read, padding not counted.
    pub(super) tokens: u64,
    /// Seconds that it took.
    pub(super) seconds: f64,
    /// Mean loss an aim over the last steps, in nats; `None` when it is no number.
    pub(super) loss: Option<f64>,
}

/// What a learner knows.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Score {
    /// What was right, of what was most likely to the learner.
    pub(super) tally: Tally,
    /// Loss of each aim, summed, in nats.
    pub(super) loss: f64,
}

impl Score {
    pub(super) const fn merge(&mut self, other: &Self) {
        self.tally.merge(&other.tally);
        self.loss += other.loss;
    }

    /// Mean loss an aim; `None` when it is no number.
    pub(super) fn mean_loss(&self) -> Option<f64> {
        Some(self.loss / self.tally.aims as f64).filter(|loss| loss.is_finite())
    }
}

/// Tokens a second at one length of context, and the memory that it took; `None` where it was not measured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Speed {
    /// Reading and learning.
    pub(super) training: Option<f64>,
    /// Reading whole sequences.
    pub(super) reading: Option<f64>,
    /// Generating, a token at a time, after so long a context.
    pub(super) generating: Option<f64>,
}

/// A model in training.
///
/// A learner is made for one run. It is told nothing but examples, and a learning rate that has been through the schedule. Lengths within a batch may
/// differ; what fills a batch up has to be left out of the loss and out of what later tokens see.
pub(super) trait Learner {
    /// Numbers that training changes.
    fn parameters(&self) -> u64;

    /// One optimizer step at this learning rate; returns the mean loss an aim before it, in nats, once the step is done.
    ///
    /// # Errors
    /// When training cannot go on. A loss that is no number is no error.
    fn step(&mut self, examples: &[Example], rate: f64) -> anyhow::Result<f64>;

    /// Predicts every aim of the examples, without learning from them, none from another's state.
    ///
    /// # Errors
    /// When the model cannot be run.
    fn score(&mut self, examples: &[Example]) -> anyhow::Result<Score>;
}

/// The architectures that can be measured.
pub(super) trait Architectures {
    /// Their names, in the order of tables.
    fn names(&self) -> Vec<String>;

    /// Everything but the seed that a learner depends on. Cells whose settings are another value are measured again.
    fn settings(&self, architecture: &str, task: &Task) -> serde_json::Value;

    /// A learner whose weights are drawn from the seed.
    ///
    /// # Errors
    /// When the architecture cannot do the task.
    fn learner(&self, architecture: &str, task: &Task, seed: u64) -> anyhow::Result<Box<dyn Learner>>;

    /// Everything that speed depends on, as [`Architectures::settings`].
    fn speed_settings(&self, architecture: &str) -> serde_json::Value;

    /// Measures speed over sequences of so many tokens.
    ///
    /// # Errors
    /// When the model cannot be run.
    fn speed(&self, architecture: &str, context: usize) -> anyhow::Result<Speed>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_spent_by_whatever_ends_first() {
        let budget = Budget { seconds: 10.0, steps: Some(100) };
        let whole = Budget { steps: None, ..budget }.spent(10.0, 1_000_000);
        let spent = [budget.spent(5.0, 10), budget.spent(1.0, 80), whole];
        assert!(spent.iter().zip([0.5, 0.8, 1.0]).all(|(spent, expected)| (spent - expected).abs() < 1e-12), "{spent:?}");
        assert_eq!(budget.part(0.5), Budget { seconds: 5.0, steps: Some(50) });
        assert_eq!(Budget { steps: Some(1), ..budget }.part(0.1).steps, Some(1));
    }

    #[test]
    fn a_loss_that_is_no_number_is_none() {
        let score = |loss| Score { loss, tally: Tally { aims: 2, ..Tally::default() } };
        assert_eq!(score(3.0).mean_loss(), Some(1.5));
        assert_eq!(score(f64::NAN).mean_loss(), None);
        assert_eq!(Score::default().mean_loss(), None);
    }
}
