//! What several tests need.

use jiff::Timestamp;
use nocturne_wire::{
    Generation, GenerationName, NightId, Sha256Hex,
    plan::{CurationSettings, GateSettings, NightPlan, PLAN_VERSION, TrainingSettings, Trigger},
};

/// A plan without batches.
pub(crate) fn plan() -> NightPlan {
    let zero = GenerationName::new(Generation::ZERO, &Sha256Hex::of(b"0"));
    NightPlan {
        version: PLAN_VERSION,
        night: NightId::parse("20261121T030000Z-production").unwrap(),
        channel: "production".into(),
        created: Timestamp::UNIX_EPOCH,
        trigger: Trigger::Manual,
        deadline: None,
        base: Sha256Hex::of(b"base"),
        zero: zero.clone(),
        parent: zero,
        lineage: Vec::new(),
        batches: Vec::new(),
        earlier: Vec::new(),
        held_out: Vec::new(),
        seed: 1,
        curation: CurationSettings::default(),
        training: TrainingSettings::default(),
        gates: GateSettings::default(),
        promote: true,
    }
}
