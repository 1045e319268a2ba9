//! Ledgers: which generation serves, by whose decision.
//!
//! An entry is appended by creating the object with the next sequence; two that decide at once race for the same name and one of
//! them re-reads. Nothing points at the head: the head is the highest sequence.

use futures::{StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;
use nocturne_wire::{
    GenerationName, NightId,
    ledger::{LedgerAction, LedgerEntry},
    path,
};

use crate::{Lake, LakeError, Result};

/// How many entries are read at once.
const READS_IN_FLIGHT: usize = 16;
/// Each lost race means that another entry was appended; so many in a row is a broken store, not contention.
const MAX_RACES: usize = 64;
const HINT: &str = "restore the ledger from a copy of the lake; the channel cannot be trusted until then";

/// One channel's ledger.
#[derive(Debug, Clone)]
pub struct Ledger {
    lake: Lake,
    channel: String,
}

/// A decision before it has a place in the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerDraft {
    /// What it does.
    pub action: LedgerAction,
    /// The generation that serves from now on.
    pub generation: GenerationName,
    /// When it was decided.
    pub time: Timestamp,
    /// Person or process that decided.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// The night that produced the generation, when one did.
    pub night: Option<NightId>,
}

/// What the ledger must look like for a decision to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// Anything: append after whatever is there.
    Any,
    /// No entry at all.
    Empty,
    /// A head with this sequence.
    Head(u64),
}

/// Why an entry was not appended.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The head is not the one that the decision was made on.
    #[error(
        "channel `{channel}` has moved to generation {} (entry {} by {}: {}) since the decision was made; look at it and decide again",
        head.generation, head.sequence, head.actor, head.reason
    )]
    Conflict {
        /// The channel.
        channel: String,
        /// The head that was expected.
        expected: Expect,
        /// The head that is there.
        head: Box<LedgerEntry>,
    },
    /// The ledger is empty, and the entry is not one that begins a lineage.
    #[error("channel `{channel}` serves nothing yet; begin it with generation 0 first")]
    NotBegun {
        /// The channel.
        channel: String,
    },
    /// The lake failed.
    #[error(transparent)]
    Lake(#[from] LakeError),
}

impl AppendError {
    /// Whether somebody else moved the channel first.
    pub const fn is_conflict(&self) -> bool {
        matches!(self, Self::Conflict { .. })
    }
}

impl Ledger {
    pub(crate) fn new(lake: Lake, channel: &str) -> Self {
        Self { lake, channel: channel.to_owned() }
    }

    /// Every entry, the oldest first; contiguous from 0, each naming the generation before it.
    ///
    /// # Errors
    /// [`LakeError::Damaged`] when an entry is missing, foreign or contradicts its neighbor.
    pub async fn read(&self) -> Result<Vec<LedgerEntry>> {
        let count = self.count().await?;
        let entries: Vec<_> =
            futures::stream::iter(0..count).map(|sequence| self.entry(sequence)).buffered(READS_IN_FLIGHT).try_collect().await?;
        for pair in entries.windows(2) {
            if pair[1].previous.as_ref() != Some(&pair[0].generation) {
                let path = path::ledger_entry(&self.channel, pair[1].sequence);
                let reason =
                    format!("it does not follow generation {}, which entry {} promoted", pair[0].generation, pair[0].sequence);
                return Err(LakeError::damaged(path, reason, HINT));
            }
        }
        Ok(entries)
    }

    /// The newest entry: what serves; `None` when the channel has not begun.
    ///
    /// # Errors
    /// [`LakeError::Damaged`] when an entry is missing or the newest one is foreign.
    pub async fn head(&self) -> Result<Option<LedgerEntry>> {
        match self.count().await?.checked_sub(1) {
            None => Ok(None),
            Some(sequence) => self.entry(sequence).await.map(Some),
        }
    }

    /// Appends a decision, after whoever is first in a race.
    ///
    /// # Errors
    /// [`AppendError::Conflict`] when the head is not the expected one (or a lineage is begun twice), naming who moved it.
    pub async fn append(&self, draft: &LedgerDraft, expect: Expect) -> Result<LedgerEntry, AppendError> {
        for _ in 0..MAX_RACES {
            let entry = self.place(draft, expect, self.head().await?)?;
            match self.lake.create_json(&path::ledger_entry(&self.channel, entry.sequence), &entry).await {
                Ok(()) => {
                    tracing::info!(channel = %self.channel, sequence = entry.sequence, generation = %entry.generation, "ledger moved");
                    return Ok(entry);
                }
                // The answer to the first attempt may have been lost on its way, and the store's client tried again.
                Err(lost) if lost.is_already_exists() => {
                    if self.entry(entry.sequence).await? == entry {
                        return Ok(entry);
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        let path = path::ledger(&self.channel);
        let source = format!("{MAX_RACES} attempts in a row met an existing entry that the listing does not show").into();
        Err(LakeError::Unavailable { action: "appending to", path, source }.into())
    }

    fn place(&self, draft: &LedgerDraft, expect: Expect, head: Option<LedgerEntry>) -> Result<LedgerEntry, AppendError> {
        let expect = if draft.action == LedgerAction::Begin { Expect::Empty } else { expect };
        let found = head.as_ref().map(|head| head.sequence);
        let holds = match expect {
            Expect::Any => true,
            Expect::Empty => found.is_none(),
            Expect::Head(sequence) => found == Some(sequence),
        };
        let (sequence, previous) = match head {
            Some(head) if !holds => {
                return Err(AppendError::Conflict { channel: self.channel.clone(), expected: expect, head: Box::new(head) });
            }
            None if draft.action != LedgerAction::Begin => return Err(AppendError::NotBegun { channel: self.channel.clone() }),
            Some(head) => (head.sequence + 1, Some(head.generation)),
            None => (0, None),
        };
        Ok(LedgerEntry {
            channel: self.channel.clone(),
            sequence,
            time: draft.time,
            action: draft.action,
            generation: draft.generation.clone(),
            previous,
            actor: draft.actor.clone(),
            reason: draft.reason.clone(),
            night: draft.night.clone(),
        })
    }

    /// How many entries there are, having checked that they are all there.
    async fn count(&self) -> Result<u64> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
        if self.channel.is_empty() || !self.channel.chars().all(plain) {
            let reason = "a channel's name has lower-case letters, digits, dashes and underscores";
            return Err(LakeError::refused(format!("channel `{}`", self.channel), reason));
        }
        let objects = self.lake.list(&path::ledger(&self.channel)).await?;
        for (sequence, object) in (0..).zip(&objects) {
            let expected = path::ledger_entry(&self.channel, sequence);
            if object.path != expected {
                return Err(LakeError::damaged(&object.path, format!("`{expected}` should be in its place"), HINT));
            }
        }
        Ok(objects.len() as u64)
    }

    async fn entry(&self, sequence: u64) -> Result<LedgerEntry> {
        let path = path::ledger_entry(&self.channel, sequence);
        let entry: LedgerEntry = self.lake.get_json(&path).await?;
        if entry.channel != self.channel || entry.sequence != sequence {
            let reason = format!("it says that it is entry {} of channel `{}`", entry.sequence, entry.channel);
            return Err(LakeError::damaged(path, reason, HINT));
        }
        if entry.previous.is_none() != (sequence == 0) {
            return Err(LakeError::damaged(path, "only the first entry has no previous generation", HINT));
        }
        Ok(entry)
    }
}
