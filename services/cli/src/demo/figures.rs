//! From what was measured to the report: pure, so that its shape and its verdicts are tested without a server.

mod bounds;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use nocturne_wire::night::{NightReport, Outcome as Ending};
use nocturne_world::Day;
use serde::Serialize;
use serde_json::json;

pub(super) use self::bounds::Bound;
use super::{
    ask::{Replies, Reply},
    check::Held,
    day::Sent,
    load::Tally,
    pictures::Curve,
};
use crate::machine::Machine;

/// Everything that the stages found out.
#[derive(Debug, Clone, Default)]
pub(super) struct Measured {
    pub(super) subjects: u64,
    pub(super) lessons: u64,
    pub(super) sent: Sent,
    pub(super) before: Replies,
    pub(super) night: Option<NightReport>,
    pub(super) after: Option<Replies>,
    pub(super) rolled_back: Option<Replies>,
    pub(super) rolled_forward: Option<Replies>,
    pub(super) rollback_seconds: Option<f64>,
    pub(super) load: Tally,
    pub(super) held: Held,
    pub(super) loss: Curve,
    /// Seconds of each stage.
    pub(super) stages: BTreeMap<&'static str, f64>,
    pub(super) seconds: f64,
    pub(super) peak_memory_bytes: u64,
}

impl Measured {
    /// Whether the night gave a generation that serves.
    pub(super) fn was_published(&self) -> bool {
        self.night.as_ref().is_some_and(|night| matches!(night.outcome, Ending::Published { promoted: true, .. }))
    }

    /// Holds what was answered during the night and the swaps against what each generation answers in its exam.
    pub(super) fn compare_openings(&mut self) {
        let Some(Ending::Published { generation, .. }) = self.night.as_ref().map(|night| &night.outcome) else { return };
        // The state directory is new, so that generation 0 served before.
        let mut exams = BTreeMap::from([(0, &self.before)]);
        exams.extend(self.after.as_ref().map(|after| (generation.number().0, after)));
        self.load.compare_openings(&exams);
    }

    /// Every question with the answers it got, as JSON lines.
    pub(super) fn answers_as_lines(&self, day: &Day) -> anyhow::Result<String> {
        let mut lines = String::new();
        for (group, sessions) in day.exam.groups() {
            let expected = sessions.iter().flat_map(|session| session.questions.iter().map(move |question| (session, question)));
            for (index, (session, question)) in expected.enumerate() {
                let of = |replies: Option<&Replies>| replies.and_then(|replies| replies.get(group)?.get(index).cloned());
                let line = json!({
                    "group": group,
                    "context": session.context,
                    "question": question.text,
                    "expected": question.expected,
                    "before": of(Some(&self.before)),
                    "after": of(self.after.as_ref()),
                });
                lines.push_str(&serde_json::to_string(&line)?);
                lines.push('\n');
            }
        }
        Ok(lines)
    }
}

/// One group of questions.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(super) struct Group {
    pub(super) asked: u64,
    /// Share of right answers before the night.
    pub(super) before: f64,
    /// Share after it; null when no generation was published.
    pub(super) after: Option<f64>,
    /// `before` less `after`.
    pub(super) lost: Option<f64>,
    /// Share that was right before and is wrong after, whatever else was gained.
    pub(super) forgotten: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) rolled_back: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) rolled_forward: Option<f64>,
}

fn right(replies: &[Reply]) -> usize {
    replies.iter().filter(|reply| reply.right).count()
}

fn share(part: f64, whole: usize) -> f64 {
    part / whole.max(1) as f64
}

