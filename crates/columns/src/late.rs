//! Corrections of rows that are not at hand: which they are, and finding them in other batches.
//!
//! Only corrections bring an old row back. A late score alone says nothing new to learn, and an old row that is read again without the corrections that
//! came before would teach what was superseded.

use std::collections::HashSet;

use arrow::{
    array::{Array as _, BooleanArray, RecordBatch, StringArray},
    compute::filter_record_batch,
};

use crate::{ColumnsError, Result, rows::Columns};

const WHAT: &str = "batch";

/// An interaction by its tenant and its id: a tenant corrects nobody else's.
pub(crate) type TenantAndId = (String, String);

/// Interactions that are corrected and are in none of these batches.
///
/// # Errors
/// [`ColumnsError::Damaged`] when a batch does not have the columns of its topic.
pub fn unmatched(interactions: &[RecordBatch], feedback: &[RecordBatch]) -> Result<HashSet<TenantAndId>> {
    let mut wanted = HashSet::new();
    for batch in feedback {
        let columns = Columns::of(WHAT, batch);
        let ids = columns.get::<StringArray>("interaction")?;
        let (tenants, corrections) = (columns.get::<StringArray>("tenant")?, columns.get::<StringArray>("correction")?);
        let corrected = (0..batch.num_rows()).filter(|row| corrections.is_valid(*row));
        wanted.extend(corrected.map(|row| (tenants.value(row).to_owned(), ids.value(row).to_owned())));
    }
    for batch in interactions {
        for key in keys(batch)? {
            wanted.remove(&key);
        }
    }
    Ok(wanted)
}

fn keys(batch: &RecordBatch) -> Result<Vec<TenantAndId>> {
    let columns = Columns::of(WHAT, batch);
    let (tenants, ids) = (columns.get::<StringArray>("tenant")?, columns.get::<StringArray>("id")?);
    Ok((0..batch.num_rows()).map(|row| (tenants.value(row).to_owned(), ids.value(row).to_owned())).collect())
}

/// The rows that are wanted; those that were found no longer are.
///
/// # Errors
/// [`ColumnsError::Damaged`] when the batch has no ids.
pub fn take_rows(batch: &RecordBatch, wanted: &mut HashSet<TenantAndId>) -> Result<RecordBatch> {
    let keys = keys(batch)?;
    let found: BooleanArray = keys.iter().map(|key| Some(wanted.contains(key))).collect();
    for key in &keys {
        wanted.remove(key);
    }
    filter_record_batch(batch, &found).map_err(ColumnsError::build("rows that feedback corrects"))
}
