//! Batches: one sealed Parquet object a topic partition and offset range.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::hash::Sha256Hex;

/// A stream that is sealed into the lake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Topic {
    /// Requests with their answers.
    Interactions,
    /// Later verdicts.
    Feedback,
}

impl Topic {
    /// Every topic.
    pub const ALL: [Self; 2] = [Self::Interactions, Self::Feedback];

    /// The name used in paths and on Kafka.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Interactions => "interactions",
            Self::Feedback => "feedback",
        }
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A partition's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Partition(pub u32);

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A record's position in its partition.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Offset(pub u64);

impl Offset {
    /// The position after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Names a batch. As the batcher seals it, the name is a function of topic, partition and first offset only, so that two writers of the same partition race
/// for the same object and exactly one wins. A batch that was written anew also names its last offset and its revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BatchName {
    /// The stream.
    pub topic: Topic,
    /// The partition.
    pub partition: Partition,
    /// Offset of the first record that the batch covers.
    pub first: Offset,
    /// Set when the batch takes the place of others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rewritten: Option<Rewritten>,
}

impl BatchName {
    /// The name of a batch as the batcher seals it.
    pub const fn new(topic: Topic, partition: Partition, first: Offset) -> Self {
        Self { topic, partition, first, rewritten: None }
    }

    /// How often what the batch covers was written: 0 as it was sealed.
    pub const fn revision(&self) -> u32 {
        match self.rewritten {
            Some(rewritten) => rewritten.revision,
            None => 0,
        }
    }

    /// Whether this batch takes the place of another one of its partition.
    pub fn replaces(&self, other: &Self) -> bool {
        let covers = |rewritten: Rewritten| self.first <= other.first && other.first <= rewritten.last;
        self.revision() > other.revision() && self.rewritten.is_some_and(covers)
    }
}

/// What the name of a batch says that takes the place of others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rewritten {
    /// Offset of the last record that the batch covers.
    pub last: Offset,
    /// One more than the highest revision among the batches that it replaces; from 1.
    pub revision: u32,
}

/// What a batch says about itself in its Parquet footer (key-value metadata, one JSON value under [`FOOTER_KEY`]).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchFooter {
    /// The batch's own name.
    pub name: BatchName,
    /// Offset of the last record that the batch covers; the next batch starts after it.
    pub last: Offset,
    /// Offset at which sealing of the partition began (above 0 where the log had let go of its beginning): every batch says it, so that an audit misses the
    /// first one when it is gone.
    #[serde(default)]
    pub begin: Offset,
    /// Identity of the topic, so that re-creation is detected.
    pub topic_id: String,
    /// Fingerprint of the Avro schema the records were read with, hexadecimal.
    pub schema_fingerprint: String,
    /// Process that sealed the batch.
    pub writer: String,
    /// Rows in the batch.
    pub rows: u64,
    /// Records in the range that became dead letters instead of rows.
    pub dead: u64,
    /// Records in the range that were dropped as duplicates by id.
    pub duplicates: u64,
    /// Digest of what the dead letters hold, offsets and bytes: it is in the name of their object. `None` when there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub letters: Option<Sha256Hex>,
    /// Rows and dead letters of the range that were erased.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub erased: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
const fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// Key of [`BatchFooter`] in a Parquet footer.
pub const FOOTER_KEY: &str = "nocturne.batch";
