//! Settings of the local log.

use nocturne_wire::Topic;
use serde::{Deserialize, Serialize};

/// When a write counts as done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// After `fdatasync`: survives a power cut.
    #[default]
    Disk,
    /// After the write: survives the end of the process, not of the machine.
    OperatingSystem,
}

/// Partitions a topic; fixed when the topic is made, because a session's records must stay in one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Partitions {
    /// Partitions of the interactions.
    pub interactions: u32,
    /// Partitions of the feedback.
    pub feedback: u32,
}

impl Partitions {
    /// The number for one topic.
    pub const fn of(self, topic: Topic) -> u32 {
        match topic {
            Topic::Interactions => self.interactions,
            Topic::Feedback => self.feedback,
        }
    }
}

impl Default for Partitions {
    fn default() -> Self {
        // A laptop gains nothing from more writers; two keep the code honest about order between partitions.
        Self { interactions: 2, feedback: 1 }
    }
}

/// What happens to a record that the log has no room for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFull {
    /// It is refused: what was acknowledged stays.
    #[default]
    RefuseNew,
    /// The oldest records make room for it, acknowledged or not: what is newest is worth most.
    DropOldest,
}

/// Settings of the local log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogSettings {
    /// Partitions a topic.
    pub partitions: Partitions,
    /// A segment that would grow beyond this is closed.
    pub segment_bytes: u64,
    /// Most bytes of all segments together; records beyond it are refused and counted until sealing frees space.
    pub max_bytes: u64,
    /// What happens to records beyond it. Only a spool may drop its oldest: sealing a log accounts for every offset.
    pub on_full: OnFull,
    /// When a write counts as done.
    pub durability: Durability,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self {
            partitions: Partitions::default(),
            segment_bytes: 16 << 20,
            max_bytes: 4 << 30,
            on_full: OnFull::RefuseNew,
            durability: Durability::Disk,
        }
    }
}

impl LogSettings {
    /// Why the settings cannot work, when they cannot.
    pub(crate) fn fault(&self) -> Option<String> {
        let partitions: u64 = Topic::ALL.into_iter().map(|topic| u64::from(self.partitions.of(topic))).sum();
        if Topic::ALL.into_iter().any(|topic| self.partitions.of(topic) == 0) {
            return Some("every topic needs at least one partition".to_owned());
        }
        if self.segment_bytes < 1024 {
            return Some(format!("`segment_bytes` is {}, at least 1024 are needed", self.segment_bytes));
        }
        // Open segments are never trimmed; a cap that they alone could fill would never let the log accept records again.
        let floor = self.segment_bytes.saturating_mul(2).saturating_mul(partitions);
        (self.max_bytes < floor)
            .then(|| format!("`max_bytes` is {}, two segments for each of {partitions} partitions need {floor}", self.max_bytes))
    }
}
