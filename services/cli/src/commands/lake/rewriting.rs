//! `nocturne lake compact`, `erase` and `retain`

use std::path::PathBuf;

use clap::{ArgGroup, Args};
use indicatif::ProgressBar;
use jiff::{SignedDuration, Timestamp, civil, tz::TimeZone};
use nocturne_columns::Resources;
use nocturne_compact::{CompactSettings, Compacted, ErasureReport, Retained, Rewriter, Wish};
use nocturne_kit::display::Bytes;
use nocturne_lake::Lake;
use nocturne_wire::{SubjectId, TenantId};
use serde::Serialize;

use crate::{
    args::Global,
    failure::{Advise, refused},
    output::{self, Outcome, counted},
};

const COMPACT: &str = "\
Readers see every record once at any moment. DuckDB and others that glob the store, instead of asking `nocturne lake sql`, can meet a batch and the one that
took its place side by side for as long as the removal takes. `nocturne up` and `nocturne scheduler` run it daily; several at once do no harm, and what one that was
killed left undone the next one finishes. Batches of the last hour, and each partition's newest eight, are left alone.

Examples:
  nocturne lake compact
  nocturne lake compact --target 256 --memory 2048
  nocturne lake compact --store s3://bucket/lake -o json";

const ERASE: &str = "\
Interactions of the subject go, their feedback, feedback of others on them, and dead letters that hold the subject's id as Avro or JSON spell it, whenever they
came, for they have no time. The record of the wish keeps only a digest of the id: dead letters that are sealed later are found by giving --subject again. Batches of the last hour, and what is still in the log, are left for a later run of `nocturne lake erase --again`, which `nocturne up` and
`nocturne scheduler` do daily; the exit code is 3 as long as batches are left, or cannot be read. What nights have kept and generations have learned is not changed by this.

Examples:
  nocturne lake erase --subject anna
  nocturne lake erase --subject anna --tenant acme --until 2026-11-01T00:00:00Z
  nocturne lake erase --again";

const RETAIN: &str = "\
A batch is removed when its newest record is older. Batches that were sealed in the last hour stay, and each partition's newest one, because it says where sealing goes on. What a night has not read yet
is removed as well.

Examples:
  nocturne lake retain --days 90 --dry-run
  nocturne lake retain --days 90";

#[derive(Debug, Args)]
#[command(after_help = COMPACT)]
pub(crate) struct CompactArgs {
    /// Size of a merged batch at most, MiB; it and what goes into it are in memory at once
    #[arg(long, value_name = "MIB", default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=1024))]
    target: u64,
    /// Fewest batches that are worth merging
    #[arg(long, value_name = "BATCHES", default_value_t = 4)]
    min_batches: usize,
    /// Days from the oldest record of a merged batch to its newest at most, for retention removes whole batches; 0 for any
    #[arg(long, value_name = "DAYS", default_value_t = 0)]
    span: u32,
    /// Memory of sorting, MiB; beyond it rows are spilled to disk
    #[arg(long, value_name = "MIB", default_value_t = 512)]
    memory: usize,
    /// Folder for what is spilled; the system's temporary folder unless given
    #[arg(long, value_name = "DIR")]
    spill: Option<PathBuf>,
    #[command(flatten)]
    age: Age,
}

#[derive(Debug, Args)]
struct Age {
    /// Batches younger than this are left alone, because their batcher may still be at it; 0 is safe when no batcher runs
    #[arg(long, value_name = "MINUTES", default_value_t = 60)]
    min_age: u32,
}

impl Age {
    fn settings(&self) -> CompactSettings {
        CompactSettings { min_age: SignedDuration::from_mins(self.min_age.into()), ..CompactSettings::default() }
    }
}

#[derive(Debug, Args)]
#[command(after_help = ERASE, group(ArgGroup::new("who").required(true).args(["subject", "again"])))]
pub(crate) struct EraseArgs {
    /// Who is forgotten
    #[arg(long, value_name = "ID", value_parser = |id: &str| SubjectId::parse(id))]
    subject: Option<SubjectId>,
    /// The tenant that the subject belongs to; every tenant's subject of that name unless given
    #[arg(long, value_name = "ID", requires = "subject", value_parser = |id: &str| TenantId::parse(id))]
    tenant: Option<TenantId>,
    /// What was said until then is erased; until now unless given
    #[arg(long, value_name = "TIME", requires = "subject", value_parser = past)]
    until: Option<Timestamp>,
    /// Apply all earlier wishes to what was sealed since
    #[arg(long)]
    again: bool,
    #[command(flatten)]
    age: Age,
}

#[derive(Debug, Args)]
#[command(after_help = RETAIN)]
pub(crate) struct RetainArgs {
    /// Days that records are kept, at least one
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..))]
    days: u32,
    /// Only say what would be removed
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    age: Age,
}

/// A time, or the beginning of a day; nobody is forgotten ahead.
fn past(text: &str) -> Result<Timestamp, String> {
    let day = || Some(text.parse::<civil::Date>().ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp());
    let time = text.parse().ok().or_else(day);
    let time = time.ok_or("give a time such as 2026-11-01T12:30:00Z, or a day such as 2026-11-01")?;
    if time > Timestamp::now() {
        return Err("it is in the future, and what is not said yet cannot be erased".to_owned());
    }
    Ok(time)
}

const HINT: &str = "run it again: what was begun is finished then; `nocturne lake audit` says what is damaged";

