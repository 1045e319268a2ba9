//! The log: opened once a process, shared by handles.

use std::{
    collections::BTreeMap,
    fs, io,
    ops::Range,
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicU64},
    thread,
};

use nocturne_wire::{Offset, Partition, Topic};
use tokio::sync::{mpsc, oneshot};

use super::{
    disk::{Disk, Local, sync_folder},
    intake::Intake,
    partition::{PartitionWriter, View},
    publisher::Publisher,
    recovery::{self, Recovered},
    settings::{LogSettings, OnFull},
    stats::{Counters, Stats, count},
    topic,
    writer::{Command, DropReport, QUEUE_CAPACITY, Shared, Writer},
};

/// Why the log was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The settings contradict themselves.
    #[error("the log's settings: {0}")]
    Settings(String),
    /// The topic on disk has another number of partitions.
    #[error(
        "{topic} in {} has {found} partitions and the settings ask for {asked}; a topic keeps the number it was made with",
        dir.display()
    )]
    Partitions {
        /// The log's directory.
        dir: PathBuf,
        /// The topic.
        topic: Topic,
        /// Partitions on disk.
        found: u32,
        /// Partitions in the settings.
        asked: u32,
    },
    /// A file or folder cannot be made, read or repaired.
    #[error("opening the log in {}", path.display())]
    Io {
        /// What was being opened.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

/// Why the writer did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The log was closed.
    #[error("the log is closed")]
    Closed,
    /// A file operation failed.
    #[error("{doing} {topic} partition {partition} of the log")]
    Io {
        /// `trimming` or `advancing`.
        doing: &'static str,
        /// The topic.
        topic: Topic,
        /// The partition.
        partition: Partition,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

/// A durable, partitioned log in a directory. Clones share it; the last one dropped ends the writer after it has drained.
/// The directory must belong to this process alone (see `nocturne_kit::StateDir`).
#[derive(Debug, Clone)]
pub struct LocalLog {
    publisher: Publisher,
    views: Arc<BTreeMap<(Topic, Partition), Arc<View>>>,
    topic_ids: Arc<BTreeMap<Topic, String>>,
    recovered: Recovered,
}

impl LocalLog {
    /// Opens the log, makes what is missing, and repairs what a crash left. Blocks while segments are read.
    ///
    /// # Errors
    /// When the settings contradict themselves or the topics on disk, or a file cannot be made, read or repaired.
    pub fn open(dir: &Path, settings: &LogSettings) -> Result<Self, OpenError> {
        if settings.on_full == OnFull::DropOldest {
            let fault = "`on_full = \"drop_oldest\"` is for a spool: a log that is sealed accounts for every record".to_owned();
            return Err(OpenError::Settings(fault));
        }
        Self::open_on(dir, settings, false, Box::new(Local))
    }

    /// Opens a log whose records keep their keys, to be sent on elsewhere.
    pub(crate) fn open_keyed(dir: &Path, settings: &LogSettings) -> Result<Self, OpenError> {
        Self::open_on(dir, settings, true, Box::new(Local))
    }

    pub(crate) fn open_on(dir: &Path, settings: &LogSettings, keyed: bool, disk: Box<dyn Disk>) -> Result<Self, OpenError> {
        if let Some(fault) = settings.fault() {
            return Err(OpenError::Settings(fault));
        }
        let opened = Opened::all(dir, settings, &*disk)?;
        let counters =
            Counters { bytes: AtomicU64::new(opened.writers.values().map(PartitionWriter::bytes).sum()), ..Counters::default() };
        let partitions = settings.partitions;
        let shared = Arc::new(Shared { partitions, counters, queued_bytes: AtomicU64::new(0), keyed });
        let (sender, receiver) = mpsc::channel(QUEUE_CAPACITY);
        let writer = Writer {
            partitions: opened.writers,
            disk,
            shared: shared.clone(),
            segment_bytes: settings.segment_bytes,
            max_bytes: settings.max_bytes,
            on_full: settings.on_full,
            durability: settings.durability,
            failing: false,
            drops: DropReport::default(),
        };
        thread::Builder::new()
            .name("log-writer".to_owned())
            .spawn(move || writer.run(receiver))
            .map_err(|source| OpenError::Io { path: dir.to_owned(), source })?;
        Ok(Self {
            publisher: Publisher { commands: sender, shared },
            views: Arc::new(opened.views),
            topic_ids: Arc::new(opened.topic_ids),
            recovered: opened.recovered,
        })
    }

    /// A handle that publishes.
    pub fn publisher(&self) -> Publisher {
        self.publisher.clone()
    }

    /// Every partition of every topic.
    pub fn partitions(&self) -> impl Iterator<Item = (Topic, Partition)> + '_ {
        self.views.keys().copied()
    }

    /// A topic's identity.
    pub fn topic_id(&self, topic: Topic) -> &str {
        self.topic_ids.get(&topic).map_or("", String::as_str)
    }

    /// Whether an identity is one that a log on a disk gives its topics; Kafka's look otherwise.
    pub fn is_topic_id(id: &str) -> bool {
        uuid::Uuid::parse_str(id).is_ok()
    }

    /// The offsets that are there: from the first that was not trimmed to the one after the last durable record.
    pub fn range(&self, topic: Topic, partition: Partition) -> Range<Offset> {
        self.views.get(&(topic, partition)).map_or(Offset(0)..Offset(0), |view| view.start()..*view.end.borrow())
    }

    /// Reads a partition from an offset on; `None` when there is no such partition.
    pub fn intake(&self, topic: Topic, partition: Partition, from: Offset) -> Option<Intake> {
        self.views.get(&(topic, partition)).map(|view| Intake::new(topic, partition, view.clone(), from))
    }

    /// Deletes whole segments whose records are all before `before`.
    ///
    /// # Errors
    /// When a file cannot be deleted or the log is closed.
    pub async fn trim(&self, topic: Topic, partition: Partition, before: Offset) -> Result<(), CommandError> {
        self.command("trimming", topic, partition, |done| Command::Trim { topic, partition, before, done }).await
    }

    /// Moves a partition's end forward to `to`, for offsets that are known to be used although the log lost their records.
    ///
    /// # Errors
    /// When a segment cannot be made or the log is closed.
    pub async fn advance(&self, topic: Topic, partition: Partition, to: Offset) -> Result<(), CommandError> {
        self.command("advancing", topic, partition, |done| Command::Advance { topic, partition, to, done }).await
    }

    async fn command(
        &self,
        doing: &'static str,
        topic: Topic,
        partition: Partition,
        command: impl FnOnce(oneshot::Sender<io::Result<()>>) -> Command,
    ) -> Result<(), CommandError> {
        let (done, answer) = oneshot::channel();
        self.publisher.commands.send(command(done)).await.map_err(|_| CommandError::Closed)?;
        let result = answer.await.map_err(|_| CommandError::Closed)?;
        result.map_err(|source| CommandError::Io { doing, topic, partition, source })
    }

    /// Writes everything that is queued, then refuses more, for every clone.
    pub async fn close(&self) {
        let (done, closed) = oneshot::channel();
        if self.publisher.commands.send(Command::Close { done }).await.is_ok() {
            // The writer answers or is gone; either way it is closed.
            closed.await.ok();
        }
    }

    /// What opening had to repair.
    pub const fn recovered(&self) -> Recovered {
        self.recovered
    }

    /// Deletes records that wait in closed segments before `before`, from a thread that is not the runtime's.
    pub(crate) fn trim_blocking(&self, topic: Topic, partition: Partition, before: Offset) -> Result<(), CommandError> {
        let (done, answer) = oneshot::channel();
        let command = Command::Trim { topic, partition, before, done };
        self.publisher.commands.blocking_send(command).map_err(|_| CommandError::Closed)?;
        let result = answer.blocking_recv().map_err(|_| CommandError::Closed)?;
        result.map_err(|source| CommandError::Io { doing: "trimming", topic, partition, source })
    }

    /// Offset after the oldest segment, when there is a newer one.
    pub(crate) fn first_segment_end(&self, topic: Topic, partition: Partition) -> Option<Offset> {
        let view = self.views.get(&(topic, partition))?;
        view.segment_after(view.start())
    }

    /// Counts records that were deleted before anybody had taken them on.
    pub(crate) fn count_dropped(&self, records: u64) {
        count(&self.publisher.shared.counters.dropped_oldest, records);
    }

    /// Counters.
    pub fn stats(&self) -> Stats {
        self.publisher.shared.counters.snapshot()
    }
}

/// Makes a folder and what is missing above it, each name durable: a record that was synced in a folder that a power loss takes away is lost.
fn make_folder(folder: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = folder.ancestors().take_while(|ancestor| !ancestor.exists()).collect();
    fs::create_dir_all(folder)?;
    // The parent of a relative path's first part is the working directory.
    let parent = |made: &&Path| made.parent().map(|p| if p.as_os_str().is_empty() { Path::new(".") } else { p }.to_owned());
    missing.iter().filter_map(parent).try_for_each(|folder| sync_folder(&folder))
}

/// Everything that opening finds.
#[derive(Default)]
struct Opened {
    views: BTreeMap<(Topic, Partition), Arc<View>>,
    writers: BTreeMap<(Topic, Partition), PartitionWriter>,
    topic_ids: BTreeMap<Topic, String>,
    recovered: Recovered,
}

impl Opened {
    fn all(dir: &Path, settings: &LogSettings, disk: &dyn Disk) -> Result<Self, OpenError> {
        let mut opened = Self::default();
        for name in Topic::ALL {
            let folder = dir.join(name.as_str());
            let asked = settings.partitions.of(name);
            let failed = |source| OpenError::Io { path: folder.clone(), source };
            make_folder(&folder).map_err(failed)?;
            let file = topic::open(&folder, name, asked).map_err(failed)?;
            if file.partitions != asked {
                return Err(OpenError::Partitions { dir: dir.to_owned(), topic: name, found: file.partitions, asked });
            }
            opened.topic_ids.insert(name, file.id);
            for partition in (0..asked).map(Partition) {
                opened.partition(&folder.join(partition.to_string()), (name, partition), disk)?;
            }
        }
        Ok(opened)
    }

    fn partition(&mut self, folder: &Path, key: (Topic, Partition), disk: &dyn Disk) -> Result<(), OpenError> {
        let failed = |source| OpenError::Io { path: folder.to_owned(), source };
        make_folder(folder).map_err(failed)?;
        let found = recovery::recover(folder).map_err(failed)?;
        self.recovered.add(found.recovered);
        let (view, writer) = PartitionWriter::open(folder.to_owned(), &found, disk).map_err(failed)?;
        self.views.insert(key, view);
        self.writers.insert(key, writer);
        Ok(())
    }
}
