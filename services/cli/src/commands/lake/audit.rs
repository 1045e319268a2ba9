//! `nocturne lake audit`

use std::collections::BTreeSet;

use nocturne_columns::AuditReport;
use nocturne_kit::telemetry::chain;
use nocturne_lake::{Auditable, Lake, LakeError};
use nocturne_wire::{
    GenerationName, NightId,
    night::{LESSONS, Lesson},
    path,
    plan::PlannedBatch,
};
use serde::Serialize;

use crate::{
    failure::Advise,
    output::{self, counted},
};

/// Objects that are read before they are audited.
const OBJECTS_AHEAD: usize = 8;

/// What an audit of a lake gave.
#[derive(Serialize)]
pub(crate) struct Audited {
    /// Whether nothing is wrong.
    pub(crate) clean: bool,
    /// Batches and dead letters.
    #[serde(flatten)]
    pub(crate) report: AuditReport,
    /// Plans, generations and bases.
    verified: Vec<Verified>,
}

impl Audited {
    /// Everything that is wrong, in words.
    pub(crate) fn faults(&self) -> Vec<String> {
        let batches = self.report.faults.iter().map(ToString::to_string);
        let others = self.verified.iter().filter_map(|Verified { object, fault }| Some(format!("{object}: {}", fault.as_ref()?)));
        batches.chain(others).collect()
    }
}

/// A plan, a generation or a base.
#[derive(Serialize)]
struct Verified {
    object: String,
    /// What is wrong with it; `None` when it is what it should be.
    fault: Option<String>,
}

impl Verified {
    /// # Errors
    /// When the lake could not be read, which proves nothing.
    fn of(object: String, found: Result<(), LakeError>) -> anyhow::Result<Self> {
        let fault = match found {
            Ok(()) => None,
            Err(error) if error.is_damage() || error.is_not_found() => Some(chain(&error)),
            Err(error) => return Err(error).advise(AUDITING.0, AUDITING.1),
        };
        Ok(Self { object, fault })
    }
}

/// Audits everything that was sealed, holds it against what nights were planned over, and verifies every generation and base.
///
/// # Errors
/// When the lake cannot be read; what is wrong with its content is told in the report.
pub(crate) async fn audit(lake: &Lake) -> anyhow::Result<Audited> {
    let (planned, mut verified) = planned(lake).await?;
    let mut report = audit_batches(lake, planned).await?;
    report.leftovers.extend(lake.orphans().await.advise(AUDITING.0, AUDITING.1)?);
    verified.extend(audit_generations(lake).await?);
    let clean = report.clean() && verified.iter().all(|object| object.fault.is_none());
    Ok(Audited { clean, report, verified })
}

const AUDITING: (&str, &str) = ("auditing the lake", "check that the disk can be read");

/// The batches that nights were planned over, and the plans.
async fn planned(lake: &Lake) -> anyhow::Result<(Vec<(NightId, PlannedBatch)>, Vec<Verified>)> {
    let (doing, hint) = AUDITING;
    let (mut planned, mut plans) = (Vec::new(), Vec::new());
    for night in lake.nights().list().await.advise(doing, hint)? {
        let found = match lake.nights().plan(&night).await {
            // A folder without a plan is not a night that anybody began.
            Err(LakeError::NotFound { .. }) => continue,
            Ok(plan) => {
                planned.extend(plan.batches.into_iter().map(|batch| (night.clone(), batch)));
                Ok(())
            }
            Err(error) => Err(error),
        };
        plans.push(Verified::of(format!("plan of night {night}"), found)?);
    }
    Ok((planned, plans))
}

/// What is wrong with the lessons of a night that trained a generation: the nights after it rehearse them.
async fn lessons(lake: &Lake, night: &NightId) -> anyhow::Result<Option<String>> {
    let Some(file) = lake.nights().get(night, LESSONS).await.advise(AUDITING.0, AUDITING.1)? else {
        return Ok(Some(format!("{LESSONS} is gone; restore it from a copy of the lake")));
    };
    let damaged = Lesson::read(&file).filter(Result::is_err).count();
    Ok((damaged > 0).then(|| format!("{damaged} lines of {LESSONS} cannot be read; restore it from a copy of the lake")))
}

