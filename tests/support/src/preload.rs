//! Libraries that the system loads into a process before all others, so that they stand between it and the system.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

use crate::script::Absent;

const SERVERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/servers");

/// A folder for a library and what it shares with the test.
pub(crate) fn folder() -> Result<TempDir, Absent> {
    tempfile::tempdir().map_err(|error| Absent(format!("making a temporary folder: {error}")))
}

/// Compiles one of the C files in `servers/` into a folder.
pub(crate) fn compile(name: &str, folder: &Path) -> Result<PathBuf, Absent> {
    if cfg!(not(all(target_os = "linux", target_env = "gnu"))) {
        return Err(Absent("a library that stands between a process and its system needs Linux with glibc".to_owned()));
    }
    let (source, library) = (format!("{SERVERS}/{name}.c"), folder.join(format!("{name}.so")));
    let mut command = Command::new("cc");
    let output = command.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(&source).arg("-ldl").output();
    let output = output.map_err(|error| Absent(format!("running cc: {error}")))?;
    if output.status.success() {
        return Ok(library);
    }
    Err(Absent(format!("compiling {source}: {}", String::from_utf8_lossy(&output.stderr))))
}

/// Variables of the environment with which a process loads a library.
pub(crate) fn variables(library: &Path, more: &[(&str, String)]) -> Vec<(String, String)> {
    let load = ("LD_PRELOAD", library.to_string_lossy().into_owned());
    [&[load], more].concat().into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}
