//! `nocturne nights`

use clap::{Args, Subcommand};
use indicatif::ProgressBar;
use nocturne_kit::Shutdown;
use nocturne_lake::{Lake, LakeError};
use nocturne_wire::{
    NightId,
    night::{LESSONS, Lesson, NightReport, Outcome as Ending},
    plan::NightPlan,
};
use serde::Serialize;

use crate::{
    admin::{NightOrder, NightStarted},
    args::Global,
    failure::{Advise, refused},
    nights,
    output::{self, Format, Outcome},
    places::{self, Owner},
    server::{Config, open_learning, run_night},
};

#[derive(Debug, Subcommand)]
pub(crate) enum NightsCommand {
    /// Seal the day and run a night now
    Run(RunArgs),
    /// Every night and how it ended
    #[command(after_help = "Examples:\n  nocturne nights list\n  nocturne nights list -o json")]
    List,
    /// One night's record: curation, training, gates
    Show(ShowArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  nocturne nights run --wait          start it in the running server and watch
  nocturne nights run --no-promote    publish what passes its gates, and decide later

Without a running server the night runs here.
Exit codes: 0 published, or nothing in the day was worth learning; 1 nothing was said since the last night, or the night broke; 3 a gate rejected
the candidate.")]
pub(crate) struct RunArgs {
    /// Wait until the night has ended and show its record
    #[arg(long)]
    wait: bool,
    /// Seed of everything random in the night
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Do not serve the candidate, even when it passes its gates
    #[arg(long)]
    no_promote: bool,
    /// Configuration file, for a night without a server
    #[arg(long, value_name = "FILE")]
    config: Option<std::path::PathBuf>,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  nocturne nights show              the newest one\n  nocturne nights show --lessons    with what it found to learn\n  nocturne nights show 20261121T030000Z-production -o json"
)]
pub(crate) struct ShowArgs {
    /// The night; the newest one unless given
    #[arg(value_name = "NIGHT")]
    night: Option<String>,
    /// Also list the lessons that the night found: what it believes that it was told
    #[arg(long)]
    lessons: bool,
}

pub(super) async fn run(global: &Global, command: NightsCommand) -> anyhow::Result<Outcome> {
    match command {
        NightsCommand::Run(args) => start(global, &args).await,
        NightsCommand::List => list(global).await,
        NightsCommand::Show(args) => show(global, args).await,
    }
}

async fn start(global: &Global, args: &RunArgs) -> anyhow::Result<Outcome> {
    let lake = places::existing_lake(global)?;
    let order = NightOrder { held_out: Vec::new(), seed: args.seed, promote: args.no_promote.then_some(false) };
    let report = match places::owner(&global.state).await? {
        Owner::Server(_) if args.config.is_some() => {
            let what =
                "running a night with --config: a server runs on the state directory, and nights in it follow its settings";
            return Err(refused(what, "leave --config out, or give it to `nocturne up`"));
        }
        Owner::Server(admin) => {
            let night = admin.run_night(&order).await?;
            if !args.wait {
                output::show(global.format, &NightStarted { night }, |started| {
                    format!("night {} runs; `nocturne nights show` tells how it goes", started.night)
                })?;
                return Ok(Outcome::Done);
            }
            let bar = progress(global.format);
            let followed = nights::follow_in(&admin, &lake, &night, &bar).await;
            bar.finish_and_clear();
            let report = followed?;
            if matches!(report.outcome, Ending::Published { promoted: true, .. }) {
                // The server looks at the ledger now and then; whoever waited for the night wants to talk to it now.
                admin.nudge().await?;
            }
            report
        }
        Owner::Us(state) => {
            let config = Config::load(args.config.as_deref())?;
            run_here(state.path(), config, &lake, order, global.format).await?
        }
    };
    output::show(global.format, &report, nights::describe)?;
    nights::outcome(&report)
}

fn progress(format: Format) -> ProgressBar {
    if format == Format::Json { ProgressBar::hidden() } else { nights::bar() }
}

/// Runs a night without a server: seals what the log holds and waits for the job.
async fn run_here(
    state: &std::path::Path,
    mut config: Config,
    lake: &Lake,
    order: NightOrder,
    format: Format,
) -> anyhow::Result<NightReport> {
    config.nights.schedule.enabled = false;
    let shutdown = Shutdown::new();
    shutdown.on_signals(|_| output::tell("ending the night; nothing is published"))?;
    let learning = open_learning(state, &config, lake, &shutdown).await?;
    let bar = progress(format);
    let ran = async {
        let night = run_night(&learning.scheduler, order).await?;
        let showing = nights::follow(lake, &night, &bar);
        let ended = learning.scheduler.wait(&night);
        // The scheduler knows how it ended even when no report could be written.
        tokio::select! {
            followed = showing => followed,
            ended = ended => ended.advise(format!("running night {night}"), "`nocturne nights run` runs another one over the same batches"),
        }
    }
    .await;
    bar.finish_and_clear();
    shutdown.request();
    learning.finished().await?;
    ran
}

#[derive(Serialize)]
struct Line {
    night: NightId,
    trigger: nocturne_wire::plan::Trigger,
    parent: nocturne_wire::GenerationName,
    /// `None` while the night runs.
    report: Option<NightReport>,
}

async fn list(global: &Global) -> anyhow::Result<Outcome> {
    let lake = places::existing_lake(global)?;
    let (doing, hint) = ("listing nights", "restore the lake from a copy");
    let mut lines = Vec::new();
    for night in lake.nights().list().await.advise(doing, hint)? {
        let read = async { Ok((lake.nights().plan(&night).await?, lake.nights().report(&night).await?)) };
        match read.await {
            Ok((plan, report)) => lines.push(Line { night, trigger: plan.trigger, parent: plan.parent, report }),
            // One damaged record must not hide the others; a folder without a plan is a night that was never planned to the end.
            Err(error @ (LakeError::NotFound { .. } | LakeError::Damaged { .. })) => {
                eprintln!("passed over night {night}: {error}");
            }
            Err(error) => return Err(error).advise(doing, hint),
        }
    }
    output::show(global.format, &lines, |lines| table(lines))?;
    Ok(Outcome::Done)
}

fn table(lines: &[Line]) -> String {
    let mut table = output::table(["night", "parent", "rows kept", "tokens", "ended"]);
    for line in lines {
        let report = line.report.as_ref();
        table.add_row([
            line.night.to_string(),
            line.parent.to_string(),
            report.map_or_else(String::new, |report| report.curation.kept.to_string()),
            report.map_or_else(String::new, |report| report.tokens.to_string()),
            report.map_or_else(|| "still running".to_owned(), |report| nights::ending(&report.outcome)),
        ]);
    }
    table.to_string()
}

#[derive(Serialize)]
struct Record {
    plan: NightPlan,
    report: Option<NightReport>,
    /// What the night found to learn, when asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    lessons: Option<Vec<Lesson>>,
}

async fn show(global: &Global, args: ShowArgs) -> anyhow::Result<Outcome> {
    let lake = places::existing_lake(global)?;
    let hint = "`nocturne nights list` shows which there are";
    let night = match args.night {
        Some(text) => NightId::parse(text).advise("reading the night's name", hint)?,
        None => {
            let newest = lake.nights().list().await.advise("listing nights", "restore the lake from a copy")?.pop();
            newest.ok_or_else(|| refused("no night has run", "`nocturne nights run` runs one"))?
        }
    };
    let plan = lake.nights().plan(&night).await.advise(format!("reading the plan of night {night}"), hint)?;
    let report = lake.nights().report(&night).await.advise(format!("reading the report of night {night}"), hint)?;
    let latest = lake.nights().events(&night).await.advise(format!("reading the events of night {night}"), hint)?.pop();
    let lessons = if args.lessons { Some(lessons(&lake, &night).await?) } else { None };
    output::show(global.format, &Record { plan, report, lessons }, |record| {
        let mut text = match (&record.report, &latest) {
            (Some(report), _) => nights::describe(report),
            (None, Some(event)) => {
                format!("night {night} runs: {} {}/{}: {}", nights::phase(event.phase), event.done, event.total, event.message)
            }
            (None, None) => format!("night {night} was planned and has not told anything yet"),
        };
        if let Some(lessons) = &record.lessons {
            text.push('\n');
            text.push_str(&table_of_lessons(lessons));
        }
        text
    })?;
    Ok(Outcome::Done)
}

/// What a night found to learn; nothing when it has not come that far.
async fn lessons(lake: &Lake, night: &NightId) -> anyhow::Result<Vec<Lesson>> {
    let (doing, hint) = (format!("reading the lessons of night {night}"), "restore the night's folder from a copy");
    let file = lake.nights().get(night, LESSONS).await.advise(&doing, hint)?.unwrap_or_default();
    let told = |error: &serde_json::Error| eprintln!("passed over a lesson of night {night}: {error}");
    Ok(Lesson::read(&file).filter_map(|lesson| lesson.inspect_err(told).ok()).collect())
}

fn table_of_lessons(lessons: &[Lesson]) -> String {
    let mut table = output::table(["about", "asked", "answered", "wordings"]);
    for lesson in lessons {
        let first = lesson.wordings.first();
        table.add_row([
            lesson.name.clone(),
            first.map(|wording| wording.question.clone()).unwrap_or_default(),
            first.map(|wording| wording.answer.clone()).unwrap_or_default(),
            lesson.wordings.len().to_string(),
        ]);
    }
    format!("{table}\n{}", output::counted(lessons.len(), "lesson"))
}
