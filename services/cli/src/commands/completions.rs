//! `nocturne completions`

use clap::CommandFactory as _;

use crate::{
    args::Cli,
    output::{self, Outcome},
};

pub(super) fn run(shell: clap_complete::Shell) -> anyhow::Result<Outcome> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "nocturne", &mut script);
    output::line(String::from_utf8_lossy(&script).trim_end())?;
    Ok(Outcome::Done)
}
