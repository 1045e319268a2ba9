//! Foreign readers of a lake that was compacted, and of one whose batches several releases sealed.

use std::path::Path;

use nocturne_compact::Rewriter;
use nocturne_faults::{Oracle, eager_compaction, interaction, seal_batch};
use nocturne_lake::Lake;
use nocturne_support::{Python, or_skip};
use nocturne_wire::{BatchName, Interaction, Offset, Partition, Topic, path};

/// Everything that both readers see, without what only tells where a row lies.
const ROWS: &str = r#"
import glob, hashlib, json, sys
import duckdb, pyarrow.dataset as dataset
root = sys.argv[1] + "/interactions/v1"
duck = duckdb.sql(f"select * replace (epoch_us(time) as time) from read_parquet('{root}/**/*.parquet', hive_partitioning = true) order by id").fetchall()
arrow = dataset.dataset(root, partitioning="hive").to_table().sort_by("id").to_pylist()
digest = lambda rows: hashlib.sha256(repr(rows).encode()).hexdigest()
print(len(duck), digest(duck), len(arrow), digest([sorted(row.items()) for row in arrow]))
"#;

/// For each file, by name: whether rows lie in the order that the footer declares, which order that is, and what the footer counts.
const ORDER: &str = r#"
import glob, json, os, sys
import pyarrow.parquet as parquet
for name in sorted(glob.glob(sys.argv[1] + "/**/topic=*/**/*.parquet", recursive=True)):
    file = parquet.ParquetFile(name)
    groups = [file.metadata.row_group(n) for n in range(file.num_row_groups)]
    declared = {tuple((file.schema.column(s.column_index).path, s.descending) for s in group.sorting_columns) for group in groups}
    assert len(declared) == 1, declared
    order = [path for path, descending in declared.pop() if not descending]
    columns = file.read(columns=order).to_pydict()
    keys = list(zip(*(columns[path] for path in order)))
    footer = json.loads(file.metadata.metadata[b"nocturne.batch"])
    print(keys == sorted(keys), ",".join(order), len(keys) == footer["rows"], footer["rows"])
"#;

/// The same over files whose columns differ: the union of their columns by name.
const UNION: &str = r#"
import glob, sys
import duckdb, pyarrow as arrow, pyarrow.dataset as dataset
root, golden = sys.argv[1] + "/interactions/v1", sys.argv[2]
duck = duckdb.sql(f"""select count(*), count(channel), count(*) filter (channel is null and id = '{golden}'), count(distinct id), any_value(channel)
    from read_parquet('{root}/**/*.parquet', hive_partitioning = true, union_by_name = true)""").fetchall()[0]
print(*duck)
files = sorted(glob.glob(root + "/**/*.parquet", recursive=True))
schema = arrow.unify_schemas([dataset.dataset(file).schema for file in files])
table = dataset.dataset(files, schema=schema).to_table()
print(table.num_rows, table.num_rows - table["channel"].null_count, len(set(table["id"].to_pylist())))
"#;

async fn seal(lake: &Lake, oracle: &mut Oracle, mut first: u64, batches: u64) {
    for _ in 0..batches {
        let records: Vec<_> = (first..first + 50).map(|n| interaction("c", n, 200)).collect();
        seal_batch(lake, first, &records).await.expect("sealed");
        for record in records {
            oracle.issue(&record.id);
            oracle.acknowledge(&record.id);
        }
        first += 50;
    }
}

async fn compact(lake: &Lake) {
    let done = Rewriter::new(lake.clone(), eager_compaction(), "a test").compact(|_| {}).await.expect("compacted");
    assert_eq!((done.written, done.skipped.len()), (1, 0), "{done:?}");
}

fn open(folder: &Path) -> (Lake, String) {
    let location = folder.join("lake").to_string_lossy().into_owned();
    (Lake::open(&location).expect("opens"), location)
}

#[tokio::test(flavor = "multi_thread")]
async fn duckdb_and_pyarrow_read_the_same_rows_after_compaction_in_the_order_that_is_declared() {
    let python = or_skip!(Python::install());
    let dir = tempfile::tempdir().expect("a folder");
    let (lake, location) = open(dir.path());
    let mut oracle = Oracle::default();
    seal(&lake, &mut oracle, 0, 12).await;
    let before = python.run(ROWS, &[&location]).expect("reads");
    assert!(before.starts_with("600 ") && before.contains(" 600 "), "{before}");
    compact(&lake).await;
    assert_eq!(python.run(ROWS, &[&location]).expect("reads"), before);
    let order = python.run(ORDER, &[&location]).expect("reads");
    let sorted = |rows: u32| format!("True tenant,subject,session,turn,offset True {rows}");
    assert_eq!(order.lines().collect::<Vec<_>>(), [sorted(550), sorted(50)], "the newest batch is as the batcher sealed it");
    assert_eq!(oracle.check(&lake).await.expect("nothing wrong").rows, 600);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_of_the_first_release_is_read_beside_new_ones_by_the_names_of_columns() {
    let python = or_skip!(Python::install());
    let dir = tempfile::tempdir().expect("a folder");
    let (lake, location) = open(dir.path());
    let mut oracle = Oracle::default();
    let golden: &[u8] = include_bytes!("../../../crates/columns/golden/interactions.v1.parquet");
    let name = BatchName::new(Topic::Interactions, Partition(0), Offset(0));
    lake.create(&path::batch(&name), golden).await.expect("created");
    let record = include_str!("../../../schemas/wire/golden/interaction.v1.json");
    let id = serde_json::from_str::<Interaction>(record).expect("a record").id;
    oracle.issue(&id);
    oracle.acknowledge(&id);
    seal(&lake, &mut oracle, 1, 3).await;
    let said = python.run(UNION, &[&location, id.as_str()]).expect("reads");
    assert_eq!(said.lines().collect::<Vec<_>>(), ["151 150 1 151 production", "151 150 151"]);
    assert_eq!(oracle.check(&lake).await.expect("nothing wrong").rows, 151);
    // Compaction writes it again as this release does: the column that it lacked has its default.
    compact(&lake).await;
    let said = python.run(UNION, &[&location, id.as_str()]).expect("reads");
    assert_eq!(said.lines().collect::<Vec<_>>(), ["151 151 0 151 production", "151 151 151"]);
    assert_eq!(oracle.check(&lake).await.expect("nothing wrong").rows, 151);
}
