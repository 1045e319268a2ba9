//! A night's plan from what the lake says: no client, no clock.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use nocturne_wire::{
    BatchName, GenerationName, NightId, Offset, Partition, Sha256Hex, Topic,
    id::IdError,
    ledger::LedgerEntry,
    plan::{NightPlan, PLAN_VERSION, PlannedBatch, Trigger},
};

use crate::NightSettings;

/// For each partition the offset after the last one of something.
pub type EndPositions = BTreeMap<(Topic, Partition), Offset>;

/// What a person asks of one night, beyond the settings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NightRequest {
    /// Questions that must never be trained on: SHA-256 of their normalized text.
    pub held_out: Vec<Sha256Hex>,
    /// Another seed than the settings'.
    pub seed: Option<u64>,
    /// Whether a candidate that passes serves at once, when not as in the settings.
    pub promote: Option<bool>,
}

/// Everything that a plan depends on.
#[derive(Debug, Clone, PartialEq)]
pub struct PlanInputs {
    /// The channel's newest entry.
    pub head: Option<LedgerEntry>,
    /// Generation 0.
    pub zero: Option<GenerationName>,
    /// Fingerprint of the base that the serving generation belongs to.
    pub base: Option<Sha256Hex>,
    /// The nights that what serves comes from, oldest first.
    pub lineage: Vec<NightId>,
    /// Where the nights stopped reading whose batches count as read.
    pub read_to: EndPositions,
    /// Where any night stopped reading that came to an end. By itself no night repeats another one.
    pub seen_to: EndPositions,
    /// Where the sealed batches end. What is sealed later is the next night's.
    pub sealed_to: EndPositions,
    /// The sealed batches of all partitions.
    pub sealed: Vec<BatchName>,
    /// What was asked for.
    pub request: NightRequest,
    /// Why the night runs.
    pub trigger: Trigger,
    /// The settings.
    pub settings: NightSettings,
    /// The time.
    pub now: Timestamp,
}

/// Why there is no night; not a failure.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NothingToDo {
    /// The channel serves nothing.
    #[error("channel `{channel}` serves nothing yet; start the server once, or begin the channel with generation 0")]
    NotBegun {
        /// The channel.
        channel: String,
    },
    /// No interaction was sealed since the last night.
    #[error("no interaction was sealed since the last night; talk to the model first")]
    NothingNew,
    /// The channel's name cannot be part of a night's name.
    #[error("channel `{channel}` cannot name a night")]
    Channel {
        /// The channel.
        channel: String,
        /// Why.
        #[source]
        source: IdError,
    },
}

/// Plans a night: the same inputs give the same plan.
///
/// # Errors
/// When there is nothing to do.
pub fn plan_night(inputs: &PlanInputs) -> Result<NightPlan, NothingToDo> {
    let PlanInputs { request, settings, now, .. } = inputs;
    let channel = settings.channel.clone();
    let (Some(head), Some(zero), Some(base)) = (&inputs.head, &inputs.zero, &inputs.base) else {
        return Err(NothingToDo::NotBegun { channel });
    };
    let batches = new_batches(inputs);
    let earlier = earlier_batches(inputs);
    let repeats = |batch: &PlannedBatch| inputs.trigger != Trigger::Manual && is_before(inputs, &inputs.seen_to, batch);
    // New feedback alone is worth a night when it may be about what earlier nights read.
    let teaches = |batch: &PlannedBatch| batch.name.topic == Topic::Interactions || !earlier.is_empty();
    if !batches.iter().any(|batch| teaches(batch) && !repeats(batch)) {
        return Err(NothingToDo::NothingNew);
    }
    let night = night_id(*now, &channel).map_err(|source| NothingToDo::Channel { channel: channel.clone(), source })?;
    let limit = SignedDuration::from_mins(settings.deadline_minutes.into());
    Ok(NightPlan {
        version: PLAN_VERSION,
        night,
        channel,
        created: *now,
        trigger: inputs.trigger,
        deadline: if limit.is_zero() { None } else { now.checked_add(limit).ok() },
        base: base.clone(),
        zero: zero.clone(),
        parent: head.generation.clone(),
        lineage: inputs.lineage.clone(),
        batches: planned(batches),
        earlier: planned(earlier),
        held_out: request.held_out.clone(),
        seed: request.seed.unwrap_or(settings.seed),
        curation: settings.curation.clone(),
        training: settings.training,
        gates: settings.gates.clone(),
        promote: request.promote.unwrap_or(settings.promote),
    })
}

