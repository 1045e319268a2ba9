//! One record batch as one Parquet object, sealed with a digest over all of it.
//!
//! Parquet's own page checksums are optional and cover no footer: a flipped bit can decode to other text, and some make the readers
//! panic. So the first bytes after the magic, which no reader looks at, hold a tag and the SHA-256 of the whole object with the
//! digest's own place left zero; nothing is parsed until that matches. To any other Parquet reader it is an ordinary file.

use std::sync::Arc;

use arrow::{
    array::{RecordBatch, RecordBatchReader as _},
    compute::concat_batches,
    datatypes::{Schema, SchemaRef},
};
use bytes::Bytes;
use parquet::{
    arrow::{
        ArrowWriter, ProjectionMask,
        arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder},
        arrow_writer::{ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves},
    },
    basic::{Compression, ZstdLevel},
    errors::ParquetError,
    file::{
        metadata::{KeyValue, RowGroupMetaData},
        properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder},
        statistics::Statistics,
        writer::SerializedFileWriter,
    },
};
use sha2::{Digest as _, Sha256};

use crate::{ColumnsError, Result};

const MAGIC: &[u8] = b"PAR1";
const TAG: &[u8] = b"nocturne";
const DIGEST_AT: usize = MAGIC.len() + TAG.len();
const DIGEST_BYTES: usize = 32;
const HEADER_BYTES: usize = DIGEST_AT + DIGEST_BYTES;

/// How pages are compressed: zstd at its own default.
pub(crate) fn compression() -> Compression {
    Compression::ZSTD(ZstdLevel::default())
}

/// Bytes of a page before compression: a core's cache holds it while it is gathered and compressed, and readers skip the more the smaller pages are.
const PAGE_BYTES: usize = 256 << 10;

/// Rows after which a page's size is looked at: pages of texts of some KiB are as large as so many of them.
const WRITE_ROWS: usize = 128;