/// How often a listing is audited again because batches made way for others meanwhile.
const LISTINGS: usize = 5;

async fn audit_batches(lake: &Lake, planned: Vec<(NightId, PlannedBatch)>) -> anyhow::Result<AuditReport> {
    let (doing, hint) = AUDITING;
    for _ in 1..LISTINGS {
        match try_audit_batches(lake, planned.clone()).await {
            Err(error) if error.downcast_ref::<LakeError>().is_some_and(LakeError::is_not_found) => {}
            outcome => return outcome.advise(doing, hint),
        }
    }
    try_audit_batches(lake, planned).await.advise(doing, hint)
}

async fn try_audit_batches(lake: &Lake, planned: Vec<(NightId, PlannedBatch)>) -> anyhow::Result<AuditReport> {
    // Hashing and decoding a large lake takes long, and tokio must not wait for it; a few objects at a time are enough memory.
    let (sender, mut receiver) = tokio::sync::mpsc::channel(OBJECTS_AHEAD);
    let objects = std::iter::from_fn(move || receiver.blocking_recv());
    let auditing = tokio::task::spawn_blocking(move || nocturne_columns::audit(objects, planned));
    let Auditable { objects, superseded } = lake.auditable().await?;
    for object in objects {
        let bytes = lake.get(&object.path).await?;
        if sender.send((object.path, bytes)).await.is_err() {
            break;
        }
    }
    drop(sender);
    let mut report = auditing.await?;
    report.leftovers.extend(superseded);
    Ok(report)
}

/// Holds every file of every generation and its base against its manifest: those that are published, those that a ledger names, and those that they come from.
async fn audit_generations(lake: &Lake) -> anyhow::Result<Vec<Verified>> {
    let (doing, hint) = AUDITING;
    let mut verified = Vec::new();
    let mut wanted: BTreeSet<GenerationName> = lake.generations().list().await.advise(doing, hint)?.into_iter().collect();
    for channel in lake.list_dirs(path::LEDGERS).await.advise(doing, hint)? {
        let found = lake.ledger(&channel).read().await.map(|entries| {
            wanted.extend(entries.into_iter().map(|entry| entry.generation));
        });
        verified.push(Verified::of(format!("ledger of channel {channel}"), found)?);
    }
    let (mut seen, mut bases, mut nights) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    while let Some(name) = wanted.pop_first() {
        let found = async {
            let manifest = lake.generations().manifest(&name).await?;
            wanted.extend(manifest.parent.clone().filter(|parent| *parent != name && !seen.contains(parent)));
            bases.insert(manifest.base.clone());
            nights.extend(manifest.night.clone());
            lake.generations().fetch(&name, &manifest.base).await.map(|_| ())
        }
        .await;
        verified.push(Verified::of(format!("generation {name}"), found)?);
        seen.insert(name);
    }
    for base in bases {
        let found = lake.bases().fetch(&base).await.map(|_| ());
        verified.push(Verified::of(format!("base {}", base.short()), found)?);
    }
    for night in nights {
        verified.push(Verified { fault: lessons(lake, &night).await?, object: format!("lessons of night {night}") });
    }
    Ok(verified)
}

pub(super) fn describe(audited: &Audited) -> String {
    let report = &audited.report;
    let mut table = output::table(["topic", "partition", "batches", "offsets", "rows", "dead", "duplicates", "erased"]);
    for partition in &report.partitions {
        table.add_row([
            partition.topic.to_string(),
            partition.partition.to_string(),
            partition.batches.to_string(),
            format!("{} to {}", partition.first, partition.next),
            partition.rows.to_string(),
            partition.dead.to_string(),
            partition.duplicates.to_string(),
            partition.erased.to_string(),
        ]);
    }
    let mut lines = vec![table.to_string()];
    let faults = audited.faults();
    lines.extend(faults.iter().map(|fault| format!("fault: {fault}")));
    lines.extend(report.leftovers.iter().map(|path| format!("leftover of a writer that died (harmless): {path}")));
    lines.push(match faults.len() {
        0 => format!(
            "clean: every offset was sealed exactly once, and {} are what they should be",
            counted(audited.verified.len(), "other object")
        ),
        faults => format!("not clean: {}", counted(faults, "fault")),
    });
    lines.join("\n")
}
