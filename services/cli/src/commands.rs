//! One module a command.

pub(crate) mod chat;
mod completions;
pub(crate) mod doctor;
mod examine;
pub(crate) mod generations;
pub(crate) mod history;
mod import;
pub(crate) mod lake;
pub(crate) mod model;
pub(crate) mod nights;
pub(crate) mod promote;
pub(crate) mod sleep;
pub(crate) mod up;

use nocturne_kit::telemetry::{self, LogOutput};

use crate::{
    allocators,
    args::{Cli, Command},
    bench, demo,
    output::Outcome,
    roles,
};

/// What commands other than `up` log: only what a person must know.
const QUIET: &str = "error";

/// What a night logs; the scheduler keeps the end of it for the report of a failure.
const NIGHT: &str = "warn,nocturne=info";

/// Whether what it does is above all training.
const fn trains(command: &Command) -> bool {
    match command {
        Command::Sleep(_) | Command::Model(model::ModelCommand::Train(_)) => true,
        Command::Bench(args) => args.trains(),
        _ => false,
    }
}

/// Runs a command.
pub(crate) async fn run(cli: Cli) -> anyhow::Result<Outcome> {
    let Cli { global, command } = cli;
    if trains(&command) {
        allocators::ask(allocators::TRAINING);
    }
    match &command {
        // The configuration file says how a server logs.
        Command::Up(_) | Command::Inference(_) | Command::Batcher(_) | Command::Scheduler(_) => {}
        Command::Sleep(args) if !args.supervised => log(NIGHT)?,
        _ => log(QUIET)?,
    }
    match command {
        Command::Up(args) => up::run(&global, &args).await,
        Command::Inference(args) => roles::inference(&global, &args).await,
        Command::Batcher(args) => roles::batcher(&global, &args).await,
        Command::Scheduler(args) => roles::scheduler(&global, &args).await,
        Command::Demo(args) => demo::run(&global, &args).await,
        Command::Chat(args) => chat::run(&global, args).await,
        Command::Model(command) => model::run(&global, command),
        Command::Nights(command) => nights::run(&global, command).await,
        Command::Generations(command) => generations::run(&global, command).await,
        Command::Promote(args) => promote::promote(&global, args).await,
        Command::Rollback(args) => promote::rollback(&global, args).await,
        Command::History(args) => history::run(&global, &args).await,
        Command::Lake(command) => lake::run(&global, command).await,
        Command::Doctor(command) => doctor::run(&global, command).await,
        Command::Bench(args) => bench::run(&global, *args).await,
        Command::Completions { shell } => completions::run(shell),
        Command::Sleep(args) => sleep::run(&global, &args).await,
    }
}

fn log(filter: &str) -> anyhow::Result<()> {
    Ok(telemetry::install(&LogOutput { filter: filter.to_owned(), ..LogOutput::default() })?)
}
