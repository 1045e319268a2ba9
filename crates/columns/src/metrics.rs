//! A night's curves: one row a step and name.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, Float64Array, RecordBatch, StringArray, UInt64Array},
    datatypes::{DataType, Field, Schema},
};
use bytes::Bytes;

use crate::{ColumnsError, Result, parquet_file, rows::Columns};

const WHAT: &str = "metrics table";

/// One measured value.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricRow {
    /// The optimizer step, or whatever the curve's horizontal axis counts.
    pub step: u64,
    /// The curve, `loss`.
    pub name: String,
    /// The value.
    pub value: f64,
}

/// Writes a metrics table as Parquet.
///
/// # Errors
/// When the columns cannot be encoded.
pub fn write_metrics(rows: &[MetricRow]) -> Result<Bytes> {
    let fields = vec![
        Field::new("step", DataType::UInt64, false),
        Field::new("name", DataType::Utf8, false),
        Field::new("value", DataType::Float64, false),
    ];
    let columns: Vec<ArrayRef> = vec![
        Arc::new(UInt64Array::from_iter_values(rows.iter().map(|row| row.step))),
        Arc::new(StringArray::from_iter_values(rows.iter().map(|row| &row.name))),
        Arc::new(Float64Array::from_iter_values(rows.iter().map(|row| row.value))),
    ];
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(ColumnsError::build(WHAT))?;
    parquet_file::write(WHAT, &batch, parquet_file::properties().build(), &[])
}

/// Reads a metrics table.
///
/// # Errors
/// [`ColumnsError::Damaged`] when the object is not what [`write_metrics`] writes.
pub fn read_metrics(bytes: &Bytes) -> Result<Vec<MetricRow>> {
    let batch = parquet_file::rows(WHAT, bytes, parquet_file::open(WHAT, bytes)?)?;
    let columns = Columns::of(WHAT, &batch);
    let steps = columns.get::<UInt64Array>("step")?;
    let names = columns.get::<StringArray>("name")?;
    let values = columns.get::<Float64Array>("value")?;
    let row = |row| MetricRow { step: steps.value(row), name: names.value(row).to_owned(), value: values.value(row) };
    Ok((0..batch.num_rows()).map(row).collect())
}
