//! What an optimizer hands on from night to night.
//!
//! It lies beside the banks that it belongs to, and nobody who serves reads it. Without it a night learns a little less, and so a memory that is damaged or
//! another optimizer's is told and passed over: no later night with this parent could read it either, and none of them would ever end. What is not
//! passed over is a lake that cannot be read.

use bytes::Bytes;
use nocturne_kit::telemetry::chain;
use nocturne_lake::{Lake, LakeError};
use nocturne_model::{optim::OptimizerState, tensors, train::Trainer};
use nocturne_wire::{
    manifest::OptimizerEntry,
    path::OPTIMIZER_FILE,
    plan::{NightOptimizer, NightPlan},
};

use crate::{error::SleepError, publish};

/// What the parent's optimizer remembered, when the plan has nights go on from it and there is such a thing.
///
/// # Errors
/// When the lake cannot be read.
pub(crate) async fn read(lake: &Lake, plan: &NightPlan) -> Result<Option<OptimizerState>, SleepError> {
    if !plan.training.keep_optimizer_state {
        return Ok(None);
    }
    let (kept, bytes) = match lake.generations().fetch_optimizer(&plan.parent).await {
        Ok(Some(kept)) => kept,
        Ok(None) => {
            tracing::info!(parent = %plan.parent, "the parent's optimizer left nothing to go on from");
            return Ok(None);
        }
        Err(error @ LakeError::Damaged { .. }) => {
            tracing::error!(parent = %plan.parent, error = chain(&error), "this night begins without what the parent's optimizer remembered");
            return Ok(None);
        }
        Err(source) => return Err(SleepError::Lake { doing: "read what the parent's optimizer remembered", source }),
    };
    if kept.optimizer != plan.training.optimizer {
        tracing::info!(parent = %plan.parent, optimizer = ?kept.optimizer, "the parent was trained by another optimizer; this night's begins afresh");
        return Ok(None);
    }
    match parse(&kept, &bytes) {
        Ok(memory) => Ok(Some(memory)),
        Err(reason) => {
            tracing::error!(parent = %plan.parent, reason, "this night begins without what the parent's optimizer remembered");
            Ok(None)
        }
    }
}

fn parse(kept: &OptimizerEntry, bytes: &Bytes) -> Result<OptimizerState, String> {
    let memory = OptimizerState::read(OPTIMIZER_FILE, bytes).map_err(|error| chain(&error))?;
    let mut found = tensors::entries(bytes, "slow").map_err(|error| chain(&error))?;
    let mut listed = kept.tensors.clone();
    found.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    listed.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    if found == listed { Ok(memory) } else { Err(format!("{OPTIMIZER_FILE} holds other tensors than its manifest lists")) }
}

/// Has the optimizer of a training go on from a memory; says whether it does.
pub(crate) fn go_on(trainer: &mut Trainer, memory: &OptimizerState) -> bool {
    let outcome = trainer.remember(OPTIMIZER_FILE, memory);
    if let Err(error) = &outcome {
        tracing::error!(
            error = chain(error),
            "what the parent's optimizer remembered does not fit; this night begins without it"
        );
    }
    outcome.is_ok()
}

/// A memory as it is published.
#[derive(Debug)]
pub(crate) struct Kept {
    /// What the manifest says about it.
    pub(crate) entry: OptimizerEntry,
    /// Its file.
    pub(crate) file: Bytes,
}

impl Kept {
    /// What this optimizer remembers.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn of(optimizer: NightOptimizer, memory: &OptimizerState) -> Result<Self, SleepError> {
        let failed = |source| SleepError::Model { doing: "write what the optimizer remembers", source };
        let file = memory.write(OPTIMIZER_FILE).map_err(failed)?;
        let tensors = tensors::entries(&file, "slow").map_err(failed)?;
        Ok(Self { entry: OptimizerEntry { optimizer, file: publish::entry(OPTIMIZER_FILE, &file), tensors }, file: file.into() })
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use nocturne_model::tensors::{Precision, Tensors, Values};
    use nocturne_wire::{GenerationName, plan::TrainingSettings};

