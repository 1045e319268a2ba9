//! What the demonstration must show. The numbers are the project's promise; nothing here is fitted to a run.

use serde::Serialize;
use serde_json::{Value, json};

use super::{Group, Report};

/// One bound with its verdict.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Bound {
    /// The figure, `lessons.after`.
    pub(crate) key: String,
    /// What was measured; null when it could not be.
    pub(crate) value: Value,
    /// The bound, `>= 0.8`.
    pub(crate) bound: String,
    /// Whether it is met.
    pub(crate) met: bool,
}

/// How a figure is bounded.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Rule {
    AtLeast(f64),
    AtMost(f64),
    Above(f64),
    Below(f64),
    Equal(f64),
}

impl Rule {
    fn met(self, value: f64) -> bool {
        match self {
            Self::AtLeast(bound) => value >= bound,
            Self::AtMost(bound) => value <= bound,
            Self::Above(bound) => value > bound,
            Self::Below(bound) => value < bound,
            #[expect(clippy::float_cmp, reason = "equal means that every answer is the same, not nearly all")]
            Self::Equal(bound) => value == bound,
        }
    }

    fn tell(self) -> String {
        match self {
            Self::AtLeast(bound) => format!(">= {bound}"),
            Self::AtMost(bound) => format!("<= {bound}"),
            Self::Above(bound) => format!("> {bound}"),
            Self::Below(bound) => format!("< {bound}"),
            Self::Equal(bound) if bound.is_nan() => "= a figure that was not measured".to_owned(),
            Self::Equal(bound) => format!("= {bound}"),
        }
    }
}

/// Seconds that the whole demonstration may take on two cores.
const MOST_SECONDS: f64 = 360.0;
/// Memory that server and night may take together.
const MOST_BYTES: f64 = 2.0 * 1024.0 * 1024.0 * 1024.0;
/// Questions behind each figure about what was kept.
const KEPT_QUESTIONS: f64 = 400.0;

#[derive(Default)]
struct Judge(Vec<Bound>);

impl Judge {
    fn figure(&mut self, key: impl Into<String>, value: impl Into<Option<f64>>, rule: Rule) {
        let value = value.into();
        let met = value.is_some_and(|value| rule.met(value));
        self.0.push(Bound { key: key.into(), value: json!(value), bound: rule.tell(), met });
    }

    fn count(&mut self, key: &str, value: u64, rule: Rule) {
        self.0.push(Bound { key: key.to_owned(), value: json!(value), bound: rule.tell(), met: rule.met(value as f64) });
    }
}

/// Judges a report. Groups that nothing was asked of, and the size of a day of one's own, have no bounds.
pub(super) fn judge(report: &Report) -> Vec<Bound> {
    let mut judge = Judge::default();
    if !report.own_conversations {
        day(&mut judge, report);
    }
    lessons(&mut judge, report);
    kept(&mut judge, report);
    honest(&mut judge, report);
    running(&mut judge, report);
    judge.0
}

fn day(judge: &mut Judge, report: &Report) {
    judge.count("day.interactions", report.day.interactions, Rule::AtLeast(400.0));
    judge.count("day.subjects", report.day.subjects, Rule::AtLeast(40.0));
    judge.count("day.lessons", report.day.lessons, Rule::AtLeast(100.0));
    judge.count("day.opted_out", report.day.opted_out, Rule::Above(0.0));
    let asked = |group: &str| report.groups.get(group).map_or(0, |group| group.asked);
    for group in ["lessons", "lessons_unseen_wording"] {
        judge.count(&format!("{group}.asked"), asked(group), Rule::AtLeast(2.0 * report.day.lessons as f64));
    }
    for group in ["core_facts", "in_session", "in_session_long", "unknown", "untaught", "not_told"] {
        judge.count(&format!("{group}.asked"), asked(group), Rule::AtLeast(KEPT_QUESTIONS));
    }
}

fn group<'a>(report: &'a Report, name: &str) -> Option<&'a Group> {
    report.groups.get(name).filter(|group| group.asked > 0)
}

fn lessons(judge: &mut Judge, report: &Report) {
    if let Some(lessons) = group(report, "lessons") {
        judge.figure("lessons.before", lessons.before, Rule::AtMost(0.05));
        judge.figure("lessons.after", lessons.after, Rule::AtLeast(0.80));
        judge.figure("lessons.rolled_back", lessons.rolled_back, Rule::AtMost(0.05));
        // Without an `after` nothing equals it.
        judge.figure("lessons.rolled_forward", lessons.rolled_forward, Rule::Equal(lessons.after.unwrap_or(f64::NAN)));
    }
    if let Some(unseen) = group(report, "lessons_unseen_wording") {
        judge.figure("lessons_unseen_wording.after", unseen.after, Rule::AtLeast(0.65));
    }
}

fn kept(judge: &mut Judge, report: &Report) {
    for (name, least) in [("core_facts", 0.95), ("in_session", 0.95), ("in_session_long", 0.90)] {
        if let Some(kept) = group(report, name) {
            judge.figure(format!("{name}.before"), kept.before, Rule::AtLeast(least));
            judge.figure(format!("{name}.lost"), kept.lost, Rule::AtMost(0.02));
        }
    }
}

fn honest(judge: &mut Judge, report: &Report) {
    for (name, before, after) in [("unknown", 0.95, 0.95), ("untaught", 0.95, 0.88)] {
        if let Some(honest) = group(report, name) {
            judge.figure(format!("{name}.before"), honest.before, Rule::AtLeast(before));
            judge.figure(format!("{name}.after"), honest.after, Rule::AtLeast(after));
        }
    }
    if let Some(not_told) = group(report, "not_told") {
        judge.figure("not_told.before", not_told.before, Rule::AtLeast(0.85));
        judge.figure("not_told.lost", not_told.lost, Rule::AtMost(0.05));
    }
}

fn running(judge: &mut Judge, report: &Report) {
    judge.count("serving.requests", report.serving.requests, Rule::Above(200.0));
    judge.count("serving.failed", report.serving.failed, Rule::Equal(0.0));
    judge.count("serving.mixed_generation_answers", report.serving.mixed_generation_answers, Rule::Equal(0.0));
    let outside = report.night.as_ref().map(|night| night.tensors_changed_outside_slow_banks as f64);
    judge.figure("night.tensors_changed_outside_slow_banks", outside, Rule::Equal(0.0));
    judge.count("lake.opted_out", report.lake.opted_out, Rule::Equal(0.0));
    judge.count("lake.missing", report.lake.missing, Rule::Equal(0.0));
    let clean = report.lake.audit == "clean";
    judge.0.push(Bound {
        key: "lake.audit".to_owned(),
        value: json!(report.lake.audit),
        bound: "= clean".to_owned(),
        met: clean,
    });
    judge.figure("rollback_seconds", report.rollback_seconds, Rule::Below(1.0));
    judge.figure("seconds", report.seconds, Rule::AtMost(MOST_SECONDS));
    judge.count("peak_memory_bytes", report.peak_memory_bytes, Rule::AtMost(MOST_BYTES));
}
