//! Everything a night reads: the plan, the base, the generations, the batches.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use nocturne_columns::{CuratedRow, RecordBatch, Resources, curate, curated_rows, take_rows, unmatched, write_curated};
use nocturne_kit::telemetry::chain;
use nocturne_lake::{Lake, LakeError};
use nocturne_model::{
    Banks, Base, Weights,
    optim::OptimizerState,
    tensors::{self, Tensors},
};
use nocturne_wire::{
    BatchName, GenerationName, Topic,
    night::CurationCounts,
    path::{self, SLOW_FILE},
    plan::NightPlan,
};

use crate::{batches::PlannedRows, error::SleepError, memory, rehearsal::Rehearsal};

/// The model side of a night.
#[derive(Debug)]
pub(crate) struct Models {
    /// The base.
    pub(crate) base: Arc<Base>,
    /// Generation 0.
    pub(crate) zero: Weights,
    /// What serves now.
    pub(crate) parent: Weights,
    /// All tensors of the parent: the base's and its slow banks'.
    pub(crate) parent_tensors: Tensors,
    /// What the optimizer of the parent's night remembered, when the plan wants to go on from it and there is such a thing.
    pub(crate) memory: Option<OptimizerState>,
    /// The rehearsal set.
    pub(crate) rehearsal: Vec<Rehearsal>,
}

fn file<'a>(files: &'a BTreeMap<String, Bytes>, name: &'static str) -> Result<&'a Bytes, SleepError> {
    files.get(name).ok_or(SleepError::BaseFile(name))
}

/// Reads and verifies the base, generation 0 and the parent.
///
/// # Errors
/// When the lake fails or an object is not what it should be.
pub(crate) async fn models(lake: &Lake, plan: &NightPlan) -> Result<Models, SleepError> {
    let files = lake.bases().fetch(&plan.base).await.map_err(|source| SleepError::Lake { doing: "read the base", source })?;
    let failed = |source| SleepError::Model { doing: "load the base", source };
    let base = Base::from_files(|name| files.get(name).map(|bytes| &bytes[..]));
    // A plan gives one candidate, whenever it is carried out.
    let planned = plan.created.to_zoned(jiff::tz::TimeZone::UTC).datetime();
    let base = Arc::new(base.map_err(failed)?.at(planned));
    let rehearsal = Rehearsal::parse(file(&files, "rehearsal.jsonl")?)?;
    let zero = slow_tensors(lake, plan, &plan.zero).await?;
    let parent = slow_tensors(lake, plan, &plan.parent).await?;
    let weights =
        |slow: &Tensors| Banks::from_tensors(&base, slow).map(|banks| Weights::new(Arc::clone(&base), banks)).map_err(failed);
    let (zero, parent_weights) = (weights(&zero)?, weights(&parent)?);
    let mut parent_tensors = base.tensors().clone();
    parent_tensors.extend(parent);
    let memory = memory::read(lake, plan).await?;
    Ok(Models { base, zero, parent: parent_weights, parent_tensors, memory, rehearsal })
}

async fn slow_tensors(lake: &Lake, plan: &NightPlan, name: &GenerationName) -> Result<Tensors, SleepError> {
    let failed = |source| SleepError::Lake { doing: "read a generation", source };
    let verified = lake.generations().fetch(name, &plan.base).await.map_err(failed)?;
    let bytes = verified.files.get(SLOW_FILE).ok_or(SleepError::BaseFile(SLOW_FILE))?;
    tensors::read(SLOW_FILE, bytes).map_err(|source| SleepError::Model { doing: "read the slow banks of a generation", source })
}

/// What a night may learn from.
#[derive(Debug)]
pub(crate) struct DayRows {
    /// Every row with its verdict.
    pub(crate) rows: Vec<CuratedRow>,
    /// How many were kept and dropped.
    pub(crate) counts: CurationCounts,
    /// The batches that they come from.
    pub(crate) batches: Vec<BatchName>,
}

/// Reads the planned batches, curates them and writes the verdicts to the lake.
///
/// # Errors
/// When a batch is missing or damaged, or the query fails.
pub(crate) async fn rows(lake: &Lake, plan: &NightPlan) -> Result<DayRows, SleepError> {
    let (mut interactions, mut feedback): (Vec<RecordBatch>, Vec<RecordBatch>) = (Vec::new(), Vec::new());
    let mut reader = PlannedRows::new(lake);
    for planned in &plan.batches {
        let rows = reader.read(planned).await?;
        match planned.name.topic {
            Topic::Interactions => interactions.push(rows),
            Topic::Feedback => feedback.push(rows),
        }
    }
    let mut read: Vec<BatchName> = plan.batches.iter().map(|planned| planned.name).collect();
    for (name, rows) in corrected_late(&mut reader, plan, &interactions, &feedback).await? {
        read.push(name);
        interactions.push(rows);
    }
    let failed = |source| SleepError::Columns { doing: "curate the planned batches", source };
    let curated = curate(interactions, feedback, &plan.curation, &Resources::default()).await.map_err(failed)?;
    let rows = curated_rows(&curated.rows).map_err(failed)?;
    let bytes = write_curated(&curated.rows).map_err(failed)?;
    let failed = |source| SleepError::Lake { doing: "write the curated rows", source };
    lake.nights().put(&plan.night, "curated.parquet", bytes).await.map_err(failed)?;
    Ok(DayRows { rows, counts: curated.counts, batches: read })
}

/// The rows of earlier nights that the planned feedback corrects. A batch that is gone or damaged by now is passed over: what it taught was learned.
async fn corrected_late(
    reader: &mut PlannedRows<'_>,
    plan: &NightPlan,
    interactions: &[RecordBatch],
    feedback: &[RecordBatch],
) -> Result<Vec<(BatchName, RecordBatch)>, SleepError> {
    let failed = |source| SleepError::Columns { doing: "find what late feedback corrects", source };
    let mut wanted = unmatched(interactions, feedback).map_err(failed)?;
    let mut found = Vec::new();
    for planned in &plan.earlier {
        if wanted.is_empty() {
            break;
        }
        match reader.read(planned).await {
            Ok(rows) => {
                let rows = take_rows(&rows, &mut wanted).map_err(failed)?;
                if rows.num_rows() > 0 {
                    found.push((planned.name, rows));
                }
            }
            // The storage may do it later, and the feedback is read once.
            Err(error @ SleepError::Lake { source: LakeError::Unavailable { .. }, .. }) => return Err(error),
            Err(error) => {
                tracing::warn!(batch = path::batch(&planned.name), error = chain(&error), "late feedback may be about it");
            }
        }
    }
    if !wanted.is_empty() {
        tracing::warn!(corrections = wanted.len(), "feedback corrects interactions that the plan does not reach");
    }
    Ok(found)
}
