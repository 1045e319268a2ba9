//! Tests that run as many rounds as one likes, and draw their moments from a seed.
//!
//! They take `--rounds N` and `--seed N` besides the flags that every test takes. The standard runner refuses flags that it does not know, so these have a
//! `main` of their own over libtest-mimic, which takes the same flags, filters and lists as that one, and ends with the same line. Variables alone, as it was
//! before, are not found by anybody who looks for `--help`; they still hold.

use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, value_parser};
use libtest_mimic::{Arguments, Trial};

/// How many rounds, and what their moments are drawn from.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub struct Rounds {
    /// Run so many rounds instead of the usual number
    #[arg(long, value_name = "N", env = "NOCTURNE_ROUNDS", value_parser = value_parser!(u64).range(1..))]
    #[arg(allow_negative_numbers = true)]
    rounds: Option<u64>,
    /// Draw random moments from this number
    #[arg(long, value_name = "N", env = "NOCTURNE_SEED", allow_negative_numbers = true)]
    seed: Option<u64>,
}

impl Rounds {
    /// How many rounds a test runs: what was asked for, or its usual number.
    pub fn or(&self, usual: u64) -> u64 {
        self.rounds.unwrap_or(usual)
    }

    /// What a test draws from: what was asked for, or its usual number.
    pub fn seed_or(&self, usual: u64) -> u64 {
        self.seed.unwrap_or(usual)
    }
}

/// A test with its name.
pub type Named = (&'static str, fn(Rounds));

#[derive(Debug, Parser)]
struct Flags {
    #[command(flatten)]
    rounds: Rounds,
    #[command(flatten)]
    runner: Arguments,
}

impl Flags {
    /// Flags with what the standard runner takes besides, and libtest-mimic does not know.
    fn described() -> clap::Command {
        let command = Self::command().mut_arg("nocapture", |flag| flag.alias("no-capture"));
        command.mut_arg("test_threads", |flag| flag.env("RUST_TEST_THREADS"))
    }
}

/// Runs tests as the command line says. A wrong flag ends the process with an error and exit code 2.
pub fn run(tests: &[Named]) -> ExitCode {
    let flags = Flags::from_arg_matches(&Flags::described().get_matches()).unwrap_or_else(|error| error.exit());
    let rounds = flags.rounds;
    let trial = |&(name, test): &Named| {
        Trial::test(name, move || {
            test(rounds);
            Ok(())
        })
    };
    libtest_mimic::run(&flags.runner, tests.iter().map(trial).collect()).exit_code()
}

/// The `main` of a file of tests that take [`Rounds`]. The compiler warns of one that is left out, because nobody uses it.
#[macro_export]
macro_rules! in_rounds {
    ($($test:ident),+ $(,)?) => {
        fn main() -> std::process::ExitCode {
            $crate::rounds::run(&[$((stringify!($test), $test)),+])
        }
    };
}

/// Carries out what waits, on a runtime of its own.
///
/// # Panics
/// When there are no threads to be had.
pub fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime").block_on(work)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Flags, clap::Error> {
        let args = ["kills"].iter().chain(args);
        Flags::described().try_get_matches_from(args).and_then(|matches| Flags::from_arg_matches(&matches))
    }

    #[test]
    fn flags_of_ours_and_of_the_standard_runner_stand_side_by_side() {
        let flags =
            parse(&["--rounds", "500", "kill", "--no-capture", "--seed=7", "--exact", "--test-threads", "3"]).expect("right");
        assert_eq!((flags.rounds.or(20), flags.rounds.seed_or(1)), (500, 7));
        assert_eq!(flags.runner.filter.as_deref(), Some("kill"));
        assert!(flags.runner.nocapture && flags.runner.exact && flags.runner.test_threads == Some(3));
    }

    #[test]
    fn wrong_numbers_are_refused_by_the_name_of_their_flag() {
        for wrong in [["--rounds", "many"], ["--rounds", "0"], ["--seed", "-1"], ["--turns", "1"]] {
            let error = parse(&wrong).expect_err("wrong");
            assert!(error.exit_code() == 2 && error.to_string().contains(wrong[0]), "{error}");
        }
    }

    #[test]
    fn help_names_both_flags_and_those_of_the_runner() {
        let help = Flags::described().render_help().to_string();
        for flag in ["--rounds", "--seed", "--nocapture", "--list", "--test-threads"] {
            assert!(help.contains(flag), "{help}");
        }
    }
}
