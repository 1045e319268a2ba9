//! What a plan depends on, read from the lake.

use std::collections::BTreeSet;

use jiff::Timestamp;
use nocturne_lake::{Lake, LakeError};
use nocturne_wire::{
    Generation, GenerationName, NightId, Topic,
    night::{NightReport, Outcome},
    plan::{NightPlan, Trigger},
};

use crate::{EndPositions, NightRequest, NightSettings, PlanInputs};

/// Reads a plan's inputs; `sealed_to` says where the batches end, as the batcher's flush tells.
///
/// # Errors
/// When the lake cannot be read, or what it holds is damaged.
pub async fn read_inputs(
    lake: &Lake,
    settings: &NightSettings,
    sealed_to: EndPositions,
    request: NightRequest,
    trigger: Trigger,
    now: Timestamp,
) -> Result<PlanInputs, LakeError> {
    let head = lake.ledger(&settings.channel).head().await?;
    let base = match &head {
        Some(head) => Some(lake.generations().manifest(&head.generation).await?.base),
        None => None,
    };
    let lineage = Lineage::of(lake, &settings.channel).await?;
    let read = read_before(lake, settings, &lineage, &sealed_to).await?;
    let mut sealed = Vec::new();
    for topic in Topic::ALL {
        sealed.extend(lake.batches().list(topic).await?.into_values().flatten());
    }
    Ok(PlanInputs {
        head,
        zero: lake.generations().find(Generation::ZERO).await?,
        base,
        lineage: lineage.nights.iter().rev().cloned().collect(),
        read_to: read.by_lineage,
        seen_to: read.by_any,
        sealed_to,
        sealed,
        request,
        trigger,
        settings: settings.clone(),
        now,
    })
}

/// The generation that serves and those that it came from: what it has learned is what the nights between them read.
#[derive(Debug, Default)]
struct Lineage {
    known: BTreeSet<GenerationName>,
    /// Those that ever served.
    served: BTreeSet<GenerationName>,
    /// The nights that trained them, newest first.
    nights: Vec<NightId>,
    /// Where a manifest could not be read any more: what is older is taken for an ancestor.
    broken_at: Option<Generation>,
}

impl Lineage {
    async fn of(lake: &Lake, channel: &str) -> Result<Self, LakeError> {
        let entries = lake.ledger(channel).read().await?;
        let mut next = entries.last().map(|head| head.generation.clone());
        let served = entries.into_iter().map(|entry| entry.generation).collect();
        let mut lineage = Self { served, ..Self::default() };
        while let Some(name) = next.take().filter(|name| !lineage.known.contains(name)) {
            match lake.generations().manifest(&name).await {
                Ok(manifest) => {
                    lineage.nights.extend(manifest.night);
                    next = manifest.parent;
                }
                Err(error) if error.is_damage() || error.is_not_found() => {
                    tracing::error!(generation = %name, error = &error as &dyn std::error::Error, "an ancestor of what serves cannot be read");
                    lineage.broken_at = Some(name.number());
                }
                Err(error) => return Err(error),
            }
            lineage.known.insert(name);
        }
        Ok(lineage)
    }

    fn holds(&self, name: &GenerationName) -> bool {
        self.known.contains(name) || self.served.contains(name) || self.broken_at.is_some_and(|broken| name.number() < broken)
    }
}

/// Where earlier nights stopped reading.
#[derive(Debug, Default)]
struct Read {
    /// Those whose batches count as read by what serves.
    by_lineage: EndPositions,
    /// Those that came to an end of any kind but failure.
    by_any: EndPositions,
}

/// Goes through the channel's nights, newest first, until every partition is known.
async fn read_before(
    lake: &Lake,
    settings: &NightSettings,
    lineage: &Lineage,
    partitions: &EndPositions,
) -> Result<Read, LakeError> {
    let mut read = Read::default();
    for night in lake.nights().list().await?.into_iter().rev() {
        if partitions.keys().all(|partition| read.by_lineage.contains_key(partition)) {
            break;
        }
        let Some((report, plan)) = ended_night(lake, &night).await? else { continue };
        if plan.channel != settings.channel || matches!(report.outcome, Outcome::Failed { .. }) {
            continue;
        }
        add_ends(&mut read.by_any, &plan);
        if has_read(&report, settings, lineage) {
            add_ends(&mut read.by_lineage, &plan);
        }
    }
    Ok(read)
}

/// A night's report and plan. One damaged record of the past must not end all learning: what that night read is read again.
async fn ended_night(lake: &Lake, night: &NightId) -> Result<Option<(NightReport, NightPlan)>, LakeError> {
    let read = async {
        let Some(report) = lake.nights().report(night).await? else { return Ok(None) };
        Ok(Some((report, lake.nights().plan(night).await?)))
    };
    match read.await {
        Err(error) if LakeError::is_damage(&error) || error.is_not_found() => {
            tracing::error!(%night, error = &error as &dyn std::error::Error, "a night's record is damaged; its batches count as unread");
            Ok(None)
        }
        read => read,
    }
}

/// Whether a night's batches count as read. What was published and never served is not known to what serves: the next night learns it again. What served and
/// was rolled back stays undone, until somebody promotes it again: a night must not undo a person's decision. A day that taught too little to be measured
/// waits for the next one, and is measured with it.
fn has_read(report: &NightReport, settings: &NightSettings, lineage: &Lineage) -> bool {
    match &report.outcome {
        Outcome::Published { generation, .. } => lineage.holds(generation),
        Outcome::Empty { .. } => true,
        Outcome::Rejected { .. } => !settings.reread_rejected && !taught_little(report),
        Outcome::Failed { .. } => false,
    }
}

/// Lessons from which on the share of them that was learned says something.
const MEASURABLE_LESSONS: u64 = 10;

fn taught_little(report: &NightReport) -> bool {
    report.gates.iter().any(|gate| gate.gate == "learned" && gate.count < MEASURABLE_LESSONS)
}

fn add_ends(read_to: &mut EndPositions, plan: &NightPlan) {
    for batch in &plan.batches {
        let end = read_to.entry((batch.name.topic, batch.name.partition)).or_insert_with(|| batch.last.next());
        *end = (*end).max(batch.last.next());
    }
}
