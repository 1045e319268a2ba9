//! Sealed batches: rows ⇄ one Parquet object that says in its footer what it covers.

use std::{
    panic::resume_unwind,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use arrow::{
    array::{ArrayRef, StringArray, UInt32Array, UInt64Array},
    compute::take_record_batch,
    datatypes::FieldRef,
};
use bytes::Bytes;
use jiff::Timestamp;
use nocturne_wire::{
    BatchName, Offset, Topic, avro,
    batch::{BatchFooter, FOOTER_KEY},
    path,
};
use parquet::{
    arrow::arrow_reader::ArrowReaderMetadata,
    basic::Compression,
    file::{
        metadata::SortingColumn,
        properties::{EnabledStatistics, WriterProperties},
    },
    schema::types::ColumnPath,
};

use crate::{
    ColumnsError, DeadLetter, IdHash, RecordBatch, Result,
    dead_letters::{letters_digest, seal_dead_letters},
    decode::{Columnar, Known, Sorted, Valid, put_in_order, sort_out},
    merge, parquet_file,
    rows::{self, Columns, id_hashes},
    schema::{self, OFFSET},
};

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
    parquet_file::write(WHAT, batch, properties(footer.name.topic, footer.rows), &[(FOOTER_KEY, footer_json(footer)?)])
}

/// The range that is to be sealed.
#[derive(Debug, Clone)]
pub struct Range {
    /// The batch's name.
    pub name: BatchName,
    /// The last offset that it covers.
    pub last: Offset,
    /// Offset at which sealing of the partition began.
    pub begin: Offset,
    /// Identity of the topic.
    pub topic_id: String,
    /// Process that seals.
    pub writer: String,
}

/// A batch that is ready to be created.
#[derive(Debug, Clone)]
pub struct Sealed {
    /// What it says about itself.
    pub footer: BatchFooter,
    /// Its object.
    pub parquet: Bytes,
    /// The object of its dead letters, when it has any.
    pub dead: Option<Bytes>,
    /// Ids of its rows, in the order of offsets: to be remembered as recent.
    pub ids: Vec<IdHash>,
    /// Time that went into checking records and turning them into columns.
    pub decode: Duration,
    /// Time that went into sorting records.
    pub sort: Duration,
    /// Time that went into writing columns.
    pub encode: Duration,
}

/// Rows and bytes that are in columns at once: few enough that a core's cache holds them from decoding to encoding, and that a batch takes little more
/// memory than its records.
const SLICE_ROWS: usize = 4096;
const SLICE_BYTES: usize = 256 << 10;

/// Fewest bytes of records that are worth a thread of their own.
const PIECE_BYTES: usize = 2 << 20;

/// Seals records of a range: sorts them by whose they are, then decodes and encodes them slice by slice, on up to `threads` threads, each a row group. Each
/// request of a conversation carries what was said before, and compresses to little behind the one before it. `lost` are letters for offsets that have
/// no record. Letters keep their record as it is among those `as_they_came`, in the order of offsets, when it is there: `records` may have been
/// translated on their way.
///
/// # Errors
/// Only when the schema cannot be turned into columns, or columns cannot be written; never because of a record.
pub fn seal_records(
    range: Range,
    records: &[(Offset, &[u8])],
    lost: Vec<DeadLetter>,
    as_they_came: &[(Offset, &[u8])],
    recent: Option<&dyn Known>,
    threads: usize,
) -> Result<Sealed> {
    seal_with(range, records, lost, as_they_came, recent, threads, parquet_file::compression())
}

/// Seals records as [`seal_records`] does, on one thread and without compression: for benchmarks that say where the time goes.
///
/// # Errors
/// As [`seal_records`].
pub fn seal_uncompressed(range: Range, records: &[(Offset, &[u8])]) -> Result<Sealed> {
    seal_with(range, records, Vec::new(), &[], None, 1, Compression::UNCOMPRESSED)
}

