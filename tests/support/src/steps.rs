//! Processes that die at a step of their own: a library that the system loads before them kills them where they would change a disk, send or say something.

use std::{fs, path::PathBuf};

use tempfile::TempDir;

use crate::{preload, script::Absent};

/// What is a step of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A change of a disk.
    Change,
    /// Bytes that are sent to a TCP port.
    Send(u16),
    /// A line on standard output that begins so: a step that the process itself names.
    Word(&'static str),
}

/// When it dies at a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Death {
    /// Before anything of it is done.
    Before,
    /// When half of the bytes are out, where there are bytes.
    Halfway,
    /// When all bytes are out, and nobody has heard what became of them.
    After,
}

/// The library, compiled.
#[derive(Debug)]
pub struct Steps {
    library: PathBuf,
    /// Holds it, and what was counted.
    folder: TempDir,
}

impl Steps {
    /// Compiles it.
    ///
    /// # Errors
    /// When there is no C compiler, or the system loads no library before others.
    pub fn compile() -> Result<Self, Absent> {
        let folder = preload::folder()?;
        Ok(Self { library: preload::compile("steps", folder.path())?, folder })
    }

    fn count(&self) -> PathBuf {
        self.folder.path().join("counted")
    }

    /// Variables of a process that dies at its `number`-th step, counted from 1.
    pub fn variables(&self, step: Step, number: u64, death: Death) -> Vec<(String, String)> {
        let when = match death {
            Death::Before => "before",
            Death::Halfway => "halfway",
            Death::After => "after",
        };
        let more = [("NOCTURNE_DIE_AT", number.to_string()), ("NOCTURNE_DIE_WHEN", when.to_owned())];
        preload::variables(&self.library, &[&more[..], &of(step)].concat())
    }

    /// Variables of a process that lives; [`Steps::counted`] then says how many steps it made.
    pub fn counting(&self, step: Step) -> Vec<(String, String)> {
        let more = [("NOCTURNE_DIE_COUNTED", self.count().to_string_lossy().into_owned())];
        preload::variables(&self.library, &[&more[..], &of(step)].concat())
    }

    /// How many steps the last process made that counted them and ended by itself; `None` when there was none.
    pub fn counted(&self) -> Option<u64> {
        fs::read_to_string(self.count()).ok()?.parse().ok()
    }
}

fn of(step: Step) -> Vec<(&'static str, String)> {
    match step {
        Step::Change => Vec::new(),
        Step::Send(port) => vec![("NOCTURNE_DIE_PORT", port.to_string())],
        Step::Word(word) => vec![("NOCTURNE_DIE_WORD", word.to_owned())],
    }
}
