//! Generations: immutable sets of slow banks, committed by their manifest.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use nocturne_wire::{
    Generation, GenerationName, Sha256Hex,
    manifest::{FileEntry, MANIFEST_VERSION, Manifest, OptimizerEntry},
    path,
};

use crate::{Lake, LakeError, Result};

const MANIFEST: &str = "manifest.json";
const OPTIMIZER_HINT: &str =
    "the generation serves without it; restore the file from a copy of the lake, or let nights begin without it";
const HINT: &str = "do not serve it; restore the generation from a copy of the lake or promote another one";

/// The generations of a lake.
#[derive(Debug, Clone)]
pub struct Generations {
    lake: Lake,
}

/// A generation whose every file was found to be what its manifest says.
#[derive(Debug, Clone)]
pub struct Verified {
    /// The manifest.
    pub manifest: Manifest,
    /// The files by their path under the generation's folder.
    pub files: BTreeMap<String, Bytes>,
}

impl Generations {
    pub(crate) fn new(lake: Lake) -> Self {
        Self { lake }
    }

    /// Publishes a generation: the claim on its number first, then its files, its manifest last. A publication that a crash interrupted is taken up again.
    ///
    /// # Errors
    /// [`LakeError::Refused`] when the files are not the ones that the manifest lists; [`LakeError::AlreadyExists`] when the
    /// generation, or another one of the same number, was published before.
    pub async fn publish(&self, manifest: &Manifest, files: &[(String, Bytes)]) -> Result<GenerationName> {
        let name = manifest.name();
        check_content(manifest)
            .and_then(|()| check_listed(manifest, files))
            .map_err(|reason| LakeError::refused(format!("generation {name}"), reason))?;
        if let Some(other) = self.find(manifest.number).await? {
            return Err(LakeError::AlreadyExists { path: path::manifest(&other) });
        }
        // The listing above may have missed a writer that was at it at the same time; the claim does not.
        self.lake.create_or_same(&path::generation_claim(manifest.number), name.to_string().into()).await?;
        for (file, bytes) in files {
            self.lake.create_or_same(&file_path(&name, file), bytes.clone()).await?;
        }
        self.lake.create_json(&path::manifest(&name), manifest).await?;
        tracing::info!(generation = %name, files = files.len(), "generation published");
        Ok(name)
    }

    /// Every published generation, in the order of numbers.
    ///
    /// # Errors
    /// When the lake cannot be listed.
    pub async fn list(&self) -> Result<Vec<GenerationName>> {
        let objects = self.lake.list(path::GENERATIONS).await?;
        let manifests = objects.iter().filter_map(|object| manifest_owner(&object.path));
        let mut names: Vec<_> = manifests.filter_map(|name| name.parse::<GenerationName>().ok()).collect();
        names.sort_unstable();
        Ok(names)
    }

    /// The published generation of a number.
    ///
    /// # Errors
    /// When the lake cannot be listed.
    pub async fn find(&self, number: Generation) -> Result<Option<GenerationName>> {
        Ok(self.list().await?.into_iter().find(|name| name.number() == number))
    }

    /// Reads a manifest and checks it against the generation's name.
    ///
    /// # Errors
    /// [`LakeError::NotFound`] when the generation was never published; [`LakeError::Damaged`] when the manifest is not the name's.
    pub async fn manifest(&self, name: &GenerationName) -> Result<Manifest> {
        let path = path::manifest(name);
        let manifest: Manifest = self.lake.get_json(&path).await?;
        check_content(&manifest).map_err(|reason| LakeError::damaged(&path, reason, HINT))?;
        if manifest.name() != *name {
            return Err(LakeError::damaged(&path, format!("it describes generation {}", manifest.name()), HINT));
        }
        Ok(manifest)
    }

    /// Reads a generation and verifies all of it: the manifest against the name, the base, every file's length and digest.
    /// Digests of single tensors are checked by whoever parses the files.
    ///
    /// # Errors
    /// [`LakeError::Damaged`] naming the first file that is not what the manifest says; [`LakeError::Refused`] when the generation
    /// belongs to another base.
    pub async fn fetch(&self, name: &GenerationName, base: &Sha256Hex) -> Result<Verified> {
        let manifest = self.manifest(name).await?;
        if manifest.base != *base {
            let reason = format!("it was trained on base {}, this process serves base {}", manifest.base.short(), base.short());
            return Err(LakeError::refused(format!("generation {name}"), reason));
        }
        let mut files = BTreeMap::new();
        for entry in &manifest.files {
            files.insert(entry.path.clone(), self.file(name, entry, HINT).await?);
        }
        Ok(Verified { manifest, files })
    }

