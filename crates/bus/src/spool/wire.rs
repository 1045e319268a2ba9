//! What the forwarder needs of a transport: a boundary, so that tests can play outages of an hour in a second.

use std::time::Duration;

use nocturne_wire::{Offset, Topic};

/// What became of a record that was handed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The brokers have it.
    Delivered,
    /// They do not, and may later.
    Returned(String),
    /// They never will: it is too large, or against the topic's rules.
    Refused(String),
}

/// A delivery report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) topic: Topic,
    pub(crate) offset: Offset,
    pub(crate) fate: Fate,
}

/// Why a record was not handed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NotHanded {
    /// The transport has enough for now.
    Full,
    /// It never will be.
    Refused(String),
    /// Something else; trying again may help.
    Failed(String),
}

/// A transport that takes records and reports on each of them later, once.
pub(crate) trait Wire: Send {
    /// Hands a record over.
    fn hand(&mut self, topic: Topic, offset: Offset, key: &[u8], payload: &[u8]) -> Result<(), NotHanded>;

    /// Waits for reports, at most so long, and gives those that came.
    fn reports(&mut self, wait: Duration) -> Vec<Report>;

    /// Whether the transport found that nobody listens; reading it forgets it.
    fn went_down(&mut self) -> Option<String>;

    /// Asks whether somebody listens; may take about a second.
    fn probe(&mut self) -> Result<(), String>;

    /// Has the transport give back what it has not sent.
    fn recall(&mut self);

    /// Begins anew after an error that the transport cannot go on from; false when there was none.
    fn renew_if_broken(&mut self) -> bool;
}
