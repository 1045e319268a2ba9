//! A few numbers about a few numbers.

use serde::{Deserialize, Serialize};

/// What runs of several seeds came to.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Summary {
    /// Numbers that it is about.
    pub(super) runs: usize,
    pub(super) mean: f64,
    /// Half the width of the 95 % interval of the mean, by Student's t; `None` for one run. It supposes that runs scatter normally, which those do not that
    /// either find a solution or do not: the median and the range then say more.
    pub(super) interval: Option<f64>,
    pub(super) median: f64,
    pub(super) least: f64,
    pub(super) most: f64,
}

impl Summary {
    /// Of the finite ones of the numbers; `None` when there is none.
    pub(super) fn of(numbers: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = numbers.into_iter().filter(|number| number.is_finite()).collect();
        sorted.sort_unstable_by(f64::total_cmp);
        let (runs, least, most) = (sorted.len(), *sorted.first()?, *sorted.last()?);
        let mean = sorted.iter().sum::<f64>() / runs as f64;
        let median = sorted[(runs - 1) / 2].midpoint(sorted[runs / 2]);
        let interval = (runs > 1).then(|| {
            let variance = sorted.iter().map(|number| (number - mean).powi(2)).sum::<f64>() / (runs - 1) as f64;
            student(runs - 1) * (variance / runs as f64).sqrt()
        });
        Some(Self { runs, mean, interval, median, least, most })
    }
}

/// The 97.5 % quantile of Student's t for 1 to 30 degrees of freedom.
const STUDENT: [f64; 30] = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110,
    2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
];

/// The 97.5 % quantile of the normal distribution.
const NORMAL: f64 = 1.959_964;

/// The 97.5 % quantile of Student's t; past the table by the first terms of its expansion around the normal one (Fisher and Cornish 1960).
fn student(freedom: usize) -> f64 {
    let expanded = || {
        let (z, n) = (NORMAL, freedom as f64);
        z + (z.powi(3) + z) / (4.0 * n) + (5.0 * z.powi(5) + 16.0 * z.powi(3) + 3.0 * z) / (96.0 * n * n)
    };
    STUDENT.get(freedom.wrapping_sub(1)).copied().unwrap_or_else(expanded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64, by: f64) -> bool {
        (a - b).abs() < by
    }

    #[test]
    fn a_summary_is_what_a_textbook_says() {
        let summary = Summary::of([4.0, 1.0, 2.0, 3.0, 5.0]).expect("numbers");
        assert_eq!((summary.runs, summary.mean, summary.median, summary.least, summary.most), (5, 3.0, 3.0, 1.0, 5.0));
        // 2.776 × sqrt(2.5 / 5)
        assert!(close(summary.interval.expect("several runs"), 1.9629, 1e-4), "{summary:?}");
        assert_eq!(Summary::of([1.0, 2.0, 4.0, 100.0]).map(|summary| summary.median), Some(3.0));
    }

    #[test]
    fn one_run_has_no_interval_and_none_no_summary() {
        let one = Summary::of([0.5]).expect("a number");
        assert_eq!((one.mean, one.median, one.interval), (0.5, 0.5, None));
        assert_eq!(Summary::of([]), None);
        assert_eq!(Summary::of([f64::NAN, f64::INFINITY]), None);
        assert_eq!(Summary::of([f64::NAN, 2.0]).map(|summary| summary.runs), Some(1));
    }

    #[test]
    fn runs_that_agree_have_an_interval_of_nothing() {
        assert_eq!(Summary::of([1.0, 1.0, 1.0]).and_then(|summary| summary.interval), Some(0.0));
    }

    #[test]
    fn quantiles_fall_towards_the_normal_one_without_a_step_past_the_table() {
        let quantiles: Vec<_> = (1..200).map(student).collect();
        assert!(quantiles.is_sorted_by(|a, b| a > b), "{quantiles:?}");
        assert!(close(student(31), 2.0395, 5e-4) && close(student(60), 2.0003, 5e-4) && close(student(120), 1.9799, 5e-4));
        assert!(close(student(1_000_000), NORMAL, 1e-5));
    }

    #[test]
    fn the_interval_holds_the_mean_nineteen_times_of_twenty() {
        // Sums of twelve uniform numbers are near enough normal; the generator is only to be even.
        let mut state = 1_u64;
        let mut uniform = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 11) as f64 / (1_u64 << 53) as f64
        };
        let mut normal = || (0..12).map(|_| uniform()).sum::<f64>() - 6.0;
        let held = (0..4_000).filter(|_| {
            let summary = Summary::of([normal(), normal(), normal()]).expect("numbers");
            summary.mean.abs() <= summary.interval.expect("several runs")
        });
        let share = held.count() as f64 / 4_000.0;
        assert!((0.935..0.965).contains(&share), "{share}");
    }
}