    /// Reads what the optimizer of a generation's night remembered, verified against its manifest; `None` where nothing was kept. [`Generations::fetch`] leaves it
    /// out: whoever serves has no use for it.
    ///
    /// # Errors
    /// [`LakeError::Damaged`] when the manifest or the file is not what it should be.
    pub async fn fetch_optimizer(&self, name: &GenerationName) -> Result<Option<(OptimizerEntry, Bytes)>> {
        let Some(kept) = self.manifest(name).await?.optimizer else { return Ok(None) };
        let bytes = self.file(name, &kept.file, OPTIMIZER_HINT).await?;
        Ok(Some((kept, bytes)))
    }

    async fn file(&self, name: &GenerationName, entry: &FileEntry, hint: &'static str) -> Result<Bytes> {
        let path = file_path(name, &entry.path);
        let bytes = match self.lake.get(&path).await {
            Err(error) if error.is_not_found() => return Err(LakeError::damaged(path, "the file is missing", hint)),
            outcome => outcome?,
        };
        check_file(entry, &bytes).map_err(|reason| LakeError::damaged(&path, reason, hint))?;
        Ok(bytes)
    }

    /// Objects of generations that have no manifest.
    pub(crate) async fn unfinished(&self) -> Result<Vec<String>> {
        let objects = self.lake.list(path::GENERATIONS).await?;
        let published: BTreeSet<_> = objects.iter().filter_map(|object| manifest_owner(&object.path)).collect();
        let is_claim = |path: &str| path.strip_prefix(path::GENERATION_CLAIMS).is_some_and(|rest| rest.starts_with('/'));
        let objects = objects.iter().filter(|object| !is_claim(&object.path));
        let unfinished = objects.filter(|object| owner(&object.path).is_none_or(|name| !published.contains(name)));
        Ok(unfinished.map(|object| object.path.clone()).collect())
    }
}

fn file_path(name: &GenerationName, file: &str) -> String {
    format!("{}/{file}", path::generation(name))
}

/// The generation that an object belongs to, by its path.
fn owner(path: &str) -> Option<&str> {
    let (name, _) = path.strip_prefix(path::GENERATIONS)?.strip_prefix('/')?.split_once('/')?;
    Some(name)
}

/// The generation that an object is the manifest of.
fn manifest_owner(path: &str) -> Option<&str> {
    let name = owner(path)?;
    path.ends_with(&format!("/{name}/{MANIFEST}")).then_some(name)
}

fn check_content(manifest: &Manifest) -> Result<(), String> {
    if manifest.version != MANIFEST_VERSION {
        return Err(format!("its format is version {}, this release reads version {MANIFEST_VERSION}", manifest.version));
    }
    let content = Manifest::content_of(&manifest.tensors);
    if content == manifest.content {
        Ok(())
    } else {
        Err(format!("its tensors hash to {}, it says {}", content.short(), manifest.content.short()))
    }
}

fn check_listed(manifest: &Manifest, files: &[(String, Bytes)]) -> Result<(), String> {
    let mut given: BTreeMap<_, _> = files.iter().map(|(file, bytes)| (file.as_str(), bytes)).collect();
    for entry in manifest.files.iter().chain(manifest.optimizer.as_ref().map(|kept| &kept.file)) {
        let bytes = given
            .remove(entry.path.as_str())
            .ok_or_else(|| format!("the manifest lists `{}`, which is not given", entry.path))?;
        check_file(entry, bytes).map_err(|reason| format!("`{}`: {reason}", entry.path))?;
    }
    given.keys().next().map_or(Ok(()), |file| Err(format!("`{file}` is given, but the manifest does not list it")))
}

fn check_file(entry: &FileEntry, bytes: &Bytes) -> Result<(), String> {
    if bytes.len() as u64 != entry.bytes {
        return Err(format!("it has {} bytes, the manifest says {}", bytes.len(), entry.bytes));
    }
    let found = Sha256Hex::of(bytes);
    if found == entry.sha256 {
        Ok(())
    } else {
        Err(format!("its SHA-256 begins {}, the manifest says {}", found.short(), entry.sha256.short()))
    }
}
