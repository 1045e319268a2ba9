//! What a plan depends on, read from the lake.

use jiff::Timestamp;
use nocturne_lake::{Lake, LakeError};
use nocturne_wire::{
    Generation, Topic,
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
    let mut sealed = Vec::new();
    for topic in Topic::ALL {
        sealed.extend(lake.batches().list(topic).await?.into_values().flatten());
    }
    Ok(PlanInputs {
        head,
        zero: lake.generations().find(Generation::ZERO).await?,
        base,
        read_to: read_to(lake, settings, &sealed_to).await?,
        sealed_to,
        sealed,
        request,
        trigger,
        settings: settings.clone(),
        now,
    })
}

/// Where the channel's earlier nights stopped reading, newest first, until every partition is known.
async fn read_to(lake: &Lake, settings: &NightSettings, partitions: &EndPositions) -> Result<EndPositions, LakeError> {
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
        if !has_read(&report.outcome, settings) {
            continue;
        }
        let plan = lake.nights().plan(&night).await?;
        if plan.channel == settings.channel {
            add_ends(&mut read_to, &plan);
        }
    }
    Ok(read_to)
}

/// Whether a night's batches count as read. A failed night has learned nothing from them.
const fn has_read(outcome: &Outcome, settings: &NightSettings) -> bool {
    match outcome {
        Outcome::Published { .. } | Outcome::Empty { .. } => true,
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
