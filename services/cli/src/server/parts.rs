//! The parts that learn: log, batcher and scheduler. A night without a server needs just these.

use std::{path::Path, sync::Arc};

use anyhow::Context;
use nocturne_batcher::{Batcher, BatcherError, BatcherHandle};
use nocturne_bus::{Group, LocalLog};
use nocturne_kit::{Shutdown, SystemClock};
use nocturne_lake::Lake;
use nocturne_scheduler::{JobCommand, Scheduler, SchedulerHandle, flush_with};
use tokio::task::JoinHandle;

use super::Config;
use crate::{failure::Advise, places};

/// The parts, running.
pub(crate) struct Learning {
    /// The log.
    pub(crate) log: LocalLog,
    /// The batcher.
    pub(crate) batcher: BatcherHandle,
    /// Nights.
    pub(crate) scheduler: SchedulerHandle,
    sealing: JoinHandle<Result<(), BatcherError>>,
    nights: JoinHandle<()>,
}

/// Opens the log, holds it against the lake, and starts the batcher and the scheduler.
///
/// # Errors
/// When a part cannot start, or log and lake do not belong together.
pub(crate) async fn open_learning(state: &Path, config: &Config, lake: &Lake, shutdown: &Shutdown) -> anyhow::Result<Learning> {
    let (dir, settings) = (places::log_dir(state), config.log.clone());
    let opening = tokio::task::spawn_blocking(move || LocalLog::open(&dir, &settings));
    let log = opening.await.context("opening the log")?.advise("opening the log", "check the [log] settings and the disk")?;
    let recovered = log.recovered();
    if recovered.is_clean() {
        tracing::debug!(records = recovered.records, "log opened");
    } else {
        tracing::warn!(?recovered, "log repaired");
    }
    let writer = format!("nocturne-{}", std::process::id());
    let batcher = Batcher::open(config.batcher.clone(), Group::local(&log), lake, &writer).await;
    let batcher = batcher.advise("starting the batcher", "`nocturne lake audit` says what is wrong with the batches")?;
    let handle = batcher.handle();
    let flushing = handle.clone();
    let flush = flush_with(move || {
        let batcher = flushing.clone();
        async move { batcher.flush().await }
    });
    let command = JobCommand::this_executable().context("finding this program, which nights run as")?;
    let scheduler = Scheduler::open(config.nights.clone(), lake.clone(), Arc::new(SystemClock), command, flush).await;
    let scheduler = scheduler.advise("starting the scheduler", "check --schedule, --time-zone and the [nights] settings; if the error names an object of the lake, restore that from a copy")?;
    let scheduler_handle = scheduler.handle();
    Ok(Learning {
        log,
        batcher: handle,
        scheduler: scheduler_handle,
        sealing: tokio::spawn(batcher.run(shutdown.clone())),
        nights: tokio::spawn(scheduler.run(shutdown.clone())),
    })
}

impl Learning {
    /// Waits until the parts have stopped, then closes the log.
    pub(crate) async fn finished(self) -> anyhow::Result<()> {
        let nights = self.nights.await.context("stopping the scheduler");
        let sealing = self.sealing.await.context("stopping the batcher");
        self.log.close().await;
        nights?;
        sealing?.context("sealing the log")
    }
}
