//! `nocturne model`

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use nocturne_kit::{
    config,
    display::{Bytes, Elapsed},
};
use nocturne_lake::Bases;
use nocturne_model::{Base, ModelConfig};
use nocturne_pretrain::{Begin, Progress, Recipe, Summary};
use serde::Serialize;

use crate::{
    args::Global,
    bases,
    failure::Advise,
    output::{self, Outcome},
};

#[derive(Debug, Subcommand)]
pub(crate) enum ModelCommand {
    /// Train a base model by a recipe
    Train(TrainArgs),
    /// Import a checkpoint of Hugging Face's format as a base
    Import(super::import::ImportArgs),
    /// Show a base: its shape, its banks and where it came from
    Show(ShowArgs),
    /// Ask a base what it must be able to do before its first night
    Examine(super::examine::ExamineArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  nocturne model train --recipe jobs/pretrain/recipes/base.toml --out base
  nocturne model train --recipe jobs/pretrain/recipes/base.toml --out base --resume    after an interruption
  nocturne model train --recipe jobs/pretrain/recipes/base-2.toml --from base --out base-2    its second stage
  nocturne up --base base-2 --state mine                                               serve it")]
pub(crate) struct TrainArgs {
    /// Recipe, TOML
    #[arg(long, value_name = "FILE")]
    recipe: PathBuf,
    /// Folder for the base and its checkpoints
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Go on from the last checkpoint in --out
    #[arg(long)]
    resume: bool,
    /// Begin with the weights and the tokenizer of this base: the next stage of a recipe in stages
    #[arg(long, value_name = "DIR", conflicts_with = "resume")]
    from: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  nocturne model show\n  nocturne model show --base base -o json")]
pub(crate) struct ShowArgs {
    /// Folder of the base; the one that ships unless given
    #[arg(long, value_name = "DIR")]
    base: Option<PathBuf>,
}

pub(super) fn run(global: &Global, command: ModelCommand) -> anyhow::Result<Outcome> {
    match command {
        ModelCommand::Train(args) => train(global, &args),
        ModelCommand::Import(args) => super::import::run(global, &args),
        ModelCommand::Show(args) => show(global, args.base.as_deref()),
        ModelCommand::Examine(args) => super::examine::run(global, &args),
    }
}

fn train(global: &Global, args: &TrainArgs) -> anyhow::Result<Outcome> {
    let recipe: Recipe =
        config::load(&args.recipe).advise("loading the recipe", "jobs/pretrain/recipes/base.toml is a complete one")?;
    if let Some(bank) = recipe.model.blocks.iter().find_map(|block| block.cms.learning().into_iter().next()) {
        output::tell(&format!(
            "note: the bank {:?} would learn within sessions, which the library does and the server does not: it refuses such a base",
            bank.name
        ));
    }
    let bar = training_bar(recipe.steps);
    let begin = match &args.from {
        Some(base) => Begin::From(base),
        None if args.resume => Begin::Resume,
        None => Begin::Fresh,
    };
    let trained = nocturne_pretrain::train(&recipe, &args.out, begin, &mut |progress| tick(&bar, progress));
    bar.finish_and_clear();
    let doing = format!("training a base into {}", args.out.display());
    let hint = match begin {
        Begin::From(_) => "name a base's folder of the same shape with --from",
        Begin::Resume => "start over without --resume, or with another --out",
        Begin::Fresh => "choose another --out, or correct the recipe",
    };
    let summary = trained.advise(doing, hint)?;
    output::show(global.format, &summary, |summary| trained_text(summary, &args.out))?;
    Ok(Outcome::Done)
}

fn training_bar(steps: u64) -> ProgressBar {
    let bar = ProgressBar::new(steps);
    let style = ProgressStyle::with_template("{bar:30} {pos:>5}/{len} steps  {elapsed} of about {duration}  {wide_msg}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("━╸ "));
    bar.enable_steady_tick(Duration::from_millis(500));
    bar
}

/// Steps between two lines where no bar is shown.
const STEPS_A_LINE: u64 = 50;

fn tick(bar: &ProgressBar, progress: Progress) {
    let Progress { step, steps, loss, accuracy, tokens_per_second, .. } = progress;
    let figures = format!("loss {loss:.3}  accuracy {accuracy:.3}  {tokens_per_second:.0} tokens/s");
    if bar.is_hidden() && (step.is_multiple_of(STEPS_A_LINE) || step == steps) {
        eprintln!("step {step}/{steps}  {figures}");
    }
    bar.set_position(step);
    bar.set_message(figures);
}

fn trained_text(summary: &Summary, out: &Path) -> String {
    let rows = output::properties([
        ("steps", summary.steps.to_string()),
        ("tokens", summary.tokens.to_string()),
        ("took", Elapsed(Duration::from_secs_f64(summary.seconds)).to_string()),
        ("answer tokens right", output::percent(summary.accuracy)),
        ("model.safetensors", Bytes(summary.model_bytes).to_string()),
    ]);
    format!("The base is in {}; serve it with `nocturne up --base {}`.\n{rows}", out.display(), out.display())
}

#[derive(Serialize)]
struct Shown {
    config: ModelConfig,
    fingerprint: String,
    parameters: BTreeMap<String, u64>,
    file_bytes: BTreeMap<String, u64>,
    rehearsal_conversations: u64,
    recipe: Option<Recipe>,
}

fn show(global: &Global, dir: Option<&Path>) -> anyhow::Result<Outcome> {
    let files = bases::files(dir)?;
    let base = bases::load(&files)?;
    let recipe = dir.map(|dir| dir.join("recipe.toml")).filter(|file| file.exists());
    let recipe = recipe
        .map(|file| config::load(&file).advise("loading the recipe", "remove the file if it is not the base's"))
        .transpose()?;
    let shown = Shown {
        fingerprint: Bases::fingerprint_of(files.iter().map(|(name, bytes)| (name.as_str(), &bytes[..]))).to_string(),
        parameters: parameters(&base),
        file_bytes: files.iter().map(|(name, bytes)| (name.clone(), bytes.len() as u64)).collect(),
        rehearsal_conversations: files
            .get("rehearsal.jsonl")
            .map_or(0, |bytes| bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count() as u64),
        config: base.config().clone(),
        recipe,
    };
    output::show(global.format, &shown, describe)?;
    Ok(Outcome::Done)
}

/// Parameters by the bank, or the other part, that they belong to.
fn parameters(base: &Base) -> BTreeMap<String, u64> {
    let mut parts: BTreeMap<String, u64> = BTreeMap::new();
    let all = base.tensors().iter().map(|(name, values)| (name, &values.shape)).chain(base.slow_layout());
    for (name, shape) in all {
        let steps: Vec<&str> = name.split('.').collect();
        let part = match steps[..] {
            ["blocks", _, "cms", "norms", _] => "norms".to_owned(),
            ["blocks", _, "cms", bank, ..] => format!("{bank} bank"),
            ["blocks", _, "mixer", ..] => "mixers".to_owned(),
            ["embed"] => "embedding".to_owned(),
            ["head"] => "head".to_owned(),
            _ => "norms".to_owned(),
        };
        *parts.entry(part).or_default() += shape.iter().product::<usize>() as u64;
    }
    parts
}

fn describe(shown: &Shown) -> String {
    let config = &shown.config;
    let mixers: Vec<_> = config.blocks.iter().map(|block| block.mixer.name()).collect();
    let total: u64 = shown.parameters.values().sum();
    let mut rows = vec![
        ("name", config.name.clone()),
        ("fingerprint", shown.fingerprint.clone()),
        (
            "shape",
            format!(
                "{} blocks, width {}, vocabulary {}, context {}",
                config.blocks.len(),
                config.width,
                config.vocab,
                config.max_context
            ),
        ),
        ("blocks", mixers.join(", ")),
        ("parameters", format!("{total:>9}, of these:")),
    ];
    rows.extend(shown.parameters.iter().map(|(part, count)| (part.as_str(), format!("{count:>9}"))));
    rows.push(("size", Bytes(shown.file_bytes.values().sum()).to_string()));
    rows.push(("rehearsal set", format!("{} conversations", shown.rehearsal_conversations)));
    if let Some(recipe) = &shown.recipe {
        rows.push(("recipe", format!("seed {}, {} steps of {} tokens", recipe.seed, recipe.steps, recipe.tokens_a_step)));
    }
    output::properties(rows)
}
