//! SQL over a lake's batches, where they lie: columns that a query does not name are not read, nor pages that cannot hold what it looks for.
//!
//! What is read so is not held against the digests of whole objects; `audit` does that.

use std::{collections::BTreeMap, sync::Arc};

use arrow::{
    array::RecordBatch,
    datatypes::{Schema, SchemaRef},
    json::ArrayWriter,
    util::display::ArrayFormatter,
    util::display::FormatOptions,
};
use datafusion::{
    catalog::TableProvider,
    dataframe::DataFrame,
    datasource::{
        file_format::parquet::ParquetFormat,
        listing::{ListingOptions, ListingTable, ListingTableConfig, ListingTableUrl},
    },
    error::DataFusionError,
    execution::object_store::ObjectStoreUrl,
    functions::expr_fn::coalesce,
    logical_expr::lit,
    object_store::ObjectStore,
    prelude::{SessionContext, ident},
};
use futures::TryStreamExt as _;
use nocturne_wire::{Partition, Topic};

use crate::{ColumnsError, Resources, Result, dead_letters, engine, schema};

/// Under which name the store is known to the engine; never seen by anybody else.
const STORE: &str = "lake://lake";

/// The objects that a query may read, by what they hold and by partition.
#[derive(Debug, Clone, Default)]
pub struct Objects {
    /// Batches.
    pub batches: BTreeMap<(Topic, Partition), Vec<String>>,
    /// Dead letters.
    pub dead_letters: BTreeMap<(Topic, Partition), Vec<String>>,
}

/// Rows that a query gave.
#[derive(Debug, Clone)]
pub struct Answer {
    rows: Vec<RecordBatch>,
    columns: Vec<String>,
    /// Whether there are more rows than were asked for.
    pub cut: bool,
}

/// Runs a query over the tables `interactions`, `feedback` and `dead_letters`, each with the column `partition` beside its own. At most `limit` rows are given.
///
/// # Errors
/// [`ColumnsError::Query`] when the text is no query that only reads, or it fails; [`ColumnsError::OutOfMemory`] when it can neither stay in memory nor spill.
pub async fn query(
    store: Arc<dyn ObjectStore>,
    objects: &Objects,
    sql: &str,
    limit: usize,
    resources: &Resources,
) -> Result<Answer> {
    let failed = ColumnsError::query(resources.memory_bytes);
    let context = engine::context(resources)?;
    let url = ObjectStoreUrl::parse(STORE).map_err(&failed)?;
    context.register_object_store(url.as_ref(), store);
    register(&context, objects).map_err(&failed)?;
    let options = datafusion::execution::context::SQLOptions::new().with_allow_ddl(false).with_allow_dml(false);
    let frame = context.sql_with_options(sql, options.with_allow_statements(false)).await.map_err(&failed)?;
    let columns = frame.schema().fields().iter().map(|field| field.name().clone()).collect();
    let mut answer = Answer { rows: Vec::new(), columns, cut: false };
    let mut stream = frame.execute_stream().await.map_err(&failed)?;
    let mut room = limit;
    while let Some(rows) = stream.try_next().await.map_err(&failed)? {
        if rows.num_rows() > room {
            answer.cut = true;
            answer.rows.push(rows.slice(0, room));
            break;
        }
        room -= rows.num_rows();
        answer.rows.push(rows);
    }
    Ok(answer)
}

fn register(context: &SessionContext, objects: &Objects) -> Result<(), DataFusionError> {
    let external = |error: ColumnsError| DataFusionError::External(error.into());
    for topic in Topic::ALL {
        let of_topic = objects.batches.iter().filter(|((of, _), _)| *of == topic);
        let table = union(context, of_topic, &schema::of(topic).map_err(external)?, false)?;
        context.register_table(topic.as_str(), table)?;
    }
    let table = union(context, objects.dead_letters.iter(), &dead_letters::schema(), true)?;
    context.register_table("dead_letters", table)?;
    Ok(())
}

/// All partitions' objects as one table.
fn union<'a>(
    context: &SessionContext,
    partitions: impl Iterator<Item = (&'a (Topic, Partition), &'a Vec<String>)>,
    schema: &SchemaRef,
    with_topic: bool,
) -> Result<Arc<dyn TableProvider>, DataFusionError> {
    // Batches of earlier releases lack columns, which are read as nulls then.
    let nullable = schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true));
    let schema = Arc::new(Schema::new(nullable.collect::<Vec<_>>()));
    let column = |frame: DataFrame, topic: Topic, partition: u32| {
        let mut frame = frame.with_column("partition", lit(partition))?;
        for name in schema.fields().iter().map(|field| field.name()) {
            if let Some(value) = schema::default(topic, name).filter(|_| !with_topic) {
                frame = frame.with_column(name, coalesce(vec![ident(name), lit(value)]))?;
            }
        }
        if with_topic { frame.with_column("topic", lit(topic.as_str())) } else { Ok(frame) }
    };
    let empty = datafusion::datasource::empty::EmptyTable::new(schema.clone());
    let mut all = column(context.read_table(Arc::new(empty))?, Topic::Interactions, 0)?;
    for ((topic, partition), paths) in partitions {
        let paths = paths.iter().map(|path| ListingTableUrl::parse(format!("{STORE}/{path}")));
        let config = ListingTableConfig::new_with_multi_paths(paths.collect::<Result<_, _>>()?)
            .with_listing_options(ListingOptions::new(Arc::new(ParquetFormat::default())).with_file_extension(".parquet"))
            .with_schema(schema.clone());
        let table = context.read_table(Arc::new(ListingTable::try_new(config)?))?;
        all = all.union(column(table, *topic, partition.0)?)?;
    }
    Ok(all.into_view())
}

impl Answer {
    /// Names of the columns.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// Rows as texts, in the order of columns.
    ///
    /// # Errors
    /// [`ColumnsError::Write`] when a value cannot be written as text.
    pub fn texts(&self) -> Result<Vec<Vec<String>>> {
        let failed = ColumnsError::build("rows of an answer");
        let options = FormatOptions::default();
        let mut texts = Vec::new();
        for batch in &self.rows {
            let columns = batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options));
            let columns = columns.collect::<Result<Vec<_>, _>>().map_err(&failed)?;
            texts.extend((0..batch.num_rows()).map(|row| columns.iter().map(|column| column.value(row).to_string()).collect()));
        }
        Ok(texts)
    }

    /// Rows as a JSON array of objects.
    ///
    /// # Errors
    /// [`ColumnsError::Write`] when a value cannot be written as JSON.
    pub fn json(&self) -> Result<serde_json::Value> {
        let failed = ColumnsError::build("rows of an answer");
        let mut writer = ArrayWriter::new(Vec::new());
        writer.write_batches(&self.rows.iter().collect::<Vec<_>>()).map_err(&failed)?;
        writer.finish().map_err(&failed)?;
        let bytes = writer.into_inner();
        if bytes.is_empty() {
            return Ok(serde_json::Value::Array(Vec::new()));
        }
        serde_json::from_slice(&bytes).map_err(|error| ColumnsError::Write { what: "rows of an answer", source: error.into() })
    }
}
