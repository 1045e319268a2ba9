//! Batches into the one that takes their place: sorted, spilling where memory ends, without what is erased.

use std::{
    collections::HashSet,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use arrow::{array::RecordBatchReader as _, datatypes::SchemaRef};
use bytes::Bytes;
use datafusion::{
    catalog::streaming::StreamingTable,
    error::DataFusionError,
    execution::{SendableRecordBatchStream, TaskContext},
    logical_expr::SortExpr,
    physical_plan::{stream::RecordBatchStreamAdapter, streaming::PartitionStream},
    prelude::ident,
};
use futures::{TryStreamExt as _, stream};
use nocturne_wire::{
    BatchName, Offset, Topic, avro,
    batch::{BatchFooter, FOOTER_KEY},
};

use parquet::arrow::arrow_reader::ArrowReaderMetadata;

use crate::{
    ColumnsError, DeadLetter, Erased, Resources, Result,
    dead_letters::{self, letters_digest, seal_dead_letters},
    engine, parquet_file, schema,
    seal::{self, footer_json, footer_of},
};

const WHAT: &str = "batch";

/// Rows that are decoded at once.
const SLICE_ROWS: usize = 4096;

/// A batch that is to be merged.
#[derive(Debug, Clone)]
pub struct Input {
    /// Its name.
    pub name: BatchName,
    /// Its object.
    pub parquet: Bytes,
    /// The object of its dead letters, when it has any.
    pub dead: Option<Bytes>,
}

/// A batch that is ready to take the place of others.
#[derive(Debug, Clone)]
pub struct Merged {
    /// What it says about itself.
    pub footer: BatchFooter,
    /// Its object.
    pub parquet: Bytes,
    /// The object of its dead letters, when it has any.
    pub dead: Option<Bytes>,
}

/// The columns that a merged batch is sorted by: who reads a night or forgets a subject reads few pages, and neighbors that are alike compress well.
pub(crate) const fn order(topic: Topic) -> &'static [&'static str] {
    match topic {
        Topic::Interactions => &["tenant", "subject", "session", "turn", "offset"],
        Topic::Feedback => &["tenant", "subject", "interaction", "offset"],
    }
}

/// Merges batches of one partition that follow each other into the batch `name`, without the rows that are erased and the dead letters at the offsets `struck`.
///
/// The inputs are in memory as they lie in the lake, and so is the outcome; rows in between are sorted within `resources`.
///
/// # Errors
/// [`ColumnsError::Damaged`] when an input is not what its name says, [`ColumnsError::Refused`] when the inputs do not follow each other or are of several
/// topics, [`ColumnsError::OutOfMemory`] when sorting can neither stay in memory nor spill.
pub async fn merge(
    name: BatchName,
    inputs: &[Input],
    writer: &str,
    erased: &Erased,
    struck: &[Offset],
    resources: &Resources,
) -> Result<Merged> {
    let mut footer = covering(name, inputs, writer)?;
    let (topic, before) = (name.topic, footer.rows + footer.dead);
    let letters = letters(inputs, footer.dead, struck)?;
    let sorted = Sorted::of(topic, inputs, erased, resources).await?;
    let mut parquet = parquet_file::Writer::new(WHAT, schema::of(topic)?, seal::rewritten_properties(topic, footer.rows), 0)?;
    footer.rows = 0;
    let mut rows = sorted.rows;
    let failed = ColumnsError::query(resources.memory_bytes);
    while let Some(slice) = rows.try_next().await.map_err(&failed)? {
        footer.rows += slice.num_rows() as u64;
        parquet.write(&slice)?;
    }
    footer.dead = letters.len() as u64;
    footer.letters = letters_digest(&letters);
    footer.erased += before - footer.rows - footer.dead;
    let gone = sorted.struck.load(Ordering::Relaxed);
    if footer.rows + gone != sorted.expected {
        let reason = format!("{} rows came out of sorting {}, {gone} were erased", footer.rows, sorted.expected);
        return Err(ColumnsError::damaged(WHAT, reason));
    }
    let parquet = parquet.finish(&[(FOOTER_KEY, footer_json(&footer)?)])?;
    let dead = if letters.is_empty() { None } else { Some(seal_dead_letters(&letters, &footer)?) };
    Ok(Merged { footer, parquet, dead })
}

/// The footer that covers all inputs, with their sums.
fn covering(name: BatchName, inputs: &[Input], writer: &str) -> Result<BatchFooter> {
    let refused = |reason: String| Err(ColumnsError::Refused { what: "rewrite", reason });
    let mut all: Option<BatchFooter> = None;
    for input in inputs {
        let opened = parquet_file::open(WHAT, &input.parquet)?;
        let footer = footer_of(WHAT, &opened)?;
        known_columns(&footer, &opened)?;
        if footer.name != input.name {
            return Err(ColumnsError::damaged(WHAT, format!("its footer names another batch: {:?}", footer.name)));
        }
        let Some(sum) = &mut all else {
            all = Some(footer);
            continue;
        };
        if !follows(sum, &footer) {
            return refused(format!("the batch from offset {} does not go on where the one before it ends", footer.name.first));
        }
        sum.last = footer.last;
        sum.rows += footer.rows;
        sum.dead += footer.dead;
        sum.duplicates += footer.duplicates;
        sum.erased += footer.erased;
    }
    let Some(mut footer) = all else { return refused("it names no batch".to_owned()) };
    if footer.name.first != name.first || name.rewritten.is_none_or(|rewritten| rewritten.last != footer.last) {
        return refused(format!("its batches cover offsets {} to {}, not what {name:?} names", footer.name.first, footer.last));
    }
    footer.name = name;
    writer.clone_into(&mut footer.writer);
    footer.schema_fingerprint = avro::fingerprint_hex(name.topic);
    Ok(footer)
}

