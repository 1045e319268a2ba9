//! A file system so small that it is filled up in no time.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use crate::script::{self, Absent, Guardian};

/// It lies in memory and is gone with its value.
#[derive(Debug)]
pub struct SmallDisk {
    path: PathBuf,
    _guardian: Guardian,
}

impl SmallDisk {
    /// Mounts one of so many bytes.
    ///
    /// # Errors
    /// When this process may not mount anything.
    pub fn mount(bytes: u64) -> Result<Self, Absent> {
        let data = script::data()?;
        let guardian = Guardian::over("disk-unmount.sh", &data)?;
        let mounted = script::run("disk-mount.sh", &[&data.to_string_lossy(), &bytes.to_string()], &[]);
        mounted.map_err(|Absent(why)| Absent(format!("a small file system cannot be mounted: {why}")))?;
        Ok(Self { path: data.join("disk"), _guardian: guardian })
    }

    /// Its folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes all room that is left.
    ///
    /// # Errors
    /// When that fails for another reason than that there is none.
    pub fn fill(&self) -> io::Result<()> {
        let mut ballast = fs::File::create(self.ballast())?;
        loop {
            match ballast.write_all(&[0; 4096]) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::StorageFull => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// Gives it back.
    ///
    /// # Errors
    /// When nothing was taken.
    pub fn make_room(&self) -> io::Result<()> {
        fs::remove_file(self.ballast())
    }

    fn ballast(&self) -> PathBuf {
        self.path.join("ballast")
    }
}
