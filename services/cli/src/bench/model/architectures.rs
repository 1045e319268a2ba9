//! The architectures of this build.

use nocturne_synthetic::Task;

use super::learner::{Architectures, Learner, Speed};
use crate::failure::refused;

/// All that can be measured.
pub(super) fn all() -> Box<dyn Architectures> {
    Box::new(Nothing)
}

/// No architecture at all.
struct Nothing;

impl Architectures for Nothing {
    fn names(&self) -> Vec<String> {
        Vec::new()
    }

    fn settings(&self, _: &str, _: &Task) -> serde_json::Value {
        serde_json::Value::Null
    }

    fn learner(&self, architecture: &str, _: &Task, _: u64) -> anyhow::Result<Box<dyn Learner>> {
        Err(refused(format!("there is no architecture {architecture}"), "this build has none"))
    }

    fn speed_settings(&self, _: &str) -> serde_json::Value {
        serde_json::Value::Null
    }

    fn speed(&self, architecture: &str, _: usize) -> anyhow::Result<Speed> {
        Err(refused(format!("there is no architecture {architecture}"), "this build has none"))
    }
}
