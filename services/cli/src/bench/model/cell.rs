//! What was measured: one cell a task, architecture and seed.

use nocturne_synthetic::{Setup, Tally};
use serde::{Deserialize, Serialize};

use super::{
    learner::{Budget, Speed, Trained},
    policy::{Policy, Tried},
};

/// What a report says of the program.
pub(super) const RELEASE: &str = env!("CARGO_PKG_VERSION");

/// What a run depends on, and a try of a learning rate.
#[derive(Debug, Serialize)]
pub(super) struct RunSettings<'a> {
    /// Whose code was measured: another build measures again.
    pub(super) program: &'a str,
    pub(super) task: &'a str,
    pub(super) setup: &'a Setup,
    pub(super) architecture: &'a str,
    pub(super) architecture_settings: &'a serde_json::Value,
    pub(super) seed: u64,
    pub(super) rate: f64,
    pub(super) policy: &'a Policy,
    pub(super) budget: Budget,
}

/// What a measurement of speed depends on.
#[derive(Debug, Serialize)]
pub(super) struct SpeedSettings<'a> {
    pub(super) program: &'a str,
    pub(super) architecture: &'a str,
    pub(super) architecture_settings: &'a serde_json::Value,
    pub(super) context: usize,
}

/// A search for a learning rate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Tuning {
    /// Every rate that was tried.
    pub(super) tried: Vec<Tried>,
    /// The one that is kept.
    pub(super) rate: f64,
}

/// One test set, or the part of one that lies in one place of the task's axis.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Scored {
    /// The set's name.
    pub(super) set: String,
    /// Its place; `None` for a set that lies in many.
    pub(super) at: Option<u64>,
    /// What was right.
    pub(super) tally: Tally,
    /// Share that counts, from 0 to 1.
    pub(super) accuracy: f64,
    /// Mean loss an aim; `None` when it is no number.
    pub(super) loss: Option<f64>,
}

/// One run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Run {
    /// The machine, in a line.
    pub(super) machine: String,
    /// Numbers that training changes.
    pub(super) parameters: u64,
    /// What training came to.
    pub(super) trained: Trained,
    /// Every test set.
    pub(super) sets: Vec<Scored>,
    /// Over the task's axis, where it has one.
    pub(super) curve: Vec<Scored>,
    /// Peak of the process's resident memory during the run, with what it held before; `None` where it is not known.
    pub(super) peak_bytes: Option<u64>,
}

/// A run with what it is of.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Cell {
    pub(super) task: String,
    pub(super) architecture: String,
    pub(super) seed: u64,
    pub(super) tuning: Tuning,
    pub(super) run: Run,
}

/// Speed at one length of context.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct SpeedCell {
    pub(super) architecture: String,
    pub(super) context: usize,
    pub(super) speed: Speed,
    pub(super) peak_bytes: Option<u64>,
}

/// What could not be measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Failure {
    /// Task, architecture and seed, in words.
    pub(super) what: String,
    /// The error, with its causes.
    pub(super) why: String,
}

/// All of a sweep.
#[derive(Debug, Default)]
pub(super) struct Sweep {
    pub(super) cells: Vec<Cell>,
    pub(super) speeds: Vec<SpeedCell>,
    pub(super) failures: Vec<Failure>,
}
