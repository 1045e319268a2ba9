//! One conformance suite for every kind of location, then what is special to each.

mod conformance;
mod faults;
mod ledgers;
mod local;
mod models;

use std::future::Future;

use jiff::Timestamp;
use nocturne_wire::{Generation, GenerationName, Sha256Hex, ledger::LedgerAction};
use tempfile::TempDir;

use crate::{Lake, LedgerDraft};

/// Runs a check against a lake in memory and against one in a folder.
async fn everywhere<F: Future<Output = ()>>(check: impl Fn(Lake) -> F) {
    check(Lake::memory()).await;
    let (_folder, lake) = local_lake();
    check(lake).await;
}

fn local_lake() -> (TempDir, Lake) {
    let folder = TempDir::new().expect("a temporary folder");
    let lake = Lake::open(&folder.path().join("lake").to_string_lossy()).expect("a lake");
    (folder, lake)
}

fn generation(number: u64) -> GenerationName {
    GenerationName::new(Generation(number), &Sha256Hex::of(&number.to_le_bytes()))
}

fn draft(action: LedgerAction, number: u64, actor: &str) -> LedgerDraft {
    LedgerDraft {
        action,
        generation: generation(number),
        time: Timestamp::UNIX_EPOCH,
        actor: actor.to_owned(),
        reason: "a test".to_owned(),
        night: None,
    }
}
