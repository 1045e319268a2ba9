//! The planned rows as tables of the query engine.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, RecordBatch, UInt64Array},
    datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit},
};
use datafusion::{dataframe::DataFrame, datasource::MemTable, error::Result as QueryResult, prelude::SessionContext};
use nocturne_wire::Topic;

use super::Resources;
use crate::{ColumnsError, Result, engine, schema};

/// Column that numbers the planned rows, so that verdicts find their row even when ids repeat.
pub(super) const ROW: &str = "planned_row";

/// What curation adds to an interaction's columns.
pub(super) const ADDED: [&str; 7] =
    ["verdict", "reason", "answer_usable", "score", "correction", "corrected_at", "repeated_until"];

/// The planned rows, ready to be queried.
pub(super) struct Tables {
    context: SessionContext,
    interactions: Arc<MemTable>,
    feedback: Arc<MemTable>,
    rows: SchemaRef,
}

pub(super) fn open(interactions: Vec<RecordBatch>, feedback: Vec<RecordBatch>, resources: &Resources) -> Result<Tables> {
    let failed = ColumnsError::query(resources.memory_bytes);
    let context = engine::context(resources)?;
    let (interactions, numbered) = number(interactions)?;
    let table = |schema, batches| MemTable::try_new(schema, vec![batches]).map(Arc::new).map_err(&failed);
    Ok(Tables {
        interactions: table(numbered, interactions)?,
        feedback: table(schema::of(Topic::Feedback)?, feedback)?,
        rows: schema::of(Topic::Interactions)?,
        context,
    })
}

/// Numbers the planned rows through all batches.
fn number(batches: Vec<RecordBatch>) -> Result<(Vec<RecordBatch>, SchemaRef)> {
    let rows = schema::of(Topic::Interactions)?;
    let number = Arc::new(Field::new(ROW, DataType::UInt64, false));
    let schema = Arc::new(Schema::new(std::iter::once(number).chain(rows.fields().iter().cloned()).collect::<Vec<_>>()));
    let mut next = 0;
    let numbered = batches.into_iter().map(|batch| {
        let numbers: ArrayRef = Arc::new(UInt64Array::from_iter_values(next..next + batch.num_rows() as u64));
        next += batch.num_rows() as u64;
        let columns = std::iter::once(numbers).chain(batch.columns().iter().cloned()).collect();
        RecordBatch::try_new(schema.clone(), columns)
    });
    let numbered = numbered.collect::<Result<Vec<_>, _>>();
    let numbered = numbered
        .map_err(|error| ColumnsError::unreadable("planned batch", "its columns are not those of interactions", error))?;
    Ok((numbered, schema))
}

impl Tables {
    pub(super) fn interactions(&self) -> QueryResult<DataFrame> {
        self.context.read_table(self.interactions.clone())
    }

    pub(super) fn feedback(&self) -> QueryResult<DataFrame> {
        self.context.read_table(self.feedback.clone())
    }

    /// Names of an interaction's own columns.
    pub(super) fn row_columns(&self) -> impl Iterator<Item = &str> {
        self.rows.fields().iter().map(|field| field.name().as_str())
    }

    /// The schema of curated rows.
    pub(super) fn curated_schema(&self) -> SchemaRef {
        let time = DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into()));
        let types = [
            (DataType::Utf8, false),
            (DataType::Utf8, true),
            (DataType::Boolean, false),
            (DataType::Float32, true),
            (DataType::Utf8, true),
            (time.clone(), true),
            (time, false),
        ];
        let added = ADDED.into_iter().zip(types).map(|(name, (kind, nullable))| Arc::new(Field::new(name, kind, nullable)));
        Arc::new(Schema::new(self.rows.fields().iter().cloned().chain(added).collect::<Vec<_>>()))
    }
}
