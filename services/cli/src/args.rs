//! The command line.

use std::{collections::BTreeMap, path::PathBuf};

use clap::{Args, Parser, Subcommand};

use crate::{bench, commands, demo, output::Format, roles};

const EXAMPLES: &str = "\
Examples:
  nocturne demo                              a day, a night and a morning on this machine
  nocturne up --schedule 03:00 --time-zone Europe/Berlin
  nocturne chat                              talk to the running server
  nocturne nights run --wait                 let it learn now instead of tonight
  nocturne history                           what served when, and who decided it
  nocturne rollback                          serve the generation before this one again
  nocturne lake audit -o json                prove that every record was sealed exactly once

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 a gate rejected the candidate, an audit or a doctor found\nsomething, a bound was missed, or something is left to a later run; 130 after Ctrl-C, of a server after the second.";

/// Models that learn overnight.
#[derive(Debug, Parser)]
#[command(name = "nocturne", version, about, after_help = EXAMPLES, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The variable that hands a store's options to the processes that this one starts: their command lines are everybody's to see.
pub(crate) const STORE_OPTIONS: &str = "NOCTURNE_STORE_OPTIONS";

/// Options of a store.
#[derive(Debug, Clone, Default)]
pub(crate) struct StoreOptions(pub(crate) BTreeMap<String, String>);

fn store_options(text: &str) -> Result<StoreOptions, String> {
    serde_json::from_str(text).map(StoreOptions).map_err(|error| error.to_string())
}

/// What every command takes.
#[derive(Debug, Clone, Args)]
pub(crate) struct Global {
    /// Directory that holds the log and the lake
    #[arg(long, global = true, env = "NOCTURNE_STATE", default_value = "./.nocturne", value_name = "DIR")]
    pub(crate) state: PathBuf,
    /// Where the lake is, when not in the state directory: a directory, s3://, gs:// or az:// URL
    #[arg(long, global = true, env = "NOCTURNE_STORE", value_name = "URL")]
    pub(crate) store: Option<String>,
    /// Options of that store, as JSON, for what the environment does not say
    #[arg(long, global = true, env = STORE_OPTIONS, hide_env_values = true, hide_short_help = true, value_parser = store_options, value_name = "JSON")]
    pub(crate) store_options: Option<StoreOptions>,
    /// How results are printed
    #[arg(short = 'o', long = "output", global = true, value_enum, default_value_t = Format::Table, value_name = "FORMAT")]
    pub(crate) format: Format,
}

/// What can be done.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start everything in one process: API, log, batcher and the schedule of nights
    Up(commands::up::UpArgs),
    /// Start an inference process alone: API and spool, over Kafka
    Inference(roles::RoleArgs),
    /// Start a batcher process alone: seals what Kafka holds into the lake
    Batcher(roles::RoleArgs),
    /// Start a scheduler process alone: plans nights and runs them
    Scheduler(roles::RoleArgs),
    /// Watch it learn: a day of conversations, a night, and what it knows the next morning
    Demo(demo::DemoArgs),
    /// Talk to the running server
    Chat(commands::chat::ChatArgs),
    /// Train, import, examine or show a base model
    #[command(subcommand, after_help = "Examples:\n  nocturne model show\n  nocturne model train --help")]
    Model(commands::model::ModelCommand),
    /// Run nights and read their records
    #[command(
        subcommand,
        after_help = "Examples:\n  nocturne nights run --wait\n  nocturne nights list\n  nocturne nights show --lessons"
    )]
    Nights(commands::nights::NightsCommand),
    /// List and inspect generations
    #[command(subcommand, after_help = "Examples:\n  nocturne generations list\n  nocturne generations show 1")]
    Generations(commands::generations::GenerationsCommand),
    /// Serve a generation, by its number
    Promote(commands::promote::PromoteArgs),
    /// Serve an older generation again
    Rollback(commands::promote::RollbackArgs),
    /// Show what served when, and who decided it
    History(commands::history::HistoryArgs),
    /// Look into the lake
    #[command(subcommand, after_help = "Examples:\n  nocturne lake ls interactions\n  nocturne lake audit")]
    Lake(commands::lake::LakeCommand),
    /// Find out what is wrong with Kafka or the store, and what to do
    #[command(
        subcommand,
        after_help = "Examples:\n  nocturne doctor kafka --config nocturne.toml\n  nocturne doctor store --store s3://bucket/folder"
    )]
    Doctor(commands::doctor::DoctorCommand),
    /// Measure speed on this machine, and architectures against each other
    Bench(Box<bench::BenchArgs>),
    /// Print a completion script for a shell
    #[command(after_help = "Example: nocturne completions bash > ~/.local/share/bash-completion/completions/nocturne")]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// One night, as the scheduler starts it
    #[command(hide = true)]
    Sleep(commands::sleep::SleepArgs),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_visible_command_shows_an_example() {
        fn check(command: &clap::Command, path: &str) {
            for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help") {
                let path = format!("{path} {}", sub.get_name());
                let help = sub.get_after_help().map(ToString::to_string).unwrap_or_default();
                assert!(help.contains("nocturne"), "`{path}` shows no example");
                check(sub, &path);
            }
        }
        check(&Cli::command(), "nocturne");
    }

    #[test]
    fn global_options_are_taken_after_the_command() {
        let cli = Cli::try_parse_from(["nocturne", "history", "-o", "json", "--state", "x"]).expect("valid");
        assert_eq!((cli.global.format, cli.global.state), (Format::Json, PathBuf::from("x")));
    }
}