impl Group {
    fn of(measured: &Measured, group: &str) -> Self {
        let before = measured.before.get(group).map_or(&[][..], Vec::as_slice);
        let asked = before.len();
        let find = |replies: &Option<Replies>| replies.as_ref().and_then(|replies| replies.get(group).cloned());
        let score = |replies: &Option<Replies>| find(replies).map(|replies| share(right(&replies) as f64, asked));
        let after = find(&measured.after);
        // From whole numbers: 0.96 - 0.94 is a little more than 0.02.
        let lost = after.as_ref().map(|after| share(right(before) as f64 - right(after) as f64, asked));
        let forgotten =
            after.as_ref().map(|after| before.iter().zip(after).filter(|(before, after)| before.right && !after.right).count());
        Self {
            asked: asked as u64,
            before: share(right(before) as f64, asked),
            after: score(&measured.after),
            lost,
            forgotten: forgotten.map(|count| share(count as f64, asked)),
            rolled_back: score(&measured.rolled_back),
            rolled_forward: score(&measured.rolled_forward),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct DayFigures {
    pub(super) interactions: u64,
    pub(super) subjects: u64,
    pub(super) lessons: u64,
    pub(super) opted_out: u64,
    pub(super) feedback: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct ServingFigures {
    pub(super) requests: u64,
    pub(super) failed: u64,
    pub(super) mixed_generation_answers: u64,
    /// Answers that were held against what each generation answers, and would have differed.
    pub(super) answers_compared: u64,
    pub(super) latency_p50_ms: f64,
    pub(super) latency_p99_ms: f64,
    pub(super) problems: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct NightFigures {
    pub(super) seconds: f64,
    pub(super) tokens: u64,
    pub(super) rows_read: u64,
    pub(super) rows_kept: u64,
    pub(super) tensors_changed_in_slow_banks: u64,
    pub(super) tensors_changed_outside_slow_banks: u64,
    /// The night's own record.
    pub(super) report: NightReport,
}

impl NightFigures {
    fn of(report: &NightReport) -> Self {
        Self {
            seconds: report.ended.duration_since(report.started).as_secs_f64(),
            tokens: report.tokens,
            rows_read: report.curation.read,
            rows_kept: report.curation.kept,
            tensors_changed_in_slow_banks: report.tensors_changed_in_slow_banks,
            tensors_changed_outside_slow_banks: report.tensors_changed_outside_slow_banks,
            report: report.clone(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct LakeFigures {
    pub(super) interactions: u64,
    pub(super) feedback: u64,
    pub(super) opted_out: u64,
    /// Acknowledged interactions that are not in the lake.
    pub(super) missing: u64,
    /// `clean`, or what is wrong.
    pub(super) audit: String,
}

/// What `--json` writes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Report {
    pub(super) seed: u64,
    /// Whether the day was read from a file.
    pub(super) own_conversations: bool,
    pub(super) machine: Machine,
    pub(super) day: DayFigures,
    /// The groups of questions, by name.
    #[serde(flatten)]
    pub(super) groups: BTreeMap<&'static str, Group>,
    pub(super) serving: ServingFigures,
    pub(super) night: Option<NightFigures>,
    pub(super) lake: LakeFigures,
    pub(super) rollback_seconds: Option<f64>,
    /// Seconds of each stage.
    pub(super) stages: BTreeMap<&'static str, f64>,
    pub(super) seconds: f64,
    pub(super) peak_memory_bytes: u64,
    pub(super) bounds: Vec<Bound>,
}

/// The exam's groups with their keys in the report.
pub(super) const GROUPS: [(&str, &str); 10] = [
    ("lessons", "lessons"),
    ("lessons_unseen_wording", "lessons_unseen_wording"),
    ("core_facts", "core_facts"),
    ("in_session", "in_session"),
    ("in_session_long", "in_session_long"),
    ("in_session_unseen_statement", "in_session_unseen_statement"),
    ("unknown", "unknown"),
    ("untaught", "untaught"),
    ("not_told", "not_told"),
    // `day.opted_out` and `lake.opted_out` count rows; this one asks what such rows said.
    ("opted_out", "opted_out_facts"),
];

impl Report {
    /// Puts the report together and judges it.
    pub(super) fn of(measured: &Measured, seed: u64, own_conversations: bool, machine: Machine) -> Self {
        let Measured { sent, held, load, .. } = measured;
        let mut report = Self {
            seed,
            own_conversations,
            machine,
            day: DayFigures {
                interactions: sent.interactions,
                subjects: measured.subjects,
                lessons: measured.lessons,
                opted_out: sent.opted_out,
                feedback: sent.feedback,
            },
            groups: GROUPS.iter().map(|(group, key)| (*key, Group::of(measured, group))).collect(),
            serving: ServingFigures {
                requests: load.requests,
                failed: load.failed,
                mixed_generation_answers: load.mixed,
                answers_compared: load.compared,
                latency_p50_ms: load.latency(0.5),
                latency_p99_ms: load.latency(0.99),
                problems: load.reasons.clone(),
            },
            night: measured.night.as_ref().map(NightFigures::of),
            lake: LakeFigures {
                interactions: held.interactions,
                feedback: held.feedback,
                opted_out: held.opted_out,
                missing: held.missing,
                audit: if held.faults.is_empty() { "clean".to_owned() } else { held.faults.join("; ") },
            },
            rollback_seconds: measured.rollback_seconds,
            stages: measured.stages.clone(),
            seconds: measured.seconds,
            peak_memory_bytes: measured.peak_memory_bytes,
            bounds: Vec::new(),
        };
        report.bounds = bounds::judge(&report);
        report
    }

    /// Whether every bound is met.
    pub(super) fn all_met(&self) -> bool {
        self.bounds.iter().all(|bound| bound.met)
    }

    /// The bounds on one part of the report.
    pub(super) fn bounds_on(&self, part: &str) -> Vec<&Bound> {
        let inside = |key: &str| key.strip_prefix(part).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        self.bounds.iter().filter(|bound| inside(&bound.key)).collect()
    }
}
