//! Sealed batches: rows ⇄ one Parquet object that says in its footer what it covers.

use bytes::Bytes;
use nocturne_wire::{
    BatchName, Topic, avro,
    batch::{BatchFooter, FOOTER_KEY},
};
use parquet::{
    arrow::arrow_reader::ArrowReaderMetadata,
    file::properties::{EnabledStatistics, WriterProperties},
    schema::types::ColumnPath,
};

use crate::{ColumnsError, RecordBatch, Result, parquet_file, schema};

const WHAT: &str = "batch";

/// Seals rows into a Parquet object.
///
/// # Errors
/// [`ColumnsError::Refused`] when the footer does not describe the rows.
pub fn seal(batch: &RecordBatch, footer: &BatchFooter) -> Result<Bytes> {
    if batch.num_rows() as u64 != footer.rows {
        let reason = format!("its footer says {} rows, it has {}", footer.rows, batch.num_rows());
        return Err(ColumnsError::Refused { what: WHAT, reason });
    }
    if *batch.schema() != *schema::of(footer.name.topic)? {
        let reason = format!("its columns are not those of {}", footer.name.topic);
        return Err(ColumnsError::Refused { what: WHAT, reason });
    }
    parquet_file::write(WHAT, batch, properties(footer), &[(FOOTER_KEY, footer_json(footer)?)])
}

pub(crate) fn footer_json(footer: &BatchFooter) -> Result<String> {
    serde_json::to_string(footer).map_err(|error| ColumnsError::Write { what: "batch footer", source: error.into() })
}

/// Ids are looked up one by one and never repeat: a bloom filter and no dictionary. Long texts are never compared: no statistics.
fn properties(footer: &BatchFooter) -> WriterProperties {
    let id = || ColumnPath::from("id");
    let mut properties = parquet_file::properties()
        .set_column_dictionary_enabled(id(), false)
        .set_column_bloom_filter_enabled(id(), true)
        .set_column_bloom_filter_max_ndv(id(), footer.rows.max(1));
    let texts: &[&[&str]] = match footer.name.topic {
        Topic::Interactions => &[&["answer"], &["messages", "list", "item", "content"]],
        Topic::Feedback => &[&["correction"]],
    };
    for parts in texts {
        let column = ColumnPath::new(parts.iter().map(|part| (*part).to_owned()).collect());
        properties = properties
            .set_column_dictionary_enabled(column.clone(), false)
            .set_column_statistics_enabled(column, EnabledStatistics::None);
    }
    properties.build()
}

/// Reads what a batch says about itself, without its rows.
///
/// # Errors
/// [`ColumnsError::Damaged`] when the object is cut off, another kind of file, or has no such footer.
pub fn read_footer(bytes: &Bytes) -> Result<BatchFooter> {
    footer_of(WHAT, &parquet_file::open(WHAT, bytes)?)
}

pub(crate) fn footer_of(what: &'static str, opened: &ArrowReaderMetadata) -> Result<BatchFooter> {
    let text = parquet_file::metadata(what, opened, FOOTER_KEY)?;
    serde_json::from_str(text)
        .map_err(|error| ColumnsError::unreadable(what, format!("its footer's `{FOOTER_KEY}` does not parse"), error))
}

/// Reads a batch's rows.
///
/// # Errors
/// As [`open_batch`].
pub fn read_batch(bytes: &Bytes) -> Result<RecordBatch> {
    read(bytes).map(|(_, rows)| rows)
}

/// Reads a batch and checks that it is the one that was asked for.
///
/// # Errors
/// [`ColumnsError::Damaged`] when the object is cut off, was changed, is another batch, or contradicts its footer.
pub fn open_batch(name: &BatchName, bytes: &Bytes) -> Result<(BatchFooter, RecordBatch)> {
    let (footer, rows) = read(bytes)?;
    if footer.name == *name {
        return Ok((footer, rows));
    }
    let BatchName { topic, partition, first } = footer.name;
    Err(ColumnsError::damaged(WHAT, format!("its footer names another batch: {topic}, partition {partition}, offset {first}")))
}

fn read(bytes: &Bytes) -> Result<(BatchFooter, RecordBatch)> {
    let opened = parquet_file::open(WHAT, bytes)?;
    let footer = footer_of(WHAT, &opened)?;
    let topic = footer.name.topic;
    if footer.schema_fingerprint != avro::fingerprint_hex(topic) {
        let reason = format!(
            "it was sealed with schema {}, this release reads {}",
            footer.schema_fingerprint,
            avro::fingerprint_hex(topic)
        );
        return Err(ColumnsError::damaged(WHAT, reason));
    }
    let rows = parquet_file::rows(WHAT, bytes, opened)?;
    if rows.num_rows() as u64 != footer.rows {
        return Err(ColumnsError::damaged(WHAT, format!("its footer says {} rows, it has {}", footer.rows, rows.num_rows())));
    }
    let rows = rows
        .with_schema(schema::of(topic)?)
        .map_err(|error| ColumnsError::unreadable(WHAT, format!("its columns are not those of {topic}"), error))?;
    Ok((footer, rows))
}
