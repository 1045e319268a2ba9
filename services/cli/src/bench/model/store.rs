//! What was measured already: a file a cell, with the settings that it was measured with.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::Context;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tempfile::NamedTempFile;

use crate::failure::Advise;

/// A folder of cells.
#[derive(Debug)]
pub(super) struct Store {
    cells: PathBuf,
    again: bool,
}

/// What a file holds.
#[derive(Serialize, Deserialize)]
struct Filed<S, R> {
    settings: S,
    result: R,
}

/// Something that was measured now or earlier.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Kept<R> {
    pub(super) result: R,
    /// Whether it was read instead of measured.
    pub(super) earlier: bool,
}

impl Store {
    /// The store of a directory, which is made; with `again` everything is measured anew.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub(super) fn open(out: &Path, again: bool) -> anyhow::Result<Self> {
        let cells = out.join("cells");
        fs::create_dir_all(&cells).advise(format!("making {}", cells.display()), "give another directory with --out")?;
        Ok(Self { cells, again })
    }

    /// What was measured under this name with equal settings; else it is measured now, and written at once.
    ///
    /// A file that cannot be read counts as none: it was written by another release, or by somebody else.
    ///
    /// # Errors
    /// When it cannot be measured or written.
    pub(super) fn keep<R: Serialize + DeserializeOwned>(
        &self,
        name: &str,
        settings: &impl Serialize,
        measure: impl FnOnce() -> anyhow::Result<R>,
    ) -> anyhow::Result<Kept<R>> {
        let file = self.cells.join(format!("{name}.json"));
        let settings = canonical(settings)?;
        if let Some(result) = self.read(&file, &settings) {
            return Ok(Kept { result, earlier: true });
        }
        let filed = Filed { settings, result: measure()? };
        self.write(&file, &filed).advise(format!("writing {}", file.display()), "give another directory with --out")?;
        Ok(Kept { result: filed.result, earlier: false })
    }

    fn read<R: DeserializeOwned>(&self, file: &Path, settings: &serde_json::Value) -> Option<R> {
        let text = fs::read(file).ok().filter(|_| !self.again)?;
        let filed: Filed<serde_json::Value, R> = serde_json::from_slice(&text).ok()?;
        (filed.settings == *settings).then_some(filed.result)
    }

    /// Under another name first, so that a run that is killed leaves no half of a file.
    fn write(&self, file: &Path, filed: &impl Serialize) -> anyhow::Result<()> {
        let mut temporary = NamedTempFile::new_in(&self.cells)?;
        temporary.write_all(&serde_json::to_vec_pretty(filed)?)?;
        temporary.persist(file)?;
        Ok(())
    }
}

/// Settings as a file gives them back: numbers that were written and read compare equal, those that were only computed may not.
fn canonical(settings: &impl Serialize) -> anyhow::Result<serde_json::Value> {
    let text = serde_json::to_string(settings).context("writing settings as JSON")?;
    serde_json::from_str(&text).context("reading settings as JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(store: &Store, name: &str, settings: f64, result: u32) -> Kept<u32> {
        store.keep(name, &settings, || Ok(result)).expect("kept")
    }

    #[test]
    fn what_was_measured_with_equal_settings_is_not_measured_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(folder.path(), false).expect("opened");
        assert_eq!(kept(&store, "a", 0.1 + 0.2, 1), Kept { result: 1, earlier: false });
        assert_eq!(kept(&store, "a", 0.1 + 0.2, 2), Kept { result: 1, earlier: true });
        assert_eq!(kept(&store, "b", 0.1 + 0.2, 3), Kept { result: 3, earlier: false }, "another cell");
        assert_eq!(kept(&store, "a", 0.4, 4), Kept { result: 4, earlier: false }, "other settings");
        assert_eq!(kept(&store, "a", 0.4, 5), Kept { result: 4, earlier: true }, "which replaced the earlier ones");
        let again = Store::open(folder.path(), true).expect("opened");
        assert_eq!(kept(&again, "a", 0.4, 6), Kept { result: 6, earlier: false });
    }

    #[test]
    fn what_cannot_be_read_or_was_not_finished_is_measured() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(folder.path(), false).expect("opened");
        fs::write(folder.path().join("cells/a.json"), "{\"settings\": 0.5, \"res").expect("written");
        assert_eq!(kept(&store, "a", 0.5, 1), Kept { result: 1, earlier: false });
        let failed = store.keep::<u32>("b", &0.5, || anyhow::bail!("no memory"));
        assert!(failed.is_err() && !folder.path().join("cells/b.json").exists());
        let files = fs::read_dir(folder.path().join("cells")).expect("a folder").count();
        assert_eq!(files, 1, "no temporary file stays");
    }
}