/// What no night has read, in the order of partitions and offsets. A batch that was read in part, because it was sealed again or took the place of several,
/// is read from where the nights stopped.
fn new_batches(inputs: &PlanInputs) -> Vec<PlannedBatch> {
    let mut batches = known_batches(inputs);
    batches.retain(|batch| !is_read(inputs, batch));
    for batch in &mut batches {
        let read_to = inputs.read_to.get(&(batch.name.topic, batch.name.partition));
        batch.name.first = batch.name.first.max(read_to.copied().unwrap_or_default());
    }
    batches
}

/// The newest interactions that earlier nights have read, newest first, when there is feedback to be about them.
fn earlier_batches(inputs: &PlanInputs) -> Vec<PlannedBatch> {
    let known = known_batches(inputs);
    if !known.iter().any(|batch| batch.name.topic == Topic::Feedback && !is_read(inputs, batch)) {
        return Vec::new();
    }
    let mut partitions: BTreeMap<Partition, Vec<PlannedBatch>> = BTreeMap::new();
    for batch in known.into_iter().filter(|batch| batch.name.topic == Topic::Interactions && is_read(inputs, batch)) {
        partitions.entry(batch.name.partition).or_default().push(batch);
    }
    let newest = |batches: &Vec<PlannedBatch>| batches.len().saturating_sub(inputs.settings.late_feedback_batches as usize);
    let mut earlier: Vec<PlannedBatch> = partitions.values().flat_map(|batches| &batches[newest(batches)..]).copied().collect();
    earlier.sort_by_key(|batch| (std::cmp::Reverse(batch.name.first), batch.name.partition));
    earlier
}

fn is_read(inputs: &PlanInputs, batch: &PlannedBatch) -> bool {
    is_before(inputs, &inputs.read_to, batch)
}

/// Whether a batch begins before an end. One whose own end is known must also stop there: the newest one of its partition may have been lost and sealed again
/// from the log, further than it reached, and one that took the place of several says in its name where it ends. Of the others that cannot be told, because
/// they seem to reach further as well when the one behind them is gone.
fn is_before(inputs: &PlanInputs, ends: &EndPositions, batch: &PlannedBatch) -> bool {
    let BatchName { topic, partition, first, .. } = batch.name;
    let newest = inputs.sealed_to.get(&(topic, partition)) == Some(&batch.last.next());
    let sure = newest || batch.name.rewritten.is_some();
    ends.get(&(topic, partition)).is_some_and(|end| first < *end && (!sure || batch.last < *end))
}
/// All batches up to where they are known to end, in the order of partitions and offsets. Where a batch ends is where the next one begins, unless its name
/// says it.
fn known_batches(inputs: &PlanInputs) -> Vec<PlannedBatch> {
    let mut partitions: BTreeMap<(Topic, Partition), Vec<BatchName>> = BTreeMap::new();
    for name in &inputs.sealed {
        partitions.entry((name.topic, name.partition)).or_default().push(*name);
    }
    let mut batches = Vec::new();
    for (key, mut names) in partitions {
        let Some(&end) = inputs.sealed_to.get(&key) else { continue };
        names.retain(|name| name.first < end);
        names.sort_unstable();
        let ends = names.iter().map(|name| name.first).skip(1).chain([end]);
        batches.extend(names.iter().zip(ends).map(|(&name, next)| {
            let before_next = Offset(next.0 - 1);
            let last = name.rewritten.map_or(before_next, |rewritten| rewritten.last.min(before_next));
            PlannedBatch { name, last }
        }));
    }
    batches
}

/// What a plan says of a batch: the offsets. Under which name they lie when the night reads them is nobody's promise.
fn planned(batches: Vec<PlannedBatch>) -> Vec<PlannedBatch> {
    let range = |PlannedBatch { name, last }| PlannedBatch { name: BatchName { rewritten: None, ..name }, last };
    batches.into_iter().map(range).collect()
}

