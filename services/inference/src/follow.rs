//! Following a channel: what its ledger says is fetched, verified, tried and served.
//!
//! The task has no input but the ledger: a poll and a nudge do the same, so a lost nudge costs at most one interval, and a replica
//! that starts late ends where the others are. Reading the newest entry again is the whole protocol; there is no queue of changes
//! to work off, and an entry that was superseded before it was read is never served.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use nocturne_kit::{Shutdown, telemetry::chain};
use nocturne_lake::{Lake, LakeError};
use nocturne_wire::{hash::Sha256Hex, ledger::LedgerEntry};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, MissedTickBehavior},
};

use self::prepare::{PrepareError, prepare};
use crate::{
    engine::Engine,
    generations::{GenerationStatus, Generations, Refused},
    metrics::Metrics,
};

pub(crate) mod begin;
pub(crate) mod prepare;
#[cfg(test)]
mod tests;

/// Nudges that may wait; all that wait are answered by one reading of the ledger, so few are ever needed.
const NUDGES: usize = 16;

/// Asks the follower to read the ledger now.
#[derive(Clone)]
pub(crate) struct Nudge(mpsc::Sender<oneshot::Sender<GenerationStatus>>);

/// The follower ended: the service stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ended;

impl Nudge {
    /// Waits until the ledger was read and what it says is served or refused.
    pub(crate) async fn nudge(&self) -> Result<GenerationStatus, Ended> {
        let (reply, answer) = oneshot::channel();
        self.0.send(reply).await.map_err(|_| Ended)?;
        answer.await.map_err(|_| Ended)
    }
}

/// Follows one channel on one replica.
pub(crate) struct Follower<E: Engine> {
    pub(crate) lake: Lake,
    pub(crate) channel: String,
    pub(crate) base: Sha256Hex,
    pub(crate) engine: Arc<E>,
    pub(crate) generations: Arc<Generations<E>>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) golden: Arc<[String]>,
    pub(crate) poll: Duration,
}

impl<E: Engine> Follower<E> {
    /// Starts the task.
    pub(crate) fn spawn(self, shutdown: Shutdown) -> (Nudge, tokio::task::JoinHandle<()>) {
        let (sender, nudges) = mpsc::channel(NUDGES);
        (Nudge(sender), tokio::spawn(self.run(nudges, shutdown)))
    }

    async fn run(self, mut nudges: mpsc::Receiver<oneshot::Sender<GenerationStatus>>, shutdown: Shutdown) {
        let mut ticks = tokio::time::interval_at(Instant::now() + self.poll, self.poll);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = shutdown.requested() => return,
                reply = nudges.recv() => {
                    let Some(reply) = reply else { return };
                    self.follow(true).await;
                    // Whoever asked may have gone away.
                    let _ = reply.send(self.generations.status());
                }
                _ = ticks.tick() => self.follow(false).await,
            }
        }
    }

    /// Reads the newest entry and does what it says. An entry that was refused before is tried again only when `again`.
    async fn follow(&self, again: bool) {
        match self.lake.ledger(&self.channel).head().await {
            Ok(Some(entry)) => self.heed(&entry, again).await,
            Ok(None) => tracing::warn!(channel = self.channel, "ledger is empty; serving goes on"),
            Err(error) => self.failed(&error),
        }
    }

    async fn heed(&self, entry: &LedgerEntry, again: bool) {
        let serving = self.generations.current().name == entry.generation;
        let known = self.generations.sequence() == entry.sequence;
        if known && (serving || !again) {
            return;
        }
        let started = Instant::now();
        let next = match self.generations.resident(&entry.generation) {
            Some(live) => Ok(live),
            None => prepare(&self.lake, &self.base, &self.engine, &entry.generation, &self.golden).await.map(Arc::new),
        };
        match next {
            Ok(live) => {
                let took = started.elapsed();
                self.generations.flip(live, entry.sequence, took.as_millis() as u64);
                self.metrics.changes.add(&["flipped"], 1);
                tracing::info!(generation = %entry.generation, sequence = entry.sequence, ?took, "generation serves");
            }
            Err(PrepareError::Fetch(error @ LakeError::Unavailable { .. })) => self.failed(&error),
            Err(error) => self.refuse(entry, &error),
        }
    }

    fn refuse(&self, entry: &LedgerEntry, error: &PrepareError) {
        let reason = chain(error);
        tracing::error!(generation = %entry.generation, sequence = entry.sequence, reason, "generation refused; serving goes on");
        self.metrics.changes.add(&["refused"], 1);
        let (generation, sequence) = (entry.generation.clone(), entry.sequence);
        self.generations.refuse(Refused { generation, sequence, time: Timestamp::now(), reason });
    }

    /// The lake did not answer: the next poll tries again.
    fn failed(&self, error: &LakeError) {
        self.metrics.ledger_failures.add(1);
        tracing::warn!(channel = self.channel, reason = chain(error), "ledger not followed; tried again");
    }
}
