//! `nocturne bench peers`: the same work by this program, by PyTorch and by candle, in one run on one machine.
//!
//! Decoding is of a Llama-shaped checkpoint with random weights, which all of them read from the same files; training is of small models that begin with the same
//! weights. A peer whose logits are others, after the last token or before the first step, is refused. Each program uses as many threads as it does by itself. Programs take turns, so that a machine that
//! slows down slows all of them down; medians and ranges of the turns are shown. PyTorch cuts the norm of all gradients at once, we that of each parameter; candle computes in f32, because its products in bf16 have no fast path on this kind of machine.

mod checkpoint;
mod ours;
mod process;
mod report;

use std::{path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use self::{checkpoint::Shape, process::Peer, report::Report};
use crate::{
    args::Global,
    failure::Advise,
    machine::Machine,
    output::{self, Outcome},
};

const EXAMPLES: &str = "\
PyTorch needs a Python with torch and transformers; candle a program of this repository:
  cargo build --release --manifest-path tests/peers/candle/Cargo.toml

Examples:
  nocturne bench peers --python .venv/bin/python
  nocturne bench peers --python python3 --candle tests/peers/candle/target/release/candle-peer --json peers.json
  nocturne bench peers --python python3 --only train --rounds 5";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct PeersArgs {
    /// A Python that has torch and transformers; PyTorch is left out without one
    #[arg(long, value_name = "PROGRAM")]
    python: Option<PathBuf>,
    /// The program that measures candle; candle is left out without it
    #[arg(long, value_name = "PROGRAM")]
    candle: Option<PathBuf>,
    /// What is measured; everything unless given
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Part>,
    /// Shape of the checkpoint that decodes
    #[arg(long, value_enum, default_value_t = Shape::Smollm2_135m)]
    shape: Shape,
    /// Sequences that decode together
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = [1, 8], value_parser = clap::value_parser!(u64).range(1..=256))]
    batch: Vec<u64>,
    /// Turns of each program
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Seconds that each piece of work runs in a turn
    #[arg(long, value_name = "SECONDS", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Writes the figures
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// A part of the measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Reading prompts and generating
    Decode,
    /// Training steps
    Train,
}

/// A piece of work.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
enum Work {
    /// Reads prompts.
    Read { batch: usize, prompt: usize },
    /// Goes on after prompts, token by token.
    Generate { batch: usize, prompt: usize, tokens: usize },
    /// Steps of AdamW on the next token.
    Train {
        architecture: String,
        vocab: usize,
        width: usize,
        heads: usize,
        blocks: usize,
        hidden: usize,
        rows: usize,
        context: usize,
    },
}

impl Work {
    fn name(&self) -> String {
        match self {
            Self::Read { batch, prompt } => format!("read {prompt} tokens, batch {batch}"),
            Self::Generate { batch, prompt, .. } => format!("generate after {prompt} tokens, batch {batch}"),
            Self::Train { architecture, width, blocks, context, .. } => {
                let gate = if architecture == "gated-delta" { " with its gate" } else { "" };
                format!("train {architecture}{gate}, {blocks} blocks of {width}, context {context}")
            }
        }
    }
}

/// Tokens of a prompt and after it.
const PROMPT: usize = 128;
const TOKENS: usize = 32;

fn works(args: &PeersArgs) -> Vec<Work> {
    let wants = |part| args.only.is_empty() || args.only.contains(&part);
    let mut works = Vec::new();
    if wants(Part::Decode) {
        works.extend(args.batch.iter().map(|batch| Work::Read { batch: *batch as usize, prompt: PROMPT }));
        works.extend(args.batch.iter().map(|batch| Work::Generate { batch: *batch as usize, prompt: PROMPT, tokens: TOKENS }));
    }
    if wants(Part::Train) {
        works.extend(["attention", "gated-delta"].map(|architecture| Work::Train {
            architecture: architecture.to_owned(),
            vocab: 1_024,
            width: 256,
            heads: 4,
            blocks: 4,
            hidden: 512,
            rows: 8,
            context: 512,
        }));
    }
    works
}

/// What a program is asked to do, for each piece of work at least so many seconds.
#[derive(Debug, Serialize)]
struct Request<'a> {
    checkpoint: PathBuf,
    seconds: u64,
    works: &'a [Work],
}

pub(super) fn run(global: &Global, args: &PeersArgs) -> anyhow::Result<Outcome> {
    let folder = tempfile::tempdir().advise("making a folder for a checkpoint", "free some space where temporary files lie")?;
    let works = works(args);
    let request = Request { checkpoint: folder.path().to_owned(), seconds: args.seconds, works: &works };
    eprintln!("writing a checkpoint with random weights");
    checkpoint::write(args.shape, folder.path()).advise("writing a checkpoint", "free some space where temporary files lie")?;
    let peers = Peer::all(args.python.as_deref(), args.candle.as_deref());
    let mut report = Report::new(Machine::this(), args, &works);
    let mut ours = ours::Ours::load(&request)?;
    for round in 1..=args.rounds {
        eprintln!("round {round} of {}: nocturne", args.rounds);
        report.add(ours.measure(&works, Duration::from_secs(args.seconds))?)?;
        for peer in &peers {
            eprintln!("round {round} of {}: {}", args.rounds, peer.name());
            report.add(peer.measure(&request)?)?;
        }
    }
    if let Some(file) = &args.json {
        let written = std::fs::write(file, serde_json::to_string_pretty(&report)?);
        written.advise(format!("writing the figures to {}", file.display()), "give another file with --json")?;
    }
    output::show(global.format, &report, report::describe)?;
    Ok(Outcome::Done)
}
