//! Bases and generations.

use bytes::Bytes;
use jiff::Timestamp;
use nocturne_wire::{
    Generation, Sha256Hex,
    manifest::{FileEntry, MANIFEST_VERSION, Manifest, OptimizerEntry, TensorEntry},
    path,
    plan::NightOptimizer,
};

use super::{everywhere, local_lake};
use crate::{Bases, LakeError};

const FILE: &str = "banks/slow.safetensors";
const KEPT: &str = "optimizer/slow.safetensors";

fn manifest(number: u64, bytes: &[u8]) -> Manifest {
    let tensors = vec![TensorEntry {
        name: "blocks.0.cms.slow.up".to_owned(),
        bank: "slow".to_owned(),
        shape: vec![2, 2],
        dtype: "F16".to_owned(),
        sha256: Sha256Hex::of(bytes),
    }];
    Manifest {
        version: MANIFEST_VERSION,
        number: Generation(number),
        content: Manifest::content_of(&tensors),
        base: Sha256Hex::of(b"base"),
        parent: None,
        night: None,
        created: Timestamp::UNIX_EPOCH,
        tensors,
        files: vec![FileEntry { path: FILE.to_owned(), bytes: bytes.len() as u64, sha256: Sha256Hex::of(bytes) }],
        batches: Vec::new(),
        optimizer: None,
    }
}

fn files(bytes: &'static [u8]) -> Vec<(String, Bytes)> {
    vec![(FILE.to_owned(), Bytes::from_static(bytes))]
}

#[tokio::test]
async fn a_published_generation_is_fetched_verified() {
    everywhere(|lake| async move {
        let generations = lake.generations();
        let manifest = manifest(1, b"weights");
        let name = generations.publish(&manifest, &files(b"weights")).await.expect("published");
        assert_eq!(generations.list().await.expect("listed"), std::slice::from_ref(&name));
        assert_eq!(generations.find(Generation(1)).await.expect("listed"), Some(name.clone()));
        assert_eq!(generations.find(Generation(2)).await.expect("listed"), None);
        let verified = generations.fetch(&name, &manifest.base).await.expect("fetched");
        assert_eq!(verified.manifest, manifest);
        assert_eq!(verified.files[FILE], "weights");
        let foreign = generations.fetch(&name, &Sha256Hex::of(b"another")).await.expect_err("another base");
        assert!(matches!(foreign, LakeError::Refused { .. }), "{foreign}");
    })
    .await;
}

