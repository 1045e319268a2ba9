use std::collections::BTreeMap;

use bytes::Bytes;
use nocturne_kit::telemetry::chain;
use nocturne_lake::Lake;
use nocturne_wire::{generation::GenerationName, ledger::PRODUCTION, path};

use super::{
    begin::{BeginError, Beginner, Beginning},
    prepare::{PrepareError, prepare},
};
use crate::{
    engine::fake::Fake,
    fixture::{TestLake, golden},
};

async fn begin(lake: &Lake) -> Result<Beginning<Fake>, BeginError> {
    let golden = golden(&["say 2"]);
    let beginner = Beginner { lake, channel: PRODUCTION, golden: &golden, most_resident: 2 };
    beginner.begin(|_: &BTreeMap<String, Bytes>| Ok(Fake::default())).await
}

async fn tried(lake: &TestLake, name: &GenerationName, prompts: &[&str]) -> Option<PrepareError> {
    prepare(&lake.lake, &lake.base, &std::sync::Arc::new(Fake::default()), name, &golden(prompts)).await.err()
}

#[tokio::test]
async fn an_empty_ledger_says_what_to_run() {
    let refused = begin(&Lake::memory()).await.err().unwrap();
    assert!(matches!(refused, BeginError::NotSeeded { .. }));
    assert!(refused.to_string().contains("nocturne up"), "{refused}");
}

#[tokio::test]
async fn a_replica_starts_on_what_the_ledger_says() {
    let lake = TestLake::new().await;
    let one = lake.publish(1, b"1").await;
    lake.publish(2, b"2").await;
    lake.promote(&one).await;
    let status = begin(&lake.lake).await.ok().unwrap().generations.status();
    assert_eq!((status.serving, status.sequence, status.refused), (one, 1, vec![]));
}

#[tokio::test]
async fn a_replica_that_finds_a_bad_generation_starts_on_the_one_before_and_says_so() {
    let lake = TestLake::new().await;
    let bad = lake.publish(1, b"n").await;
    lake.promote(&bad).await;
    let status = begin(&lake.lake).await.ok().unwrap().generations.status();
    assert_eq!((status.serving.number().0, status.sequence), (0, 1));
    assert_eq!(status.refused[0].generation, bad);
}

#[tokio::test]
async fn a_lake_in_which_nothing_verifies_is_an_error_with_the_reason() {
    let lake = TestLake { lake: Lake::memory(), base: nocturne_wire::Sha256Hex::of(b"none") };
    let zero = lake.publish(0, b"0").await;
    lake.append(nocturne_wire::ledger::LedgerAction::Begin, &zero).await;
    assert!(matches!(begin(&lake.lake).await, Err(BeginError::FetchBase { .. })));
    let seeded = TestLake { lake: Lake::memory(), base: TestLake::new().await.base };
    seeded.lake.bases().put(&[("config.json".to_owned(), Bytes::from_static(b"{}"))]).await.unwrap();
    let bad = seeded.publish(0, b"n").await;
    seeded.append(nocturne_wire::ledger::LedgerAction::Begin, &bad).await;
    let refused = begin(&seeded.lake).await.err().unwrap();
    assert!(refused.to_string().contains("not finite"), "{refused}");
}

#[tokio::test]
async fn a_damaged_file_is_refused_by_its_digest() {
    let lake = TestLake::new().await;
    // A publication whose file was written by somebody else first cannot be completed, so the manifest is put there by hand.
    let manifest = TestLake::manifest(1, b"1", lake.base.clone());
    let name = manifest.name();
    let file = format!("{}/{}", path::generation(&name), path::SLOW_FILE);
    lake.lake.create(&file, Bytes::from_static(b"7")).await.unwrap();
    lake.lake.create_json(&path::manifest(&name), &manifest).await.unwrap();
    let refused = tried(&lake, &name, &[]).await.unwrap();
    assert!(matches!(refused, PrepareError::Fetch(_)));
    assert!(chain(&refused).contains("SHA-256"), "{}", chain(&refused));
}

#[tokio::test]
async fn a_tensor_that_the_manifest_does_not_list_is_refused() {
    let lake = TestLake::new().await;
    let mut manifest = TestLake::manifest(1, b"1", lake.base.clone());
    manifest.tensors[0].shape = vec![2];
    let files = [(path::SLOW_FILE.to_owned(), Bytes::from_static(b"1"))];
    let name = lake.lake.generations().publish(&manifest, &files).await.unwrap();
    let refused = tried(&lake, &name, &[]).await.unwrap();
    assert!(matches!(&refused, PrepareError::Tensor { tensor, .. } if tensor == "digit"), "{refused}");
}

#[tokio::test]
async fn a_generation_that_does_not_talk_is_refused() {
    let lake = TestLake::new().await;
    let one = lake.publish(1, b"1").await;
    assert!(tried(&lake, &one, &["say 3"]).await.is_none());
    let refused = tried(&lake, &one, &["say 3", "say 0"]).await.unwrap();
    assert_eq!(refused.to_string(), format!("generation {one} failed golden prompt 1: its answer is empty"));
}
