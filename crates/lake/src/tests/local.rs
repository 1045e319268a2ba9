//! What only a lake in a folder has: staging files, locations, plans by path.

use std::collections::BTreeMap;

use nocturne_wire::{
    NightId, Sha256Hex,
    plan::{CurationSettings, GateSettings, NightPlan, PLAN_VERSION, TrainingSettings, Trigger},
};

use super::{generation, local_lake};
use crate::{Lake, LakeError};

#[tokio::test]
async fn staging_files_are_orphans_and_never_objects() {
    let (folder, lake) = local_lake();
    lake.create("a/b.bin", "x").await.expect("created");
    let before = lake.orphans().await.expect("listed");
    std::fs::write(folder.path().join("lake/a/c.bin#12345"), "torn").expect("written");
    assert!(before.is_empty());
    assert_eq!(lake.list("").await.expect("listed").len(), 1);
    assert_eq!(lake.orphans().await.expect("listed"), ["a/c.bin#12345"]);
}

#[tokio::test]
async fn a_folder_and_its_file_url_are_the_same_lake() {
    let (_folder, lake) = local_lake();
    lake.create("x", "1").await.expect("created");
    let again = Lake::open(&format!("file://{}", lake.location())).expect("opened");
    assert_eq!(again.get("x").await.expect("read"), "1");
}

#[tokio::test]
async fn a_job_finds_lake_and_plan_by_the_plans_location() {
    let (_folder, lake) = local_lake();
    let plan = NightPlan {
        version: PLAN_VERSION,
        night: NightId::parse("20261121T030000Z-production").expect("a night id"),
        channel: "production".to_owned(),
        created: jiff::Timestamp::UNIX_EPOCH,
        trigger: Trigger::Manual,
        deadline: None,
        base: Sha256Hex::of(b"base"),
        zero: generation(0),
        parent: generation(0),
        lineage: Vec::new(),
        batches: Vec::new(),
        earlier: Vec::new(),
        held_out: Vec::new(),
        seed: 7,
        curation: CurationSettings::default(),
        training: TrainingSettings::default(),
        gates: GateSettings::default(),
        promote: true,
    };
    lake.nights().write_plan(&plan).await.expect("written");
    lake.nights().write_plan(&plan).await.expect("one's own, when the store's answer was lost");
    let other = NightPlan { created: jiff::Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_nanos(1), ..plan.clone() };
    let twice = lake.nights().write_plan(&other).await.expect_err("claimed");
    assert!(twice.is_already_exists(), "{twice}");
    let (found, read) = Lake::open_plan(&lake.nights().plan_location(&plan.night), &BTreeMap::new()).await.expect("opened");
    assert_eq!((found.location(), &read), (lake.location(), &plan));
    for wrong in ["plan.json", "/x/nights/plan.json", "/x/night/y/plan.json"] {
        let refused = Lake::open_plan(wrong, &BTreeMap::new()).await.expect_err("not a plan");
        assert!(matches!(refused, LakeError::Refused { .. }), "{wrong}: {refused}");
    }
}