/// `20261121T030000Z-<channel>`
fn night_id(now: Timestamp, channel: &str) -> Result<NightId, IdError> {
    NightId::parse(format!("{}-{channel}", now.to_zoned(TimeZone::UTC).strftime("%Y%m%dT%H%M%SZ")))
}

#[cfg(test)]
mod tests {
    use nocturne_wire::{Generation, batch::Rewritten, ledger::LedgerAction};
    use proptest::prelude::*;

    use super::*;

    const P0: (Topic, Partition) = (Topic::Interactions, Partition(0));

    fn batch((topic, partition): (Topic, Partition), first: u64) -> BatchName {
        BatchName::new(topic, partition, Offset(first))
    }

    fn name(number: u64) -> GenerationName {
        GenerationName::new(Generation(number), &Sha256Hex::of(&[number as u8]))
    }

    fn inputs() -> PlanInputs {
        let now: Timestamp = "2026-11-21T03:00:00Z".parse().expect("a time");
        PlanInputs {
            head: Some(LedgerEntry {
                channel: "production".to_owned(),
                sequence: 3,
                time: now,
                action: LedgerAction::Promote,
                generation: name(2),
                previous: Some(name(1)),
                actor: "test".to_owned(),
                reason: "test".to_owned(),
                night: None,
            }),
            zero: Some(name(0)),
            base: Some(Sha256Hex::of(b"base")),
            lineage: Vec::new(),
            read_to: EndPositions::from([(P0, Offset(20))]),
            seen_to: EndPositions::from([(P0, Offset(20))]),
            sealed_to: EndPositions::from([(P0, Offset(45))]),
            sealed: [0, 10, 20, 30].map(|first| batch(P0, first)).to_vec(),
            request: NightRequest::default(),
            trigger: Trigger::Schedule,
            settings: NightSettings::default(),
            now,
        }
    }

    #[test]
    fn a_batch_that_was_sealed_again_and_reaches_further_is_read_on() {
        let mut inputs = inputs();
        let planned = |inputs: &PlanInputs| -> Vec<(u64, u64)> {
            plan_night(inputs).expect("something to do").batches.iter().map(|b| (b.name.first.0, b.last.0)).collect()
        };
        inputs.sealed = [0, 10].map(|first| batch(P0, first)).to_vec();
        assert_eq!(planned(&inputs), [(20, 44)], "from where the nights stopped");
        inputs.sealed = [0, 10, 30].map(|first| batch(P0, first)).to_vec();
        assert_eq!(planned(&inputs), [(30, 44)], "the batch before a gap was read");
    }

    #[test]
    fn a_batch_that_took_the_place_of_several_is_read_from_where_the_nights_stopped() {
        let mut inputs = inputs();
        let rewritten =
            |first, last| BatchName { rewritten: Some(Rewritten { last: Offset(last), revision: 1 }), ..batch(P0, first) };
        let planned = |inputs: &PlanInputs| plan_night(inputs).expect("something to do").batches;
        inputs.sealed = vec![rewritten(0, 29), batch(P0, 30)];
        let ranges = planned(&inputs);
        assert_eq!(ranges.iter().map(|b| (b.name, b.last.0)).collect::<Vec<_>>(), [(batch(P0, 20), 29), (batch(P0, 30), 44)]);
        inputs.sealed = vec![rewritten(0, 19), batch(P0, 20)];
        assert_eq!(planned(&inputs).iter().map(|b| (b.name.first.0, b.last.0)).collect::<Vec<_>>(), [(20, 44)]);
    }

    #[test]
    fn a_plan_names_the_parent_and_the_batches_since_the_last_night() {
        let plan = plan_night(&inputs()).expect("something to do");
        assert_eq!(plan.night.as_str(), "20261121T030000Z-production");
        assert_eq!((plan.parent, plan.zero), (name(2), name(0)));
        let ranges: Vec<_> = plan.batches.iter().map(|b| (b.name.first.0, b.last.0)).collect();
        assert_eq!(ranges, [(20, 29), (30, 44)]);
        assert_eq!(plan.deadline.map(|d| d.to_string()), Some("2026-11-21T05:00:00Z".to_owned()));
        assert!(plan.promote && plan.held_out.is_empty());
    }

