//! The handle: locations, and objects by their path.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use bytes::Bytes;
use futures::TryStreamExt as _;
use jiff::Timestamp;
use nocturne_wire::{Topic, avro, id::NightId, path, plan::NightPlan};
use object_store::{
    ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, PutPayload, local::LocalFileSystem, memory::InMemory,
    path::Path as StorePath,
};
use serde::{Serialize, de::DeserializeOwned};

use crate::{Bases, Batches, Epochs, Erasures, Generations, LakeError, Ledger, Nights, Result, Rewrites, local, remote};

const MEMORY: &str = "memory://";
const FILE: &str = "file://";

/// One object in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Its path in the lake.
    pub path: String,
    /// Its length.
    pub bytes: u64,
    /// When it was created.
    pub created: Timestamp,
}

/// A lake; clones share it.
#[derive(Debug, Clone)]
pub struct Lake {
    pub(crate) store: Arc<dyn ObjectStore>,
    /// Set when the lake is a folder of this machine, whose writes we make durable ourselves.
    root: Option<Arc<LocalRoot>>,
    location: Arc<str>,
}

#[derive(Debug)]
struct LocalRoot {
    folder: PathBuf,
    files: LocalFileSystem,
}

impl Lake {
    /// Opens the lake at a directory (created when absent), a `file://` URL, a fresh one at `memory://`, or one in a bucket: `s3://bucket/folder`,
    /// `gs://bucket/folder`, `az://container/folder`. Endpoint and credentials come from the environment, under the names that the stores' own
    /// tools use (`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT_URL`, `GOOGLE_SERVICE_ACCOUNT`, `AZURE_STORAGE_ACCOUNT_NAME` …).
    ///
    /// # Errors
    /// When the location has another scheme, or the directory can be neither found nor created.
    pub fn open(location: &str) -> Result<Self> {
        Self::open_with(location, &BTreeMap::new())
    }

    /// [`Lake::open`] with options of the store, such as `aws_endpoint_url`; they win over the environment.
    ///
    /// # Errors
    /// As [`Lake::open`], and when an option is unknown.
    pub fn open_with(location: &str, options: &BTreeMap<String, String>) -> Result<Self> {
        if location == MEMORY {
            return Ok(Self::memory());
        }
        let folder = location.strip_prefix(FILE).unwrap_or(location);
        if folder.contains("://") {
            let store = remote::open(location, options)?;
            return Ok(Self { store, root: None, location: location.trim_end_matches('/').into() });
        }
        if folder.is_empty() {
            return Err(LakeError::refused(format!("lake location `{location}`"), "it names no directory"));
        }
        let failed = |source| LakeError::Unavailable { action: "opening", path: location.to_owned(), source };
        std::fs::create_dir_all(folder).map_err(|error| failed(error.into()))?;
        let folder = std::fs::canonicalize(folder).map_err(|error| failed(error.into()))?;
        let files = LocalFileSystem::new_with_prefix(&folder).map_err(|error| failed(error.into()))?;
        Ok(Self {
            store: Arc::new(files.clone()),
            location: folder.to_string_lossy().into(),
            root: Some(Arc::new(LocalRoot { folder, files })),
        })
    }

    /// A fresh lake in memory.
    pub fn memory() -> Self {
        Self::over(Arc::new(InMemory::new()), MEMORY)
    }

    /// A lake over any store, for decorators that inject faults.
    pub fn over(store: Arc<dyn ObjectStore>, location: &str) -> Self {
        Self { store, root: None, location: location.into() }
    }

