//! `nocturne generations`

use clap::{Args, Subcommand};
use jiff::Timestamp;
use nocturne_kit::{display::Bytes, telemetry::chain};
use nocturne_wire::{GenerationName, ledger::PRODUCTION, manifest::Manifest};
use serde::Serialize;

use crate::{
    args::Global,
    failure::Advise,
    output::{self, Outcome},
    places,
};

#[derive(Debug, Subcommand)]
pub(crate) enum GenerationsCommand {
    /// Every published generation
    #[command(after_help = "Examples:\n  nocturne generations list\n  nocturne generations list -o json")]
    List,
    /// One generation: its manifest, verified
    Show(ShowArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  nocturne generations show 1\n  nocturne generations show 1 -o json")]
pub(crate) struct ShowArgs {
    /// Number or name
    #[arg(value_name = "GENERATION")]
    generation: String,
}

#[derive(Serialize)]
struct Line {
    generation: GenerationName,
    serves: bool,
    created: Timestamp,
    parent: Option<GenerationName>,
    night: Option<String>,
    batches: usize,
    bytes: u64,
}

pub(super) async fn run(global: &Global, command: GenerationsCommand) -> anyhow::Result<Outcome> {
    match command {
        GenerationsCommand::List => list(global).await,
        GenerationsCommand::Show(args) => show(global, &args).await,
    }
}

async fn list(global: &Global) -> anyhow::Result<Outcome> {
    let lake = places::existing_lake(global)?;
    let (doing, hint) = ("listing generations", "restore the lake from a copy, or promote another generation");
    let head = lake.ledger(PRODUCTION).head().await.advise(doing, hint)?;
    let mut lines = Vec::new();
    for name in lake.generations().list().await.advise(doing, hint)? {
        let serves = head.as_ref().is_some_and(|head| head.generation == name);
        let manifest = match lake.generations().manifest(&name).await {
            Err(error) if error.is_damage() => {
                eprintln!("generation {name} is damaged: {}", chain(&error));
                continue;
            }
            manifest => manifest.advise(doing, hint)?,
        };
        lines.push(Line {
            serves,
            created: manifest.created,
            parent: manifest.parent,
            night: manifest.night.map(Into::into),
            batches: manifest.batches.len(),
            bytes: manifest.files.iter().map(|file| file.bytes).sum(),
            generation: name,
        });
    }
    output::show(global.format, &lines, |lines| table(lines))?;
    Ok(Outcome::Done)
}

fn table(lines: &[Line]) -> String {
    let mut table = output::table(["generation", "serves", "created", "parent", "night", "batches", "size"]);
    for line in lines {
        table.add_row([
            line.generation.to_string(),
            if line.serves { PRODUCTION } else { "" }.to_owned(),
            format!("{:.0}", line.created),
            line.parent.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string),
            line.night.clone().unwrap_or_else(|| "-".to_owned()),
            line.batches.to_string(),
            Bytes(line.bytes).to_string(),
        ]);
    }
    table.to_string()
}

async fn show(global: &Global, args: &ShowArgs) -> anyhow::Result<Outcome> {
    let lake = places::existing_lake(global)?;
    let name = places::generation(&lake, &args.generation).await?;
    let (doing, hint) = (format!("verifying generation {name}"), "do not serve it; restore it from a copy of the lake");
    let manifest = lake.generations().manifest(&name).await.advise(&doing, hint)?;
    lake.generations().fetch(&name, &manifest.base).await.advise(&doing, hint)?;
    output::show(global.format, &manifest, |manifest| describe(&name, manifest))?;
    Ok(Outcome::Done)
}

fn describe(name: &GenerationName, manifest: &Manifest) -> String {
    let dash = || "-".to_owned();
    let mut text = output::properties([
        ("generation", name.to_string()),
        ("content", manifest.content.to_string()),
        ("base", manifest.base.to_string()),
        ("parent", manifest.parent.as_ref().map_or_else(dash, ToString::to_string)),
        ("night", manifest.night.as_ref().map_or_else(dash, ToString::to_string)),
        ("created", format!("{:.0}", manifest.created)),
        ("batches", manifest.batches.len().to_string()),
        ("verified", "every file is what the manifest says".to_owned()),
    ]);
    let mut table = output::table(["tensor", "bank", "shape", "type", "SHA-256"]);
    for tensor in &manifest.tensors {
        let shape = format!("{:?}", tensor.shape);
        table.add_row([&tensor.name, &tensor.bank, &shape, &tensor.dtype, tensor.sha256.short()]);
    }
    text.push('\n');
    text.push_str(&table.to_string());
    text
}
