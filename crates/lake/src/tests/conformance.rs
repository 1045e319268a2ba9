use std::collections::BTreeMap;

use bytes::Bytes;
use jiff::Timestamp;
use nocturne_wire::{
    BatchName, NightId, Offset, Partition, Sha256Hex, Topic,
    batch::BatchFooter,
    night::{GateResult, NightEvent, Phase},
    path,
};

use super::everywhere;
use crate::{Lake, LakeError};

#[tokio::test]
async fn what_was_created_is_read_back_and_cannot_be_created_again() {
    everywhere(|lake| async move {
        lake.create("a/b/c.bin", "first").await.expect("created");
        let again = lake.create("a/b/c.bin", "second").await.expect_err("the name is taken");
        assert!(again.is_already_exists(), "{again}");
        assert_eq!(lake.get("a/b/c.bin").await.expect("read"), "first");
        let absent = lake.get("a/b/d.bin").await.expect_err("absent");
        assert!(absent.is_not_found() && absent.to_string().contains("a/b/d.bin"), "{absent}");
    })
    .await;
}

#[tokio::test]
async fn exactly_one_of_many_writers_of_a_name_wins() {
    everywhere(|lake| async move {
        let attempts = (0..24_u8).map(|writer| {
            let lake = lake.clone();
            tokio::spawn(async move { lake.create("race/one", vec![writer; 100]).await.map(|()| writer) })
        });
        let mut winners = Vec::new();
        for attempt in attempts.collect::<Vec<_>>() {
            match attempt.await.expect("the writer ran") {
                Ok(writer) => winners.push(writer),
                Err(error) => assert!(error.is_already_exists(), "{error}"),
            }
        }
        assert_eq!(winners.len(), 1);
        assert_eq!(lake.get("race/one").await.expect("read"), vec![winners[0]; 100]);
    })
    .await;
}

#[tokio::test]
async fn listings_are_sorted_and_keep_to_their_folder() {
    everywhere(|lake| async move {
        for path in ["n/b/2", "n/b/10", "n/a", "nn/x", "n/c/d/e"] {
            lake.create(path, "x").await.expect("created");
        }
        let paths: Vec<_> = lake.list("n").await.expect("listed").into_iter().map(|object| (object.path, object.bytes)).collect();
        assert_eq!(paths, ["n/a", "n/b/10", "n/b/2", "n/c/d/e"].map(|path| (path.to_owned(), 1)));
        assert_eq!(lake.list_dirs("n").await.expect("listed"), ["b", "c"]);
        assert_eq!(lake.list("").await.expect("listed").len(), 5);
        assert_eq!(lake.list("absent").await.expect("listed"), []);
        assert!(lake.list_dirs("absent").await.expect("listed").is_empty());
    })
    .await;
}

#[tokio::test]
async fn names_that_leave_the_lake_are_refused() {
    everywhere(|lake| async move {
        for path in ["../outside", "a/../../b", "a//b"] {
            let refused = lake.create(path, "x").await.expect_err("refused");
            assert!(matches!(refused, LakeError::Refused { .. }), "{path}: {refused}");
        }
    })
    .await;
}

fn footer(first: u64, last: u64) -> BatchFooter {
    BatchFooter {
        name: BatchName::new(Topic::Interactions, Partition(3), Offset(first)),
        last: Offset(last),
        begin: Offset(0),
        topic_id: "t".to_owned(),
        schema_fingerprint: "f".to_owned(),
        writer: "w".to_owned(),
        rows: 1,
        dead: 0,
        duplicates: 0,
        letters: None,
        erased: 0,
    }
}

#[tokio::test]
async fn batches_are_sealed_once_and_listed_by_partition() {
    everywhere(|lake| async move {
        let batches = lake.batches();
        assert_eq!(batches.last(Topic::Interactions, Partition(3)).await.expect("listed"), None);
        for (first, last) in [(9, 11), (0, 8), (100, 120)] {
            batches.seal(&footer(first, last), Bytes::from("rows"), None).await.expect("sealed");
        }
        lake.create("interactions/v1/topic=interactions/partition=3/notes.txt", "x").await.expect("created");
        let lost = batches.seal(&footer(9, 10), Bytes::from("other"), None).await.expect_err("sealed before");
        assert!(lost.is_already_exists(), "{lost}");
        let names = [0, 9, 100].map(|first| footer(first, 0).name).to_vec();
        assert_eq!(batches.list(Topic::Interactions).await.expect("listed"), BTreeMap::from([(Partition(3), names.clone())]));
        assert_eq!(batches.last(Topic::Interactions, Partition(3)).await.expect("listed"), Some(names[2]));
        assert!(batches.list(Topic::Feedback).await.expect("listed").is_empty());
        assert_eq!(batches.get(&names[1]).await.expect("read"), "rows");
    })
    .await;
}

