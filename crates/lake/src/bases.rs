//! Bases: the model that a lineage starts from, named by what it is made of.

use std::collections::BTreeMap;

use bytes::Bytes;
use nocturne_wire::{Sha256Hex, path};

use crate::{Lake, LakeError, Result};

const FOLDER: &str = "bases";
const HINT: &str = "import the base again, or restore it from a copy of the lake";

/// The bases of a lake.
#[derive(Debug, Clone)]
pub struct Bases {
    lake: Lake,
}

impl Bases {
    pub(crate) fn new(lake: Lake) -> Self {
        Self { lake }
    }

    /// The fingerprint of a base: SHA-256 over `name sha256\n` of every file, in the order of names.
    pub fn fingerprint_of<'a>(files: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Sha256Hex {
        let mut lines: Vec<_> = files.into_iter().map(|(name, bytes)| format!("{name} {}\n", Sha256Hex::of(bytes))).collect();
        lines.sort_unstable();
        Sha256Hex::of(lines.concat().as_bytes())
    }

    /// Stores a base; storing it again changes nothing.
    ///
    /// # Errors
    /// [`LakeError::Refused`] when a name is a path; [`LakeError::Damaged`] when the lake holds other bytes under the fingerprint.
    pub async fn put(&self, files: &[(String, Bytes)]) -> Result<Sha256Hex> {
        if files.is_empty() {
            return Err(LakeError::refused("a base", "it has no files"));
        }
        if let Some((name, _)) = files.iter().find(|(name, _)| name.contains(['/', '#', '\n'])) {
            return Err(LakeError::refused(format!("base file `{name}`"), "its name must be a plain file name"));
        }
        let fingerprint = Self::fingerprint_of(files.iter().map(|(name, bytes)| (name.as_str(), bytes.as_ref())));
        for (name, bytes) in files {
            let path = path::base_file(&fingerprint, name);
            match self.lake.create_or_same(&path, bytes.clone()).await {
                Err(error) if error.is_already_exists() => {
                    return Err(LakeError::damaged(path, "the lake holds other bytes under this fingerprint", HINT));
                }
                outcome => outcome?,
            }
        }
        Ok(fingerprint)
    }

    /// Reads a base and verifies that its files give its fingerprint.
    ///
    /// # Errors
    /// [`LakeError::NotFound`] when there is none; [`LakeError::Damaged`] when a file is missing, foreign or changed.
    pub async fn fetch(&self, fingerprint: &Sha256Hex) -> Result<BTreeMap<String, Bytes>> {
        let folder = format!("{FOLDER}/{fingerprint}");
        let mut files = BTreeMap::new();
        for object in self.lake.list(&folder).await? {
            let name = object.path.strip_prefix(&folder).and_then(|rest| rest.strip_prefix('/')).unwrap_or(&object.path);
            files.insert(name.to_owned(), self.lake.get(&object.path).await?);
        }
        if files.is_empty() {
            return Err(LakeError::NotFound { path: folder });
        }
        let found = Self::fingerprint_of(files.iter().map(|(name, bytes)| (name.as_str(), bytes.as_ref())));
        if found == *fingerprint {
            return Ok(files);
        }
        let names = files.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        Err(LakeError::damaged(folder, format!("its files ({names}) hash to {}: one is missing or changed", found.short()), HINT))
    }

    /// Fingerprints of all bases, sorted.
    ///
    /// # Errors
    /// When the lake cannot be listed.
    pub async fn list(&self) -> Result<Vec<Sha256Hex>> {
        let names = self.lake.list_dirs(FOLDER).await?;
        Ok(names.into_iter().filter_map(|name| Sha256Hex::parse(name).ok()).collect())
    }
}
