//! Batches: the sealed stream, one object a partition and offset range.

use std::collections::BTreeMap;

use bytes::Bytes;
use jiff::Timestamp;
use nocturne_wire::{BatchName, Offset, Partition, Topic, batch::BatchFooter, path, rewrite};

use crate::{Lake, Object, Result};

/// Batches and dead letters of a lake. Readers see the batches that count: one whose place another one took is not listed.
#[derive(Debug, Clone)]
pub struct Batches {
    lake: Lake,
}

/// A batch as the store lists it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredBatch {
    /// Its name.
    pub name: BatchName,
    /// Length of its object.
    pub bytes: u64,
    /// When it was created.
    pub created: Timestamp,
}

/// Where a partition's rows lie.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BatchPaths {
    /// Batches, in the order of offsets.
    pub batches: Vec<String>,
    /// Their dead letters. Those of an attempt that died before its commit may be among them, under the same first offset.
    pub dead_letters: Vec<String>,
}

/// Everything that an audit has to read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Auditable {
    /// Objects, in the order of their paths.
    pub objects: Vec<Object>,
    /// Batches and dead letters that no reader sees any more, because others took their place.
    pub superseded: Vec<String>,
}

/// Folders whose objects an audit reads; what explains gaps comes last, so that no gap is seen whose reason was written after the listing.
const AUDITED: [&str; 8] = [
    "interactions",
    "feedback",
    path::DEAD_LETTERS,
    path::EPOCHS,
    path::REWRITES,
    path::ERASURES,
    path::TOMBSTONES,
    path::SWEEPS,
];

impl Batches {
    pub(crate) fn new(lake: Lake) -> Self {
        Self { lake }
    }

    /// A topic's batches by partition, in the order of first offsets. Objects with foreign names are left to the audit.
    ///
    /// # Errors
    /// When the lake cannot be listed.
    pub async fn list(&self, topic: Topic) -> Result<BTreeMap<Partition, Vec<BatchName>>> {
        let mut partitions = BTreeMap::<_, Vec<_>>::new();
        for object in self.lake.list(&path::topic_root(topic)).await? {
            if let Some(name) = path::parse_batch(&object.path) {
                partitions.entry(name.partition).or_default().push(name);
            }
        }
        Ok(partitions.into_iter().map(|(partition, names)| (partition, rewrite::live(names).batches)).collect())
    }

    /// One partition's batches, in the order of first offsets.
    ///
    /// # Errors
    /// When the lake cannot be listed.
    pub async fn names(&self, topic: Topic, partition: Partition) -> Result<Vec<BatchName>> {
        let stored = self.stored(topic, partition).await?;
        Ok(stored.into_iter().map(|batch| batch.name).collect())
    }

    /// One partition's batches with their sizes and ages, in the order of first offsets.
    ///
    /// # Errors
    /// When the lake cannot be listed.
    pub async fn stored(&self, topic: Topic, partition: Partition) -> Result<Vec<StoredBatch>> {
        let objects = self.lake.list(&path::partition(topic, partition)).await?;
        let stored = objects.iter().filter_map(|object| {
            let name = path::parse_batch(&object.path)?;
            Some((name, StoredBatch { name, bytes: object.bytes, created: object.created }))
        });
        let mut stored: BTreeMap<_, _> = stored.collect();
        let live = rewrite::live(stored.keys().copied().collect()).batches;
        Ok(live.iter().filter_map(|name| stored.remove(name)).collect())
    }

    /// The newest batch of a partition; the offset that follows it is in its footer.
    ///
    /// # Errors
    /// When the lake cannot be listed.
    pub async fn last(&self, topic: Topic, partition: Partition) -> Result<Option<BatchName>> {
        Ok(self.names(topic, partition).await?.pop())
    }

    /// Reads a batch.
    ///
    /// # Errors
    /// [`crate::LakeError::NotFound`] when there is none of that name.
    pub async fn get(&self, name: &BatchName) -> Result<Bytes> {
        self.lake.get(&path::batch(name)).await
    }

    /// Reads the dead letters of a batch.
    ///
    /// # Errors
    /// [`crate::LakeError::NotFound`] when the batch has none.
    pub async fn dead_letters(&self, footer: &BatchFooter) -> Result<Bytes> {
        self.lake.get(&path::dead_letters(footer)).await
    }

    /// Paths of a topic's batches that count, and of their dead letters, by partition.
    ///
    /// # Errors
    /// When the lake cannot be listed.
    pub async fn paths(&self, topic: Topic) -> Result<BTreeMap<Partition, BatchPaths>> {
        let mut partitions: BTreeMap<Partition, BatchPaths> = BTreeMap::new();
        for (partition, names) in self.list(topic).await? {
            let letters = self.lake.list(&path::dead_letters_of(topic, partition)).await?;
            let paths = partitions.entry(partition).or_default();
            paths.batches = names.iter().map(path::batch).collect();
            let committed =
                |object: &Object| path::parse_dead_letters(&object.path).is_some_and(|(name, _)| names.contains(&name));
            paths.dead_letters = letters.into_iter().filter(committed).map(|object| object.path).collect();
        }
        Ok(partitions)
    }

