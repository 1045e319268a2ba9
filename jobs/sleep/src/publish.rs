//! From trained tensors to a published generation.

use bytes::Bytes;
use jiff::Timestamp;
use nocturne_lake::{Expect, Lake, LedgerDraft};
use nocturne_model::tensors::{self, Precision, SLOW, Tensors};
use nocturne_wire::{
    BatchName, GenerationName, Sha256Hex,
    ledger::LedgerAction,
    manifest::{FileEntry, MANIFEST_VERSION, Manifest, TensorEntry},
    path::SLOW_FILE,
    plan::NightPlan,
};

use crate::{error::SleepError, memory::Kept};

/// Tensors whose digest changed, inside and outside the slow banks.
pub(crate) fn changed(before: &Tensors, after: &Tensors) -> (u64, u64) {
    let digest = |values: &[f32]| Sha256Hex::of(&values.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<_>>());
    let (mut inside, mut outside) = (0, 0);
    for (name, values) in after {
        let same = before.get(name).is_some_and(|b| digest(&b.data) == digest(&values.data));
        if !same {
            *(if name.contains(SLOW) { &mut inside } else { &mut outside }) += 1;
        }
    }
    (inside, outside)
}

/// The slow banks' file of trained tensors.
///
/// # Errors
/// When the tensors cannot be written.
pub(crate) fn slow_file(tensors: &Tensors, precision: Precision) -> Result<Vec<u8>, SleepError> {
    let slow: Tensors = tensors.iter().filter(|(n, _)| n.contains(SLOW)).map(|(n, v)| (n.clone(), v.clone())).collect();
    tensors::write_as(SLOW_FILE, &slow, precision).map_err(|source| SleepError::Model { doing: "write the slow banks", source })
}

/// What a manifest says about a file.
pub(crate) fn entry(path: &str, file: &[u8]) -> FileEntry {
    FileEntry { path: path.to_owned(), bytes: file.len() as u64, sha256: Sha256Hex::of(file) }
}

/// Numbers that are tried for a generation.
const CLAIMS: usize = 32;

/// Publishes the banks, learned from these batches, and what their optimizer remembers, if that is kept, under the next free number.
///
/// # Errors
/// When the lake refuses.
pub(crate) async fn publish(
    lake: &Lake,
    plan: &NightPlan,
    batches: Vec<BatchName>,
    (file, memory): (Vec<u8>, Option<Kept>),
    now: Timestamp,
) -> Result<GenerationName, SleepError> {
    let failed = |source| SleepError::Lake { doing: "publish the new generation", source };
    let entries: Vec<TensorEntry> =
        tensors::entries(&file, "slow").map_err(|source| SleepError::Model { doing: "list the slow banks", source })?;
    let newest = lake.generations().list().await.map_err(failed)?.into_iter().next_back();
    let mut manifest = Manifest {
        version: MANIFEST_VERSION,
        number: newest.map_or(plan.parent.number(), |n| n.number()).next(),
        content: Manifest::content_of(&entries),
        base: plan.base.clone(),
        parent: Some(plan.parent.clone()),
        night: Some(plan.night.clone()),
        created: now,
        tensors: entries,
        files: vec![entry(SLOW_FILE, &file)],
        batches,
        optimizer: memory.as_ref().map(|kept| kept.entry.clone()),
    };
    let mut files = vec![(SLOW_FILE.to_owned(), Bytes::from(file))];
    files.extend(memory.map(|kept| (kept.entry.file.path, kept.file)));
    for _ in 1..CLAIMS {
        match lake.generations().publish(&manifest, &files).await {
            // Another writer took the number meanwhile, or took it and died.
            Err(error) if error.is_already_exists() => manifest.number = manifest.number.next(),
            outcome => return outcome.map_err(failed),
        }
    }
    lake.generations().publish(&manifest, &files).await.map_err(failed)
}

