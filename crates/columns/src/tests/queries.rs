//! SQL over batches and dead letters in a store.

use std::sync::Arc;

use datafusion::object_store::{ObjectStore, ObjectStoreExt as _, memory::InMemory};
use nocturne_wire::{Partition, Topic, avro, path};

use super::{decoded, encoded, footer, judged, said};
use crate::{Answer, ColumnsError, Objects, Resources, query, seal, seal_dead_letters};

/// Two partitions of interactions, one of feedback, and a dead letter.
async fn lake() -> (Arc<dyn ObjectStore>, Objects) {
    let store = InMemory::new();
    let mut objects = Objects::default();
    for (partition, subject) in [(0, "anna"), (1, "bert")] {
        let mut raw =
            encoded(&[said(subject, 10 + i64::from(partition), "Hello."), said(subject, 20 + i64::from(partition), "Bye.")]);
        raw.push(b"poison".to_vec());
        let rows = decoded(Topic::Interactions, 0, &raw);
        let mut footer = footer(Topic::Interactions, 0, 3, &rows);
        footer.name.partition = Partition(partition);
        let (batch, letters) = (path::batch(&footer.name), path::dead_letters(&footer));
        store.put(&batch.as_str().into(), seal(&rows.batch, &footer).expect("sealed").into()).await.expect("put");
        store.put(&letters.as_str().into(), seal_dead_letters(&rows.dead, &footer).expect("sealed").into()).await.expect("put");
        objects.batches.insert((Topic::Interactions, Partition(partition)), vec![batch]);
        objects.dead_letters.insert((Topic::Interactions, Partition(partition)), vec![letters]);
    }
    let raw = [avro::encode_feedback(&judged(&said("anna", 10, "Hello."), 30, -1.0, Some("Good morning.")))];
    let rows = decoded(Topic::Feedback, 0, &raw);
    let footer = footer(Topic::Feedback, 0, 1, &rows);
    let batch = path::batch(&footer.name);
    store.put(&batch.as_str().into(), seal(&rows.batch, &footer).expect("sealed").into()).await.expect("put");
    objects.batches.insert((Topic::Feedback, Partition(0)), vec![batch]);
    (Arc::new(store), objects)
}

async fn ask(sql: &str, limit: usize) -> Result<Answer, ColumnsError> {
    let (store, objects) = lake().await;
    query(store, &objects, sql, limit, &Resources::default()).await
}

async fn texts(sql: &str) -> Vec<Vec<String>> {
    ask(sql, 100).await.expect("answered").texts().expect("texts")
}

#[tokio::test]
async fn tables_join_and_partitions_are_a_column() {
    let rows = texts("select partition, count(*) from interactions group by 1 order by 1").await;
    assert_eq!(rows, [["0", "2"], ["1", "2"]]);
    let sql =
        "select i.subject, i.messages[2]['content'], f.correction from interactions i join feedback f on f.interaction = i.id";
    assert_eq!(texts(sql).await, [["anna", "Hello.", "Good morning."]]);
    assert_eq!(
        texts("select topic, partition, \"offset\" from dead_letters order by 2").await,
        [["interactions", "0", "2"], ["interactions", "1", "2"]]
    );
}

#[tokio::test]
async fn symbols_times_and_numbers_are_written_as_json() {
    let answer =
        ask("select finish, generation, time, truncated from interactions where subject = 'bert' and turn = 11", 5).await;
    let rows = answer.expect("answered").json().expect("JSON");
    let time = super::at(11).strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    assert_eq!(rows, serde_json::json!([{ "finish": "stop", "generation": 1, "time": time, "truncated": false }]));
    let nothing = ask("select id from interactions where false", 5).await.expect("answered");
    assert_eq!((nothing.json().expect("JSON"), nothing.columns()), (serde_json::json!([]), &["id".to_owned()][..]));
}

#[tokio::test]
async fn batches_of_two_releases_are_one_table() {
    let (store, mut objects) = lake().await;
    let path = "interactions/v1/topic=interactions/partition=2/00000000000000000000.parquet";
    let first: &[u8] = include_bytes!("../../golden/interactions.v1.parquet");
    store.put(&path.into(), first.into()).await.expect("put");
    objects.batches.insert((Topic::Interactions, Partition(2)), vec![path.to_owned()]);
    let sql = "select partition, channel, count(*) from interactions group by 1, 2 order by 1";
    let answer = query(store, &objects, sql, 9, &Resources::default()).await.expect("answered").texts().expect("texts");
    assert_eq!(answer, [["0", "production", "2"], ["1", "production", "2"], ["2", "production", "1"]]);
}

#[tokio::test]
async fn a_long_answer_is_cut_and_says_so() {
    let answer = ask("select id from interactions", 3).await.expect("answered");
    assert!(answer.cut && answer.texts().expect("texts").len() == 3);
    assert!(!ask("select id from interactions", 4).await.expect("answered").cut);
}

#[tokio::test]
async fn nothing_but_reading_is_allowed() {
    for sql in [
        "create table copy as select * from interactions",
        "insert into interactions select * from interactions",
        "copy interactions to '/tmp/stolen.parquet'",
        "set datafusion.execution.batch_size = 1",
        "select * from '/etc/passwd'",
        "select nonsense",
    ] {
        let refused = ask(sql, 1).await.expect_err(sql);
        assert!(matches!(refused, ColumnsError::Query { .. }), "{sql}: {refused}");
    }
}
