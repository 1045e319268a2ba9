//! Logs: human-readable at a terminal, one JSON object a line elsewhere.
//!
//! Never prompt text or subject ids: what a client wrote goes to the log of interactions under the subject's consent and nowhere
//! else. The filter comes from the configuration, not from the environment, so that a deployment's file says what it logs.

use std::{io, io::IsTerminal};

use serde::{Deserialize, Serialize};
use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt};

/// What a process logs unless it is told otherwise: itself at INFO, the libraries under it only when something is wrong.
pub const DEFAULT_FILTER: &str = "warn,nocturne=info";

/// How log lines look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Human,
    /// One JSON object a line.
    Json,
}

/// Settings of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogOutput {
    /// How lines look.
    pub format: LogFormat,
    /// Directives such as `warn,nocturne=info`; a target covers everything whose name begins with it.
    pub filter: String,
}

impl Default for LogOutput {
    fn default() -> Self {
        Self { format: LogFormat::Human, filter: DEFAULT_FILTER.to_owned() }
    }
}

/// Why the log could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter is not a list of directives.
    #[error("the log filter `{filter}` is not a list of directives such as `{DEFAULT_FILTER}`")]
    Filter {
        /// The refused text.
        filter: String,
        /// Why.
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
    /// A subscriber is installed already.
    #[error("installing the log's subscriber")]
    Installed(#[source] tracing_subscriber::util::TryInitError),
}

/// Installs the process's subscriber, which writes to standard error: standard output belongs to a command's result.
///
/// # Errors
/// When the filter is malformed or a subscriber is installed already.
pub fn install(output: &LogOutput) -> Result<(), TelemetryError> {
    let filter = EnvFilter::builder()
        .parse(&output.filter)
        .map_err(|source| TelemetryError::Filter { filter: output.filter.clone(), source })?;
    let registry = tracing_subscriber::registry().with(filter);
    let ansi = io::stderr().is_terminal();
    // What cannot be logged, because nobody reads standard error any more, is lost; reporting that there would be a panic.
    match output.format {
        LogFormat::Human => registry
            .with(fmt::layer().log_internal_errors(false).with_writer(io::stderr).with_ansi(ansi).with_target(false))
            .try_init(),
        LogFormat::Json => {
            registry.with(fmt::layer().log_internal_errors(false).json().flatten_event(true).with_writer(io::stderr)).try_init()
        }
    }
    .map_err(TelemetryError::Installed)
}

/// An error with all of its causes on one line, for a log field: `sealing p0: creating x: permission denied`.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_malformed_filter_is_named() {
        let output = LogOutput { filter: "nocturne=loudly".to_owned(), ..LogOutput::default() };
        let refused = install(&output).expect_err("not a level");
        assert!(refused.to_string().contains("`nocturne=loudly`"), "{refused}");
    }

    #[test]
    fn a_chain_names_every_cause_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("reading the plan")]
        struct Outer(#[source] io::Error);
        let error = Outer(io::Error::other("disk on fire"));
        assert_eq!(chain(&error), "reading the plan: disk on fire");
    }
}
