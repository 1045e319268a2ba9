//! Settings of nights.

use nocturne_wire::{
    ledger::PRODUCTION,
    plan::{CurationSettings, GateSettings, TrainingSettings},
};
use serde::{Deserialize, Serialize};

/// When nights run by themselves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ScheduleSettings {
    /// Whether they do.
    pub enabled: bool,
    /// Time of day, `03:00`.
    pub time: String,
    /// Name of the time zone, `Europe/Berlin`.
    pub time_zone: String,
    /// Whether a night whose time passed while nothing ran is caught up with, once.
    pub catch_up: bool,
}

impl Default for ScheduleSettings {
    fn default() -> Self {
        Self { enabled: true, time: "03:00".to_owned(), time_zone: "UTC".to_owned(), catch_up: true }
    }
}

/// Settings of nights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NightSettings {
    /// The channel whose generation learns.
    pub channel: String,
    /// Whether a candidate that passes its gates serves at once.
    pub promote: bool,
    /// Seed of everything random in a night.
    pub seed: u64,
    /// Minutes after which training stops; 0 for no deadline.
    pub deadline_minutes: u32,
    /// Seconds that a night may take beyond its deadline, for gates and publication, before it is ended.
    pub deadline_grace_seconds: u32,
    /// Whether the next night reads the batches of a rejected one again. Off, one bad day cannot stop all later learning; a day of fewer than
    /// ten lessons is read again all the same.
    pub reread_rejected: bool,
    /// Batches of a partition that earlier nights have read and that new feedback may be about: how far back a late verdict reaches.
    pub late_feedback_batches: u32,
    /// When nights run.
    pub schedule: ScheduleSettings,
    /// Curation.
    pub curation: CurationSettings,
    /// Training.
    pub training: TrainingSettings,
    /// Gates.
    pub gates: GateSettings,
}

impl Default for NightSettings {
    fn default() -> Self {
        Self {
            channel: PRODUCTION.to_owned(),
            promote: true,
            seed: 1,
            deadline_minutes: 120,
            deadline_grace_seconds: 600,
            reread_rejected: false,
            late_feedback_batches: 1024,
            schedule: ScheduleSettings::default(),
            curation: CurationSettings::default(),
            training: TrainingSettings::default(),
            gates: GateSettings::default(),
        }
    }
}
