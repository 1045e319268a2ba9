//! `nocturne bench`: figures about speed on this machine, and about architectures. Figures, not assertions: nothing here passes or fails.

mod decode;
mod house;
mod landing;
mod logging;
mod model;
mod peers;
mod seal;
mod swap;
mod train;

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use clap::{Args, Subcommand, ValueEnum};
use nocturne_model::DeviceName;
use serde::Serialize;

use crate::{
    args::Global,
    bases,
    failure::Advise,
    machine::Machine,
    output::{self, Outcome},
};

const EXAMPLES: &str = "\
Examples:
  nocturne bench
  nocturne bench decode
  nocturne bench all --json bench.json
  nocturne bench model --task mqar,parity        architectures against each other
  nocturne bench peers --python python3          against PyTorch
  nocturne bench landing --kafka localhost:9092 --sizes 1024 --partitions 8 --records 100000,1000000";

/// What is measured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum What {
    /// Tokens a second while decoding 1, 8 and 32 sessions together
    Decode,
    /// Tokens a second while training slow banks
    Train,
    /// Megabytes of records a second sealed into batches
    Seal,
    /// Latency that logging adds to a request
    Log,
    /// How long a change of the generation holds an answer up
    Swap,
    /// Records a second that a batcher takes in; only when asked for, it takes long
    Landing,
    /// Everything
    #[default]
    All,
}

/// What has options of its own.
#[derive(Debug, Subcommand)]
enum Only {
    /// Compare architectures on synthetic tasks: accuracy over seeds, and speed over the context
    Model(model::ModelArgs),
    /// Compare decoding and training with PyTorch and candle, on the same work in the same run
    Peers(peers::PeersArgs),
}

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    only: Option<Only>,
    /// What is measured
    #[arg(value_enum, default_value_t = What::All)]
    what: What,
    /// Writes the figures
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Base that is measured; the shipped one unless given
    #[arg(long, value_name = "DIR")]
    base: Option<PathBuf>,
    /// Where slow banks are trained by `train`: flex, tch, tch:cuda:0, cuda, cuda:1; all but flex need a build that has them
    #[arg(long, value_name = "NAME", default_value_t)]
    device: DeviceName,
    #[command(flatten)]
    landing: landing::LandingArgs,
}

impl BenchArgs {
    /// Whether what is measured is training alone. A comparison of architectures is not meant: what one of them took and kept would count for the next one's peak memory.
    pub(crate) const fn trains(&self) -> bool {
        self.only.is_none() && matches!(self.what, What::Train)
    }

    /// What is asked of the comparison of architectures, if it is meant.
    #[cfg(test)]
    fn model(self) -> Option<model::ModelArgs> {
        match self.only {
            Some(Only::Model(args)) => Some(args),
            _ => None,
        }
    }
}

/// All figures; what was not measured is null.
#[derive(Debug, Default, Serialize)]
struct Figures {
    machine: Option<Machine>,
    decode: Option<Vec<decode::Figures>>,
    train: Option<train::Figures>,
    seal: Option<seal::Figures>,
    log: Option<logging::Figures>,
    swap: Option<swap::Figures>,
    landing: Option<landing::Figures>,
}

pub(crate) async fn run(global: &Global, args: BenchArgs) -> anyhow::Result<Outcome> {
    match args.only {
        Some(Only::Model(args)) => return model::run(global, args).await,
        Some(Only::Peers(args)) => return tokio::task::block_in_place(|| peers::run(global, &args)),
        None => {}
    }
    let wants = |what| args.what == what || args.what == What::All;
    let files = bases::files(args.base.as_deref())?;
    let base = args.base.as_deref();
    let mut figures = Figures { machine: Some(Machine::this()), ..Figures::default() };
    if wants(What::Decode) {
        eprintln!("decoding");
        let files = files.clone();
        figures.decode = Some(tokio::task::spawn_blocking(move || decode::measure(&files)).await??);
    }
    if wants(What::Train) {
        eprintln!("training slow banks");
        figures.train = Some(tokio::task::spawn_blocking(move || train::measure(&files, args.device)).await??);
    }
    if wants(What::Seal) {
        eprintln!("sealing batches");
        figures.seal = Some(seal::measure().await?);
    }
    if wants(What::Log) {
        eprintln!("logging");
        figures.log = Some(logging::measure(base).await?);
    }
    if wants(What::Swap) {
        eprintln!("swapping generations");
        figures.swap = Some(swap::measure(base).await?);
    }
    if args.what == What::Landing {
        figures.landing = Some(landing::measure(&args.landing).await?);
    }
    if let Some(file) = &args.json {
        let written = std::fs::write(file, serde_json::to_string_pretty(&figures)?);
        written.advise(format!("writing the figures to {}", file.display()), "give another file with --json")?;
    }
    output::show(global.format, &figures, describe)?;
    Ok(Outcome::Done)
}

/// Runs work over and over, at least so long; units a second. The first run, which warms up, is not counted.
fn rate(units: usize, least: Duration, mut work: impl FnMut()) -> f64 {
    rate_of(units, least, || (), |()| work())
}

/// The same for work on something that is prepared each time, which does not count.
fn rate_of<T>(units: usize, least: Duration, mut prepare: impl FnMut() -> T, mut work: impl FnMut(T)) -> f64 {
    work(prepare());
    let (mut spent, mut runs) = (Duration::ZERO, 0);
    while spent < least {
        let prepared = prepare();
        let begun = Instant::now();
        work(prepared);
        spent += begun.elapsed();
        runs += 1;
    }
    (units * runs) as f64 / spent.as_secs_f64()
}

fn describe(figures: &Figures) -> String {
    let mut table = output::table(["measured", "figure", "how"]);
    let mut rows = Vec::new();
    for decode in figures.decode.iter().flatten() {
        rows.push(decode.row());
    }
    rows.extend(figures.train.iter().map(train::Figures::row));
    rows.extend(figures.seal.iter().map(seal::Figures::row));
    rows.extend(figures.log.iter().flat_map(logging::Figures::rows));
    rows.extend(figures.swap.iter().flat_map(swap::Figures::rows));
    rows.extend(figures.landing.iter().flat_map(landing::Figures::rows));
    for row in rows {
        table.add_row(row);
    }
    let machine = figures.machine.as_ref().map(Machine::describe).unwrap_or_default();
    format!("{machine}\n{table}")
}
