//! Compares the lake with what was sent.

use std::collections::BTreeSet;

use nocturne_lake::Lake;
use nocturne_wire::Topic;

use super::day::Sent;
use crate::{commands, failure::Advise};

/// What the lake holds.
#[derive(Debug, Clone, Default)]
pub(super) struct Held {
    /// Sealed interactions.
    pub(super) interactions: u64,
    /// Sealed verdicts.
    pub(super) feedback: u64,
    /// Sealed interactions that should not have been stored.
    pub(super) opted_out: u64,
    /// Acknowledged interactions that are not there.
    pub(super) missing: u64,
    /// What the audit found.
    pub(super) faults: Vec<String>,
}

/// Reads every batch and looks for every id that was acknowledged.
///
/// # Errors
/// When the lake cannot be read.
pub(super) async fn lake(lake: &Lake, sent: &Sent) -> anyhow::Result<Held> {
    let audited = commands::lake::audit::audit(lake).await?;
    let report = &audited.report;
    let mut found = BTreeSet::new();
    let (doing, hint) = ("reading the sealed interactions", "`nocturne lake audit` says what is wrong");
    for name in lake.batches().list(Topic::Interactions).await.advise(doing, hint)?.into_values().flatten() {
        let bytes = lake.batches().get(&name).await.advise(doing, hint)?;
        let rows = nocturne_columns::read_batch(&bytes).advise(doing, hint)?;
        let rows = nocturne_columns::interactions(&rows).advise(doing, hint)?;
        found.extend(rows.into_iter().map(|row| String::from(row.id)));
    }
    Ok(Held {
        interactions: report.interactions(),
        feedback: report.rows(Topic::Feedback),
        // Only stored sessions of the day may be there: everything else was sent with `store: false`.
        opted_out: found.difference(&sent.stored).count() as u64,
        missing: sent.stored.difference(&found).count() as u64,
        faults: audited.faults(),
    })
}