/// Settings shared by all objects: zstd, statistics by page so that readers can skip.
pub(crate) fn properties() -> WriterPropertiesBuilder {
    WriterProperties::builder()
        .set_created_by(concat!("nocturne ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(compression())
        .set_data_page_size_limit(PAGE_BYTES)
        .set_write_batch_size(WRITE_ROWS)
        .set_statistics_enabled(EnabledStatistics::Page)
}

/// Writes one object in pieces, so that its rows need not all be in columns at once.
pub(crate) struct Writer {
    what: &'static str,
    inner: ArrowWriter<Vec<u8>>,
}

impl Writer {
    /// `bytes` are about as many as the object will have: memory that grows is copied and faulted in several times.
    pub(crate) fn new(what: &'static str, schema: SchemaRef, properties: WriterProperties, bytes: usize) -> Result<Self> {
        let failed = ColumnsError::write(what);
        let mut inner = ArrowWriter::try_new(Vec::with_capacity(bytes), schema, Some(properties)).map_err(&failed)?;
        let header = [TAG, &[0; DIGEST_BYTES]].concat();
        inner.write_all(&header).map_err(|error| failed(error.into()))?;
        Ok(Self { what, inner })
    }

    pub(crate) fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        self.inner.write(rows).map_err(ColumnsError::write(self.what))
    }

    /// Goes on with row groups that several threads write at once. Nothing may have been written yet.
    pub(crate) fn into_groups(self) -> Result<Groups> {
        let (inner, factory) = self.inner.into_serialized_writer().map_err(ColumnsError::write(self.what))?;
        Ok(Groups { what: self.what, inner, factory })
    }

    /// Ends the object with what it says about itself, and puts its digest in its place.
    pub(crate) fn finish(mut self, metadata: &[(&str, String)]) -> Result<Bytes> {
        for pair in pairs(metadata) {
            self.inner.append_key_value_metadata(pair);
        }
        Ok(digested(self.inner.into_inner().map_err(ColumnsError::write(self.what))?))
    }
}

fn pairs(metadata: &[(&str, String)]) -> impl Iterator<Item = KeyValue> {
    metadata.iter().map(|(key, value)| KeyValue::new((*key).to_owned(), value.clone()))
}

fn digested(mut bytes: Vec<u8>) -> Bytes {
    let digest = digest(&bytes);
    bytes[DIGEST_AT..HEADER_BYTES].copy_from_slice(&digest);
    bytes.into()
}

/// One object in row groups that are written apart and then put one after the other.
pub(crate) struct Groups {
    what: &'static str,
    inner: SerializedFileWriter<Vec<u8>>,
    factory: ArrowRowGroupWriterFactory,
}

impl Groups {
    /// A row group, to be written on any thread.
    pub(crate) fn group(&self, index: usize, schema: SchemaRef) -> Result<Group> {
        let columns = self.factory.create_column_writers(index).map_err(ColumnsError::write(self.what))?;
        Ok(Group { what: self.what, schema, columns, rows: 0 })
    }

    /// Puts the next row group into its place; one without rows is left out.
    pub(crate) fn append(&mut self, group: Group) -> Result<()> {
        let failed = ColumnsError::write(self.what);
        if group.rows == 0 {
            return Ok(());
        }
        let mut place = self.inner.next_row_group().map_err(&failed)?;
        for column in group.columns {
            column.close().and_then(|chunk| chunk.append_to_row_group(&mut place)).map_err(&failed)?;
        }
        place.close().map(drop).map_err(failed)
    }

    /// As [`Writer::finish`].
    pub(crate) fn finish(mut self, metadata: &[(&str, String)]) -> Result<Bytes> {
        for pair in pairs(metadata) {
            self.inner.append_key_value_metadata(pair);
        }
        Ok(digested(self.inner.into_inner().map_err(ColumnsError::write(self.what))?))
    }
}

/// A row group on its way.
pub(crate) struct Group {
    what: &'static str,
    schema: SchemaRef,
    columns: Vec<ArrowColumnWriter>,
    rows: usize,
}

impl Group {
    pub(crate) fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        let failed = ColumnsError::write(self.what);
        let mut columns = self.columns.iter_mut();
        for (field, array) in self.schema.fields().iter().zip(rows.columns()) {
            // A column of lists or structs has several leaves.
            for leaf in compute_leaves(field, array).map_err(&failed)? {
                let column =
                    columns.next().ok_or_else(|| failed(ParquetError::General("more leaves than columns".to_owned())))?;
                column.write(&leaf).map_err(&failed)?;
            }
        }
        self.rows += rows.num_rows();
        Ok(())
    }
}

pub(crate) fn write(
    what: &'static str,
    batch: &RecordBatch,
    properties: WriterProperties,
    metadata: &[(&str, String)],
) -> Result<Bytes> {
    let mut writer = Writer::new(what, batch.schema(), properties, 0)?;
    writer.write(batch)?;
    writer.finish(metadata)
}

/// SHA-256 of an object of at least [`HEADER_BYTES`] as if its digest were zero.
fn digest(bytes: &[u8]) -> [u8; DIGEST_BYTES] {
    Sha256::new()
        .chain_update(&bytes[..DIGEST_AT])
        .chain_update([0; DIGEST_BYTES])
        .chain_update(&bytes[HEADER_BYTES..])
        .finalize()
        .into()
}

/// The footer of an object that was found to be what was written.
pub(crate) fn open(what: &'static str, bytes: &Bytes) -> Result<ArrowReaderMetadata> {
    let damaged = |reason: &str| Err(ColumnsError::damaged(what, reason));
    if bytes.len() < HEADER_BYTES {
        return damaged("it is too short to be a sealed Parquet object");
    }
    if !bytes.starts_with(MAGIC) {
        return damaged("it does not begin with Parquet's magic: it is another kind of file");
    }
    if !bytes.ends_with(MAGIC) {
        return damaged("it does not end with Parquet's magic: it was cut off");
    }
    if bytes[MAGIC.len()..DIGEST_AT] != *TAG {
        return damaged("it is Parquet, but was not sealed by Nocturne");
    }
    if bytes[DIGEST_AT..HEADER_BYTES] != digest(bytes) {
        return damaged("it does not hash to the digest that it was sealed with: bytes were changed");
    }
    ArrowReaderMetadata::load(bytes, ArrowReaderOptions::new())
        .map_err(|error| ColumnsError::unreadable(what, "its footer cannot be parsed", error))
}

