//! `nocturne lake sql`, `compact`, `erase` and `retain` as a shell sees them: what they print, how they end, what they say when they fail.

mod common;

use std::{
    fs::{self, File},
    path::Path,
    process::Output,
    time::{Duration, SystemTime},
};

use jiff::{SignedDuration, Timestamp};
use nocturne_columns::{Range, seal_records};
use nocturne_lake::Lake;
use nocturne_support::{S3, or_skip};
use nocturne_wire::{BatchName, Interaction, Offset, Partition, Topic, avro};

use self::common::{command, json, run};

const ROWS: u64 = 10;
/// Four that are worth merging, and the newest eight, which compaction leaves alone.
const BATCHES: u64 = 12;

/// What one of four subjects said; the older half is a year old.
fn said(number: u64) -> Interaction {
    let ago = if number < ROWS * BATCHES / 2 { SignedDuration::from_hours(24 * 365) } else { SignedDuration::from_hours(5) };
    let time = Timestamp::now().checked_sub(ago).expect("a time");
    let subject = ["anna", "bert", "cleo", "dora"][number as usize % 4];
    let session = format!("s-{}", number % 7);
    nocturne_records::said(format!("pod-1-{number}"), time, subject, &session, format!("This is number {number}."))
}

async fn fill(lake: &Lake) {
    for first in (0..BATCHES).map(|batch| batch * ROWS) {
        let mut raw: Vec<_> = (first..first + ROWS).map(|number| avro::encode_interaction(&said(number))).collect();
        if first == 0 {
            raw[3] = b"no record".to_vec();
        }
        let range = Range {
            name: BatchName::new(Topic::Interactions, Partition(0), Offset(first)),
            last: Offset(first + ROWS - 1),
            begin: Offset(0),
            topic_id: "topic-a".to_owned(),
            writer: "a test".to_owned(),
        };
        let records: Vec<_> = raw.iter().zip(first..).map(|(raw, offset)| (Offset(offset), raw.as_slice())).collect();
        let sealed = seal_records(range, &records, Vec::new(), &[], None, 1).expect("sealed");
        lake.batches().seal(&sealed.footer, sealed.parquet, sealed.dead).await.expect("created");
    }
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime").block_on(work)
}

/// A state directory with a lake whose batches are two hours old.
fn house() -> tempfile::TempDir {
    let state = tempfile::tempdir().expect("a folder");
    let lake = Lake::open(&state.path().join("lake").to_string_lossy()).expect("opens");
    block_on(fill(&lake));
    let old = SystemTime::now() - Duration::from_hours(2);
    for batch in batches(state.path()) {
        File::options().write(true).open(batch).and_then(|file| file.set_modified(old)).expect("made older");
    }
    state
}

fn batches(state: &Path) -> Vec<std::path::PathBuf> {
    let folder = state.join("lake/interactions/v1/topic=interactions/partition=0");
    let mut files: Vec<_> = fs::read_dir(folder).expect("there").map(|entry| entry.expect("readable").path()).collect();
    files.sort();
    files
}

