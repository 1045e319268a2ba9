//! Planned offsets: the batches that hold them now, and their rows.

use std::collections::BTreeMap;

use bytes::Bytes;
use nocturne_columns::{RecordBatch, concat, read_footer, rows_between};
use nocturne_lake::{Lake, LakeError};
use nocturne_wire::{BatchName, Partition, Topic, path, plan::PlannedBatch};

use crate::error::SleepError;

/// How often a listing is read again because what it named made way meanwhile.
const LISTINGS: usize = 5;

/// Reads planned offsets, and remembers each partition's listing.
#[derive(Debug)]
pub(crate) struct PlannedRows<'a> {
    lake: &'a Lake,
    listings: BTreeMap<(Topic, Partition), Vec<BatchName>>,
}

impl<'a> PlannedRows<'a> {
    pub(crate) fn new(lake: &'a Lake) -> Self {
        Self { lake, listings: BTreeMap::new() }
    }

    /// The rows of planned offsets, in the order of offsets, whatever batches they lie in by now.
    ///
    /// # Errors
    /// When the lake fails, the offsets are in no batch, or their batch is damaged.
    pub(crate) async fn read(&mut self, planned: &PlannedBatch) -> Result<RecordBatch, SleepError> {
        let failed = |source| SleepError::Lake { doing: "read a planned batch", source };
        let key = (planned.name.topic, planned.name.partition);
        let mut gone = LakeError::NotFound { path: path::batch(&planned.name) };
        for _ in 0..LISTINGS {
            if !self.listings.contains_key(&key) {
                let names = self.lake.batches().names(key.0, key.1).await.map_err(failed)?;
                self.listings.insert(key, names);
            }
            let holding = holding(&self.listings[&key], planned);
            if holding.is_empty() {
                break;
            }
            match fetch(self.lake, holding).await {
                Ok(found) => return open(found, *planned).await,
                // Another batch took its place after the listing.
                Err(error) if error.is_not_found() => gone = error,
                Err(error) => return Err(failed(error)),
            }
            self.listings.remove(&key);
        }
        Err(failed(gone))
    }
}

async fn fetch(lake: &Lake, names: Vec<BatchName>) -> Result<Vec<(BatchName, Bytes)>, LakeError> {
    let mut found = Vec::with_capacity(names.len());
    for name in names {
        found.push((name, lake.batches().get(&name).await?));
    }
    Ok(found)
}

async fn open(found: Vec<(BatchName, Bytes)>, planned: PlannedBatch) -> Result<RecordBatch, SleepError> {
    let opened = tokio::task::spawn_blocking(move || open_here(found, planned));
    opened.await.map_err(|_| SleepError::Panicked)?
}

fn open_here(found: Vec<(BatchName, Bytes)>, planned: PlannedBatch) -> Result<RecordBatch, SleepError> {
    let (mut rows, mut covered) = (Vec::with_capacity(found.len()), None);
    for (name, bytes) in found {
        let failed = |source| SleepError::Batch { batch: path::batch(&name), source };
        covered = covered.max(Some(read_footer(&bytes).map_err(failed)?.last));
        rows.push(rows_between(&name, &bytes, planned.name.first, planned.last).map_err(failed)?);
    }
    // A name does not say where its batch ends: the one before a batch that is gone seems to reach up to the next one.
    if covered.is_none_or(|covered| covered < planned.name.first) {
        let source = LakeError::NotFound { path: path::batch(&planned.name) };
        return Err(SleepError::Lake { doing: "read a planned batch", source });
    }
    concat(planned.name.topic, &rows).map_err(|source| SleepError::Columns { doing: "gather the planned rows", source })
}

/// The batches that hold planned offsets. Where one ends is where the next one begins.
fn holding(names: &[BatchName], planned: &PlannedBatch) -> Vec<BatchName> {
    let begins = names.partition_point(|name| name.first <= planned.name.first).saturating_sub(1);
    let rest = names.get(begins..).unwrap_or_default();
    let covers = |name: &&BatchName| name.rewritten.is_none_or(|rewritten| rewritten.last >= planned.name.first);
    let holding: Vec<_> = rest.iter().take_while(|name| name.first <= planned.last).filter(covers).copied().collect();
    // What begins after the first planned offset cannot stand in for the batch that held it.
    if holding.first().is_some_and(|name| name.first <= planned.name.first) { holding } else { Vec::new() }
}

#[cfg(test)]
mod tests {
    use nocturne_wire::{Offset, batch::Rewritten};

    use super::*;

    fn sealed(first: u64) -> BatchName {
        BatchName::new(Topic::Interactions, Partition(0), Offset(first))
    }

    #[test]
    fn planned_offsets_are_found_under_whatever_name_they_have() {
        let merged = BatchName { rewritten: Some(Rewritten { last: Offset(19), revision: 1 }), ..sealed(0) };
        let planned = |first, last| PlannedBatch { name: sealed(first), last: Offset(last) };
        let names = [sealed(0), sealed(10), sealed(20)];
        assert_eq!(holding(&names, &planned(10, 19)), [sealed(10)]);
        assert_eq!(holding(&names, &planned(15, 25)), [sealed(10), sealed(20)]);
        assert_eq!(holding(&[merged, sealed(20)], &planned(10, 19)), [merged]);
        assert_eq!(holding(&[merged, sealed(20)], &planned(0, 9)), [merged]);
        assert_eq!(holding(&[sealed(20)], &planned(10, 29)), [], "its beginning is gone");
        assert_eq!(holding(&[merged, sealed(30)], &planned(20, 29)), [], "it was never there");
    }
}
