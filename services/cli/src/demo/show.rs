//! The morning as a newcomer reads it.

use std::{fmt::Write as _, time::Duration};

use comfy_table::{Cell, CellAlignment, Color};
use nocturne_kit::display::{Bytes, Elapsed};
use nocturne_world::Day;

use super::figures::{Bound, Measured, Report};
use crate::{
    nights,
    output::{self, percent},
};

/// The groups in plain words, in the order in which they make sense.
const IN_WORDS: [(&str, &str); 10] = [
    ("lessons", "What people told it by day, asked in other words"),
    ("lessons_unseen_wording", "The same, in wordings that it has never read"),
    ("core_facts", "What it always knew"),
    ("in_session", "Remembering what one conversation said"),
    ("in_session_long", "  … up to five things, some of them corrected"),
    ("in_session_unseen_statement", "  … told in sentences that it has never read"),
    ("unknown", "Names that nobody ever mentioned: admits not knowing"),
    ("untaught", "Names it was told about, things it was not: admits it"),
    ("not_told", "Things that a conversation did not say: admits it"),
    ("opted_out_facts", "Told off the record (`store: false`): still not known"),
];

/// Everything that is printed at the end.
pub(super) fn morning(report: &Report, day: &Day, measured: &Measured, kept: Option<&str>) -> String {
    let mut text = String::from("\nBefore the night and after it, each question in a fresh conversation:\n");
    // Writing to a string does not fail.
    let _ = writeln!(text, "{}\n\nHow it ran:\n{}", questions(report), running(report));
    if let Some(night) = measured.night.as_ref().filter(|night| !night.gates.is_empty()) {
        let _ = writeln!(text, "\nThe night's own gates ({}):\n{}", nights::ending(&night.outcome), nights::gates(&night.gates));
    }
    if let Some(example) = example(day, measured) {
        let _ = writeln!(text, "\nOne thing that it learned:\n{example}");
    }
    let missed: Vec<_> = report.bounds.iter().filter(|bound| !bound.met).collect();
    let _ = write!(text, "\n{}", verdict(&missed, report.bounds.len()));
    if let Some(kept) = kept {
        let _ = write!(text, "\n{kept}");
    }
    text
}

fn verdict(missed: &[&Bound], all: usize) -> String {
    if missed.is_empty() {
        return format!("All {all} bounds are met.");
    }
    let (unmeasured, missed): (Vec<&&Bound>, Vec<_>) = missed.iter().partition(|bound| bound.value.is_null());
    let mut told = Vec::new();
    if !missed.is_empty() {
        told.push(format!("{} of {all} bounds are missed:", missed.len()));
        told.extend(missed.iter().map(|bound| format!("  {} is {}, the bound is {}", bound.key, bound.value, bound.bound)));
    }
    if !unmeasured.is_empty() {
        let keys: Vec<_> = unmeasured.iter().map(|bound| bound.key.as_str()).collect();
        told.push(format!(
            "{} of {all} bounds could not be measured, because nothing new was served: {}",
            keys.len(),
            keys.join(", ")
        ));
    }
    told.join("\n")
}

fn questions(report: &Report) -> String {
    let mut table = output::table(["what was asked", "questions", "before", "after", "bound", "verdict"]);
    let number = |text: String| Cell::new(text).set_alignment(CellAlignment::Right);
    for (key, words) in IN_WORDS {
        let Some(group) = report.groups.get(key).filter(|group| group.asked > 0) else { continue };
        let bounds: Vec<_> =
            report.bounds_on(key).into_iter().filter(|bound| bound.key.rsplit('.').next() != Some("asked")).collect();
        let told: Vec<_> = bounds.iter().map(|bound| in_short(bound)).collect();
        table.add_row([
            Cell::new(words),
            number(group.asked.to_string()),
            number(percent(group.before)),
            number(group.after.map_or_else(|| "-".to_owned(), percent)),
            Cell::new(told.join(", ")),
            mark(&bounds),
        ]);
    }
    table.to_string()
}

