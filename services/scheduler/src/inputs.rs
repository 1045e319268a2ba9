//! What a plan depends on, read from the lake.

use std::collections::BTreeSet;

use jiff::Timestamp;
use nocturne_lake::{Lake, LakeError};
use nocturne_wire::{
    Generation, GenerationName, Topic,
    night::Outcome,
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
    let lineage = match &head {
        Some(head) => Lineage::of(lake, &head.generation).await?,
        None => Lineage::default(),
    };
    let mut sealed = Vec::new();
    for topic in Topic::ALL {
        sealed.extend(lake.batches().list(topic).await?.into_values().flatten());
    }
    Ok(PlanInputs {
        head,
        zero: lake.generations().find(Generation::ZERO).await?,
        base,
        read_to: read_to(lake, settings, &lineage, &sealed_to).await?,
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
    /// Where a manifest could not be read any more: what is older is taken for an ancestor.
    broken_at: Option<Generation>,
}

impl Lineage {
    async fn of(lake: &Lake, head: &GenerationName) -> Result<Self, LakeError> {
        let mut lineage = Self::default();
        let mut next = Some(head.clone());
        while let Some(name) = next.take().filter(|name| !lineage.known.contains(name)) {
            match lake.generations().manifest(&name).await {
                Ok(manifest) => next = manifest.parent,
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
        self.known.contains(name) || self.broken_at.is_some_and(|broken| name.number() < broken)
    }
}

/// Where the nights of this lineage stopped reading, newest first, until every partition is known.
async fn read_to(
    lake: &Lake,
    settings: &NightSettings,
    lineage: &Lineage,
    partitions: &EndPositions,
) -> Result<EndPositions, LakeError> {
    let mut read_to = EndPositions::new();
    for night in lake.nights().list().await?.into_iter().rev() {
        if partitions.keys().all(|partition| read_to.contains_key(partition)) {
            break;
        }
        let report = match lake.nights().report(&night).await {
            Ok(Some(report)) => report,
            Ok(None) => continue,
            // One damaged record of the past must not end all learning; what that night read is read again.
            Err(error) if error.is_damage() => {
                tracing::error!(%night, error = &error as &dyn std::error::Error, "a night's report is damaged; its batches count as unread");
                continue;
            }
            Err(error) => return Err(error),
        };
        if !has_read(&report.outcome, settings, lineage) {
            continue;
        }
        let plan = lake.nights().plan(&night).await?;
        if plan.channel == settings.channel {
            add_ends(&mut read_to, &plan);
        }
    }
    Ok(read_to)
}

/// Whether a night's batches count as read. A failed night has learned nothing from them, and what was published and does not serve, or was rolled back, is
/// not known to what serves now: the next night learns it again.
fn has_read(outcome: &Outcome, settings: &NightSettings, lineage: &Lineage) -> bool {
    match outcome {
        Outcome::Published { generation, .. } => lineage.holds(generation),
        Outcome::Empty { .. } => true,
        Outcome::Rejected { .. } => !settings.reread_rejected,
        Outcome::Failed { .. } => false,
    }
}

fn add_ends(read_to: &mut EndPositions, plan: &NightPlan) {
    for batch in &plan.batches {
        let end = read_to.entry((batch.name.topic, batch.name.partition)).or_insert_with(|| batch.last.next());
        *end = (*end).max(batch.last.next());
    }
}
