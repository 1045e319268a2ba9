//! Settings of the process that runs a night. What is to be learned is not among them: that is in its plan.

use nocturne_model::DeviceName;
use serde::{Deserialize, Serialize};

/// Settings of a night's process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SleepSettings {
    /// Where slow banks are trained: `flex`, `tch`, `cuda` and so on. Everything else that a night computes is decoded on the CPU, as it is served.
    pub device: DeviceName,
}