    /// Opens the lake that holds a plan, and reads the plan; the location is what [`Nights::plan_location`] gave.
    ///
    /// # Errors
    /// When the location does not end like a plan's, or the plan cannot be read.
    pub async fn open_plan(location: &str, options: &BTreeMap<String, String>) -> Result<(Self, NightPlan)> {
        let refused = || LakeError::refused(format!("plan location `{location}`"), "it does not end in nights/<night>/plan.json");
        let rest = location.strip_suffix("/plan.json").ok_or_else(refused)?;
        let (rest, night) = rest.rsplit_once('/').ok_or_else(refused)?;
        let lake = rest.strip_suffix(path::NIGHTS).and_then(|lake| lake.strip_suffix('/')).ok_or_else(refused)?;
        let night = NightId::parse(night).map_err(|_| refused())?;
        let lake = Self::open_with(lake, options)?;
        let plan = lake.nights().plan(&night).await?;
        Ok((lake, plan))
    }

    /// Where the lake is: what [`Lake::open`] takes.
    pub fn location(&self) -> &str {
        &self.location
    }

    /// The store beneath, for engines that read objects in parts. Nothing may be written through it.
    pub fn store(&self) -> Arc<dyn ObjectStore> {
        self.store.clone()
    }

    /// Batches and dead letters.
    pub fn batches(&self) -> Batches {
        Batches::new(self.clone())
    }

    /// Accepted breaks in the offsets of topics.
    pub fn epochs(&self) -> Epochs {
        Epochs::new(self.clone())
    }

    /// Claims on rewriting batches.
    pub fn rewrites(&self) -> Rewrites {
        Rewrites::new(self.clone())
    }

    /// Subjects that are forgotten.
    pub fn erasures(&self) -> Erasures {
        Erasures::new(self.clone())
    }

    /// A channel's ledger.
    pub fn ledger(&self, channel: &str) -> Ledger {
        Ledger::new(self.clone(), channel)
    }

    /// Generations.
    pub fn generations(&self) -> Generations {
        Generations::new(self.clone())
    }

    /// Bases.
    pub fn bases(&self) -> Bases {
        Bases::new(self.clone())
    }

    /// Nights.
    pub fn nights(&self) -> Nights {
        Nights::new(self.clone())
    }