fn seal_with(
    range: Range,
    records: &[(Offset, &[u8])],
    lost: Vec<DeadLetter>,
    as_they_came: &[(Offset, &[u8])],
    recent: Option<&dyn Known>,
    threads: usize,
    compression: Compression,
) -> Result<Sealed> {
    let topic = range.name.topic;
    let begun = Instant::now();
    let Sorted { mut valid, mut dead, duplicates } = sort_out(topic, records, recent);
    let checked = begun.elapsed();
    put_in_order(&mut valid);
    let sort = begun.elapsed().saturating_sub(checked);
    // Texts become half as long at least; memory that is not needed in the end is never touched.
    let bytes = valid.iter().map(Valid::bytes).sum::<usize>() / 2;
    let pieces = pieces(&valid, threads);
    let largest = pieces.iter().map(|piece| piece.len()).max().unwrap_or_default();
    let properties =
        sorted_properties(topic, largest as u64, merge::order(topic)).into_builder().set_compression(compression).build();
    let mut file = parquet_file::Writer::new(WHAT, schema::of(topic)?, properties, bytes)?.into_groups()?;
    let (mut ids, mut decoding) = (Vec::with_capacity(records.len()), Duration::ZERO);
    let encoding = Instant::now();
    for piece in encode(topic, &file, pieces)? {
        ids.extend(piece.ids);
        dead.extend(piece.dead);
        decoding += piece.decode;
        file.append(piece.group)?;
    }
    dead.extend(lost);
    dead.sort_by_key(|letter| letter.offset);
    for letter in &mut dead {
        if let Ok(at) = as_they_came.binary_search_by_key(&letter.offset, |(offset, _)| *offset) {
            letter.raw = as_they_came[at].1.to_vec();
        }
    }
    let Range { name, last, begin, topic_id, writer: process } = range;
    let footer = BatchFooter {
        name,
        last,
        begin,
        topic_id,
        schema_fingerprint: avro::fingerprint_hex(topic),
        writer: process,
        rows: ids.len() as u64,
        dead: dead.len() as u64,
        duplicates,
        letters: letters_digest(&dead),
        erased: 0,
    };
    let parquet = file.finish(&[(FOOTER_KEY, footer_json(&footer)?)])?;
    let dead = if dead.is_empty() { None } else { Some(seal_dead_letters(&dead, &footer)?) };
    // Several threads decode for longer than it takes.
    let all = encoding.elapsed();
    let decoding = decoding.min(all);
    let encode = all.saturating_sub(decoding);
    ids.sort_unstable_by_key(|(offset, _)| *offset);
    let ids = ids.into_iter().map(|(_, id)| id).collect();
    Ok(Sealed { footer, parquet, dead, ids, decode: checked + decoding, sort, encode })
}

/// Records in runs of about the same bytes, one a thread; fewer where there is too little for a thread.
fn pieces<'a, 'r>(valid: &'a [Valid<'r>], threads: usize) -> Vec<&'a [Valid<'r>]> {
    let bytes: usize = valid.iter().map(Valid::bytes).sum();
    let count = (bytes / PIECE_BYTES).clamp(1, threads.max(1));
    let share = bytes.div_ceil(count).max(1);
    let (mut pieces, mut rest) = (Vec::with_capacity(count), valid);
    while pieces.len() + 1 < count {
        let piece;
        (piece, rest) = rest.split_at(run(rest, usize::MAX, share));
        pieces.push(piece);
    }
    pieces.push(rest);
    pieces
}

/// How many records it takes to reach so many bytes, or so many records.
fn run(records: &[Valid<'_>], most: usize, bytes: usize) -> usize {
    let mut before = 0;
    let within = records.iter().take(most).take_while(|record| {
        let within = before < bytes;
        before += record.bytes();
        within
    });
    within.count()
}

/// A row group's worth of records, encoded.
struct Piece {
    group: parquet_file::Group,
    ids: Vec<(Offset, IdHash)>,
    dead: Vec<DeadLetter>,
    decode: Duration,
}

/// Encodes pieces at once, the last one on this thread; in their order.
fn encode(topic: Topic, file: &parquet_file::Groups, pieces: Vec<&[Valid<'_>]>) -> Result<Vec<Piece>> {
    let mut work = Vec::with_capacity(pieces.len());
    for (index, piece) in pieces.into_iter().enumerate() {
        work.push((file.group(index, schema::of(topic)?)?, piece));
    }
    let here = work.pop();
    thread::scope(|scope| {
        let there: Vec<_> =
            work.into_iter().map(|(group, piece)| scope.spawn(move || encode_piece(topic, group, piece))).collect();
        let here = here.map(|(group, piece)| encode_piece(topic, group, piece));
        let joined = there.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)));
        joined.chain(here).collect()
    })
}

