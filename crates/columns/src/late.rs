//! Feedback about rows that are not at hand: which they are, and finding them in other batches.

use std::collections::HashSet;

use arrow::{
    array::{BooleanArray, RecordBatch, StringArray},
    compute::filter_record_batch,
};

use crate::{ColumnsError, Result, rows::Columns};

const WHAT: &str = "batch";

/// Ids of interactions that feedback is about and that are in none of these batches.
///
/// # Errors
/// [`ColumnsError::Damaged`] when a batch does not have the columns of its topic.
pub fn unmatched(interactions: &[RecordBatch], feedback: &[RecordBatch]) -> Result<HashSet<String>> {
    let mut wanted = HashSet::new();
    for batch in feedback {
        wanted.extend(Columns::of(WHAT, batch).get::<StringArray>("interaction")?.iter().flatten().map(str::to_owned));
    }
    for batch in interactions {
        for id in Columns::of(WHAT, batch).get::<StringArray>("id")?.iter().flatten() {
            wanted.remove(id);
        }
    }
    Ok(wanted)
}

/// The rows with these ids; the ids that were found are no longer wanted.
///
/// # Errors
/// [`ColumnsError::Damaged`] when the batch has no ids.
pub fn take_rows(batch: &RecordBatch, wanted: &mut HashSet<String>) -> Result<RecordBatch> {
    let ids = Columns::of(WHAT, batch).get::<StringArray>("id")?;
    let found: BooleanArray = ids.iter().map(|id| Some(id.is_some_and(|id| wanted.remove(id)))).collect();
    filter_record_batch(batch, &found).map_err(ColumnsError::build("rows that feedback is about"))
}
