//! Swapping: streams run all the time while the channel moves back and forth between two generations.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use nocturne_kit::Shutdown;
use nocturne_wire::{Generation, GenerationName, ledger::PRODUCTION};
use serde::Serialize;
use tokio::task::JoinHandle;

use super::house::House;
use crate::{
    api::{Api, Message, Who},
    demo::quantile,
    promotion::{self, Decision},
};

/// Clients that stream.
const CLIENTS: usize = 4;

/// How long streams run undisturbed, for comparison.
const QUIET: Duration = Duration::from_secs(4);

/// Swaps, and the pause between two.
const SWAPS: usize = 20;
const PAUSE: Duration = Duration::from_millis(200);

/// What a swap costs.
#[derive(Debug, Serialize)]
pub(super) struct Figures {
    /// From the command to the flip, the first one with loading.
    first_command_to_flip_ms: f64,
    /// The later ones: both generations are resident.
    command_to_flip_p50_ms: f64,
    command_to_flip_max_ms: f64,
    /// Between two pieces of a stream, undisturbed.
    quiet_gap_p99_ms: f64,
    quiet_gap_max_ms: f64,
    /// Between two pieces of a stream, while generations change.
    swap_gap_p99_ms: f64,
    swap_gap_max_ms: f64,
    failed: u64,
}

impl Figures {
    pub(super) fn rows(&self) -> [[String; 3]; 2] {
        let gaps = format!("p99 {:.1} ms, longest {:.1} ms", self.swap_gap_p99_ms, self.swap_gap_max_ms);
        let quiet = format!(
            "without swaps: p99 {:.1} ms, longest {:.1} ms; {} failed",
            self.quiet_gap_p99_ms, self.quiet_gap_max_ms, self.failed
        );
        let flips = format!("p50 {:.0} ms, longest {:.0} ms", self.command_to_flip_p50_ms, self.command_to_flip_max_ms);
        let first = format!("both resident; the first one, with loading: {:.0} ms", self.first_command_to_flip_ms);
        [[format!("gap in {CLIENTS} streams during {SWAPS} swaps"), gaps, quiet], ["command to flip".to_owned(), flips, first]]
    }
}

pub(super) async fn measure(base: Option<&Path>) -> anyhow::Result<Figures> {
    let house = House::open(base).await?;
    let zero = house.admin.generation().await?.serving;
    let one = twin(&house, &zero).await?;
    let streams = Streams::start(&house.api);
    tokio::time::sleep(QUIET).await;
    let quiet = streams.take();
    let mut flips = Vec::new();
    for swap in 0..SWAPS {
        let target = if swap % 2 == 0 { &one } else { &zero };
        let decision = Decision { channel: PRODUCTION.to_owned(), target: target.clone(), reason: "bench".to_owned() };
        let moved = promotion::carry_out(&house.server.lake, decision, Some(&house.admin)).await?;
        flips.push(moved.seconds * 1e3);
        tokio::time::sleep(PAUSE).await;
    }
    let (busy, failed) = streams.stop().await?;
    house.close().await?;
    let first = flips.remove(0);
    Ok(Figures {
        first_command_to_flip_ms: first,
        command_to_flip_p50_ms: quantile(&flips, 0.5),
        command_to_flip_max_ms: quantile(&flips, 1.0),
        quiet_gap_p99_ms: quantile(&quiet, 0.99),
        quiet_gap_max_ms: quantile(&quiet, 1.0),
        swap_gap_p99_ms: quantile(&busy, 0.99),
        swap_gap_max_ms: quantile(&busy, 1.0),
        failed,
    })
}

/// A second generation with the banks of the first: what a swap costs does not depend on their values.
async fn twin(house: &House, zero: &GenerationName) -> anyhow::Result<GenerationName> {
    let generations = house.server.lake.generations();
    let mut manifest = generations.manifest(zero).await?;
    let files: Vec<_> = generations.fetch(zero, &manifest.base).await?.files.into_iter().collect();
    (manifest.number, manifest.parent, manifest.created) = (Generation(1), Some(zero.clone()), Timestamp::now());
    Ok(generations.publish(&manifest, &files).await?)
}

struct Streams {
    stop: Shutdown,
    gaps: Arc<Mutex<Vec<f64>>>,
    clients: Vec<JoinHandle<u64>>,
}

impl Streams {
    fn start(api: &Api) -> Self {
        let (stop, gaps) = (Shutdown::new(), Arc::default());
        let client = |number| tokio::spawn(talk(api.clone(), number, stop.clone(), Arc::clone(&gaps)));
        Self { clients: (0..CLIENTS).map(client).collect(), stop, gaps }
    }

    /// The gaps since the last call.
    fn take(&self) -> Vec<f64> {
        std::mem::take(&mut *self.gaps.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn stop(mut self) -> anyhow::Result<(Vec<f64>, u64)> {
        self.stop.request();
        let mut failed = 0;
        for client in std::mem::take(&mut self.clients) {
            failed += client.await?;
        }
        Ok((self.take(), failed))
    }
}

/// Streams one answer after the other; returns how many failed.
async fn talk(api: Api, number: usize, stop: Shutdown, gaps: Arc<Mutex<Vec<f64>>>) -> u64 {
    let (mut failed, mut turn) = (0, 0);
    while !stop.is_requested() {
        let session = format!("swap-{number}-{turn}");
        turn += 1;
        let mut last = Instant::now();
        let mut seen = Vec::new();
        let note = |_: &str| {
            seen.push(last.elapsed().as_secs_f64() * 1e3);
            last = Instant::now();
        };
        let who = Who { session: &session, subject: "bench", store: false };
        failed += u64::from(api.stream(who, &[Message::user("Tell me a joke.")], note).await.is_err());
        gaps.lock().unwrap_or_else(PoisonError::into_inner).extend(seen);
    }
    failed
}
