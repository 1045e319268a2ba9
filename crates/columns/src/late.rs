//! Corrections of rows that are not at hand: which they are, and finding them in other batches.
//!
//! Only corrections bring an old row back. A late score alone says nothing new to learn, and an old row that is read again without the corrections that
//! came before would teach what was superseded.

use std::collections::HashMap;

use arrow::{
    array::{Array as _, BooleanArray, RecordBatch, StringArray},
    compute::filter_record_batch,
};

use crate::{ColumnsError, Result, rows::Columns};

const WHAT: &str = "batch";

/// Ids of interactions that are corrected and are in none of these batches, each with the tenant that corrected it.
///
/// # Errors
/// [`ColumnsError::Damaged`] when a batch does not have the columns of its topic.
pub fn unmatched(interactions: &[RecordBatch], feedback: &[RecordBatch]) -> Result<HashMap<String, String>> {
    let mut wanted = HashMap::new();
    for batch in feedback {
        let columns = Columns::of(WHAT, batch);
        let ids = columns.get::<StringArray>("interaction")?;
        let (tenants, corrections) = (columns.get::<StringArray>("tenant")?, columns.get::<StringArray>("correction")?);
        let corrected = (0..batch.num_rows()).filter(|row| corrections.is_valid(*row));
        wanted.extend(corrected.map(|row| (ids.value(row).to_owned(), tenants.value(row).to_owned())));
    }
    for batch in interactions {
        for id in Columns::of(WHAT, batch).get::<StringArray>("id")?.iter().flatten() {
            wanted.remove(id);
        }
    }
    Ok(wanted)
}

/// The rows with these ids and tenants; the ids that were found are no longer wanted.
///
/// # Errors
/// [`ColumnsError::Damaged`] when the batch has no ids.
pub fn take_rows(batch: &RecordBatch, wanted: &mut HashMap<String, String>) -> Result<RecordBatch> {
    let columns = Columns::of(WHAT, batch);
    let (ids, tenants) = (columns.get::<StringArray>("id")?, columns.get::<StringArray>("tenant")?);
    let is_wanted = |row: usize| wanted.get(ids.value(row)).is_some_and(|tenant| tenant == tenants.value(row));
    let found: BooleanArray = (0..batch.num_rows()).map(|row| Some(is_wanted(row))).collect();
    for id in ids.iter().flatten() {
        wanted.remove(id);
    }
    filter_record_batch(batch, &found).map_err(ColumnsError::build("rows that feedback corrects"))
}
