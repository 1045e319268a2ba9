//! The night's record while it runs: events that anybody can follow, phases with their durations.

use std::time::Instant;

use jiff::Timestamp;
use nocturne_lake::Lake;
use nocturne_wire::{
    NightId,
    night::{NightEvent, Phase, PhaseTime},
};
use tokio::{sync::mpsc, task::JoinHandle};

/// Events that may wait to be written; a night that is ahead of its storage drops progress, never results.
const QUEUE: usize = 64;

/// Where the night stands, told from any thread.
#[derive(Debug)]
pub(crate) struct Recorder {
    sender: mpsc::Sender<(Phase, u64, u64, String)>,
    phases: Vec<PhaseTime>,
    current: Option<(Phase, Instant)>,
    told: Option<Instant>,
}

/// Seconds between two events of progress within a phase.
const SECONDS_BETWEEN: f64 = 0.5;

impl Recorder {
    /// A recorder that writes to the lake, and the task that writes.
    pub(crate) fn start(lake: Lake, night: NightId) -> (Self, JoinHandle<()>) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let task = tokio::spawn(write(lake, night, receiver));
        (Self { sender, phases: Vec::new(), current: None, told: None }, task)
    }

    /// Begins a phase and ends the one before.
    pub(crate) fn phase(&mut self, phase: Phase, message: &str) {
        self.close();
        self.current = Some((phase, Instant::now()));
        self.told = None;
        self.progress(0, 0, message);
    }

    /// Tells progress within the phase, at most twice a second.
    pub(crate) fn progress(&mut self, done: u64, total: u64, message: &str) {
        let Some((phase, _)) = self.current else { return };
        let recent = self.told.is_some_and(|told| told.elapsed().as_secs_f64() < SECONDS_BETWEEN);
        if recent && done != total {
            return;
        }
        self.told = Some(Instant::now());
        if self.sender.try_send((phase, done, total, message.to_owned())).is_err() {
            tracing::debug!(?phase, done, "progress event dropped, storage is behind");
        }
    }

    fn close(&mut self) {
        if let Some((phase, begun)) = self.current.take() {
            self.phases.push(PhaseTime { phase, seconds: begun.elapsed().as_secs_f64() });
        }
    }

    /// Ends the last phase and gives all of them.
    pub(crate) fn finish(mut self) -> Vec<PhaseTime> {
        self.close();
        std::mem::take(&mut self.phases)
    }
}

async fn write(lake: Lake, night: NightId, mut receiver: mpsc::Receiver<(Phase, u64, u64, String)>) {
    let mut sequence = 0;
    while let Some((phase, done, total, message)) = receiver.recv().await {
        let event = NightEvent { sequence, time: Timestamp::now(), phase, done, total, message };
        if let Err(error) = lake.nights().append_event(&night, &event).await {
            tracing::warn!(%error, sequence, "cannot write a progress event");
        }
        sequence += 1;
    }
}