fn code(output: &Output) -> Option<i32> {
    output.status.code()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Runs a command that must go well, and gives what it printed.
fn table(state: &Path, args: &[&str]) -> String {
    let output = run(state, args);
    assert_eq!(code(&output), Some(0), "{args:?}: {}", stderr(&output));
    stdout(&output)
}

fn count(state: &Path, condition: &str) -> u64 {
    let query = format!("select count(*) n from interactions where {condition}");
    json(state, &["lake", "sql", &query])[0]["n"].as_u64().expect("a number")
}

fn assert_clean(state: &Path) {
    assert_eq!(json(state, &["lake", "audit"])["clean"], true);
}

#[test]
fn sql_prints_a_table_or_json_and_says_what_was_left_out() {
    let house = house();
    let state = house.path();
    let query = "select subject, count(*) n from interactions group by subject order by subject";
    let printed = table(state, &["lake", "sql", query]);
    for text in ["subject", "n", "anna", "30", "dora", "29"] {
        assert!(printed.contains(text), "{text}: {printed}");
    }
    let rows = json(state, &["lake", "sql", query]);
    let expected = serde_json::json!([
        {"subject": "anna", "n": 30}, {"subject": "bert", "n": 30}, {"subject": "cleo", "n": 30}, {"subject": "dora", "n": 29}
    ]);
    assert_eq!(rows, expected);
    let letters = json(state, &["lake", "sql", "select topic, partition, \"offset\" from dead_letters"]);
    assert_eq!(letters, serde_json::json!([{"topic": "interactions", "partition": 0, "offset": 3}]));
    let cut = run(state, &["lake", "sql", "select id from interactions", "--limit", "2", "-o", "json"]);
    assert_eq!(code(&cut), Some(0));
    assert!(stderr(&cut).contains("only the first 2 rows are shown; --limit N shows more"), "{}", stderr(&cut));
    let none = json(state, &["lake", "sql", "select id from interactions where subject = 'nobody'"]);
    assert_eq!(none, serde_json::json!([]));
}

#[test]
fn sql_that_cannot_be_answered_or_would_write_is_refused_with_a_hint() {
    let house = house();
    for query in ["select * from nowhere", "selekt 1", "select nothing from interactions", "drop table interactions", ""] {
        let output = run(house.path(), &["lake", "sql", query]);
        assert_eq!(code(&output), Some(1), "{query}: {}", stdout(&output));
        let told = stderr(&output);
        assert!(told.contains(&format!("asking `{query}`")) && told.contains("hint: `nocturne lake sql --help`"), "{told}");
        assert!(stdout(&output).is_empty(), "{query}");
    }
    assert_eq!(count(house.path(), "true"), ROWS * BATCHES - 1);
}

#[test]
fn compaction_says_what_became_of_the_batches_and_changes_no_row() {
    let house = house();
    let state = house.path();
    let query = "select id, subject, session, turn, messages, answer, time from interactions order by id";
    let before = json(state, &["lake", "sql", query]);
    let done = json(state, &["lake", "compact"]);
    assert_eq!((&done["merged"], &done["written"], &done["skipped"]), (&4.into(), &1.into(), &serde_json::json!([])), "{done}");
    assert_eq!(batches(state).len() as u64, BATCHES - 3);
    assert_eq!(json(state, &["lake", "sql", query]), before);
    assert_clean(state);
    let again = table(state, &["lake", "compact"]);
    assert!(again.contains("nothing to compact: there are too few batches that are small and old enough"), "{again}");
}

#[test]
fn a_batch_that_cannot_be_compacted_is_named_and_ends_with_3() {
    let house = house();
    let state = house.path();
    let damaged = &batches(state)[1];
    let mut bytes = fs::read(damaged).expect("read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(damaged, &bytes).expect("written");
    let old = SystemTime::now() - Duration::from_hours(2);
    File::options().write(true).open(damaged).and_then(|file| file.set_modified(old)).expect("made older");
    let output = run(state, &["lake", "compact", "--min-batches", "2"]);
    assert_eq!(code(&output), Some(3), "{}", stderr(&output));
    let name = damaged.file_name().expect("a name").to_string_lossy();
    assert!(stdout(&output).contains("passed over: ") && stdout(&output).contains(&*name), "{}", stdout(&output));
    assert_eq!(code(&run(state, &["lake", "audit"])), Some(3));
    // What is in it is not known, and nobody is told that it was erased; the others are.
    let output = run(state, &["lake", "erase", "--subject", "anna"]);
    assert_eq!(code(&output), Some(3));
    let printed = stdout(&output);
    assert!(printed.contains("erased 28 interactions"), "{printed}");
    assert!(printed.contains("not erased: ") && printed.contains(&*name), "{printed}");
}

#[test]
fn erasure_takes_a_subject_out_and_finds_what_comes_later() {
    let house = house();
    let state = house.path();
    assert_eq!(count(state, "subject = 'bert'"), 30);
    let printed = table(state, &["lake", "erase", "--subject", "bert"]);
    assert_eq!(printed.trim(), "1 wish: erased 30 interactions, 0 verdicts and 0 dead letters; wrote 12 batches again");
    assert_eq!((count(state, "subject = 'bert'"), count(state, "true")), (0, 89));
    assert_clean(state);
    let report = json(state, &["lake", "erase", "--subject", "cleo", "--tenant", "acme", "--until", "2001-01-01T00:00:00Z"]);
    assert_eq!((&report["erasures"], &report["interactions"]), (&2.into(), &0.into()), "nothing was said until then: {report}");
    let report = json(state, &["lake", "erase", "--again"]);
    assert_eq!((&report["erasures"], &report["batches"]), (&2.into(), &0.into()), "{report}");
    assert!(table(state, &["lake", "erase", "--again"]).contains("2 wishes: no sealed batch holds any of it"));
    for wrong in [&["lake", "erase"][..], &["lake", "erase", "--subject", ""], &["lake", "erase", "--subject", "a", "--again"]] {
        let output = run(state, wrong);
        assert_eq!(code(&output), Some(2), "{wrong:?}: {}", stderr(&output));
    }
}

#[test]
fn young_batches_wait_for_a_later_run_and_the_exit_code_says_so() {
    let house = house();
    let state = house.path();
    let newest = batches(state).pop().expect("a batch");
    File::options().write(true).open(newest).and_then(|file| file.set_modified(SystemTime::now())).expect("made younger");
    let output = run(state, &["lake", "erase", "--subject", "anna"]);
    assert_eq!(code(&output), Some(3), "{}", stderr(&output));
    assert!(stdout(&output).contains("1 batch of the last hour must wait"), "{}", stdout(&output));
    assert!(count(state, "subject = 'anna'") > 0);
    assert_eq!(json(state, &["lake", "erase", "--again", "--min-age", "0"])["young"], 0);
    assert_eq!(count(state, "subject = 'anna'"), 0);
    assert_clean(state);
}

#[test]
fn retention_shows_first_and_then_removes_what_is_too_old() {
    let house = house();
    let state = house.path();
    let planned = json(state, &["lake", "retain", "--days", "90", "--dry-run"]);
    assert_eq!((&planned["batches"], &planned["rows"], &planned["dry_run"]), (&6.into(), &59.into(), &true.into()), "{planned}");
    assert_eq!(batches(state).len() as u64, BATCHES);
    let printed = table(state, &["lake", "retain", "--days", "90"]);
    assert!(printed.starts_with("removed 6 batches with 59 rows, "), "{printed}");
    assert_eq!(count(state, "true"), 60);
    assert_clean(state);
    let again = table(state, &["lake", "retain", "--days", "90"]);
    assert!(again.starts_with("removed 0 batches with 0 rows"), "{again}");
    let output = run(state, &["lake", "retain", "--days", "5000000"]);
    assert_eq!(code(&output), Some(1));
    let told = stderr(&output);
    assert!(told.contains("before the calendar begins") && told.contains("hint: give fewer days"), "{told}");
    assert_eq!(code(&run(state, &["lake", "retain"])), Some(2));
}

#[test]
fn help_has_examples_and_a_lake_that_is_not_there_is_not_made() {
    let state = tempfile::tempdir().expect("a folder");
    for args in [&["sql", "select 1"][..], &["compact"], &["erase", "--subject", "anna"], &["retain", "--days", "9"]] {
        let help = table(state.path(), &["lake", args[0], "--help"]);
        assert!(help.contains("Examples:") && help.contains(&format!("  nocturne lake {}", args[0])), "{help}");
        let output = run(state.path(), &[&["lake"], args].concat());
        assert_eq!(code(&output), Some(1), "{args:?}");
        assert!(stderr(&output).contains("there is none") && stderr(&output).contains("hint: "), "{}", stderr(&output));
    }
    assert_eq!(fs::read_dir(state.path()).expect("readable").count(), 0);
}

#[test]
fn the_same_commands_work_on_a_bucket() {
    let server = or_skip!(S3::start());
    let (state, store) = (tempfile::tempdir().expect("a folder"), server.url("commands"));
    let lake = Lake::open_with(&store, &server.options().into()).expect("opens");
    block_on(fill(&lake));
    let ask = |args: &[&str]| {
        let variables = server.options().map(|(key, value)| (key.to_uppercase(), value));
        let mut command = command(state.path());
        command.args(["--store", &store, "lake"]).args(args).args(["-o", "json"]).envs(variables);
        let output = command.output().expect("the binary runs");
        assert!(output.status.success(), "{args:?}: {}", stderr(&output));
        serde_json::from_slice::<serde_json::Value>(&output.stdout).expect("JSON")
    };
    assert_eq!(ask(&["sql", "select count(*) n from interactions"])[0]["n"], 119);
    assert_eq!(ask(&["compact"])["merged"], 0, "all batches are young");
    assert_eq!(ask(&["erase", "--subject", "anna", "--min-age", "0"])["interactions"], 30);
    assert_eq!(ask(&["retain", "--days", "90", "--min-age", "0"])["batches"], 6);
    assert_eq!(ask(&["sql", "select count(*) n from interactions"])[0]["n"], 45);
    assert_eq!(ask(&["audit"])["clean"], true);
}

#[test]
fn nobody_is_forgotten_ahead_and_usage_names_both_ways() {
    let house = house();
    let refused = |args: &[&str], why: &str| {
        let output = run(house.path(), &[&["lake", "erase"], args].concat());
        assert_eq!(code(&output), Some(2), "{}", stderr(&output));
        assert!(stderr(&output).contains(why), "{}", stderr(&output));
    };
    refused(&["--subject", "anna", "--until", "2999-01-01"], "in the future");
    refused(&["--subject", "anna", "--until", "yesterday"], "or a day such as");
    refused(&[], "--again");
    let output = run(house.path(), &["lake", "erase", "--subject", "anna", "--until", "2001-01-01"]);
    assert!(code(&output) == Some(0) && stderr(&output).contains("what is still in the log"), "{}", stderr(&output));
}