#[tokio::test]
async fn dead_letters_of_an_attempt_that_died_do_not_stop_the_next_one() {
    everywhere(|lake| async move {
        let (short, long) = (footer(0, 4), footer(0, 9));
        for attempt in [&short, &long] {
            lake.create(&path::dead_letters(attempt), "dead").await.expect("created");
        }
        lake.batches().seal(&long, Bytes::from("rows"), Some(Bytes::from("dead"))).await.expect("sealed");
        assert_eq!(lake.batches().dead_letters(&long).await.expect("read"), "dead");
    })
    .await;
}

fn event(sequence: u64) -> NightEvent {
    NightEvent {
        sequence,
        time: Timestamp::UNIX_EPOCH,
        phase: Phase::Train,
        done: sequence,
        total: 9,
        message: "step".to_owned(),
    }
}

#[tokio::test]
async fn a_night_keeps_its_events_gates_and_files() {
    everywhere(|lake| async move {
        let night = NightId::parse("20261121T030000Z-production").expect("a night id");
        let nights = lake.nights();
        assert_eq!(nights.report(&night).await.expect("read"), None);
        assert_eq!(nights.gates(&night).await.expect("read"), None);
        for sequence in 0..11 {
            nights.append_event(&night, &event(sequence)).await.expect("appended");
        }
        assert_eq!(nights.events(&night).await.expect("read"), (0..11).map(event).collect::<Vec<_>>());
        assert_eq!(nights.events_from(&night, 9).await.expect("read"), [event(9), event(10)]);
        let gate = GateResult {
            gate: "kept".to_owned(),
            metric: "share lost".to_owned(),
            count: 400,
            baseline: 1.0,
            candidate: 0.99,
            threshold: 0.03,
            passed: true,
        };
        nights.write_gates(&night, std::slice::from_ref(&gate)).await.expect("written");
        assert_eq!(nights.gates(&night).await.expect("read"), Some(vec![gate]));
        nights.put(&night, "checkpoints/3.bin", "state").await.expect("written");
        assert_eq!(nights.get(&night, "checkpoints/3.bin").await.expect("read"), Some(Bytes::from("state")));
        assert_eq!(nights.get(&night, "checkpoints/4.bin").await.expect("read"), None);
        assert_eq!(nights.list().await.expect("listed"), [night]);
    })
    .await;
}

#[tokio::test]
async fn a_location_of_another_kind_is_refused() {
    for location in ["ftp://host/x", "http://host/x", "", "file://"] {
        let refused = Lake::open(location).expect_err("refused");
        assert!(matches!(refused, LakeError::Refused { .. }), "{location}: {refused}");
    }
}

#[tokio::test]
async fn an_attempt_that_found_other_dead_letters_in_the_same_range_keeps_its_own() {
    everywhere(|lake| async move {
        let attempt = |letters: &[u8]| BatchFooter { dead: 1, letters: Some(Sha256Hex::of(letters)), ..footer(0, 9) };
        let (first, second) = (attempt(b"one"), attempt(b"two"));
        lake.create(&path::dead_letters(&first), "one").await.expect("created");
        lake.batches().seal(&second, Bytes::from("rows"), Some(Bytes::from("two"))).await.expect("sealed");
        assert_eq!(lake.batches().dead_letters(&second).await.expect("read"), "two");
        let committed = BTreeMap::from([(second.name, path::dead_letters(&second))]);
        let batches = lake.batches();
        let removed = batches.remove_abandoned(second.name.topic, second.name.partition, &committed).await.expect("removed");
        assert_eq!((removed, lake.exists(&path::dead_letters(&second)).await.expect("asked")), (1, true));
    })
    .await;
}