fn encode_piece(topic: Topic, group: parquet_file::Group, mut records: &[Valid<'_>]) -> Result<Piece> {
    let ids = Vec::with_capacity(records.len());
    let mut piece = Piece { group, ids, dead: Vec::new(), decode: Duration::ZERO };
    let mut columnar = Columnar::new(topic, SLICE_ROWS);
    while !records.is_empty() {
        let sliced = Instant::now();
        let slice;
        (slice, records) = records.split_at(run(records, SLICE_ROWS, SLICE_BYTES));
        let mut slice = slice.to_vec();
        let rows = columnar.columns(&mut slice, &mut piece.dead)?;
        piece.decode += sliced.elapsed();
        piece.ids.extend(slice.iter().map(|record| (record.offset, record.id)));
        piece.group.write(&rows)?;
    }
    Ok(piece)
}

pub(crate) fn footer_json(footer: &BatchFooter) -> Result<String> {
    serde_json::to_string(footer).map_err(|error| ColumnsError::Write { what: "batch footer", source: error.into() })
}

/// Rows that were not sorted here have to be in the order of offsets: that is what the object says of them.
fn properties(topic: Topic, rows: u64) -> WriterProperties {
    sorted_properties(topic, rows, &[OFFSET])
}

/// Rows of a row group in a batch that was written anew: readers skip a group whose subjects they do not look for.
const REWRITTEN_GROUP_ROWS: usize = 1 << 17;

pub(crate) fn rewritten_properties(topic: Topic, rows: u64) -> WriterProperties {
    let properties = sorted_properties(topic, rows, merge::order(topic));
    properties.into_builder().set_max_row_group_row_count(Some(REWRITTEN_GROUP_ROWS)).build()
}

/// Ids are looked up one by one and never repeat: a bloom filter and no dictionary. Long texts are never compared: no statistics.
fn sorted_properties(topic: Topic, rows: u64, order: &[&str]) -> WriterProperties {
    let sorting = |column: &&str| {
        let column_idx = schema::of(topic).ok()?.index_of(column).ok()?;
        Some(SortingColumn { column_idx: i32::try_from(column_idx).ok()?, descending: false, nulls_first: false })
    };
    let id = || ColumnPath::from("id");
    let mut properties = parquet_file::properties()
        .set_column_dictionary_enabled(id(), false)
        .set_column_bloom_filter_enabled(id(), true)
        .set_column_bloom_filter_max_ndv(id(), rows.max(1))
        .set_sorting_columns(order.iter().map(sorting).collect());
    let texts: &[&[&str]] = match topic {
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
    named(name, &footer)?;
    Ok((footer, rows))
}

fn named(name: &BatchName, footer: &BatchFooter) -> Result<()> {
    if footer.name == *name {
        return Ok(());
    }
    let found = path::batch(&footer.name);
    Err(ColumnsError::damaged(WHAT, format!("its footer names another batch: {found}")))
}

/// Reads a batch's footer and the ids of its rows in the order of offsets, without its other columns.
///
/// # Errors
/// As [`open_batch`].
pub fn open_ids(name: &BatchName, bytes: &Bytes) -> Result<(BatchFooter, Vec<IdHash>)> {
    let opened = parquet_file::open(WHAT, bytes)?;
    let footer = footer_of(WHAT, &opened)?;
    named(name, &footer)?;
    // Rows are sorted by whose they are.
    let rows = parquet_file::columns(WHAT, bytes, opened, &[OFFSET, "id"])?;
    let offsets = Columns::of(WHAT, &rows).get::<UInt64Array>(OFFSET)?;
    let mut ids: Vec<(u64, IdHash)> = offsets.values().iter().copied().zip(id_hashes(&rows)?).collect();
    ids.sort_unstable_by_key(|(offset, _)| *offset);
    Ok((footer, ids.into_iter().map(|(_, id)| id).collect()))
}

/// Reads a batch's footer, and of its rows what says whose they are: offset, id, time, tenant, subject, and for feedback the interaction.
///
/// # Errors
/// As [`open_batch`].
pub fn read_keys(name: &BatchName, bytes: &Bytes) -> Result<(BatchFooter, RecordBatch)> {
    let opened = parquet_file::open(WHAT, bytes)?;
    let footer = footer_of(WHAT, &opened)?;
    named(name, &footer)?;
    let keys: &[&str] = match name.topic {
        Topic::Interactions => &[OFFSET, "id", "time", "tenant", "subject"],
        Topic::Feedback => &[OFFSET, "id", "time", "tenant", "subject", "interaction"],
    };
    Ok((footer, parquet_file::columns(WHAT, bytes, opened, keys)?))
}

/// The times of a batch's oldest and of its newest record; `None` when it has no rows.
///
/// # Errors
/// [`ColumnsError::Damaged`] when the object is not a batch.
pub fn times(bytes: &Bytes) -> Result<Option<(Timestamp, Timestamp)>> {
    let Some((oldest, newest)) = parquet_file::bounds(WHAT, &parquet_file::open(WHAT, bytes)?, "time")? else { return Ok(None) };
    Ok(Some((rows::timestamp(WHAT, oldest)?, rows::timestamp(WHAT, newest)?)))
}

/// Reads the rows of a batch whose offsets lie in a range, in the order of offsets, however the batch is sorted.
///
/// # Errors
/// As [`open_batch`].
pub fn rows_between(name: &BatchName, bytes: &Bytes, first: Offset, last: Offset) -> Result<RecordBatch> {
    let (_, rows) = open_batch(name, bytes)?;
    let failed = ColumnsError::build("rows of a range");
    let offsets = Columns::of(WHAT, &rows).get::<UInt64Array>(OFFSET)?.clone();
    let inside = |offset: &u64| (first.0..=last.0).contains(offset);
    if offsets.values().is_sorted() && offsets.values().iter().all(inside) {
        return Ok(rows);
    }
    let mut wanted: Vec<u32> = (0..).zip(offsets.values()).filter(|(_, offset)| inside(offset)).map(|(row, _)| row).collect();
    wanted.sort_unstable_by_key(|row| offsets.value(*row as usize));
    take_record_batch(&rows, &UInt32Array::from(wanted)).map_err(failed)
}

fn read(bytes: &Bytes) -> Result<(BatchFooter, RecordBatch)> {
    let opened = parquet_file::open(WHAT, bytes)?;
    let footer = footer_of(WHAT, &opened)?;
    let topic = footer.name.topic;
    let rows = parquet_file::rows(WHAT, bytes, opened)?;
    if rows.num_rows() as u64 != footer.rows {
        return Err(ColumnsError::damaged(WHAT, format!("its footer says {} rows, it has {}", footer.rows, rows.num_rows())));
    }
    Ok((footer, adapt(topic, &rows)?))
}

/// A file's rows as rows of this release: columns that an earlier release did not write have their defaults, those that only a later one knows are left out.
pub(crate) fn adapt(topic: Topic, rows: &RecordBatch) -> Result<RecordBatch> {
    let schema = schema::of(topic)?;
    let column = |field: &FieldRef| match (rows.column_by_name(field.name()), schema::default(topic, field.name())) {
        (Some(column), _) => Ok(column.clone()),
        (None, Some(value)) => {
            Ok(Arc::new(StringArray::from_iter_values(std::iter::repeat_n(value, rows.num_rows()))) as ArrayRef)
        }
        (None, None) => Err(ColumnsError::damaged(WHAT, format!("it has no column `{}`", field.name()))),
    };
    let columns = schema.fields().iter().map(column).collect::<Result<Vec<_>>>()?;
    RecordBatch::try_new(schema.clone(), columns)
        .map_err(|error| ColumnsError::unreadable(WHAT, format!("its columns are not those of {topic}"), error))
}