/// Checks that nothing of a batch would be lost by writing it again.
///
/// # Errors
/// [`ColumnsError::Refused`] when it has a column of a later release, [`ColumnsError::Damaged`] when the object is not a batch.
pub fn check_columns(object: &Bytes) -> Result<()> {
    let opened = parquet_file::open(WHAT, object)?;
    known_columns(&footer_of(WHAT, &opened)?, &opened)
}

fn known_columns(footer: &BatchFooter, opened: &ArrowReaderMetadata) -> Result<()> {
    let known = schema::of(footer.name.topic)?;
    match opened.schema().fields().iter().find(|field| known.column_with_name(field.name()).is_none()) {
        None => Ok(()),
        Some(column) => Err(ColumnsError::Refused {
            what: "rewrite",
            reason: format!(
                "the batch from offset {} has the column `{}` of a later release, which this one would lose; run the newest release",
                footer.name.first,
                column.name()
            ),
        }),
    }
}

/// Whether a batch can be merged with the one before it: it goes on where that ends, and is of the same topic.
pub fn follows(before: &BatchFooter, next: &BatchFooter) -> bool {
    let same =
        (before.name.topic, before.name.partition, &before.topic_id) == (next.name.topic, next.name.partition, &next.topic_id);
    same && before.last.0.checked_add(1) == Some(next.name.first.0)
}

/// Bytes that a batch's rows take when they are decoded, roughly.
///
/// # Errors
/// [`ColumnsError::Damaged`] when the object is not a batch.
pub fn decoded_bytes(object: &Bytes) -> Result<u64> {
    let opened = parquet_file::open(WHAT, object)?;
    Ok(opened.metadata().row_groups().iter().map(|group| group.total_byte_size().max(0) as u64).sum())
}

fn letters(inputs: &[Input], counted: u64, struck: &[Offset]) -> Result<Vec<DeadLetter>> {
    let struck: HashSet<Offset> = struck.iter().copied().collect();
    let (mut letters, mut read) = (Vec::new(), 0);
    for bytes in inputs.iter().filter_map(|input| input.dead.as_ref()) {
        let all = dead_letters::read_dead_letters(bytes)?;
        read += all.len() as u64;
        letters.extend(all.into_iter().filter(|letter| !struck.contains(&letter.offset)));
    }
    if read != counted {
        return Err(ColumnsError::damaged(WHAT, format!("its footers count {counted} dead letters, {read} are there")));
    }
    Ok(letters)
}

/// Rows on their way through the engine.
struct Sorted {
    rows: SendableRecordBatchStream,
    /// Rows of all inputs, as their files count them.
    expected: u64,
    struck: Arc<AtomicU64>,
}

impl Sorted {
    async fn of(topic: Topic, inputs: &[Input], erased: &Erased, resources: &Resources) -> Result<Self> {
        let failed = ColumnsError::query(resources.memory_bytes);
        let struck = Arc::new(AtomicU64::new(0));
        let objects: Vec<Bytes> = inputs.iter().map(|input| input.parquet.clone()).collect();
        let mut expected = 0;
        for object in &objects {
            expected += parquet_file::open(WHAT, object)?.metadata().file_metadata().num_rows().max(0) as u64;
        }
        let source = Source { topic, schema: schema::of(topic)?, objects, erased: erased.clone(), struck: struck.clone() };
        let table = StreamingTable::try_new(source.schema.clone(), vec![Arc::new(source)]).map_err(&failed)?;
        let context = engine::context(resources)?;
        let order: Vec<SortExpr> = order(topic).iter().map(|column| ident(*column).sort(true, false)).collect();
        let sorted = context.read_table(Arc::new(table)).and_then(|rows| rows.sort(order)).map_err(&failed)?;
        let rows = sorted.execute_stream().await.map_err(&failed)?;
        Ok(Self { rows, expected, struck })
    }
}

/// The inputs' rows, decoded a slice at a time.
struct Source {
    topic: Topic,
    schema: SchemaRef,
    objects: Vec<Bytes>,
    erased: Erased,
    struck: Arc<AtomicU64>,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("topic", &self.topic).field("objects", &self.objects.len()).finish_non_exhaustive()
    }
}

impl PartitionStream for Source {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let (topic, erased, struck) = (self.topic, self.erased.clone(), self.struck.clone());
        let strike = move |rows: crate::RecordBatch| {
            let before = rows.num_rows();
            let rows = erased.strike(topic, rows)?;
            struck.fetch_add((before - rows.num_rows()) as u64, Ordering::Relaxed);
            Ok(rows)
        };
        let slices = self.objects.clone().into_iter().flat_map(move |object| match slices(topic, &object) {
            Ok(slices) => slices,
            Err(error) => Box::new(std::iter::once(Err(error))),
        });
        let slices = slices.map(move |rows| rows.and_then(&strike).map_err(|error| DataFusionError::External(error.into())));
        Box::pin(RecordBatchStreamAdapter::new(self.schema.clone(), stream::iter(slices)))
    }
}

type Slices = Box<dyn Iterator<Item = Result<crate::RecordBatch>> + Send>;

fn slices(topic: Topic, object: &Bytes) -> Result<Slices> {
    let opened = parquet_file::open(WHAT, object)?;
    let reader = parquet_file::reader(WHAT, object, opened, SLICE_ROWS)?;
    debug_assert!(!reader.schema().fields().is_empty(), "a batch has columns");
    let failed = |error| ColumnsError::unreadable(WHAT, "its columns cannot be read", error);
    Ok(Box::new(reader.map(move |rows| seal::adapt(topic, &rows.map_err(failed)?))))
}
