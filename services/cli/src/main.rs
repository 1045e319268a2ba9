//! The `nocturne` binary: server, jobs and operations.
//!
//! A command is a module under [`commands`]; what several commands need lies beside it. A command returns what a person or a script
//! should see, as an [`output::Outcome`] for the exit code, or an error that says what was being done, why it failed and what to do
//! next. A night is ordered from the server that owns the state directory, or takes the directory itself when none runs. Moving a channel is one
//! entry in the ledger, which decides every race, and a nudge to the server; reading needs neither, because everything in the lake is immutable.

mod address;
mod admin;
mod allocators;
mod api;
mod args;
mod bases;
mod bench;
mod commands;
mod demo;
mod failure;
mod machine;
mod nights;
mod output;
mod places;
mod promotion;
mod roles;
mod server;

use std::process::ExitCode;

use clap::Parser;

use crate::{args::Cli, output::Outcome};

/// A night allocates and frees tensors of megabytes at every step; glibc would return each to the kernel and fault it in again.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(outcome) => outcome.into(),
        Err(error) => {
            eprintln!("nocturne: {}", failure::render(&error));
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<Outcome> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(commands::run(cli))
}