/// Appends the promotion to the channel, if nobody moved it since the plan.
///
/// # Errors
/// When the channel serves another generation than the plan's parent by now.
pub(crate) async fn promote(
    lake: &Lake,
    plan: &NightPlan,
    generation: &GenerationName,
    now: Timestamp,
) -> Result<(), SleepError> {
    let ledger = lake.ledger(&plan.channel);
    let failed = |source| SleepError::Lake { doing: "read the channel's ledger", source };
    let head = ledger.head().await.map_err(failed)?;
    let expect = head.filter(|h| h.generation == plan.parent).map_or(Expect::Empty, |h| Expect::Head(h.sequence));
    let draft = LedgerDraft {
        action: LedgerAction::Promote,
        generation: generation.clone(),
        time: now,
        actor: format!("night {}", plan.night),
        reason: "all gates passed".to_owned(),
        night: Some(plan.night.clone()),
    };
    ledger.append(&draft, expect).await.map(|_| ()).map_err(SleepError::Promote)
}

#[cfg(test)]
mod tests {
    use nocturne_model::tensors::Values;
    use nocturne_wire::{Generation, path};

    use super::*;
    use crate::fixture::plan;

    fn tensors(slow: f32, frozen: f32) -> Tensors {
        let one = |value: f32| Values { shape: vec![1], data: vec![value] };
        [("blocks.0.cms.slow.up".to_owned(), one(slow)), ("blocks.0.cms.frozen.up".to_owned(), one(frozen))].into_iter().collect()
    }

    #[test]
    fn changes_are_counted_inside_and_outside_the_slow_banks() {
        assert_eq!(changed(&tensors(1.0, 1.0), &tensors(1.0, 1.0)), (0, 0));
        assert_eq!(changed(&tensors(1.0, 1.0), &tensors(2.0, 1.0)), (1, 0));
        assert_eq!(changed(&tensors(1.0, 1.0), &tensors(2.0, 2.0)), (1, 1));
        assert_eq!(changed(&Tensors::new(), &tensors(2.0, 2.0)), (1, 1), "a tensor that was not there has changed");
    }

    #[test]
    fn only_slow_banks_are_written() {
        let file = slow_file(&tensors(1.0, 1.0), Precision::Half).unwrap();
        assert_eq!(tensors::read(SLOW_FILE, &file).unwrap().keys().collect::<Vec<_>>(), ["blocks.0.cms.slow.up"]);
    }

    #[tokio::test]
    async fn a_number_that_another_writer_claimed_is_passed_over() {
        let lake = Lake::memory();
        lake.create(&path::generation_claim(Generation(1)), "another writer").await.unwrap();
        let file = slow_file(&tensors(1.0, 1.0), Precision::Half).unwrap();
        let name = publish(&lake, &plan(), Vec::new(), (file, None), Timestamp::UNIX_EPOCH).await.unwrap();
        assert_eq!(name.number(), Generation(2));
        assert_eq!(lake.generations().manifest(&name).await.unwrap().night, Some(plan().night));
    }

    #[tokio::test]
    async fn a_channel_that_somebody_moved_meanwhile_is_left_alone() {
        let (lake, plan) = (Lake::memory(), plan());
        let begin = LedgerDraft {
            action: LedgerAction::Begin,
            generation: plan.parent.clone(),
            time: Timestamp::UNIX_EPOCH,
            actor: "test".into(),
            reason: "a test".into(),
            night: None,
        };
        lake.ledger(&plan.channel).append(&begin, Expect::Empty).await.unwrap();
        let name = |number| GenerationName::new(Generation(number), &Sha256Hex::of(b"1"));
        promote(&lake, &plan, &name(1), Timestamp::UNIX_EPOCH).await.unwrap();
        let refused = promote(&lake, &plan, &name(2), Timestamp::UNIX_EPOCH).await.unwrap_err();
        assert!(matches!(&refused, SleepError::Promote(error) if error.is_conflict()), "{refused}");
        assert_eq!(lake.ledger(&plan.channel).head().await.unwrap().unwrap().generation, name(1));
    }
}
