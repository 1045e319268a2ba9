use nocturne_wire::{
    ledger::{LedgerAction, PRODUCTION},
    path,
};

use super::{draft, everywhere, generation};
use crate::{AppendError, Expect, Lake, LakeError};

#[tokio::test]
async fn a_ledger_begins_moves_and_rolls_back() {
    everywhere(|lake| async move {
        let ledger = lake.ledger(PRODUCTION);
        assert_eq!(ledger.head().await.expect("read"), None);
        let early = ledger.append(&draft(LedgerAction::Promote, 1, "anna"), Expect::Any).await.expect_err("nothing serves yet");
        assert!(matches!(early, AppendError::NotBegun { .. }), "{early}");
        ledger.append(&draft(LedgerAction::Begin, 0, "up"), Expect::Any).await.expect("begun");
        ledger.append(&draft(LedgerAction::Promote, 1, "night"), Expect::Head(0)).await.expect("promoted");
        let last = ledger.append(&draft(LedgerAction::Rollback, 0, "anna"), Expect::Any).await.expect("rolled back");
        assert_eq!((last.sequence, &last.previous), (2, &Some(generation(1))));
        assert_eq!(ledger.head().await.expect("read"), Some(last));
        let entries = ledger.read().await.expect("read");
        assert_eq!(entries.iter().map(|entry| entry.generation.number().0).collect::<Vec<_>>(), [0, 1, 0]);
    })
    .await;
}

#[tokio::test]
async fn a_decision_on_an_old_head_conflicts_and_names_who_moved_it() {
    everywhere(|lake| async move {
        let ledger = lake.ledger(PRODUCTION);
        ledger.append(&draft(LedgerAction::Begin, 0, "up"), Expect::Empty).await.expect("begun");
        ledger.append(&draft(LedgerAction::Promote, 1, "bert"), Expect::Head(0)).await.expect("promoted");
        let conflict = ledger.append(&draft(LedgerAction::Promote, 2, "anna"), Expect::Head(0)).await.expect_err("moved");
        assert!(conflict.to_string().contains("bert"), "{conflict}");
        let twice = ledger.append(&draft(LedgerAction::Begin, 0, "up"), Expect::Any).await.expect_err("begun before");
        assert!(matches!(twice, AppendError::Conflict { .. }), "{twice}");
        assert_eq!(ledger.read().await.expect("read").len(), 2);
    })
    .await;
}

#[tokio::test]
async fn entries_that_race_all_find_a_place() {
    everywhere(|lake| async move {
        lake.ledger(PRODUCTION).append(&draft(LedgerAction::Begin, 0, "up"), Expect::Empty).await.expect("begun");
        let writers: Vec<_> = (1..=12)
            .map(|number| {
                let ledger = lake.ledger(PRODUCTION);
                tokio::spawn(async move { ledger.append(&draft(LedgerAction::Promote, number, "racer"), Expect::Any).await })
            })
            .collect();
        for writer in writers {
            writer.await.expect("ran").expect("appended");
        }
        assert_eq!(lake.ledger(PRODUCTION).read().await.expect("read").len(), 13);
    })
    .await;
}

#[tokio::test]
async fn a_hole_and_a_foreign_entry_are_damage() {
    everywhere(|lake| async move {
        let ledger = lake.ledger(PRODUCTION);
        let entry = ledger.append(&draft(LedgerAction::Begin, 0, "up"), Expect::Empty).await.expect("begun");
        lake.create_json(&path::ledger_entry("canary", 0), &entry).await.expect("created");
        let foreign = lake.ledger("canary").head().await.expect_err("another channel's entry");
        assert!(matches!(foreign, LakeError::Damaged { .. }), "{foreign}");
        lake.create_json(&path::ledger_entry(PRODUCTION, 2), &entry).await.expect("created");
        let hole = ledger.head().await.expect_err("entry 1 is missing");
        assert!(matches!(hole, LakeError::Damaged { .. }), "{hole}");
    })
    .await;
}

#[tokio::test]
async fn channels_with_foreign_names_are_refused() {
    let lake = Lake::memory();
    for channel in ["", "a/b", "Production", ".."] {
        let refused = lake.ledger(channel).head().await.expect_err("refused");
        assert!(matches!(refused, LakeError::Refused { .. }), "{channel}: {refused}");
    }
}
