//! The few file operations that the writer needs, so that tests can make a disk that fills up.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    path::Path,
};

/// An open segment.
pub(crate) trait Sink: Send {
    /// Writes at the end.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Makes what was written durable.
    fn sync(&mut self) -> io::Result<()>;
    /// Cuts the file.
    fn cut(&mut self, length: u64) -> io::Result<()>;
}

/// Makes and opens segments.
pub(crate) trait Disk: Send {
    /// Opens a segment for appending, making it when it is missing, and makes its name durable.
    fn open(&self, path: &Path) -> io::Result<Box<dyn Sink>>;
}

/// The machine's disk.
#[derive(Debug)]
pub(crate) struct Local;

impl Disk for Local {
    fn open(&self, path: &Path) -> io::Result<Box<dyn Sink>> {
        let file = OpenOptions::new().append(true).create(true).open(path)?;
        if let Some(folder) = path.parent() {
            sync_folder(folder)?;
        }
        Ok(Box::new(file))
    }
}

impl Sink for File {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }
}

/// Makes the names in a folder durable.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
