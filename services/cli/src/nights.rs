//! Following a night and telling how it went.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use nocturne_kit::display::{Bytes, Elapsed};
use nocturne_lake::Lake;
use nocturne_wire::{
    NightId,
    night::{GateResult, NightEvent, NightReport, Outcome as Ending, Phase},
};

use crate::{
    admin::Admin,
    failure::Advise,
    output::{self, Outcome},
};

/// How often the night's events are looked for.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// The word for a phase.
pub(crate) const fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Curate => "curate",
        Phase::Distill => "distill",
        Phase::Train => "train",
        Phase::Gate => "gate",
        Phase::Publish => "publish",
    }
}

/// A bar that shows where a night stands.
pub(crate) fn bar() -> ProgressBar {
    let bar = ProgressBar::new(0);
    bar.set_style(bar_style());
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

fn bar_style() -> ProgressStyle {
    let style = ProgressStyle::with_template("{prefix:<8} {bar:30} {pos:>5}/{len:<5} {elapsed:>5}  {wide_msg}");
    style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("━╸ ")
}

/// Shows an event on a bar; where no bar is shown, the first event of a phase and then few of them are lines.
pub(crate) fn tick(bar: &ProgressBar, event: &NightEvent) {
    let begins = bar.prefix() != phase(event.phase);
    let tenth = (event.total / 10).max(1);
    if bar.is_hidden() && (begins || event.done / tenth > bar.position() / tenth) {
        eprintln!("{:<8} {}/{}  {}", phase(event.phase), event.done, event.total, event.message);
    }
    bar.set_prefix(phase(event.phase));
    bar.set_length(event.total);
    bar.set_position(event.done);
    bar.set_message(event.message.clone());
}

/// Follows a night until its report is there.
///
/// # Errors
/// When the lake cannot be read.
pub(crate) async fn follow(lake: &Lake, night: &NightId, bar: &ProgressBar) -> anyhow::Result<NightReport> {
    let (doing, hint) = (format!("following night {night}"), "the night goes on; `nocturne nights show` reads its record later");
    let mut seen = 0;
    loop {
        for event in lake.nights().events_from(night, seen).await.advise(&doing, hint)? {
            seen = event.sequence + 1;
            tick(bar, &event);
        }
        if let Some(report) = lake.nights().report(night).await.advise(&doing, hint)? {
            return Ok(report);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Follows a night in a server, and notices when the server goes away or the night ends without having written how.
///
/// # Errors
/// In these cases, and when the lake cannot be read.
pub(crate) async fn follow_in(admin: &Admin, lake: &Lake, night: &NightId, bar: &ProgressBar) -> anyhow::Result<NightReport> {
    let gone = async {
        loop {
            tokio::time::sleep(Duration::from_secs(2)).await;
            match admin.current_night().await {
                Ok(Some(runs)) if runs == *night => {}
                Ok(_) => {
                    // Time for whoever looks for the report to find it.
                    tokio::time::sleep(Duration::from_secs(2)).await;
                    return anyhow::anyhow!("it ended and no report could be written; is the disk full?");
                }
                Err(error) => return error,
            }
        }
    };
    tokio::select! {
        followed = follow(lake, night, bar) => followed,
        error = gone => Err(error).advise(format!("following night {night}"), "see to it that the server runs and its disk has space; the next night reads the same batches"),
    }
}

/// How a night ended, in words.
pub(crate) fn ending(ending: &Ending) -> String {
    match ending {
        Ending::Published { generation, promoted: true } => format!("published {generation}, which serves"),
        Ending::Published { generation, promoted: false } => format!("published {generation}, not promoted"),
        Ending::Rejected { gates } => format!("rejected by {}", gates.join(", ")),
        Ending::Empty { reason } => format!("nothing to learn: {reason}"),
        Ending::Failed { error } => format!("failed: {error}"),
    }
}

/// The exit code of a command that ran a night.
///
/// # Errors
/// When the night broke.
pub(crate) fn outcome(report: &NightReport) -> anyhow::Result<Outcome> {
    match &report.outcome {
        Ending::Published { .. } | Ending::Empty { .. } => Ok(Outcome::Done),
        Ending::Rejected { .. } => Ok(Outcome::NotClean),
        Ending::Failed { error } => Err(crate::failure::refused(
            format!("running night {}: {error}", report.night),
            "nothing was lost; run it again with `nocturne nights run`",
        )),
    }
}

/// A report as text.
pub(crate) fn describe(report: &NightReport) -> String {
    let seconds = report.ended.duration_since(report.started).as_secs_f64().max(0.0);
    let phases: Vec<_> = report.phases.iter().map(|time| format!("{} {:.1} s", phase(time.phase), time.seconds)).collect();
    let dropped: Vec<_> = report.curation.dropped.iter().map(|(reason, rows)| format!("{reason} {rows}")).collect();
    let rows = output::properties([
        ("night", report.night.to_string()),
        ("ended", ending(&report.outcome)),
        ("took", format!("{} ({})", Elapsed(Duration::from_secs_f64(seconds)), phases.join(", "))),
        ("rows", format!("{} read, {} kept{}", report.curation.read, report.curation.kept, listed(&dropped))),
        (
            "learned from",
            format!(
                "{} sessions, {} questions of its own, {} dropped as held out",
                report.sessions, report.questions, report.held_out_dropped
            ),
        ),
        (
            "training",
            format!(
                "{} steps, {} tokens, {:.0} tokens/s, loss {:.3} to {:.3}",
                report.steps, report.tokens, report.tokens_per_second, report.loss_first, report.loss_last
            ),
        ),
        (
            "tensors changed",
            format!(
                "{} in slow banks, {} elsewhere",
                report.tensors_changed_in_slow_banks, report.tensors_changed_outside_slow_banks
            ),
        ),
        ("peak memory", Bytes(report.peak_memory_bytes).to_string()),
    ]);
    if report.gates.is_empty() { rows } else { format!("{rows}\n{}", gates(&report.gates)) }
}

fn listed(dropped: &[String]) -> String {
    if dropped.is_empty() { String::new() } else { format!(" (dropped: {})", dropped.join(", ")) }
}

/// Gates as a table.
pub(crate) fn gates(gates: &[GateResult]) -> String {
    let mut table = output::table(["gate", "measured", "of", "before", "after", "threshold", "verdict"]);
    for gate in gates {
        table.add_row([
            gate.gate.clone(),
            gate.metric.clone(),
            gate.count.to_string(),
            format!("{:.4}", gate.baseline),
            format!("{:.4}", gate.candidate),
            format!("{:.4}", gate.threshold),
            if gate.passed { "passed" } else { "failed" }.to_owned(),
        ]);
    }
    table.to_string()
}
