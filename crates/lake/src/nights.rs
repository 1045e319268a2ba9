//! Nights: plan, progress, gates, report and whatever files a night leaves.

use bytes::Bytes;
use nocturne_wire::{
    NightId,
    night::{GateResult, NightEvent, NightReport},
    path,
    plan::NightPlan,
};
use serde::de::DeserializeOwned;

use crate::{Lake, LakeError, Result};

const PLAN: &str = "plan.json";
const REPORT: &str = "report.json";
const GATES: &str = "gates.json";

/// The nights of a lake.
#[derive(Debug, Clone)]
pub struct Nights {
    lake: Lake,
}

impl Nights {
    pub(crate) fn new(lake: Lake) -> Self {
        Self { lake }
    }

    /// Every night, in the order of time.
    ///
    /// # Errors
    /// When the lake cannot be listed.
    pub async fn list(&self) -> Result<Vec<NightId>> {
        let names = self.lake.list_dirs(path::NIGHTS).await?;
        Ok(names.into_iter().filter_map(|name| NightId::parse(name).ok()).collect())
    }

    /// Writes a plan, which claims the night's name: whoever gets [`LakeError::AlreadyExists`] does not run it. A store whose answer was lost says so of the
    /// writer's own plan, too, which is told by its content: when it was made, to the nanosecond.
    ///
    /// # Errors
    /// As [`Lake::create`]; [`LakeError::Refused`] when the night's id cannot name a folder.
    pub async fn write_plan(&self, plan: &NightPlan) -> Result<()> {
        if plan.night.as_str().contains('/') {
            return Err(LakeError::refused(format!("night id `{}`", plan.night), "it cannot name a folder"));
        }
        let path = path::night_file(&plan.night, PLAN);
        match self.lake.create_json(&path, plan).await {
            Err(taken) if taken.is_already_exists() => {
                if self.lake.get_json::<NightPlan>(&path).await? == *plan {
                    Ok(())
                } else {
                    Err(taken)
                }
            }
            outcome => outcome,
        }
    }

    /// Reads a plan.
    ///
    /// # Errors
    /// As [`Lake::get_json`]; [`LakeError::Damaged`] when the plan is another night's.
    pub async fn plan(&self, night: &NightId) -> Result<NightPlan> {
        let path = path::night_file(night, PLAN);
        let plan: NightPlan = self.lake.get_json(&path).await?;
        if plan.night != *night {
            return Err(LakeError::damaged(path, format!("it is the plan of night {}", plan.night), "plan the night again"));
        }
        Ok(plan)
    }

    /// Where a night's plan is: all that a job is told, see [`Lake::open_plan`].
    pub fn plan_location(&self, night: &NightId) -> String {
        format!("{}/{}", self.lake.location(), path::night_file(night, PLAN))
    }

    /// Writes one event of progress.
    ///
    /// # Errors
    /// As [`Lake::create`].
    pub async fn append_event(&self, night: &NightId, event: &NightEvent) -> Result<()> {
        self.lake.create_json(&path::night_event(night, event.sequence), event).await
    }

    /// Every event so far, in order.
    ///
    /// # Errors
    /// As [`Lake::get_json`].
    pub async fn events(&self, night: &NightId) -> Result<Vec<NightEvent>> {
        self.events_from(night, 0).await
    }

    /// The events from a sequence on, in order: what a follower has not seen yet.
    ///
    /// # Errors
    /// As [`Lake::get_json`].
    pub async fn events_from(&self, night: &NightId, sequence: u64) -> Result<Vec<NightEvent>> {
        let first = path::night_event(night, sequence);
        let mut events = Vec::new();
        for object in self.lake.list(&path::night_file(night, "events")).await? {
            if object.path >= first {
                events.push(self.lake.get_json(&object.path).await?);
            }
        }
        Ok(events)
    }

    /// Writes the report that ends a night.
    ///
    /// # Errors
    /// As [`Lake::create`].
    pub async fn write_report(&self, report: &NightReport) -> Result<()> {
        self.lake.create_json(&path::night_file(&report.night, REPORT), report).await
    }

    /// The report, once the night has ended.
    ///
    /// # Errors
    /// As [`Lake::get_json`], except that absence is `None`.
    pub async fn report(&self, night: &NightId) -> Result<Option<NightReport>> {
        self.optional(night, REPORT).await
    }

    /// Writes the gates' verdicts.
    ///
    /// # Errors
    /// As [`Lake::create`].
    pub async fn write_gates(&self, night: &NightId, gates: &[GateResult]) -> Result<()> {
        self.lake.create_json(&path::night_file(night, GATES), &gates).await
    }

    /// The gates' verdicts, once they were measured.
    ///
    /// # Errors
    /// As [`Lake::get_json`], except that absence is `None`.
    pub async fn gates(&self, night: &NightId) -> Result<Option<Vec<GateResult>>> {
        self.optional(night, GATES).await
    }

    /// Writes any other file of a night: `curated.parquet`, `metrics.parquet`, `checkpoints/…`.
    ///
    /// # Errors
    /// As [`Lake::create`].
    pub async fn put(&self, night: &NightId, file: &str, bytes: impl Into<Bytes> + Send) -> Result<()> {
        self.lake.create(&path::night_file(night, file), bytes).await
    }

    /// Reads any file of a night.
    ///
    /// # Errors
    /// As [`Lake::get`], except that absence is `None`.
    pub async fn get(&self, night: &NightId, file: &str) -> Result<Option<Bytes>> {
        absent_is_none(self.lake.get(&path::night_file(night, file)).await)
    }

    async fn optional<T: DeserializeOwned>(&self, night: &NightId, file: &str) -> Result<Option<T>> {
        absent_is_none(self.lake.get_json(&path::night_file(night, file)).await)
    }
}

fn absent_is_none<T>(outcome: Result<T>) -> Result<Option<T>> {
    match outcome {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}
