//! How learning rates are chosen: in one way for every architecture.
//!
//! Each rate of one small grid is tried with a part of a run's budget, on data and weights of a seed that no run is measured with, and the one that scores
//! best on the validation stream is kept for all seeds of the task. Validation shares no sequence with test (`nocturne_synthetic::side_of`), and has the
//! lengths of training: nobody is chosen by how it does on longer strings. Rates that do equally well are told apart by the loss.
//!
//! Within a run the rate rises over a twentieth of the budget and then falls along half a cosine, in the same way for all.
//!
//! Rejected: a rate for each seed, which chooses the luckiest; and a rate from the literature, which is somebody's favorite architecture's.

use nocturne_synthetic::Tally;
use serde::{Deserialize, Serialize};

use super::learner::Budget;

/// What all runs of a sweep have in common.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Policy {
    /// Learning rates that are tried, rising.
    pub(super) rates: Vec<f64>,
    /// Share of a run's budget that each is tried with.
    pub(super) tuning_share: f64,
    /// Share of a run over which the rate rises.
    pub(super) warm_up: f64,
    /// Of a rate, what the schedule begins and ends with.
    pub(super) floor: f64,
    /// Examples that rates are scored on.
    pub(super) validation_examples: u64,
    /// Tokens of a batch, at most, counted by the longest example of training.
    pub(super) batch_tokens: usize,
    /// Examples of a batch, at most.
    pub(super) batch_examples: usize,
    /// Tokens of a test set, about; a set of long sequences has fewer of them.
    pub(super) test_tokens: u64,
}

/// The seed of tuning; runs are measured with seeds from 1 on.
pub(super) const TUNING_SEED: u64 = 0;

impl Default for Policy {
    fn default() -> Self {
        Self {
            // The upper three of the four of Zoology (arXiv 2312.04927): within minutes the lowest never wins.
            rates: vec![4.6e-4, 2.2e-3, 1e-2],
            tuning_share: 0.5,
            warm_up: 0.05,
            floor: 0.01,
            validation_examples: 500,
            batch_tokens: 8_192,
            batch_examples: 64,
            test_tokens: 200_000,
        }
    }
}

/// How one learning rate did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Tried {
    /// The learning rate.
    pub(super) rate: f64,
    /// What was right on the validation stream.
    pub(super) tally: Tally,
    /// Share that counts, from 0 to 1.
    pub(super) accuracy: f64,
    /// Mean loss an aim on the validation stream; `None` when it is no number.
    pub(super) loss: Option<f64>,
    /// Steps that it was trained.
    pub(super) steps: u64,
}

/// The best of them; `None` when none was tried.
pub(super) fn best(tried: &[Tried]) -> Option<&Tried> {
    let loss = |tried: &Tried| tried.loss.unwrap_or(f64::INFINITY);
    let better = |a: &&Tried, b: &&Tried| {
        a.accuracy.total_cmp(&b.accuracy).then(loss(b).total_cmp(&loss(a))).then(b.rate.total_cmp(&a.rate))
    };
    tried.iter().max_by(better)
}

impl Policy {
    /// The learning rate of a step before which this share of the budget was spent.
    pub(super) fn rate(&self, highest: f64, spent: f64) -> f64 {
        let risen = (spent / self.warm_up).min(1.0);
        let past = ((spent - self.warm_up) / (1.0 - self.warm_up)).clamp(0.0, 1.0);
        let fallen = f64::midpoint(1.0, (std::f64::consts::PI * past).cos());
        highest * (self.floor + (1.0 - self.floor) * risen * fallen)
    }

    /// Seconds that one architecture trains on one task at most.
    pub(super) fn longest(&self, budget: Budget, seeds: u64) -> f64 {
        budget.seconds * (self.rates.len() as f64 * self.tuning_share + seeds as f64)
    }

    /// Examples of a batch of sequences that long.
    pub(super) fn batch(&self, longest: usize) -> usize {
        (self.batch_tokens / longest.max(1)).clamp(1, self.batch_examples)
    }

    /// Examples of a set of `amount` sequences, each about that long.
    pub(super) fn scored(&self, amount: u64, length: usize) -> u64 {
        amount.min((self.test_tokens / (length as u64).max(1)).max(1))
    }

    /// Whether a rate lies at an end of the grid, so that a better one may lie outside.
    pub(super) fn at_the_edge(&self, rate: f64) -> bool {
        self.rates.len() > 1 && [self.rates.first(), self.rates.last()].contains(&Some(&rate))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tried(rate: f64, accuracy: f64, loss: Option<f64>) -> Tried {
        Tried { rate, tally: Tally::default(), accuracy, loss, steps: 1 }
    }

    #[test]
    fn an_architecture_takes_its_runs_and_half_of_one_for_every_rate() {
        let budget = Budget { seconds: 120.0, steps: None };
        assert!((Policy::default().longest(budget, 3) - 540.0).abs() < 1e-9);
    }

    #[test]
    fn the_most_accurate_rate_is_kept_then_the_one_of_the_least_loss() {
        let rate = |all: &[Tried]| best(all).map(|tried| tried.rate);
        assert_eq!(rate(&[tried(1.0, 0.5, Some(0.1)), tried(2.0, 0.6, Some(9.0))]), Some(2.0));
        assert_eq!(rate(&[tried(1.0, 1.0, Some(0.2)), tried(2.0, 1.0, Some(0.1)), tried(3.0, 1.0, None)]), Some(2.0));
        assert_eq!(rate(&[tried(1.0, 0.0, None), tried(2.0, 0.0, None)]), Some(1.0), "of two that diverged the lower");
        assert_eq!(rate(&[]), None);
    }

    #[test]
    fn batches_are_bounded_by_tokens_and_by_examples() {
        let policy = Policy::default();
        assert_eq!([16, 64, 128, 1_024, 100_000].map(|longest| policy.batch(longest)), [64, 64, 64, 8, 1]);
        assert_eq!((policy.scored(1_000, 64), policy.scored(1_000, 1_024), policy.scored(3, 1_000_000)), (1_000, 195, 1));
    }

    #[test]
    fn a_rate_rises_and_falls_within_the_budget() {
        let policy = Policy::default();
        let rate = |spent| policy.rate(2.0, spent);
        let expected = [(0.0, 0.02), (0.05, 2.0), (0.525, 1.01), (1.0, 0.02), (1.5, 0.02)];
        assert!(
            expected.iter().all(|(spent, of)| (rate(*spent) - of).abs() < 1e-9),
            "{:?}",
            expected.map(|(spent, _)| rate(spent))
        );
        let falling: Vec<_> = (5..100).map(|percent| rate(f64::from(percent) / 100.0)).collect();
        assert!(falling.is_sorted_by(|a, b| a > b));
    }

    #[test]
    fn the_ends_of_the_grid_are_known() {
        let policy = Policy::default();
        assert_eq!([4.6e-4, 2.2e-3, 1e-2].map(|rate| policy.at_the_edge(rate)), [true, false, true]);
        assert!(!Policy { rates: vec![1.0], ..policy }.at_the_edge(1.0));
    }
}
