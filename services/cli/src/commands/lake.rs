//! `nocturne lake`

pub(crate) mod audit;
mod epoch;
mod rewriting;
mod sql;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use nocturne_kit::display::Bytes;
use nocturne_lake::{Lake, Object};
use serde::Serialize;

use crate::{
    args::Global,
    failure::Advise,
    output::{self, Outcome, counted},
    places,
};

#[derive(Debug, Subcommand)]
pub(crate) enum LakeCommand {
    /// List objects
    Ls(LsArgs),
    /// Prove that every record was sealed exactly once and every generation is whole; exit code 3 when it is not so
    #[command(after_help = "Examples:\n  nocturne lake audit\n  nocturne lake audit -o json | jq .faults")]
    Audit,
    /// Ask the lake with SQL
    Sql(sql::SqlArgs),
    /// Merge small batches into large sorted ones
    Compact(rewriting::CompactArgs),
    /// Write the batches again that hold a subject, without it
    Erase(rewriting::EraseArgs),
    /// Remove batches whose records are all too old
    Retain(rewriting::RetainArgs),
    /// Accept that a topic was made anew or lost records, so that sealing goes on; shows what that means unless --accept is given
    Epoch(epoch::EpochArgs),
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
    created: Timestamp,
}

pub(super) async fn run(global: &Global, command: LakeCommand) -> anyhow::Result<Outcome> {
    match command {
        LakeCommand::Epoch(args) => epoch::run(global, &args).await,
        LakeCommand::Sql(args) => sql::run(global, &places::existing_lake(global)?, &args).await,
        LakeCommand::Compact(args) => rewriting::compact(global, &places::existing_lake(global)?, &args).await,
        LakeCommand::Erase(args) => rewriting::erase(global, &places::existing_lake(global)?, &args).await,
        LakeCommand::Retain(args) => rewriting::retain(global, &places::existing_lake(global)?, &args).await,
        LakeCommand::Ls(args) => ls(global, &places::existing_lake(global)?, &args.folder).await,
        LakeCommand::Audit => {
            let audited = audit::audit(&places::existing_lake(global)?).await?;
            output::show(global.format, &audited, audit::describe)?;
            Ok(Outcome::of(audited.clean))
        }
    }
}

async fn ls(global: &Global, lake: &Lake, folder: &str) -> anyhow::Result<Outcome> {
    let folder = folder.trim_matches('/');
    let objects =
        lake.list(folder).await.advise(format!("listing `{folder}`"), "give a folder of the lake, such as `interactions`")?;
    let lines: Vec<_> = objects.into_iter().map(|Object { path, bytes, created }| Line { path, bytes, created }).collect();
    output::show(global.format, &lines, |lines| table(lines))?;
    Ok(Outcome::Done)
}

fn table(lines: &[Line]) -> String {
    let total = lines.iter().map(|line| line.bytes).sum();
    let mut text: Vec<_> = lines.iter().map(row).collect();
    text.push(format!("{:>10}  in {}", Bytes(total).to_string(), counted(lines.len(), "object")));
    text.join("\n")
}

fn row(line: &Line) -> String {
    format!("{:>10}  {}  {}", Bytes(line.bytes).to_string(), line.created.strftime("%Y-%m-%d %H:%M"), line.path)
}
