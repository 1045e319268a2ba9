//! Processes that die at a step of their own: a library that the system loads before them kills them where they would change the disk.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::script::Absent;

const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/servers/steps.c");

/// The library, compiled.
#[derive(Debug)]
pub struct Steps {
    library: PathBuf,
}

impl Steps {
    /// Compiles it into a folder.
    ///
    /// # Errors
    /// When there is no C compiler, or the system loads no library before others.
    pub fn compile(folder: &Path) -> Result<Self, Absent> {
        if cfg!(not(all(target_os = "linux", target_env = "gnu"))) {
            return Err(Absent("killing a process at each of its steps needs Linux with glibc".to_owned()));
        }
        let library = folder.join("steps.so");
        let mut command = Command::new("cc");
        let output = command.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(SOURCE).arg("-ldl").output();
        let output = output.map_err(|error| Absent(format!("running cc: {error}")))?;
        if output.status.success() {
            return Ok(Self { library });
        }
        Err(Absent(format!("compiling {SOURCE}: {}", String::from_utf8_lossy(&output.stderr))))
    }

    /// Variables of a process that dies before its `step`-th change of the disk, counted from 1; `torn` when half of what it would write is written.
    pub fn variables(&self, step: u64, torn: bool) -> [(String, String); 3] {
        [
            ("LD_PRELOAD", self.library.to_string_lossy().into_owned()),
            ("NOCTURNE_DIE_AT", step.to_string()),
            ("NOCTURNE_DIE_TORN", u8::from(torn).to_string()),
        ]
        .map(|(key, value)| (key.to_owned(), value))
    }
}