    #[test]
    fn a_request_overrides_the_settings() {
        let held_out = vec![Sha256Hex::of(b"question")];
        let request = NightRequest { held_out: held_out.clone(), seed: Some(9), promote: Some(false) };
        let plan = plan_night(&PlanInputs { request, ..inputs() }).expect("something to do");
        assert_eq!((plan.held_out, plan.seed, plan.promote), (held_out, 9, false));
    }

    #[test]
    fn late_feedback_brings_the_newest_of_what_was_read_before() {
        assert!(plan_night(&inputs()).expect("something to do").earlier.is_empty(), "there is no feedback");
        let key = (Topic::Feedback, Partition(0));
        let mut late = inputs();
        late.sealed.push(batch(key, 0));
        late.sealed_to.insert(key, Offset(3));
        let ranges = |plan: NightPlan| plan.earlier.iter().map(|b| (b.name.first.0, b.last.0)).collect::<Vec<_>>();
        assert_eq!(ranges(plan_night(&late).expect("something to do")), [(10, 19), (0, 9)]);
        late.settings.late_feedback_batches = 1;
        assert_eq!(ranges(plan_night(&late).expect("something to do")), [(10, 19)]);
        late.sealed.retain(|batch| batch.topic == Topic::Feedback || batch.first < Offset(20));
        late.sealed_to.insert(P0, Offset(20));
        assert_eq!(ranges(plan_night(&late).expect("a verdict is enough")), [(10, 19)]);
        late.read_to.insert(key, Offset(3));
        assert_eq!(plan_night(&late), Err(NothingToDo::NothingNew), "the feedback was read before");
    }

    #[test]
    fn no_new_interaction_and_no_lineage_are_nothing_to_do() {
        let read = PlanInputs { read_to: EndPositions::from([(P0, Offset(45))]), ..inputs() };
        assert_eq!(plan_night(&read), Err(NothingToDo::NothingNew));
        let unpromoted = PlanInputs { seen_to: EndPositions::from([(P0, Offset(45))]), ..inputs() };
        assert_eq!(plan_night(&unpromoted), Err(NothingToDo::NothingNew), "the slot of the next day");
        let asked = PlanInputs { trigger: Trigger::Manual, ..unpromoted };
        assert!(plan_night(&asked).is_ok(), "a person may want it again");
        let key = (Topic::Feedback, Partition(0));
        let feedback = PlanInputs { sealed: vec![batch(key, 0)], sealed_to: EndPositions::from([(key, Offset(1))]), ..inputs() };
        assert_eq!(plan_night(&feedback), Err(NothingToDo::NothingNew));
        let fresh = PlanInputs { head: None, ..inputs() };
        assert!(matches!(plan_night(&fresh), Err(NothingToDo::NotBegun { .. })));
    }

    #[test]
    fn a_batch_that_was_sealed_after_the_positions_were_taken_is_the_next_nights() {
        let sealed = [20, 30, 45].map(|first| batch(P0, first)).to_vec();
        let plan = plan_night(&PlanInputs { sealed, ..inputs() }).expect("something to do");
        assert_eq!(plan.batches.last().map(|b| b.last), Some(Offset(44)));
    }

    proptest! {
        #[test]
        fn nights_after_each_other_read_every_offset_once(cuts in prop::collection::btree_set(1_u64..200, 1..20), nights in 1_usize..5) {
            let firsts: Vec<u64> = [0].into_iter().chain(cuts.iter().copied()).collect();
            let mut read_to = EndPositions::new();
            let mut read = Vec::new();
            for night in 1..=nights {
                let known = (firsts.len() - 1) * night / nights;
                let end = Offset(firsts[known]);
                let sealed = firsts[..known].iter().map(|first| batch(P0, *first)).collect();
                let seen_to = read_to.clone();
                let inputs = PlanInputs { read_to: read_to.clone(), seen_to, sealed_to: EndPositions::from([(P0, end)]), sealed, ..inputs() };
                match plan_night(&inputs) {
                    Ok(plan) => {
                        read.extend(plan.batches.iter().flat_map(|b| b.name.first.0..=b.last.0));
                        read_to.insert(P0, end);
                    }
                    Err(nothing) => prop_assert_eq!(nothing, NothingToDo::NothingNew),
                }
            }
            let last = firsts[firsts.len() - 1];
            prop_assert_eq!(read, (0..last).collect::<Vec<_>>());
        }
    }
}