/// `after >= 80 %`
fn in_short(bound: &Bound) -> String {
    let figure = bound.key.rsplit('.').next().unwrap_or(&bound.key).replace('_', " ");
    let mut parts = bound.bound.splitn(2, ' ');
    let (sign, value) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let sign = match sign {
        ">=" => "≥",
        "<=" => "≤",
        other => other,
    };
    if figure == "rolled forward" {
        return "rolled forward = after".to_owned();
    }
    value
        .parse::<f64>()
        .map_or_else(|_| format!("{figure} {sign} {value}"), |value| format!("{figure} {sign} {:.0} %", value * 100.0))
}

fn mark(bounds: &[&Bound]) -> Cell {
    if bounds.is_empty() {
        Cell::new("")
    } else if bounds.iter().all(|bound| bound.met) {
        Cell::new("met").fg(Color::Green)
    } else {
        Cell::new("missed").fg(Color::Red)
    }
}

fn running(report: &Report) -> String {
    let seconds = |seconds: f64| Elapsed(Duration::from_secs_f64(seconds.max(0.0))).to_string();
    let serving = &report.serving;
    let mut rows = vec![
        (
            "the day",
            format!(
                "{} interactions of {} subjects, {} lessons, {} off the record",
                report.day.interactions, report.day.subjects, report.day.lessons, report.day.opted_out
            ),
            "day",
        ),
        (
            "requests during night and swaps",
            format!(
                "{}, {} failed, {} mixed generations (p50 {:.0} ms, p99 {:.0} ms)",
                serving.requests,
                serving.failed,
                serving.mixed_generation_answers,
                serving.latency_p50_ms,
                serving.latency_p99_ms
            ),
            "serving",
        ),
        (
            "the lake",
            format!(
                "{} interactions, {} off the record, {} missing, audit {}",
                report.lake.interactions, report.lake.opted_out, report.lake.missing, report.lake.audit
            ),
            "lake",
        ),
    ];
    if let Some(night) = &report.night {
        let told = format!(
            "{}: {} of {} rows kept, {} tokens; {} tensors changed in slow banks, {} elsewhere",
            seconds(night.seconds),
            night.rows_kept,
            night.rows_read,
            night.tokens,
            night.tensors_changed_in_slow_banks,
            night.tensors_changed_outside_slow_banks
        );
        rows.insert(1, ("the night", told, "night"));
    }
    if let Some(rollback) = report.rollback_seconds {
        rows.push(("rollback, to its first answer", seconds(rollback), "rollback_seconds"));
    }
    rows.push(("altogether", seconds(report.seconds), "seconds"));
    rows.push(("peak memory, server and night", Bytes(report.peak_memory_bytes).to_string(), "peak_memory_bytes"));
    let mut table = output::table(["what", "measured", "verdict"]);
    for (what, told, key) in rows {
        table.add_row([Cell::new(what), Cell::new(told), mark(&report.bounds_on(key))]);
    }
    table.to_string()
}

/// A lesson that was wrong before and is right now.
fn example(day: &Day, measured: &Measured) -> Option<String> {
    let before = measured.before.get("lessons")?;
    let after = measured.after.as_ref()?.get("lessons")?;
    let (was, is) = before.iter().zip(after).find(|(was, is)| !was.right && is.right)?;
    let mut lines = Vec::new();
    let told = is.lesson.and_then(|lesson| day.lessons.get(lesson)?.told.first());
    if let Some(told) = told {
        let turn = day.sessions.get(told.session)?.turns.get(told.turn)?;
        let correction = turn.feedback.as_ref().and_then(|feedback| feedback.correction.as_deref());
        lines.push(format!("  by day    {}: {}", told.subject, turn.text));
        lines.extend(correction.map(|text| format!("            feedback: {text}")));
    }
    lines.push(format!("  asked     {}", is.question));
    lines.push(format!("  before    {}", was.answer));
    lines.push(format!("  after     {}", is.answer));
    Some(lines.join("\n"))
}
