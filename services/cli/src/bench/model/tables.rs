//! Tables for people.

use std::{collections::BTreeMap, time::Duration};

use nocturne_kit::display::{Bytes, Elapsed};
use nocturne_synthetic::{Scored as Counted, Separation, catalog as tasks};
use serde::Serialize;

use super::{
    learner::Budget,
    policy::Policy,
    report::{Report, Row, TaskReport},
    statistics::Summary,
};
use crate::output;

/// Every task that can be named.
pub(super) fn catalog(catalog: &Catalog) -> String {
    let mut table = output::table(["task", "what is asked"]);
    for (name, about) in &catalog.tasks {
        table.add_row([name, about]);
    }
    let mut groups = output::table(["group", "what it is", "tasks"]);
    for group in &catalog.groups {
        groups.add_row([group.name, group.about, &group.tasks.join(", ")]);
    }
    format!("{table}\n{groups}\nArchitectures: {}", catalog.mixers.join(", "))
}

/// What there is to measure.
#[derive(Debug, Serialize)]
pub(super) struct Catalog {
    /// Names, and what is asked.
    pub(super) tasks: BTreeMap<&'static str, &'static str>,
    /// Tasks that are named together.
    pub(super) groups: Vec<tasks::Group>,
    /// Names.
    pub(super) mixers: Vec<String>,
}

impl Catalog {
    /// Every task, with these architectures.
    pub(super) fn of(mixers: Vec<String>) -> Self {
        let tasks = tasks::all().map(|entry| (entry.name, entry.about)).collect();
        Self { tasks, groups: tasks::GROUPS.to_vec(), mixers }
    }
}

/// All of a report.
pub(super) fn report(report: &Report) -> String {
    let mut parts = vec![format!("{}; trained on {}", report.machine.describe(), report.device)];
    if !report.tasks.is_empty() {
        parts.push(how(&report.policy, report.budget));
    }
    parts.extend(report.tasks.iter().map(task));
    if !report.speeds.is_empty() {
        parts.push(speeds(report));
    }
    parts.extend(report.failures.iter().map(|failure| format!("failed: {}: {}", failure.what, failure.why)));
    parts.join("\n\n")
}

/// How every architecture was treated.
fn how(policy: &Policy, budget: Budget) -> String {
    let rates: Vec<_> = policy.rates.iter().map(|rate| format!("{rate:e}")).collect();
    let steps = budget.steps.map_or_else(String::new, |steps| format!(", at most {steps} steps"));
    format!(
        "Every architecture: {} of training a run{steps}. Learning rate: the best of {} on the validation stream, which shares no data with test, each tried with \
         {} of a run; one for all seeds.\nAccuracy: mean over seeds ± half of its 95 % interval (Student's t), below it the median and the range.",
        Elapsed(Duration::try_from_secs_f64(budget.seconds).unwrap_or(Duration::MAX)),
        rates.join(", "),
        output::percent(policy.tuning_share),
    )
}

fn task(task: &TaskReport) -> String {
    let counted = match task.counted {
        Counted::PerAim => "each prediction counts",
        Counted::PerSequence => "a sequence counts when all of it is right",
    };
    let mut header = vec!["architecture", "parameters", "rate", "steps", "seconds", "tokens/s", "loss", "peak"];
    header.extend(task.sets.iter().map(String::as_str));
    let mut table = output::table(header);
    for of in &task.rows {
        table.add_row(row(of));
    }
    let lines = [vec![format!("{}: {} ({counted})", task.task, task.about), table.to_string()], notes(task)].concat();
    lines.join("\n")
}

fn row(row: &Row) -> Vec<String> {
    let mut cells = vec![
        format!("{} ({})", row.architecture, output::counted(row.seeds.len(), "seed")),
        row.parameters.to_string(),
        format!("{:e}{}", row.rate, if row.rate_at_the_edge { "*" } else { "" }),
        mean(row.steps, 0),
        mean(row.seconds, 0),
        mean(row.tokens_per_second, 0),
        mean(row.loss, 3),
        row.peak_bytes.map_or_else(|| "-".to_owned(), |bytes| Bytes(bytes.mean as u64).to_string()),
    ];
    cells.extend(row.sets.iter().map(|set| set.accuracy.map_or_else(|| "-".to_owned(), accuracy)));
    cells
}

fn mean(summary: Option<Summary>, decimals: usize) -> String {
    summary.map_or_else(|| "-".to_owned(), |summary| format!("{:.decimals$}", summary.mean))
}

/// In percent: the mean with its interval, and where runs lie.
fn accuracy(summary: Summary) -> String {
    let [mean, median, least, most] = [summary.mean, summary.median, summary.least, summary.most].map(|share| share * 100.0);
    match summary.interval {
        Some(interval) => format!("{mean:.1} ± {:.1}\n{median:.1} ({least:.1}–{most:.1})", interval * 100.0),
        None => format!("{mean:.1}"),
    }
}

/// What has to be known to read a table.
fn notes(task: &TaskReport) -> Vec<String> {
    let mut notes = Vec::new();
    if task.rows.iter().any(|row| row.rate_at_the_edge) {
        notes.push("* an end of the grid: a better rate may lie outside of it".to_owned());
    }
    if task.separation == Separation::ByLength {
        notes.push("strings of the lengths of training are those of training: only longer ones measure more than fit".to_owned());
    }
    notes
}

fn speeds(report: &Report) -> String {
    let mut table = output::table(["architecture", "context", "training", "reading", "generating", "peak"]);
    let tokens = |speed: Option<f64>| speed.map_or_else(|| "-".to_owned(), |speed| format!("{speed:.0} tokens/s"));
    for cell in &report.speeds {
        table.add_row([
            cell.architecture.clone(),
            output::counted(cell.context, "token"),
            tokens(cell.speed.training),
            tokens(cell.speed.reading),
            tokens(cell.speed.generating),
            cell.peak_bytes.map_or_else(|| "-".to_owned(), |bytes| Bytes(bytes).to_string()),
        ]);
    }
    format!("speed over the context\n{table}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_accuracy_shows_its_interval_and_where_runs_lie() {
        let of = |numbers: &[f64]| accuracy(Summary::of(numbers.iter().copied()).expect("numbers"));
        assert_eq!(of(&[0.5, 0.5, 1.0]), "66.7 ± 71.7\n50.0 (50.0–100.0)");
        assert_eq!(of(&[0.25]), "25.0");
    }

    #[test]
    fn every_task_is_listed_with_what_it_asks() {
        let listed = catalog(&Catalog::of(vec!["hope".to_owned()]));
        assert!(listed.ends_with("Architectures: hope"), "{listed}");
        assert!(tasks::GROUPS.iter().all(|group| listed.contains(group.about)), "{listed}");
        assert!(tasks::all().all(|entry| listed.contains(entry.name)), "{listed}");
    }

    #[test]
    fn the_table_says_how_learning_rates_were_chosen() {
        let told = how(&Policy::default(), Budget { seconds: 120.0, steps: Some(500) });
        assert!(
            told.contains("2 min 00 s of training a run, at most 500 steps") && told.contains("best of 4.6e-4, 2.2e-3, 1e-2"),
            "{told}"
        );
        assert!(told.contains("shares no data with test") && told.contains("50.0 % of a run"), "{told}");
    }
}
