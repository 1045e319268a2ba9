use jiff::Timestamp;
use nocturne_wire::{Generation, GenerationName, NightId, Sha256Hex, night::CurationCounts};

use super::*;

fn machine() -> Machine {
    Machine { processor: "abacus".to_owned(), cores: 2, memory_bytes: 1, system: "test".to_owned(), debug_assertions: true }
}

fn replies(right: &[(&'static str, usize, usize)]) -> Replies {
    let reply = |right| Reply { question: "q".to_owned(), answer: "a".to_owned(), right, lesson: None };
    right.iter().map(|(group, good, asked)| (*group, (0..*asked).map(|n| reply(n < *good)).collect())).collect()
}

fn night() -> NightReport {
    let second = |n| Timestamp::from_second(n).expect("in range");
    NightReport {
        night: NightId::parse("20261121T030000Z-production").expect("valid"),
        started: second(0),
        ended: second(90),
        outcome: Ending::Published { generation: GenerationName::new(Generation(1), &Sha256Hex::of(b"")), promoted: true },
        phases: Vec::new(),
        curation: CurationCounts { read: 420, kept: 400, dropped: BTreeMap::new() },
        sessions: 90,
        questions: 200,
        held_out_dropped: 3,
        steps: 200,
        tokens: 600_000,
        tokens_per_second: 7000.0,
        loss_first: 2.0,
        loss_last: 0.1,
        gates: Vec::new(),
        tensors_changed_in_slow_banks: 8,
        tensors_changed_outside_slow_banks: 0,
        peak_memory_bytes: 1,
        seed: 1,
    }
}

/// A day as it should be.
fn measured() -> Measured {
    let before = [
        ("lessons", 0, 240),
        ("lessons_unseen_wording", 0, 240),
        ("core_facts", 392, 400),
        ("in_session", 384, 400),
        ("in_session_long", 364, 400),
        ("unknown", 400, 400),
        ("untaught", 400, 400),
        ("not_told", 350, 400),
    ];
    let after = [
        ("lessons", 200, 240),
        ("lessons_unseen_wording", 170, 240),
        ("core_facts", 390, 400),
        ("in_session", 376, 400),
        ("in_session_long", 360, 400),
        ("unknown", 390, 400),
        ("untaught", 360, 400),
        ("not_told", 330, 400),
    ];
    Measured {
        subjects: 48,
        lessons: 120,
        sent: Sent { interactions: 470, opted_out: 20, feedback: 30, ..Sent::default() },
        before: replies(&before),
        after: Some(replies(&after)),
        rolled_back: Some(replies(&[("lessons", 0, 240)])),
        rolled_forward: Some(replies(&[("lessons", 200, 240)])),
        night: Some(night()),
        rollback_seconds: Some(0.05),
        load: Tally { requests: 500, latencies: vec![10.0, 20.0], ..Tally::default() },
        held: Held { interactions: 450, feedback: 30, ..Held::default() },
        seconds: 300.0,
        peak_memory_bytes: 1 << 30,
        ..Measured::default()
    }
}

fn missed(report: &Report) -> Vec<&str> {
    report.bounds.iter().filter(|bound| !bound.met).map(|bound| bound.key.as_str()).collect()
}

#[test]
fn the_report_has_the_promised_keys() {
    let report = Report::of(&measured(), 7, false, machine());
    let value = serde_json::to_value(&report).expect("serializable");
    let keys = [
        ("day", &["interactions", "subjects", "lessons", "opted_out"][..]),
        ("lessons", &["asked", "before", "after", "rolled_back", "rolled_forward"]),
        ("lessons_unseen_wording", &["asked", "after"]),
        ("core_facts", &["asked", "before", "after"]),
        ("in_session", &["asked", "before", "after"]),
        ("in_session_long", &["asked", "before", "after"]),
        ("unknown", &["asked", "before", "after"]),
        ("untaught", &["asked", "before", "after"]),
        ("not_told", &["asked", "before", "after"]),
        ("serving", &["requests", "failed", "mixed_generation_answers"]),
        (
            "night",
            &[
                "seconds",
                "tokens",
                "rows_read",
                "rows_kept",
                "tensors_changed_in_slow_banks",
                "tensors_changed_outside_slow_banks",
            ],
        ),
        ("lake", &["interactions", "opted_out", "audit"]),
    ];
    for (part, names) in keys {
        for name in names {
            assert!(!value[part][name].is_null(), "{part}.{name} is missing");
        }
    }
    for name in ["rollback_seconds", "seconds", "peak_memory_bytes"] {
        assert!(value[name].is_number(), "{name} is missing");
    }
    assert_eq!(value["lake"]["audit"], "clean");
    for name in ["key", "value", "bound", "met"] {
        assert!(value["bounds"][0].get(name).is_some(), "bounds lack {name}");
    }
}

#[test]
fn a_day_as_it_should_be_meets_every_bound() {
    let report = Report::of(&measured(), 7, false, machine());
    assert_eq!(missed(&report), [""; 0]);
    assert!(report.all_met());
}

#[test]
fn what_is_lost_is_counted_in_whole_answers() {
    // 384 - 376 of 400 is exactly two percent.
    let report = Report::of(&measured(), 7, false, machine());
    assert_eq!(report.groups["in_session"].lost, Some(0.02));
    let mut worse = measured();
    worse.after.as_mut().expect("measured").extend(replies(&[("in_session", 375, 400)]));
    assert_eq!(missed(&Report::of(&worse, 7, false, machine())), ["in_session.lost"]);
}

#[test]
fn a_rejected_night_misses_what_could_not_be_measured() {
    let mut rejected = measured();
    (rejected.after, rejected.rolled_back, rejected.rolled_forward, rejected.rollback_seconds) = (None, None, None, None);
    let report = Report::of(&rejected, 7, false, machine());
    let missed = missed(&report);
    assert!(["lessons.after", "lessons.rolled_forward", "rollback_seconds"].iter().all(|key| missed.contains(key)), "{missed:?}");
    assert!(!missed.contains(&"lessons.before"));
}

#[test]
fn each_fault_of_running_is_seen() {
    let mut bad = measured();
    (bad.load.failed, bad.load.mixed) = (1, 1);
    bad.held = Held { opted_out: 1, missing: 1, faults: vec!["gap".to_owned()], ..bad.held };
    (bad.rollback_seconds, bad.seconds, bad.peak_memory_bytes) = (Some(1.0), 360.1, (2 << 30) + 1);
    let expected = [
        "serving.failed",
        "serving.mixed_generation_answers",
        "lake.opted_out",
        "lake.missing",
        "lake.audit",
        "rollback_seconds",
        "seconds",
        "peak_memory_bytes",
    ];
    assert_eq!(missed(&Report::of(&bad, 7, false, machine())), expected);
}

#[test]
fn a_day_of_ones_own_is_not_judged_by_its_size() {
    let mut own = measured();
    own.sent.interactions = 5;
    own.before.remove("lessons_unseen_wording");
    let report = Report::of(&own, 7, true, machine());
    assert_eq!(missed(&report), [""; 0]);
    assert!(report.bounds_on("day").is_empty() && report.bounds_on("lessons_unseen_wording").is_empty());
    assert!(!report.bounds_on("lessons").is_empty());
}
