//! `nocturne bench model`: architectures against each other on synthetic tasks.
//!
//! Every architecture gets the same examples, the same budget and the same grid of learning rates ([`policy`]); what differs is the architecture. A sweep is
//! made of cells, one a task, architecture and seed; each is written when it is done and is not measured again by the same build while its settings are the same
//! ([`store`]), so that a sweep that was broken off goes on. What comes out is a table a task with an interval over seeds, JSON and plots.
//!
//! The half that knows models lies behind [`learner::Architectures`]; everything else here is tested with learners that only pretend.

mod architectures;
mod cell;
mod harness;
mod learner;
mod memory;
mod picture;
mod plots;
mod policy;
mod report;
mod statistics;
mod store;
mod tables;

use std::{
    collections::HashSet,
    fs::File,
    io::{self, Read},
    path::PathBuf,
    time::{Duration, Instant},
};

use clap::{
    Args,
    builder::{PossibleValue, PossibleValuesParser, TypedValueParser},
};
use nocturne_kit::display::Elapsed;
use nocturne_model::DeviceName;
use nocturne_synthetic::{Task, catalog};
use nocturne_wire::Sha256Hex;

use self::{
    cell::Sweep,
    harness::Harness,
    learner::{Architectures, Budget},
    policy::Policy,
    report::Report,
    store::Store,
};
use crate::{
    args::Global,
    failure::{Advise, refused},
    output::{self, Outcome},
};

const EXAMPLES: &str = "\
Examples:
  nocturne bench model
  nocturne bench model --task mqar,parity --mixer hope,titans --seeds 5 --minutes 4
  nocturne bench model --task mad --mixer hope,gated-delta,attention --minutes 0.5
  nocturne bench model --task mqar-zoology-256 --steps 20000 --minutes 600 --out zoology
  nocturne bench model --task anbn --mixer hope-live,attention --rate 4.6e-4,2.2e-3 --weight-decay 0.1
  nocturne bench model --speed
  nocturne bench model --speed --mixer hope,attention --context 4096,65536
  nocturne bench model --speed --width 256 --blocks 4 --out speed-256
  nocturne bench model --task parity --mixers mine.toml --mixer mine,hope

A file of --mixers names and sets up each as a recipe's `mixer`:
  [mine]
  kind = \"deltanet\"
  heads = 2
  key_width = 32
  value_width = 32
  conv_taps = 4
  negative_eigenvalues = true

A sweep that was broken off goes on where it was: what this build has measured into DIR with the same settings is not measured again.";

/// Tasks that are measured unless others are named: recall, state tracking, and memory in the weights.
const TASKS: [&str; 6] = ["mqar", "parity", "aa", "anbn", "memorization", "fuzzy-recall"];

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ModelArgs {
    /// Tasks, or groups of them (mad, languages, suite), each once; those that part architectures within minutes unless given
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser = task_names(), hide_possible_values = true)]
    task: Vec<String>,
    /// Architectures; all unless given
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    mixer: Vec<String>,
    /// Mixers of your own beside them: a TOML table each, named and set up as a recipe's `mixer`
    #[arg(long, value_name = "FILE")]
    mixers: Option<PathBuf>,
    /// Runs of each, with data and weights of their own
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// Minutes that a run trains; each learning rate is tried with half of that before
    #[arg(long, value_name = "MINUTES", default_value_t = 2.0, value_parser = minutes)]
    minutes: f64,
    /// Steps that a run trains, if they are done earlier than the minutes
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    steps: Option<u64>,
    /// Learning rates that are tried, rising; the best on the validation stream is kept for all seeds
    #[arg(long, value_name = "RATE", value_delimiter = ',', default_values_t = Policy::default().rates, value_parser = positive)]
    rate: Vec<f64>,
    /// Weight decay of matrices, multiplied by the learning rate
    #[arg(long, value_name = "SHARE", default_value_t = 0.01, value_parser = share)]
    weight_decay: f32,
    #[command(flatten)]
    size: architectures::Size,
    /// Where models are trained: flex, tch, tch:cuda:0, cuda, cuda:1; all but flex need a build that has them, and --speed then measures training alone, its peak being the
    /// process's memory and not the device's
    #[arg(long, value_name = "NAME", default_value_t)]
    device: DeviceName,
    /// Where cells, the report and plots are written
    #[arg(long, value_name = "DIR", default_value = "bench-model")]
    out: PathBuf,
    /// Measure tokens a second over the context, too; without --task nothing else
    #[arg(long)]
    speed: bool,
    /// Tokens before those that --speed generates; training is measured up to 4096 of them
    #[arg(long, value_name = "N", value_delimiter = ',', requires = "speed", default_values_t = [1_024, 2_048, 4_096, 8_192, 16_384, 32_768], value_parser = context)]
    context: Vec<usize>,
    /// Measure again what this build has measured into DIR already
    #[arg(long)]
    again: bool,
    /// Show the tasks and the architectures that there are
    #[arg(long)]
    list: bool,
}

