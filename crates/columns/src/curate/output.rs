//! Curated rows: counted, written, read back.

use arrow::{
    array::{Array as _, BooleanArray, Float32Array, RecordBatch, StringArray, TimestampMicrosecondArray},
    compute::{cast, concat_batches},
    datatypes::SchemaRef,
};
use bytes::Bytes;
use jiff::Timestamp;
use nocturne_wire::{Interaction, night::CurationCounts};

use super::rules::KEEP;
use crate::{
    ColumnsError, Result, interactions, parquet_file,
    rows::{Columns, timestamp},
};

const WHAT: &str = "table of curated rows";

/// One interaction with its verdict.
#[derive(Debug, Clone, PartialEq)]
pub struct CuratedRow {
    /// The interaction.
    pub interaction: Interaction,
    /// Whether a night may learn from it.
    pub kept: bool,
    /// The rule that dropped it.
    pub reason: Option<String>,
    /// Whether the model's answer may be learned; false when the latest feedback is negative.
    pub answer_usable: bool,
    /// The latest feedback's score.
    pub score: Option<f32>,
    /// The latest correction.
    pub correction: Option<String>,
    /// When that correction came.
    pub corrected_at: Option<Timestamp>,
    /// When the subject last said this; its own time when it was said once. Contradictions are ordered by it.
    pub repeated_until: Timestamp,
}

/// All rows of a query in one batch of exactly this schema.
pub(super) fn gather(schema: &SchemaRef, batches: &[RecordBatch]) -> Result<RecordBatch> {
    let failed = ColumnsError::build(WHAT);
    let mut aligned = Vec::with_capacity(batches.len());
    for batch in batches {
        // The engine may widen a text's type on the way; the table that is written does not change with the engine.
        let columns = batch.columns().iter().zip(schema.fields()).map(|(column, field)| cast(column, field.data_type()));
        let columns = columns.collect::<Result<Vec<_>, _>>().map_err(&failed)?;
        aligned.push(RecordBatch::try_new(schema.clone(), columns).map_err(&failed)?);
    }
    concat_batches(schema, &aligned).map_err(failed)
}

/// Counts kept and dropped rows.
pub(super) fn count(rows: &RecordBatch) -> Result<CurationCounts> {
    let reasons = Columns::of(WHAT, rows).get::<StringArray>("reason")?;
    let mut counts = CurationCounts { read: reasons.len() as u64, ..CurationCounts::default() };
    for reason in reasons {
        match reason {
            None => counts.kept += 1,
            Some(reason) => *counts.dropped.entry(reason.to_owned()).or_default() += 1,
        }
    }
    Ok(counts)
}

/// Writes curated rows as Parquet.
///
/// # Errors
/// When the rows cannot be encoded.
pub fn write_curated(rows: &RecordBatch) -> Result<Bytes> {
    parquet_file::write(WHAT, rows, parquet_file::properties().build(), &[])
}

/// Reads curated rows.
///
/// # Errors
/// [`ColumnsError::Damaged`] when the object is not what [`write_curated`] writes.
pub fn read_curated(bytes: &Bytes) -> Result<RecordBatch> {
    parquet_file::rows(WHAT, bytes, parquet_file::open(WHAT, bytes)?)
}

/// The rows of a curated table, one by one.
///
/// # Errors
/// [`ColumnsError::Damaged`] when the columns are not those of curated rows.
pub fn curated_rows(rows: &RecordBatch) -> Result<Vec<CuratedRow>> {
    let columns = Columns::of(WHAT, rows);
    let verdicts = columns.get::<StringArray>("verdict")?;
    let reasons = columns.get::<StringArray>("reason")?;
    let usable = columns.get::<BooleanArray>("answer_usable")?;
    let scores = columns.get::<Float32Array>("score")?;
    let corrections = columns.get::<StringArray>("correction")?;
    let corrected = columns.get::<TimestampMicrosecondArray>("corrected_at")?;
    let until = columns.get::<TimestampMicrosecondArray>("repeated_until")?;
    let text = |column: &StringArray, row| column.is_valid(row).then(|| column.value(row).to_owned());
    let row = |(row, interaction)| {
        Ok(CuratedRow {
            interaction,
            kept: verdicts.value(row) == KEEP,
            reason: text(reasons, row),
            answer_usable: usable.value(row),
            score: scores.is_valid(row).then(|| scores.value(row)),
            correction: text(corrections, row),
            corrected_at: corrected.is_valid(row).then(|| timestamp(WHAT, corrected.value(row))).transpose()?,
            repeated_until: timestamp(WHAT, until.value(row))?,
        })
    };
    interactions(rows)?.into_iter().enumerate().map(row).collect()
}