#[tokio::test]
async fn a_generation_without_manifest_is_invisible_and_taken_up_again() {
    everywhere(|lake| async move {
        let manifest = manifest(1, b"weights");
        let file = format!("{}/{FILE}", path::generation(&manifest.name()));
        lake.create(&file, "weights").await.expect("created");
        assert!(lake.generations().list().await.expect("listed").is_empty());
        assert_eq!(lake.orphans().await.expect("listed"), [file]);
        lake.generations().publish(&manifest, &files(b"weights")).await.expect("published");
        assert!(lake.orphans().await.expect("listed").is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_number_is_published_once() {
    everywhere(|lake| async move {
        lake.generations().publish(&manifest(1, b"weights"), &files(b"weights")).await.expect("published");
        let second = lake.generations().publish(&manifest(1, b"others"), &files(b"others")).await.expect_err("taken");
        assert!(second.is_already_exists(), "{second}");
    })
    .await;
}

#[tokio::test]
async fn files_that_the_manifest_does_not_describe_are_refused() {
    everywhere(|lake| async move {
        let manifest = manifest(1, b"weights");
        let surplus = [files(b"weights"), vec![("banks/extra".to_owned(), Bytes::from("x"))]].concat();
        for wrong in [files(b"changed"), files(b"longer weights"), Vec::new(), surplus] {
            let refused = lake.generations().publish(&manifest, &wrong).await.expect_err("refused");
            assert!(matches!(refused, LakeError::Refused { .. }), "{refused}");
        }
        assert!(lake.list("").await.expect("listed").is_empty());
    })
    .await;
}

/// The same generation with what its optimizer remembered.
fn remembering(number: u64, bank: &'static [u8], state: &'static [u8]) -> (Manifest, Vec<(String, Bytes)>) {
    let file = FileEntry { path: KEPT.to_owned(), bytes: state.len() as u64, sha256: Sha256Hex::of(state) };
    let kept = OptimizerEntry { optimizer: NightOptimizer::M3, file, tensors: Vec::new() };
    let kept_file = (KEPT.to_owned(), Bytes::from_static(state));
    (Manifest { optimizer: Some(kept), ..manifest(number, bank) }, [files(bank), vec![kept_file]].concat())
}

#[tokio::test]
async fn what_an_optimizer_remembered_is_published_beside_the_banks_and_fetched_apart() {
    everywhere(|lake| async move {
        let generations = lake.generations();
        let (manifest, files) = remembering(1, b"weights", b"state");
        let refused = generations.publish(&manifest, &files[..1]).await.expect_err("a file is missing");
        assert!(matches!(refused, LakeError::Refused { .. }), "{refused}");
        let name = generations.publish(&manifest, &files).await.expect("published");
        let (kept, bytes) = generations.fetch_optimizer(&name).await.expect("fetched").expect("kept");
        assert_eq!((Some(&kept), &bytes[..]), (manifest.optimizer.as_ref(), &b"state"[..]));
        let served = generations.fetch(&name, &manifest.base).await.expect("fetched");
        assert_eq!(served.files.keys().collect::<Vec<_>>(), [FILE]);
        assert!(lake.orphans().await.expect("listed").is_empty());
        let without = generations.publish(&self::manifest(2, b"others"), &self::files(b"others")).await.expect("published");
        assert_eq!(generations.fetch_optimizer(&without).await.expect("fetched"), None);
    })
    .await;
}

#[tokio::test]
async fn a_damaged_memory_of_an_optimizer_is_found_and_does_not_keep_the_banks_from_serving() {
    let (folder, lake) = local_lake();
    let (manifest, files) = remembering(1, b"weights", b"state");
    let name = lake.generations().publish(&manifest, &files).await.expect("published");
    let file = folder.path().join("lake").join(path::generation(&name)).join(KEPT);
    for damage in [Some("stale"), Some("stat"), None] {
        match damage {
            Some(bytes) => std::fs::write(&file, bytes).expect("damaged"),
            None => std::fs::remove_file(&file).expect("removed"),
        }
        let found = lake.generations().fetch_optimizer(&name).await.expect_err("damaged");
        assert!(matches!(&found, LakeError::Damaged { path, .. } if path.ends_with(KEPT)), "{found}");
        lake.generations().fetch(&name, &manifest.base).await.expect("the banks are whole");
    }
}

#[tokio::test]
async fn every_kind_of_damage_to_a_generation_is_found_and_named() {
    let (folder, lake) = local_lake();
    let manifest = manifest(1, b"weights");
    let name = lake.generations().publish(&manifest, &files(b"weights")).await.expect("published");
    let file = folder.path().join("lake").join(path::generation(&name)).join(FILE);
    for damage in [Some("weightz"), Some("weight"), None] {
        match damage {
            Some(bytes) => std::fs::write(&file, bytes).expect("damaged"),
            None => std::fs::remove_file(&file).expect("removed"),
        }
        let found = lake.generations().fetch(&name, &manifest.base).await.expect_err("damaged");
        assert!(matches!(&found, LakeError::Damaged { path, .. } if path.ends_with(FILE)), "{found}");
    }
    let listed = folder.path().join("lake").join(path::manifest(&name));
    let text = std::fs::read_to_string(&listed).expect("read").replace("\"number\": 1", "\"number\": 2");
    for damage in [text.as_str(), "{"] {
        std::fs::write(&listed, damage).expect("damaged");
        let found = lake.generations().fetch(&name, &manifest.base).await.expect_err("damaged");
        assert!(matches!(&found, LakeError::Damaged { path, .. } if path.ends_with("manifest.json")), "{found}");
    }
}

#[tokio::test]
async fn a_base_is_stored_once_and_fetched_verified() {
    everywhere(|lake| async move {
        let files = [("b.bin".to_owned(), Bytes::from("two")), ("a.json".to_owned(), Bytes::from("one"))];
        let fingerprint = lake.bases().put(&files).await.expect("stored");
        assert_eq!(lake.bases().put(&files).await.expect("stored again"), fingerprint);
        let lines = format!("a.json {}\nb.bin {}\n", Sha256Hex::of(b"one"), Sha256Hex::of(b"two"));
        assert_eq!(fingerprint, Sha256Hex::of(lines.as_bytes()));
        assert_eq!(fingerprint, Bases::fingerprint_of([("a.json", b"one".as_slice()), ("b.bin", b"two".as_slice())]));
        assert_eq!(lake.bases().fetch(&fingerprint).await.expect("fetched"), files.into_iter().collect());
        assert_eq!(lake.bases().list().await.expect("listed"), std::slice::from_ref(&fingerprint));
        lake.create(&path::base_file(&fingerprint, "c.bin"), "surplus").await.expect("created");
        let damaged = lake.bases().fetch(&fingerprint).await.expect_err("a foreign file");
        assert!(matches!(damaged, LakeError::Damaged { .. }), "{damaged}");
        let absent = lake.bases().fetch(&Sha256Hex::of(b"absent")).await.expect_err("absent");
        assert!(absent.is_not_found(), "{absent}");
    })
    .await;
}