fn task_names() -> impl TypedValueParser<Value = String> {
    let tasks = catalog::all().map(|entry| PossibleValue::new(entry.name).help(entry.about));
    let groups = catalog::GROUPS.iter().map(|group| PossibleValue::new(group.name).help(group.about));
    PossibleValuesParser::new(tasks.chain(groups))
}

fn minutes(text: &str) -> Result<f64, String> {
    let minutes: f64 = text.parse().map_err(|_| format!("`{text}` is no number"))?;
    if minutes.is_finite() && minutes > 0.0 { Ok(minutes) } else { Err("a run trains for more than no time".to_owned()) }
}

fn positive(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| format!("`{text}` is no number"))?;
    if rate.is_finite() && rate > 0.0 { Ok(rate) } else { Err("a learning rate is above zero".to_owned()) }
}

fn share(text: &str) -> Result<f32, String> {
    let share: f32 = text.parse().map_err(|_| format!("`{text}` is no number"))?;
    if (0.0..=10.0).contains(&share) { Ok(share) } else { Err("a weight decay lies in 0 to 10".to_owned()) }
}

fn context(text: &str) -> Result<usize, String> {
    let tokens: usize = text.parse().map_err(|_| format!("`{text}` is no number"))?;
    if (16..=1 << 20).contains(&tokens) { Ok(tokens) } else { Err("a context has 16 to 1048576 tokens".to_owned()) }
}

impl ModelArgs {
    /// The tasks that are asked for.
    fn tasks(&self) -> anyhow::Result<Vec<Task>> {
        let names: Vec<&str> = match self.task.as_slice() {
            [] if self.speed => Vec::new(),
            [] => TASKS.to_vec(),
            given => given.iter().flat_map(|name| catalog::named(name)).collect(),
        };
        let task = |name: &str| {
            let setup = catalog::find(name).ok_or_else(|| refused(format!("there is no task {name}"), "see --list"))?;
            Ok(Task::new(name, setup)?)
        };
        let mut seen = HashSet::new();
        names.into_iter().filter(|name| seen.insert(*name)).map(task).collect()
    }

    /// The architectures that are asked for, each once.
    fn mixers(&self, known: &[String]) -> anyhow::Result<Vec<String>> {
        if known.is_empty() {
            return Err(refused("no architecture can be measured", "this build has none"));
        }
        if let Some(unknown) = self.mixer.iter().find(|name| !known.contains(name)) {
            return Err(refused(format!("there is no architecture {unknown}"), format!("give some of {}", known.join(", "))));
        }
        Ok(known.iter().filter(|name| self.mixer.is_empty() || self.mixer.contains(name)).cloned().collect())
    }

    /// The grid: a best rate at one of its ends is marked, so that it has to be in order.
    fn rates(&self) -> anyhow::Result<Vec<f64>> {
        if self.rate.is_sorted_by(|a, b| a < b) {
            return Ok(self.rate.clone());
        }
        Err(refused("the learning rates do not rise", "give each once, the lowest first: --rate 4.6e-4,2.2e-3"))
    }

    fn budget(&self) -> Budget {
        Budget { seconds: self.minutes * 60.0, steps: self.steps }
    }
}

