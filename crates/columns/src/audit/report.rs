//! What an audit says.

use std::fmt;

use nocturne_wire::{NightId, Offset, Partition, Topic, batch::BatchFooter};
use serde::{Deserialize, Serialize};

/// What an audit found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditReport {
    /// Every partition that has a readable batch.
    pub partitions: Vec<PartitionAudit>,
    /// What is wrong, in the order of kinds and paths.
    pub faults: Vec<Fault>,
    /// What attempts that died before their commit left behind; harmless.
    pub leftovers: Vec<String>,
}

impl AuditReport {
    /// Whether nothing is wrong.
    pub fn clean(&self) -> bool {
        self.faults.is_empty()
    }

    /// Rows of a topic.
    pub fn rows(&self, topic: Topic) -> u64 {
        self.partitions.iter().filter(|partition| partition.topic == topic).map(|partition| partition.rows).sum()
    }

    /// Sealed interactions.
    pub fn interactions(&self) -> u64 {
        self.rows(Topic::Interactions)
    }
}

/// The sums of one partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionAudit {
    /// The stream.
    pub topic: Topic,
    /// The partition.
    pub partition: Partition,
    /// Readable batches.
    pub batches: u64,
    /// The offset at which sealing began.
    pub first: Offset,
    /// The offset after the last one that was sealed.
    pub next: Offset,
    /// Rows.
    pub rows: u64,
    /// Dead letters.
    pub dead: u64,
    /// Records dropped as duplicates.
    pub duplicates: u64,
    /// Rows and dead letters that were erased.
    pub erased: u64,
}

impl PartitionAudit {
    pub(super) fn begin(topic: Topic, partition: Partition, first: Offset) -> Self {
        Self { topic, partition, batches: 0, first, next: first, rows: 0, dead: 0, duplicates: 0, erased: 0 }
    }

    pub(super) fn add(&mut self, footer: &BatchFooter) {
        self.batches += 1;
        self.next = self.next.max(Offset(footer.last.0.saturating_add(1)));
        self.rows += footer.rows;
        self.dead += footer.dead;
        self.duplicates += footer.duplicates;
        self.erased += footer.erased;
    }
}

/// Something that is wrong with a lake.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "fault")]
pub enum Fault {
    /// An object cannot be read, or is not what its name says.
    Damaged {
        /// The object.
        path: String,
        /// What was found.
        reason: String,
    },
    /// A footer contradicts its rows.
    WrongFooter {
        /// The object.
        path: String,
        /// The contradiction.
        reason: String,
    },
    /// Offsets before a batch were never sealed, or their batch is damaged or gone.
    Gap {
        /// The batch after the gap.
        path: String,
        /// The first missing offset.
        from: Offset,
        /// The first offset after the gap.
        to: Offset,
    },
    /// Offsets were sealed by the batch before, too.
    Overlap {
        /// The later batch.
        path: String,
        /// The first offset that was sealed twice.
        from: Offset,
        /// The first offset that was not.
        to: Offset,
    },
    /// Two batches hold a record of the same id.
    DuplicateId {
        /// The id.
        id: String,
        /// A batch that holds it.
        first: String,
        /// Another one.
        second: String,
    },
    /// A batch's dead letters are missing or too many.
    DeadLetters {
        /// The batch.
        path: String,
        /// As many as the footer says.
        expected: u64,
        /// As many as there are.
        found: u64,
    },
    /// The topic was re-created: its offsets began anew under the same names.
    TopicRecreated {
        /// The first batch of the new topic.
        path: String,
        /// The topic's id before.
        was: String,
        /// The topic's id from here on.
        is: String,
    },
    /// A night was planned over a batch that is gone, or that was sealed again with another end.
    ReadBatch {
        /// The batch.
        path: String,
        /// The night.
        night: NightId,
        /// Its last offset when the night was planned.
        last: Offset,
        /// Its last offset now; `None` when it is gone.
        found: Option<Offset>,
    },
    /// A claim on rewriting names offsets behind the partition's last batch: batches are gone.
    Claimed {
        /// The claim.
        claim: String,
        /// The last offset that it names.
        last: Offset,
        /// The offset after the partition's last batch; `None` when it has none.
        found: Option<Offset>,
    },
    /// An erasure is gone, while later ones are there.
    Erasure {
        /// Where it belongs.
        path: String,
    },
    /// An object that does not belong into its folder, where readers would glob it.
    Foreign {
        /// The object.
        path: String,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged { path, reason } => write!(f, "damaged: {path}: {reason}"),
            Self::WrongFooter { path, reason } => write!(f, "wrong footer: {path}: {reason}"),
            Self::Gap { path, from, to } => write!(f, "gap: offsets {from} up to {to} before {path} are missing"),
            Self::Overlap { path, from, to } => write!(f, "overlap: offsets {from} up to {to} of {path} were sealed before"),
            Self::DuplicateId { id, first, second } => write!(f, "duplicate id: {id} is in {first} and in {second}"),
            Self::DeadLetters { path, expected, found } => {
                write!(f, "dead letters: {path} says that it has {expected}, {found} were found")
            }
            Self::TopicRecreated { path, was, is } => write!(f, "topic re-created: from {path} on its id is {is}, it was {was}"),
            Self::ReadBatch { path, night, last, found: None } => {
                write!(f, "gone: {path}, which night {night} was planned over up to offset {last}")
            }
            Self::ReadBatch { path, night, last, found: Some(found) } => {
                write!(f, "sealed again: {path} ends at offset {found}, at {last} when night {night} was planned")
            }
            Self::Claimed { claim, last, found } => {
                let ends =
                    found.map_or_else(|| "there is no batch".to_owned(), |next| format!("the batches end before offset {next}"));
                write!(f, "gone: batches up to offset {last}, which {claim} was to rewrite; {ends}")
            }
            Self::Erasure { path } => write!(f, "gone: {path}; restore it, so that who asked to be forgotten stays forgotten"),
            Self::Foreign { path } => write!(f, "foreign object: {path}"),
        }
    }
}
