//! Dead letters: records that could not be read, kept with the reason.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, BinaryArray, RecordBatch, StringArray, UInt64Array},
    datatypes::{DataType, Field, Schema, SchemaRef},
};
use bytes::Bytes;
use nocturne_wire::{
    Offset, Sha256Hex,
    batch::{BatchFooter, FOOTER_KEY},
};

use parquet::schema::types::ColumnPath;

use crate::{
    ColumnsError, Result, parquet_file,
    rows::Columns,
    schema::OFFSET,
    seal::{footer_json, footer_of},
};

const WHAT: &str = "dead-letter object";

/// A record that is not a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// Its position in the partition.
    pub offset: Offset,
    /// Why it could not be read.
    pub reason: String,
    /// Its bytes.
    pub raw: Vec<u8>,
}

/// Seals the dead letters of a batch into a Parquet object of their own, with the batch's footer.
///
/// # Errors
/// [`ColumnsError::Refused`] when the footer counts other dead letters.
pub fn seal_dead_letters(letters: &[DeadLetter], footer: &BatchFooter) -> Result<Bytes> {
    if letters.len() as u64 != footer.dead {
        let reason = format!("the batch's footer says {} dead letters, {} are given", footer.dead, letters.len());
        return Err(ColumnsError::Refused { what: WHAT, reason });
    }
    let columns: Vec<ArrayRef> = vec![
        Arc::new(UInt64Array::from_iter_values(letters.iter().map(|letter| letter.offset.0))),
        Arc::new(StringArray::from_iter_values(letters.iter().map(|letter| &letter.reason))),
        Arc::new(BinaryArray::from_iter_values(letters.iter().map(|letter| &letter.raw))),
    ];
    let batch = RecordBatch::try_new(schema(), columns).map_err(ColumnsError::build(WHAT))?;
    // Without a dictionary, the file says how long the records are that repeat themselves: whoever merges has to know.
    let properties = parquet_file::properties().set_column_dictionary_enabled(ColumnPath::from("raw"), false).build();
    parquet_file::write(WHAT, &batch, properties, &[(FOOTER_KEY, footer_json(footer)?)])
}

/// What [`BatchFooter::letters`] says of dead letters: a digest over the offset, length and bytes of each.
pub fn letters_digest(letters: &[DeadLetter]) -> Option<Sha256Hex> {
    let mut all = Vec::new();
    for DeadLetter { offset, raw, .. } in letters {
        all.extend_from_slice(&offset.0.to_le_bytes());
        all.extend_from_slice(&(raw.len() as u64).to_le_bytes());
        all.extend_from_slice(raw);
    }
    (!letters.is_empty()).then(|| Sha256Hex::of(&all))
}

pub(crate) fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new(OFFSET, DataType::UInt64, false),
        Field::new("reason", DataType::Utf8, false),
        Field::new("raw", DataType::Binary, false),
    ]))
}

/// Reads dead letters.
///
/// # Errors
/// [`ColumnsError::Damaged`] when the object is not what [`seal_dead_letters`] writes.
pub fn read_dead_letters(bytes: &Bytes) -> Result<Vec<DeadLetter>> {
    read(bytes).map(|(_, letters)| letters)
}

pub(crate) fn read(bytes: &Bytes) -> Result<(BatchFooter, Vec<DeadLetter>)> {
    let opened = parquet_file::open(WHAT, bytes)?;
    let footer = footer_of(WHAT, &opened)?;
    let batch = parquet_file::rows(WHAT, bytes, opened)?;
    let columns = Columns::of(WHAT, &batch);
    let offsets = columns.get::<UInt64Array>(OFFSET)?;
    let reasons = columns.get::<StringArray>("reason")?;
    let raws = columns.get::<BinaryArray>("raw")?;
    let letter = |row| DeadLetter {
        offset: Offset(offsets.value(row)),
        reason: reasons.value(row).to_owned(),
        raw: raws.value(row).to_vec(),
    };
    Ok((footer, (0..batch.num_rows()).map(letter).collect()))
}
