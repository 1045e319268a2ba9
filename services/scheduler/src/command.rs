//! How the sleep job is started.

use std::{io, path::PathBuf};

/// A program and its arguments; the plan's location follows as the last argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobCommand {
    /// The program.
    pub program: PathBuf,
    /// Its arguments before the location.
    pub args: Vec<String>,
    /// Variables that it gets besides those of this process.
    pub environment: Vec<(String, String)>,
}

impl JobCommand {
    /// This same executable as `sleep --supervised --plan <location>`.
    ///
    /// # Errors
    /// When the system does not tell where the executable is.
    pub fn this_executable() -> io::Result<Self> {
        let args = ["sleep", "--supervised", "--plan"].map(str::to_owned).to_vec();
        Ok(Self { program: std::env::current_exe()?, args, environment: Vec::new() })
    }
}
