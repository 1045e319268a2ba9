//! Foreign clients and readers: confluent-kafka with its client of schema registries, DuckDB, pyarrow, boto3, fastavro.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::script::{self, Absent};

/// An environment with them.
#[derive(Debug, Clone)]
pub struct Python {
    dir: PathBuf,
    variables: &'static [(&'static str, &'static str)],
}

impl Python {
    /// Installs them if need be.
    ///
    /// # Errors
    /// When Python is missing, or nothing can be downloaded.
    pub fn install() -> Result<Self, Absent> {
        script::install("python", "python-install.sh", &[]).map(|dir| Self::at(&dir, &[]))
    }

    /// An environment that is there, and what its programs find in theirs.
    pub(crate) fn at(dir: &Path, variables: &'static [(&'static str, &'static str)]) -> Self {
        Self { dir: dir.to_owned(), variables }
    }

    /// Runs a program given as text; what it printed.
    ///
    /// # Errors
    /// When it fails, with what it said.
    pub fn run(&self, program: &str, args: &[&str]) -> Result<String, Absent> {
        let mut command = Command::new(self.dir.join("bin/python"));
        let output = command.args(["-c", program]).args(args).envs(self.variables.iter().copied()).output();
        let output = output.map_err(|error| Absent(format!("running Python: {error}")))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(Absent(format!("a Python program failed: {}", String::from_utf8_lossy(&output.stderr))))
    }
}
