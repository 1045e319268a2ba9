//! Processes whose clocks jump while they run.

use std::{fs::File, io, os::unix::fs::FileExt as _, path::PathBuf, process::Command};

use tempfile::TempDir;

use crate::{preload, script::Absent};

const HOUR: i64 = 3600;

/// The clocks of the processes that were started with [`Clock::variables`].
#[derive(Debug)]
pub struct Clock {
    library: PathBuf,
    path: PathBuf,
    /// Seconds by which the wall clock and the one that only grows are ahead; the processes share its memory.
    ahead: File,
    _folder: TempDir,
}

impl Clock {
    /// Compiles the library that stands before the system's clocks.
    ///
    /// # Errors
    /// When there is no C compiler, or the system loads no library before others.
    pub fn compile() -> Result<Self, Absent> {
        let folder = preload::folder()?;
        let (library, path) = (preload::compile("clock", folder.path())?, folder.path().join("clock"));
        let ahead = File::create(&path).map_err(|error| Absent(format!("making {}: {error}", path.display())))?;
        let clock = Self { library, path, ahead, _folder: folder };
        clock.set_steady(0).and_then(|()| clock.set_wall(HOUR)).map_err(|error| Absent(format!("setting a clock: {error}")))?;
        clock.is_an_hour_ahead()?;
        clock.set_wall(0).map_err(|error| Absent(format!("setting a clock: {error}")))?;
        Ok(clock)
    }

    /// A clock that does not jump would let every test of jumps pass.
    fn is_an_hour_ahead(&self) -> Result<(), Absent> {
        let time = |variables: &[(String, String)]| -> Option<i64> {
            let output = Command::new("date").arg("+%s").envs(variables.iter().cloned()).output().ok()?;
            String::from_utf8(output.stdout).ok()?.trim().parse().ok()
        };
        match (time(&[]), time(&self.variables())) {
            (Some(now), Some(ahead)) if ahead - now > HOUR / 2 => Ok(()),
            told => Err(Absent(format!("clocks of processes do not jump here: {told:?}"))),
        }
    }

    /// Variables of a process that goes by these clocks.
    pub fn variables(&self) -> Vec<(String, String)> {
        preload::variables(&self.library, &[("NOCTURNE_CLOCK", self.path.to_string_lossy().into_owned())])
    }

    /// Has the wall clock be so many seconds ahead of the system's, or behind it.
    ///
    /// # Errors
    /// When that cannot be written.
    pub fn set_wall(&self, seconds: i64) -> io::Result<()> {
        self.ahead.write_all_at(&seconds.to_ne_bytes(), 0)
    }

    /// Has the clock that only grows be so many seconds ahead, as a machine shows that slept, or was moved to another host.
    ///
    /// # Errors
    /// When that cannot be written.
    pub fn set_steady(&self, seconds: u64) -> io::Result<()> {
        self.ahead.write_all_at(&seconds.to_ne_bytes(), 8)
    }
}
