//! What a sweep came to: for each task every architecture, over seeds.

use std::collections::BTreeMap;

use nocturne_model::DeviceName;
use nocturne_synthetic::{Axis, Scored as Counted, Separation, Setup, Tally, Task, catalog};
use serde::Serialize;

use super::{
    cell::{Cell, Failure, RELEASE, SpeedCell, Sweep},
    learner::Budget,
    policy::{Policy, Tried},
    statistics::Summary,
};
use crate::machine::Machine;

/// All of it.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) machine: Machine,
    /// Where models were trained.
    pub(super) device: DeviceName,
    pub(super) release: &'static str,
    pub(super) budget: Budget,
    pub(super) policy: Policy,
    pub(super) tasks: Vec<TaskReport>,
    pub(super) speeds: Vec<SpeedCell>,
    pub(super) failures: Vec<Failure>,
}

/// One task.
#[derive(Debug, Serialize)]
pub(super) struct TaskReport {
    pub(super) task: String,
    pub(super) about: String,
    pub(super) setup: Setup,
    /// What counts as one answer.
    pub(super) counted: Counted,
    pub(super) separation: Separation,
    pub(super) axis: Option<Axis>,
    /// Names of the test sets.
    pub(super) sets: Vec<String>,
    /// A row an architecture that was measured.
    pub(super) rows: Vec<Row>,
}

/// One architecture on one task.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    pub(super) architecture: String,
    pub(super) seeds: Vec<u64>,
    /// Of the first seed; all have as many.
    pub(super) parameters: u64,
    /// The learning rate of all seeds.
    pub(super) rate: f64,
    /// Whether a better one may lie outside the grid.
    pub(super) rate_at_the_edge: bool,
    pub(super) tried: Vec<Tried>,
    pub(super) steps: Option<Summary>,
    pub(super) seconds: Option<Summary>,
    pub(super) tokens_per_second: Option<Summary>,
    pub(super) loss: Option<Summary>,
    pub(super) peak_bytes: Option<Summary>,
    /// As many as the task has test sets, in their order.
    pub(super) sets: Vec<SetReport>,
    pub(super) curve: Vec<Point>,
}

/// One architecture on one test set.
#[derive(Debug, Serialize)]
pub(super) struct SetReport {
    pub(super) set: String,
    /// Accuracy of each seed.
    pub(super) runs: Vec<f64>,
    pub(super) accuracy: Option<Summary>,
}

/// One architecture in one place of the task's axis.
#[derive(Debug, Serialize)]
pub(super) struct Point {
    pub(super) at: u64,
    pub(super) accuracy: Summary,
}

impl Report {
    /// The report of a sweep over these tasks and architectures, in their order.
    pub(super) fn of(tasks: &[Task], architectures: &[String], policy: &Policy, budget: Budget, sweep: Sweep) -> Self {
        let Sweep { cells, speeds, failures } = sweep;
        let tasks = tasks.iter().map(|task| TaskReport::of(task, architectures, policy, &cells)).collect();
        let (machine, device) = (Machine::this(), DeviceName::default());
        Self { machine, device, release: RELEASE, budget, policy: policy.clone(), tasks, speeds, failures }
    }
}

impl TaskReport {
    fn of(task: &Task, architectures: &[String], policy: &Policy, cells: &[Cell]) -> Self {
        let about = catalog::all().find(|entry| entry.name == task.name()).map_or("", |entry| entry.about);
        let rows = architectures.iter().filter_map(|architecture| {
            let of_row = |cell: &&Cell| cell.task == task.name() && cell.architecture == *architecture;
            Row::of(task, policy, &cells.iter().filter(of_row).collect::<Vec<_>>())
        });
        Self {
            task: task.name().to_owned(),
            about: about.to_owned(),
            setup: task.setup().clone(),
            counted: task.scored(),
            separation: task.separation(),
            axis: task.axis(),
            sets: task.tests().iter().map(|set| set.name.clone()).collect(),
            rows: rows.collect(),
        }
    }
}

impl Row {
    /// The row of runs that differ in their seed alone; `None` of no run.
    fn of(task: &Task, policy: &Policy, cells: &[&Cell]) -> Option<Self> {
        let first = cells.first()?;
        let over = |number: &dyn Fn(&Cell) -> Option<f64>| Summary::of(cells.iter().filter_map(|cell| number(cell)));
        let set = |name: &str| {
            let of_set = |cell: &&Cell| cell.run.sets.iter().find(|set| set.set == name).map(|set| set.accuracy);
            let runs: Vec<_> = cells.iter().filter_map(of_set).collect();
            SetReport { set: name.to_owned(), accuracy: Summary::of(runs.iter().copied()), runs }
        };
        Some(Self {
            architecture: first.architecture.clone(),
            seeds: cells.iter().map(|cell| cell.seed).collect(),
            parameters: first.run.parameters,
            rate: first.tuning.rate,
            rate_at_the_edge: policy.at_the_edge(first.tuning.rate),
            tried: first.tuning.tried.clone(),
            steps: over(&|cell| Some(cell.run.trained.steps as f64)),
            seconds: over(&|cell| Some(cell.run.trained.seconds)),
            tokens_per_second: over(&|cell| Some(cell.run.trained.tokens as f64 / cell.run.trained.seconds)),
            loss: over(&|cell| cell.run.trained.loss),
            peak_bytes: over(&|cell| cell.run.peak_bytes.map(|bytes| bytes as f64)),
            sets: task.tests().iter().map(|of| set(&of.name)).collect(),
            curve: curve(task, cells),
        })
    }
}

/// The accuracy in every place of the task's axis; what several sets of a run have in one place is counted together.
fn curve(task: &Task, cells: &[&Cell]) -> Vec<Point> {
    let mut places: BTreeMap<u64, BTreeMap<u64, Tally>> = BTreeMap::new();
    for cell in cells {
        for point in &cell.run.curve {
            let Some(at) = point.at else { continue };
            places.entry(at).or_default().entry(cell.seed).or_default().merge(&point.tally);
        }
    }
    let summary = |runs: BTreeMap<u64, Tally>| Summary::of(runs.values().filter_map(|tally| tally.share(task.scored())));
    places.into_iter().filter_map(|(at, runs)| Some(Point { at, accuracy: summary(runs)? })).collect()
}