    /// Seals a batch: its dead letters first, then the batch itself, which commits both.
    ///
    /// Dead letters that are already there come from an attempt at the same range that died before its commit; one that found others in it has written
    /// them under another name, for that holds their digest.
    ///
    /// # Errors
    /// [`crate::LakeError::AlreadyExists`] when another writer sealed from the same offset first: read [`Batches::last`] and go on
    /// after it.
    pub async fn seal(&self, footer: &BatchFooter, parquet: Bytes, dead_letters: Option<Bytes>) -> Result<()> {
        if let Some(bytes) = dead_letters {
            match self.lake.create(&path::dead_letters(footer), bytes).await {
                Err(error) if !error.is_already_exists() => return Err(error),
                _ => {}
            }
        }
        self.lake.create(&path::batch(&footer.name), parquet).await
    }

    /// Removes dead letters of attempts at a batch that died, once the batch is there: they lie under its name with another end or digest. `committed` are the
    /// paths of batches' own dead letters. Says how many objects that were.
    ///
    /// # Errors
    /// When the lake cannot be listed, or an object cannot be removed.
    pub async fn remove_abandoned(
        &self,
        topic: Topic,
        partition: Partition,
        committed: &BTreeMap<BatchName, String>,
    ) -> Result<usize> {
        let mut removed = 0;
        for object in self.lake.list(&path::dead_letters_of(topic, partition)).await? {
            let abandoned = path::parse_dead_letters(&object.path)
                .is_some_and(|(name, _)| committed.get(&name).is_some_and(|own| *own != object.path));
            if abandoned {
                self.lake.remove(&object.path).await?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// Removes batches whose place another one took, with their dead letters.
    ///
    /// # Errors
    /// When an object cannot be removed.
    pub async fn remove_replaced(&self, replaced: &[BatchFooter]) -> Result<usize> {
        let mut removed = 0;
        for footer in replaced {
            // Dead letters first: as long as a batch is there, whoever comes next finds what is left to do.
            if footer.dead > 0 {
                self.lake.remove(&path::dead_letters(footer)).await?;
                removed += 1;
            }
            self.lake.remove(&path::batch(&footer.name)).await?;
            removed += 1;
        }
        Ok(removed)
    }

    /// Removes what others took the place of in a partition, batches and dead letters, and says how many objects that were.
    ///
    /// # Errors
    /// When the lake cannot be listed, or an object cannot be removed.
    pub async fn remove_superseded(&self, topic: Topic, partition: Partition) -> Result<usize> {
        let superseded = superseded(&self.objects(topic, partition).await?);
        for path in &superseded {
            self.lake.remove(path).await?;
        }
        Ok(superseded.len())
    }

    /// Removes a partition's batches up to an offset, with their dead letters: what retention claimed. The newest batch stays whatever the offset is, because
    /// it says where sealing goes on.
    ///
    /// # Errors
    /// When the lake cannot be listed, or an object cannot be removed.
    pub(crate) async fn retire(&self, topic: Topic, partition: Partition, last: Offset) -> Result<usize> {
        let newest = self.last(topic, partition).await?;
        let mut removed = 0;
        let mut objects = self.objects(topic, partition).await?;
        // Dead letters first: as long as a batch is there the claim is not done.
        objects.sort_by_key(|object| path::parse_batch(&object.path).is_some());
        for object in objects {
            let batch = path::parse_batch(&object.path).or(path::parse_dead_letters(&object.path).map(|(name, _)| name));
            if batch.is_some_and(|name| name.first <= last && newest.is_some_and(|newest| name.first < newest.first)) {
                self.lake.remove(&object.path).await?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    async fn objects(&self, topic: Topic, partition: Partition) -> Result<Vec<Object>> {
        let mut objects = self.lake.list(&path::partition(topic, partition)).await?;
        objects.extend(self.lake.list(&path::dead_letters_of(topic, partition)).await?);
        Ok(objects)
    }
}

impl Lake {
    /// Lists what an audit has to read.
    ///
    /// # Errors
    /// When the lake cannot be listed.
    pub async fn auditable(&self) -> Result<Auditable> {
        let mut objects = Vec::new();
        for folder in AUDITED {
            objects.extend(self.list(folder).await?);
        }
        let superseded = superseded(&objects);
        objects.retain(|object| superseded.binary_search(&object.path).is_err());
        Ok(Auditable { objects, superseded })
    }
}

/// A partition's objects.
#[derive(Default)]
struct Found<'a> {
    batches: Vec<BatchName>,
    /// Batches and dead letters by path, under the name of their batch.
    all: Vec<(&'a str, BatchName)>,
}

/// Paths of batches that do not count any more, and of dead letters of batches that another one took the place of; sorted.
fn superseded(objects: &[Object]) -> Vec<String> {
    let mut partitions: BTreeMap<(Topic, Partition), Found<'_>> = BTreeMap::new();
    for Object { path, .. } in objects {
        if let Some(name) = path::parse_batch(path) {
            let found = partitions.entry((name.topic, name.partition)).or_default();
            found.batches.push(name);
            found.all.push((path, name));
        } else if let Some((name, _)) = path::parse_dead_letters(path) {
            partitions.entry((name.topic, name.partition)).or_default().all.push((path, name));
        }
    }
    let mut superseded = Vec::new();
    for Found { batches, all } in partitions.into_values() {
        let live = rewrite::live(batches);
        superseded.extend(all.into_iter().filter(|(_, name)| live.replaced(name)).map(|(path, _)| path.to_owned()));
    }
    superseded.sort_unstable();
    superseded
}