    /// Publishes the schemas that this release writes with, so that earlier releases can read its records.
    ///
    /// # Errors
    /// As [`Lake::create_or_same`].
    pub async fn publish_schemas(&self) -> Result<()> {
        for topic in Topic::ALL {
            let text = Bytes::from_static(avro::schema(topic).as_bytes());
            match self.create(&path::schema(avro::fingerprint(topic)), text).await {
                // A release may change words in a schema that do not change its fingerprint.
                Err(error) if !error.is_already_exists() => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// The text of a published schema; `None` when nobody published it.
    ///
    /// # Errors
    /// When the lake cannot be read.
    pub async fn schema_text(&self, fingerprint: u64) -> Result<Option<Bytes>> {
        match self.get(&path::schema(fingerprint)).await {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Creates an object: all of it, durably, or nothing.
    ///
    /// # Errors
    /// [`LakeError::AlreadyExists`] when the name is taken, [`LakeError::Full`] when there is no space.
    pub async fn create(&self, path: &str, bytes: impl Into<Bytes> + Send) -> Result<()> {
        let bytes = bytes.into();
        let name = parse(path)?;
        let Some(root) = self.root.clone() else {
            let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
            let put = self.store.put_opts(&name, PutPayload::from(bytes), options).await;
            return put.map(drop).map_err(|error| LakeError::of_store("creating", path, error));
        };
        let target = root.files.path_to_filesystem(&name).map_err(|error| LakeError::of_store("creating", path, error))?;
        let written = tokio::task::spawn_blocking(move || local::create(&root.folder, &target, &bytes)).await;
        match written {
            Ok(outcome) => outcome.map_err(|error| LakeError::of_io("creating", path, error)),
            Err(error) => Err(LakeError::Unavailable { action: "creating", path: path.to_owned(), source: error.into() }),
        }
    }

    /// Creates an object, or finds it there with the same bytes: for retries of what a crash interrupted.
    ///
    /// # Errors
    /// As [`Lake::create`]; [`LakeError::AlreadyExists`] only when the bytes differ.
    pub async fn create_or_same(&self, path: &str, bytes: Bytes) -> Result<()> {
        match self.create(path, bytes.clone()).await {
            Err(taken) if taken.is_already_exists() => {
                if self.get(path).await? == bytes {
                    Ok(())
                } else {
                    Err(taken)
                }
            }
            outcome => outcome,
        }
    }

    /// Creates an object that holds a value as JSON, indented for people.
    ///
    /// # Errors
    /// As [`Lake::create`].
    pub async fn create_json<T: Serialize + Sync>(&self, path: &str, value: &T) -> Result<()> {
        let mut bytes =
            serde_json::to_vec_pretty(value).map_err(|error| LakeError::refused(format!("`{path}`"), error.to_string()))?;
        bytes.push(b'\n');
        self.create(path, bytes).await
    }

    /// Reads an object.
    ///
    /// # Errors
    /// [`LakeError::NotFound`] when there is none.
    pub async fn get(&self, path: &str) -> Result<Bytes> {
        let name = parse(path)?;
        let failed = |error| LakeError::of_store("reading", path, error);
        self.store.get(&name).await.map_err(failed)?.bytes().await.map_err(failed)
    }

    /// Whether there is an object of that name.
    ///
    /// # Errors
    /// When the store cannot be asked.
    pub async fn exists(&self, path: &str) -> Result<bool> {
        match self.store.head(&parse(path)?).await.map_err(|error| LakeError::of_store("looking for", path, error)) {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Reads an object that holds JSON.
    ///
    /// # Errors
    /// [`LakeError::NotFound`] when there is none, [`LakeError::Damaged`] when it does not parse.
    pub async fn get_json<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        let bytes = self.get(path).await?;
        serde_json::from_slice(&bytes)
            .map_err(|error| LakeError::damaged(path, error.to_string(), "restore it from a copy of the lake"))
    }

    /// Every object under a folder, at any depth, in the order of paths; an empty prefix means all.
    ///
    /// # Errors
    /// When the store cannot list.
    pub async fn list(&self, prefix: &str) -> Result<Vec<Object>> {
        let folder = parse(prefix)?;
        let listing = self.store.list(Some(&folder)).map_ok(|meta| Object {
            // A store without a sane clock gives objects that were always there.
            created: Timestamp::from_microsecond(meta.last_modified.timestamp_micros()).unwrap_or_default(),
            path: meta.location.into(),
            bytes: meta.size,
        });
        let mut objects: Vec<_> = listing.try_collect().await.map_err(|error| LakeError::of_store("listing", prefix, error))?;
        objects.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        Ok(objects)
    }

    /// Names of the folders directly under a folder, sorted.
    ///
    /// # Errors
    /// When the store cannot list.
    pub async fn list_dirs(&self, prefix: &str) -> Result<Vec<String>> {
        let listing = self.store.list_with_delimiter(Some(&parse(prefix)?)).await;
        let listing = listing.map_err(|error| LakeError::of_store("listing", prefix, error))?;
        let names = listing.common_prefixes.iter().filter_map(|folder| folder.filename().map(str::to_owned));
        let mut names: Vec<_> = names.collect();
        names.sort_unstable();
        Ok(names)
    }

    /// What writers left behind when they died: staging files and files of generations without a manifest. They are invisible to
    /// readers and may be removed by hand.
    ///
    /// # Errors
    /// When the lake cannot be listed.
    pub async fn orphans(&self) -> Result<Vec<String>> {
        let mut orphans = self.generations().unfinished().await?;
        if let Some(root) = self.root.clone() {
            let walked = tokio::task::spawn_blocking(move || local::staged(&root.folder)).await;
            let failed = |source| LakeError::Unavailable { action: "listing", path: self.location().to_owned(), source };
            let staged = walked.map_err(|error| failed(error.into()))?;
            orphans.extend(staged.map_err(|error| failed(error.into()))?);
        }
        orphans.sort_unstable();
        Ok(orphans)
    }
}

fn parse(path: &str) -> Result<StorePath> {
    StorePath::parse(path).map_err(|error| LakeError::refused(format!("object name `{path}`"), error.to_string()))
}