fn actor() -> String {
    let user = std::env::var("USER").unwrap_or_else(|_| "unknown".to_owned());
    format!("{user}, process {}", std::process::id())
}

pub(super) async fn compact(global: &Global, lake: &Lake, args: &CompactArgs) -> anyhow::Result<Outcome> {
    let settings = CompactSettings {
        target_bytes: args.target << 20,
        min_batches: args.min_batches,
        max_span: (args.span > 0).then(|| SignedDuration::from_hours(24 * i64::from(args.span))),
        resources: Resources { memory_bytes: args.memory << 20, spill: args.spill.clone() },
        ..args.age.settings()
    };
    let bar = ProgressBar::new_spinner();
    bar.enable_steady_tick(std::time::Duration::from_millis(200));
    bar.set_message("looking for small batches");
    let progress =
        |done: &Compacted| bar.set_message(format!("{} became {}", counted(done.merged as usize, "batch"), done.written));
    let done = Rewriter::new(lake.clone(), settings, actor()).compact(progress).await;
    bar.finish_and_clear();
    let done = done.advise("compacting the lake", HINT)?;
    output::show(global.format, &done, describe_compacted)?;
    Ok(Outcome::of(done.skipped.is_empty()))
}

fn describe_compacted(done: &Compacted) -> String {
    let mut lines = vec![match done.merged {
        0 => "nothing to compact: there are too few batches that are small and old enough".to_owned(),
        merged => format!(
            "{} of {} became {} of {}",
            counted(merged as usize, "batch"),
            Bytes(done.merged_bytes),
            done.written,
            Bytes(done.written_bytes)
        ),
    }];
    lines.extend(done.skipped.iter().map(|why| format!("passed over: {why}")));
    lines.join("\n")
}

pub(super) async fn erase(global: &Global, lake: &Lake, args: &EraseArgs) -> anyhow::Result<Outcome> {
    let rewriter = Rewriter::new(lake.clone(), args.age.settings(), actor());
    let doing = "erasing a subject";
    let report = match &args.subject {
        None => rewriter.apply_erasures().await,
        Some(subject) => {
            let until = args.until.unwrap_or_else(Timestamp::now);
            rewriter.erase(&Wish { subject: subject.clone(), tenant: args.tenant.clone(), until }).await
        }
    };
    let report = report.advise(doing, HINT)?;
    output::show(global.format, &report, describe_erasure)?;
    if args.subject.is_some() {
        output::tell(
            "what is still in the log is erased by `nocturne lake erase --again` once it is sealed; `nocturne up` does that daily",
        );
    }
    Ok(Outcome::of(report.young == 0 && report.unreadable.is_empty()))
}

fn describe_erasure(report: &ErasureReport) -> String {
    let ErasureReport { erasures, interactions, feedback, dead_letters, batches, young, young_letters, unreadable, .. } = report;
    let wishes = counted(*erasures as usize, "wish");
    let mut lines = vec![match batches {
        0 if *young > 0 || !unreadable.is_empty() => format!("{wishes}: wrote no batch again"),
        0 => format!("{wishes}: no sealed batch holds any of it"),
        batches => format!(
            "{wishes}: erased {}, {} and {}; wrote {} again",
            counted(*interactions as usize, "interaction"),
            counted(*feedback as usize, "verdict"),
            counted(*dead_letters as usize, "dead letter"),
            counted(*batches as usize, "batch"),
        ),
    }];
    if *young > 0 {
        let left = counted(*young as usize, "batch");
        lines.push(format!("{left} of the last hour must wait: run `nocturne lake erase --again` later"));
    }
    if *young_letters > 0 {
        let letters = counted(*young_letters as usize, "dead letter");
        lines.push(format!("{letters} in them hold the id, which --again does not know: give --subject once more later"));
    }
    lines.extend(unreadable.iter().map(|why| format!("not erased: {why}")));
    lines.join("\n")
}

#[derive(Serialize)]
struct Removed {
    #[serde(flatten)]
    removed: Retained,
    before: Timestamp,
    dry_run: bool,
}

pub(super) async fn retain(global: &Global, lake: &Lake, args: &RetainArgs) -> anyhow::Result<Outcome> {
    let kept = SignedDuration::from_hours(24 * i64::from(args.days));
    let before = Timestamp::now()
        .checked_sub(kept)
        .map_err(|_| refused(format!("keeping {} days: that is before the calendar begins", args.days), "give fewer days"))?;
    let rewriter = Rewriter::new(lake.clone(), args.age.settings(), actor());
    let removed = rewriter.retain(before, args.dry_run).await.advise("removing old batches", HINT)?;
    let readable = removed.unreadable.is_empty();
    output::show(global.format, &Removed { removed, before, dry_run: args.dry_run }, describe_removed)?;
    Ok(Outcome::of(readable))
}

fn describe_removed(Removed { removed, before, dry_run }: &Removed) -> String {
    let verb = if *dry_run { "would remove" } else { "removed" };
    let rows = counted(removed.rows as usize, "row");
    let batches = counted(removed.batches as usize, "batch");
    let mut lines =
        vec![format!("{verb} {batches} with {rows}, {}, whose records are older than {before}", Bytes(removed.bytes))];
    lines.extend(removed.unreadable.iter().map(|why| format!("passed over: {why}")));
    lines.join("\n")
}