pub(crate) fn metadata<'a>(what: &'static str, opened: &'a ArrowReaderMetadata, key: &str) -> Result<&'a str> {
    let pairs = opened.metadata().file_metadata().key_value_metadata();
    let pair = pairs.into_iter().flatten().find(|pair| pair.key == key);
    pair.and_then(|pair| pair.value.as_deref())
        .ok_or_else(|| ColumnsError::damaged(what, format!("its footer has no `{key}`: it is another kind of table")))
}

/// All rows; the schema carries no metadata of the file.
pub(crate) fn rows(what: &'static str, bytes: &Bytes, opened: ArrowReaderMetadata) -> Result<RecordBatch> {
    let failed = |error| ColumnsError::unreadable(what, "its columns cannot be read", error);
    let count = usize::try_from(opened.metadata().file_metadata().num_rows()).unwrap_or_default();
    let schema = Arc::new(Schema::new(opened.schema().fields().clone()));
    let batches = reader(what, bytes, opened, count)?.collect::<Result<Vec<_>, _>>().map_err(failed)?;
    let rows = match <[RecordBatch; 1]>::try_from(batches) {
        Ok([rows]) => rows,
        Err(batches) if batches.is_empty() => return Ok(RecordBatch::new_empty(schema)),
        Err(batches) => concat_batches(&batches[0].schema(), &batches).map_err(failed)?,
    };
    rows.with_schema(schema).map_err(failed)
}

/// The rows, some at a time.
pub(crate) fn reader(
    what: &'static str,
    bytes: &Bytes,
    opened: ArrowReaderMetadata,
    batch_rows: usize,
) -> Result<ParquetRecordBatchReader> {
    let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(bytes.clone(), opened).with_batch_size(batch_rows.max(1));
    reader.build().map_err(|error| ColumnsError::unreadable(what, "its columns cannot be read", error))
}

/// Some columns of all rows, without reading the others.
pub(crate) fn columns(what: &'static str, bytes: &Bytes, opened: ArrowReaderMetadata, names: &[&str]) -> Result<RecordBatch> {
    let failed = |error| ColumnsError::unreadable(what, "its columns cannot be read", error);
    let only = ProjectionMask::columns(opened.parquet_schema(), names.iter().copied());
    let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(bytes.clone(), opened).with_projection(only);
    let reader = reader.build().map_err(|error| failed(error.into()))?;
    let schema = reader.schema();
    let batches = reader.collect::<Result<Vec<_>, _>>().map_err(failed)?;
    concat_batches(&schema, &batches).map_err(failed)
}

/// The smallest and the largest value of a column of integers, as the file's statistics say; `None` when there are no rows.
pub(crate) fn bounds(what: &'static str, opened: &ArrowReaderMetadata, column: &str) -> Result<Option<(i64, i64)>> {
    let groups = opened.metadata().row_groups();
    let of_group = |group: &RowGroupMetaData| {
        let chunk = group.columns().iter().find(|chunk| chunk.column_path().string() == column)?;
        match chunk.statistics()? {
            Statistics::Int64(values) => Some((values.min_opt().copied()?, values.max_opt().copied()?)),
            _ => None,
        }
    };
    let bounds = groups.iter().filter(|group| group.num_rows() > 0).map(of_group).collect::<Option<Vec<_>>>();
    let bounds = bounds.ok_or_else(|| ColumnsError::damaged(what, format!("it has no statistics of `{column}`")))?;
    Ok(bounds.into_iter().reduce(|(least, most), (low, high)| (least.min(low), most.max(high))))
}
