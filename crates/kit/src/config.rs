//! One TOML file a process; unknown keys are errors.
//!
//! Settings types carry `#[serde(deny_unknown_fields)]`. What serde then reports is turned into an error that names the file, the
//! line, the key and the known key that is nearest to it: a misspelled key is the commonest mistake, and a default that silently
//! stays in force is the worst answer to it.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::de::DeserializeOwned;

/// Why a configuration was refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("reading the configuration {}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file holds a key that nothing reads.
    #[error("{}:{line}: unknown key `{key}`{}", file.display(), hint(nearest.as_deref(), known))]
    UnknownKey {
        /// The file.
        file: PathBuf,
        /// Line of the key, from 1.
        line: usize,
        /// The key.
        key: String,
        /// The known key that is most like it, when one is.
        nearest: Option<String>,
        /// Every key that is known in that table.
        known: Vec<String>,
    },
    /// The file is not TOML, or a value has the wrong type or is out of range.
    #[error("{}:{line}: {message}", file.display())]
    Invalid {
        /// The file.
        file: PathBuf,
        /// Line of the fault, from 1.
        line: usize,
        /// What is wrong with it.
        message: String,
    },
}

fn hint(nearest: Option<&str>, known: &[String]) -> String {
    match (nearest, known) {
        (Some(nearest), _) => format!("; did you mean `{nearest}`?"),
        (None, []) => "; this table has no keys".to_owned(),
        (None, known) => format!("; known keys: {}", known.join(", ")),
    }
}

/// Reads settings from a TOML file.
///
/// # Errors
/// When the file cannot be read, is not TOML, holds an unknown key or a value that the settings refuse.
pub fn load<T: DeserializeOwned>(file: &Path) -> Result<T, ConfigError> {
    let text = fs::read_to_string(file).map_err(|source| ConfigError::Read { file: file.to_owned(), source })?;
    parse(&text, file)
}

/// Parses settings from TOML text; `file` is what errors call it.
///
/// # Errors
/// When the text is not TOML, holds an unknown key or a value that the settings refuse.
pub fn parse<T: DeserializeOwned>(text: &str, file: &Path) -> Result<T, ConfigError> {
    toml::from_str(text).map_err(|error| explain(text, file, &error))
}

fn explain(text: &str, file: &Path, error: &toml::de::Error) -> ConfigError {
    let start = error.span().map_or(0, |span| span.start.min(text.len()));
    let line = text.get(..start).unwrap_or(text).matches('\n').count() + 1;
    let file = file.to_owned();
    match unknown_key(error.message()) {
        Some((key, known)) => {
            let nearest = nearest(&key, &known);
            ConfigError::UnknownKey { file, line, key, nearest, known }
        }
        None => ConfigError::Invalid { file, line, message: error.message().trim().to_owned() },
    }
}

/// Reads serde's sentence "unknown field `a`, expected `b`" or "…, expected one of `b`, `c`": the key and the known keys.
fn unknown_key(message: &str) -> Option<(String, Vec<String>)> {
    let mut quoted = message.strip_prefix("unknown field ")?.split('`').skip(1).step_by(2);
    let key = quoted.next()?.to_owned();
    Some((key, quoted.map(str::to_owned).collect()))
}

/// The known key within an edit distance of a third of the longer word, and the nearest of those.
fn nearest(key: &str, known: &[String]) -> Option<String> {
    known
        .iter()
        .map(|candidate| (distance(key, candidate), candidate))
        .filter(|(edits, candidate)| edits * 3 <= key.len().max(candidate.len()))
        .min()
        .map(|(_, candidate)| candidate.clone())
}

/// Levenshtein distance over characters.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Outer {
        seal_after_seconds: u64,
        inner: Inner,
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Inner {
        partitions: u32,
    }

    fn refused(text: &str) -> String {
        parse::<Outer>(text, Path::new("nocturne.toml")).expect_err("refused").to_string()
    }

    #[test]
    fn settings_are_read_from_a_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("nocturne.toml");
        fs::write(&file, "seal_after_seconds = 7\n[inner]\npartitions = 2\n").expect("written");
        let read: Outer = load(&file).expect("valid");
        assert_eq!(read, Outer { seal_after_seconds: 7, inner: Inner { partitions: 2 } });
    }

    #[test]
    fn a_misspelled_key_is_named_with_its_file_line_and_nearest_known_key() {
        assert_eq!(
            refused("# comment\nseal_after_second = 7\n"),
            "nocturne.toml:2: unknown key `seal_after_second`; did you mean `seal_after_seconds`?"
        );
        assert_eq!(refused("[inner]\n\npartition = 7\n"), "nocturne.toml:3: unknown key `partition`; did you mean `partitions`?");
    }

    #[test]
    fn a_key_unlike_any_known_one_is_answered_with_the_known_ones() {
        assert_eq!(refused("zebra = 1\n"), "nocturne.toml:1: unknown key `zebra`; known keys: seal_after_seconds, inner");
    }

    #[test]
    fn a_value_of_the_wrong_type_and_text_that_is_not_toml_name_the_line() {
        assert!(refused("seal_after_seconds = \"soon\"").starts_with("nocturne.toml:1: invalid type"));
        assert!(refused("\nseal_after_seconds = = 1").starts_with("nocturne.toml:2: "));
    }

    #[test]
    fn a_missing_file_is_named_and_its_cause_is_the_source() {
        let error = load::<Outer>(Path::new("absent/nocturne.toml")).expect_err("missing");
        assert_eq!(error.to_string(), "reading the configuration absent/nocturne.toml");
        assert!(error.source().is_some());
    }
}
