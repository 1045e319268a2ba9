//! What commands print: a table for people or JSON for programs, and the exit code.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::ValueEnum;
use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

/// How results are printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Table,
    /// For programs.
    Json,
}

/// How a command ended when nothing broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// As it should.
    Done,
    /// A gate rejected a candidate, an audit found faults, a bound was missed.
    NotClean,
}

/// Exit code of [`Outcome::NotClean`].
const NOT_CLEAN: u8 = 3;

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Done => Self::SUCCESS,
            Outcome::NotClean => Self::from(NOT_CLEAN),
        }
    }
}

impl Outcome {
    /// [`Outcome::Done`] when `clean`.
    pub(crate) const fn of(clean: bool) -> Self {
        if clean { Self::Done } else { Self::NotClean }
    }
}

/// Prints a line; a reader that went away (`nocturne history | head`) is no error.
pub(crate) fn line(text: &str) -> anyhow::Result<()> {
    match writeln!(io::stdout().lock(), "{text}") {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => Ok(result?),
    }
}

/// Tells whoever watches; where nobody does any more, the work goes on.
pub(crate) fn tell(text: &str) {
    writeln!(io::stderr().lock(), "{text}").ok();
}

/// Prints a value as JSON.
pub(crate) fn json(value: &impl Serialize) -> anyhow::Result<()> {
    line(&serde_json::to_string_pretty(value)?)
}

/// Prints a value in the asked format; `table` makes the text for people.
pub(crate) fn show<T: Serialize>(format: Format, value: &T, table: impl FnOnce(&T) -> String) -> anyhow::Result<()> {
    match format {
        Format::Table => line(&table(value)),
        Format::Json => json(value),
    }
}

/// An empty table with a header.
pub(crate) fn table<'a>(header: impl IntoIterator<Item = &'a str>) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_HORIZONTAL_ONLY).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(header.into_iter().collect::<Vec<_>>());
    table
}

/// Two columns, names and values.
pub(crate) fn properties<'a>(rows: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let rows: Vec<_> = rows.into_iter().collect();
    let width = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let lines: Vec<_> = rows.iter().map(|(name, value)| format!("  {name:<width$}  {value}")).collect();
    lines.join("\n")
}

/// A share as a percentage.
pub(crate) fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// A number with what is counted: "1 fault", "2 faults".
pub(crate) fn counted(number: usize, what: &str) -> String {
    let ending = match number {
        1 => "",
        _ if what.ends_with("ch") || what.ends_with("sh") => "es",
        _ => "s",
    };
    format!("{number} {what}{ending}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_are_aligned() {
        assert_eq!(properties([("a", "1".to_owned()), ("long", "2".to_owned())]), "  a     1\n  long  2");
    }

    #[test]
    fn one_thing_is_not_many() {
        assert_eq!([0, 1, 2].map(|n| counted(n, "fault")), ["0 faults", "1 fault", "2 faults"]);
    }

    #[test]
    fn a_share_is_shown_with_one_decimal() {
        assert_eq!(percent(0.8249), "82.5 %");
    }
}
