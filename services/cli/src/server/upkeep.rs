//! Upkeep of the lake: compaction and retention, each in a process of its own, so that its memory and its cores are not the server's for long.

use std::{path::PathBuf, process::Stdio, time::Duration};

use nocturne_kit::Shutdown;
use serde::{Deserialize, Serialize};
use tokio::{process::Command, task::JoinHandle};

use super::StoreSettings;

/// Settings of the upkeep.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct UpkeepSettings {
    /// Hours between two compactions of the lake; 0 for never. Erasures are applied to what is sealed late at the same times, or daily.
    pub(crate) compact_hours: u32,
    /// Days that records are kept; 0 for ever. Batches are removed whole, so that a record may be kept an eighth longer. What no night has read by then
    /// is removed as well.
    pub(crate) keep_days: u32,
}

impl Default for UpkeepSettings {
    fn default() -> Self {
        Self { compact_hours: 24, keep_days: 0 }
    }
}

/// A server that was just started has better things to do.
const FIRST_AFTER: Duration = Duration::from_mins(15);

/// What is run, in this order.
fn commands(settings: &UpkeepSettings) -> Vec<Vec<String>> {
    let mut commands = Vec::new();
    if settings.keep_days > 0 {
        commands.push(vec!["retain".to_owned(), "--days".to_owned(), settings.keep_days.to_string()]);
    }
    // What was too young, or still in the log, when somebody asked to be forgotten.
    commands.push(vec!["erase".to_owned(), "--again".to_owned()]);
    if settings.compact_hours > 0 {
        let mut compact = vec!["compact".to_owned()];
        if settings.keep_days > 0 {
            // Retention removes whole batches: no record is kept longer than it should be by more than an eighth.
            compact.extend(["--span".to_owned(), settings.keep_days.div_ceil(8).to_string()]);
        }
        commands.push(compact);
    }
    commands
}

/// Keeps the lake in order until it is told to stop. Whatever is interrupted, the next run finishes.
pub(crate) fn start(settings: UpkeepSettings, state: PathBuf, store: StoreSettings, shutdown: Shutdown) -> JoinHandle<()> {
    tokio::spawn(async move {
        let hours = if settings.compact_hours == 0 { 24 } else { settings.compact_hours };
        let every = Duration::from_hours(hours.into());
        let mut wait = FIRST_AFTER;
        let commands = commands(&settings);
        loop {
            tokio::select! {
                () = shutdown.requested() => return,
                () = tokio::time::sleep(wait) => {}
            }
            for command in &commands {
                tokio::select! {
                    () = shutdown.requested() => return,
                    () = run(command, &state, &store) => {}
                }
            }
            wait = every;
        }
    })
}

async fn run(arguments: &[String], state: &std::path::Path, store: &StoreSettings) {
    let Ok(program) = std::env::current_exe() else { return };
    let mut command = Command::new(program);
    command.arg("--state").arg(state).args(["-o", "json", "lake"]).args(arguments);
    if !store.url.is_empty() {
        command.arg("--store").arg(&store.url);
    }
    command.envs(store.environment().ok().flatten());
    command.stdin(Stdio::null()).kill_on_drop(true);
    let what = arguments.join(" ");
    match command.output().await {
        Ok(output) if output.status.success() => {
            tracing::info!(
                command = what,
                result = String::from_utf8_lossy(&output.stdout).replace(['\n', ' '], ""),
                "the lake was kept in order"
            );
        }
        // Batches that are too young wait for the next run; those that cannot be read wait for somebody.
        Ok(output) if output.status.code() == Some(3) => {
            let result = String::from_utf8_lossy(&output.stdout).replace(['\n', ' '], "");
            tracing::warn!(command = what, result, "something of the lake is left for the next run");
        }
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            tracing::warn!(command = what, status = %output.status, said = said.trim(), "the lake could not be kept in order; it is tried again");
        }
        Err(error) => tracing::warn!(command = what, %error, "the lake could not be kept in order; it is tried again"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_must_go_is_removed_before_the_rest_is_compacted() {
        let settings = |compact_hours, keep_days| commands(&UpkeepSettings { compact_hours, keep_days });
        assert_eq!(settings(24, 90), [&["retain", "--days", "90"][..], &["erase", "--again"], &["compact", "--span", "12"]]);
        assert_eq!(settings(24, 0), [&["erase", "--again"][..], &["compact"]]);
        assert_eq!(settings(0, 0), [["erase", "--again"]], "who is forgotten stays forgotten");
    }
}
