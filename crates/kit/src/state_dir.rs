//! One state directory, owned by one process.
//!
//! The lock is the operating system's (`flock`), so that it ends with its process, however that ends: a lock file that outlives a
//! `kill -9` would need a person to remove it. The process id inside the file is only for the message.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Seek, Write},
    path::{Path, PathBuf},
};

/// Why a state directory was not taken.
#[derive(Debug, thiserror::Error)]
pub enum StateDirError {
    /// Another process owns it.
    #[error(
        "the state directory {} is in use by {}; stop that process or choose another directory",
        dir.display(),
        pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
    )]
    InUse {
        /// The directory.
        dir: PathBuf,
        /// The owner, when it has written its id.
        pid: Option<u32>,
    },
    /// The directory or its lock file cannot be made or written.
    #[error("taking the state directory {}", dir.display())]
    Io {
        /// The directory.
        dir: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// A state directory that this process owns until the value is dropped.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    _lock: File,
}

impl StateDir {
    /// Makes the directory when it is missing (readable by its owner only: it holds conversations) and takes it.
    ///
    /// # Errors
    /// When another process owns it, or it cannot be made or written.
    pub fn take(path: impl Into<PathBuf>) -> Result<Self, StateDirError> {
        let path = path.into();
        let failed = |source| StateDirError::Io { dir: path.clone(), source };
        create_private(&path).map_err(failed)?;
        let mut lock =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path.join("lock")).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                let pid = lock.read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
                return Err(StateDirError::InUse { dir: path, pid });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        record_owner(&mut lock).map_err(failed)?;
        Ok(Self { path, _lock: lock })
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A path under the directory.
    pub fn join(&self, part: impl AsRef<Path>) -> PathBuf {
        self.path.join(part)
    }
}

fn record_owner(lock: &mut File) -> io::Result<()> {
    lock.set_len(0)?;
    lock.rewind()?;
    writeln!(lock, "{}", std::process::id())
}

fn create_private(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_has_one_owner_and_the_refusal_names_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("state/deep");
        let owner = StateDir::take(&path).expect("free");
        let refused = StateDir::take(&path).expect_err("owned").to_string();
        assert!(refused.contains(&format!("in use by process {}; stop", std::process::id())), "{refused}");
        drop(owner);
        StateDir::take(&path).expect("free again");
    }

    #[test]
    fn the_id_of_a_dead_owner_is_overwritten() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("lock"), "4000000000\n").expect("written");
        let taken = StateDir::take(folder.path()).expect("nobody holds the lock");
        let text = fs::read_to_string(taken.join("lock")).expect("readable");
        assert_eq!(text.trim(), std::process::id().to_string());
    }

    #[test]
    fn a_path_that_is_a_file_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("file");
        fs::write(&file, "").expect("written");
        let refused = StateDir::take(&file).expect_err("not a directory");
        assert!(matches!(refused, StateDirError::Io { .. }));
    }

    #[cfg(unix)]
    #[test]
    fn a_new_directory_is_readable_by_its_owner_only() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("a folder");
        let taken = StateDir::take(folder.path().join("state")).expect("free");
        let mode = fs::metadata(taken.path()).expect("exists").permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }
}
