//! `nocturne lake`

use clap::{Args, Subcommand};
use nocturne_columns::AuditReport;
use nocturne_kit::display::Bytes;
use nocturne_lake::{Lake, Object};
use serde::Serialize;

use crate::{
    args::Global,
    failure::Advise,
    output::{self, Outcome},
    places,
};

/// Folders whose objects an audit reads.
const AUDITED: [&str; 3] = ["interactions", "feedback", "dead-letters"];

/// Objects that are read before they are audited.
const OBJECTS_AHEAD: usize = 8;

#[derive(Debug, Subcommand)]
pub(crate) enum LakeCommand {
    /// List objects
    Ls(LsArgs),
    /// Prove that every record was sealed exactly once; exit code 3 when it was not
    #[command(after_help = "Examples:\n  nocturne lake audit\n  nocturne lake audit -o json | jq .faults")]
    Audit,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  nocturne lake ls\n  nocturne lake ls interactions")]
pub(crate) struct LsArgs {
    /// Folder to list; everything unless given
    #[arg(default_value = "", value_name = "FOLDER")]
    folder: String,
}

#[derive(Serialize)]
struct Line {
    path: String,
    bytes: u64,
}

pub(super) async fn run(global: &Global, command: LakeCommand) -> anyhow::Result<Outcome> {
    let lake = places::existing_lake(&global.state)?;
    match command {
        LakeCommand::Ls(args) => ls(global, &lake, &args.folder).await,
        LakeCommand::Audit => {
            let report = audit(&lake).await?;
            let clean = report.clean();
            output::show(global.format, &Audited { clean, report }, |audited| describe(&audited.report))?;
            Ok(Outcome::of(clean))
        }
    }
}

#[derive(Serialize)]
struct Audited {
    clean: bool,
    #[serde(flatten)]
    report: AuditReport,
}

async fn ls(global: &Global, lake: &Lake, folder: &str) -> anyhow::Result<Outcome> {
    let folder = folder.trim_matches('/');
    let objects =
        lake.list(folder).await.advise(format!("listing `{folder}`"), "give a folder of the lake, such as `interactions`")?;
    let lines: Vec<_> = objects.into_iter().map(|Object { path, bytes }| Line { path, bytes }).collect();
    output::show(global.format, &lines, |lines| table(lines))?;
    Ok(Outcome::Done)
}

fn table(lines: &[Line]) -> String {
    let total = lines.iter().map(|line| line.bytes).sum();
    let mut text: Vec<_> = lines.iter().map(|line| format!("{:>10}  {}", Bytes(line.bytes).to_string(), line.path)).collect();
    text.push(format!("{:>10}  in {} objects", Bytes(total).to_string(), lines.len()));
    text.join("\n")
}

/// Audits everything that was sealed.
///
/// # Errors
/// When the lake cannot be read; what is wrong with its content is told in the report.
pub(crate) async fn audit(lake: &Lake) -> anyhow::Result<AuditReport> {
    let (doing, hint) = ("auditing the lake", "check that the disk can be read");
    // Hashing and decoding a large lake takes long, and tokio must not wait for it; a few objects at a time are enough memory.
    let (sender, mut receiver) = tokio::sync::mpsc::channel(OBJECTS_AHEAD);
    let auditing = tokio::task::spawn_blocking(move || nocturne_columns::audit(std::iter::from_fn(|| receiver.blocking_recv())));
    for folder in AUDITED {
        for object in lake.list(folder).await.advise(doing, hint)? {
            let bytes = lake.get(&object.path).await.advise(doing, hint)?;
            if sender.send((object.path, bytes)).await.is_err() {
                break;
            }
        }
    }
    drop(sender);
    Ok(auditing.await?)
}

fn describe(report: &AuditReport) -> String {
    let mut table = output::table(["topic", "partition", "batches", "offsets", "rows", "dead", "duplicates"]);
    for partition in &report.partitions {
        table.add_row([
            partition.topic.to_string(),
            partition.partition.to_string(),
            partition.batches.to_string(),
            format!("{} to {}", partition.first, partition.next),
            partition.rows.to_string(),
            partition.dead.to_string(),
            partition.duplicates.to_string(),
        ]);
    }
    let mut lines = vec![table.to_string()];
    lines.extend(report.faults.iter().map(|fault| format!("fault: {fault}")));
    lines.extend(report.leftovers.iter().map(|path| format!("leftover of a writer that died (harmless): {path}")));
    lines.push(match report.faults.len() {
        0 => "clean: every offset was sealed exactly once".to_owned(),
        faults => format!("not clean: {faults} faults"),
    });
    lines.join("\n")
}
