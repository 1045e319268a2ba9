//! Channels: append-only ledgers of which generation serves.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{generation::GenerationName, id::NightId};

/// The channel that serves users.
pub const PRODUCTION: &str = "production";

/// What an entry does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LedgerAction {
    /// The first entry of a lineage: generation 0.
    Begin,
    /// A newer generation serves from now on.
    Promote,
    /// An older generation serves again.
    Rollback,
}

/// One entry: who, what, when, why. The highest sequence is what serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LedgerEntry {
    /// The channel.
    pub channel: String,
    /// Position in the ledger, from 0.
    pub sequence: u64,
    /// When it was decided.
    pub time: Timestamp,
    /// What it does.
    pub action: LedgerAction,
    /// The generation that serves from now on.
    pub generation: GenerationName,
    /// The generation that served before; `None` in the first entry.
    pub previous: Option<GenerationName>,
    /// Person or process that decided.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// The night that produced the generation, when one did.
    pub night: Option<NightId>,
}