pub(super) async fn run(global: &Global, args: ModelArgs) -> anyhow::Result<Outcome> {
    if args.list {
        let own = args.mixers.as_deref().map(architectures::read_own).transpose()?.unwrap_or_default();
        let catalog = tables::Catalog::of(architectures::all(args.size, own, args.device, args.weight_decay).names());
        output::show(global.format, &catalog, tables::catalog)?;
        return Ok(Outcome::Done);
    }
    let format = global.format;
    tokio::task::spawn_blocking(move || {
        args.device.open().advise("opening the device that models are trained on", "without --device it is flex, the CPU")?;
        let own = args.mixers.as_deref().map(architectures::read_own).transpose()?.unwrap_or_default();
        let architectures = architectures::all(args.size, own, args.device, args.weight_decay);
        let begun = Instant::now();
        let program = program()?;
        let surroundings = Surroundings { program: &program, clock: &|| begun.elapsed().as_secs_f64(), tell: &output::tell };
        let report = measure(&args, architectures.as_ref(), &surroundings)?;
        output::show(format, &report, tables::report)?;
        Ok(Outcome::of(report.failures.is_empty()))
    })
    .await?
}

/// A digest of the running program: a cell that another build measured is no cell of this one.
fn program() -> anyhow::Result<String> {
    let digest = || {
        let mut file = File::open(std::env::current_exe()?)?;
        let mut blocks = String::new();
        loop {
            let mut block = Vec::new();
            if (&mut file).take(BLOCK).read_to_end(&mut block)? == 0 {
                return Ok::<_, io::Error>(Sha256Hex::of(blocks.as_bytes()).to_string());
            }
            blocks.push_str(Sha256Hex::of(&block).as_str());
        }
    };
    digest().advise(
        "reading this program, whose digest tells its measurements from those of another",
        "run it from a file that it may read",
    )
}

/// Bytes of the program that are in memory at once.
const BLOCK: u64 = 1 << 20;

/// What a sweep needs of the process.
struct Surroundings<'a> {
    program: &'a str,
    clock: &'a dyn Fn() -> f64,
    tell: &'a dyn Fn(&str),
}

/// Measures what is missing, and writes and returns the report.
fn measure(args: &ModelArgs, architectures: &dyn Architectures, surroundings: &Surroundings<'_>) -> anyhow::Result<Report> {
    let (tasks, mixers) = (args.tasks()?, args.mixers(&architectures.names())?);
    let (policy, budget) = (Policy { rates: args.rates()?, ..Policy::default() }, args.budget());
    let store = Store::open(&args.out, args.again)?;
    let Surroundings { program, clock, tell } = *surroundings;
    let harness = Harness { architectures, policy: &policy, budget, store: &store, program, clock, tell };
    if !tasks.is_empty() {
        let rows = tasks.len() * mixers.len();
        let longest = Duration::try_from_secs_f64(rows as f64 * policy.longest(budget, args.seeds)).unwrap_or(Duration::MAX);
        tell(&format!(
            "{} to measure: up to {} of training, and what scoring takes",
            output::counted(rows, "row"),
            Elapsed(longest)
        ));
    }
    let mut sweep = harness.sweep(&tasks, &mixers, args.seeds);
    if args.speed {
        sweep.merge(harness.speeds(&mixers, &args.context));
    }
    let report = Report { device: args.device, ..Report::of(&tasks, &mixers, &policy, budget, sweep) };
    write(args, &report)?;
    Ok(report)
}

fn write(args: &ModelArgs, report: &Report) -> anyhow::Result<()> {
    let file = args.out.join("report.json");
    let written = std::fs::write(&file, serde_json::to_string_pretty(report)?);
    written.advise(format!("writing {}", file.display()), "give another directory with --out")?;
    plots::draw(&args.out, report)
}

impl Sweep {
    fn merge(&mut self, other: Self) {
        self.cells.extend(other.cells);
        self.speeds.extend(other.speeds);
        self.failures.extend(other.failures);
    }
}

#[cfg(test)]
mod tests;