    use super::*;
    use crate::fixture::plan;

    fn memory(value: f32) -> OptimizerState {
        let values = Values { shape: vec![1, 2], data: vec![value, -0.1] };
        let tensors = [("blocks.0.cms.slow.up/fast".to_owned(), values)].into_iter().collect();
        OptimizerState { tensors, counts: [("blocks.0.cms.slow.up/chunk_steps".to_owned(), 3)].into_iter().collect() }
    }

    fn keeping(optimizer: NightOptimizer, parent: GenerationName) -> NightPlan {
        NightPlan { training: TrainingSettings { optimizer, keep_optimizer_state: true }, parent, ..plan() }
    }

    /// A lake with a generation of M3's, and its name.
    async fn published(kept: Option<Kept>) -> (Lake, GenerationName) {
        let lake = Lake::memory();
        let bank = Values { shape: vec![1], data: vec![1.0] };
        let bank: Tensors = [("blocks.0.cms.slow.up".to_owned(), bank)].into_iter().collect();
        let bank = publish::slow_file(&bank, Precision::Half).unwrap();
        let name = publish::publish(&lake, &plan(), Vec::new(), (bank, kept), Timestamp::UNIX_EPOCH).await.unwrap();
        (lake, name)
    }

    #[tokio::test]
    async fn what_was_kept_is_what_the_next_night_reads() {
        let (lake, name) = published(Some(Kept::of(NightOptimizer::M3, &memory(0.3)).unwrap())).await;
        assert_eq!(read(&lake, &keeping(NightOptimizer::M3, name.clone())).await.unwrap(), Some(memory(0.3)));
        let listed = lake.generations().manifest(&name).await.unwrap().optimizer.unwrap().tensors;
        assert_eq!(listed.iter().map(|t| t.dtype.as_str()).collect::<Vec<_>>(), ["U64", "F32"]);
        assert_eq!(read(&lake, &NightPlan { parent: name, ..plan() }).await.unwrap(), None, "nobody asked for it");
    }

    #[tokio::test]
    async fn a_night_without_a_memory_of_its_own_kind_begins_afresh() {
        let (lake, name) = published(None).await;
        assert_eq!(read(&lake, &keeping(NightOptimizer::M3, name)).await.unwrap(), None, "nothing was kept");
        let (lake, name) = published(Some(Kept::of(NightOptimizer::M3, &memory(0.3)).unwrap())).await;
        assert_eq!(read(&lake, &keeping(NightOptimizer::Muon, name)).await.unwrap(), None, "another optimizer's");
    }

    #[tokio::test]
    async fn a_memory_that_is_not_what_its_manifest_says_is_passed_over() {
        let good = || Kept::of(NightOptimizer::M3, &memory(0.3)).unwrap();
        let infinite = Kept::of(NightOptimizer::M3, &memory(f32::INFINITY)).unwrap();
        let mut unlisted = good();
        unlisted.entry.tensors.pop();
        let file = Bytes::from("no safetensors");
        let noise = Kept { entry: OptimizerEntry { file: publish::entry(OPTIMIZER_FILE, &file), ..good().entry }, file };
        for wrong in [infinite, unlisted, noise] {
            let (lake, name) = published(Some(wrong)).await;
            assert_eq!(read(&lake, &keeping(NightOptimizer::M3, name)).await.unwrap(), None);
        }
    }

    #[tokio::test]
    async fn a_lake_that_cannot_be_read_ends_the_night() {
        let missing = read(&Lake::memory(), &keeping(NightOptimizer::M3, plan().parent)).await.unwrap_err();
        assert!(matches!(missing, SleepError::Lake { source: LakeError::NotFound { .. }, .. }), "{missing}");
    }
}
