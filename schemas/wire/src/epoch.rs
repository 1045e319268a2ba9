//! Epochs: from where on a topic's offsets are another topic's, because a person accepted that it was made anew or lost records.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::batch::{Offset, Partition, Topic};

/// One accepted break in a topic's offsets. A topic is what its newest epoch says; one without any is what its batches say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Epoch {
    /// The topic.
    pub topic: Topic,
    /// Position among the topic's epochs, from 0.
    pub sequence: u64,
    /// Identity of the topic from here on.
    pub topic_id: String,
    /// Partitions that broke; others go on as they did.
    pub partitions: BTreeMap<Partition, EpochStart>,
    /// When it was accepted.
    pub time: Timestamp,
    /// Who accepted it.
    pub actor: String,
    /// Why.
    pub reason: String,
}

/// Where a partition goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EpochStart {
    /// The lake's offset at which it goes on; what is between this and the batch before was never sealed, and never will be.
    pub begin: Offset,
    /// How far the lake's offsets are ahead of the topic's from here on.
    pub shift: u64,
}

impl Epoch {
    /// Where a partition goes on in this epoch.
    pub fn start(&self, partition: Partition) -> EpochStart {
        self.partitions.get(&partition).copied().unwrap_or(EpochStart { begin: Offset(0), shift: 0 })
    }
}
