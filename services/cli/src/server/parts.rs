//! The parts that learn: log, batcher and scheduler. A night without a server needs just these.

use std::{path::Path, sync::Arc};

use anyhow::Context;
use nocturne_batcher::{Batcher, BatcherError, BatcherHandle};
use nocturne_bus::Group;
use nocturne_kit::{Shutdown, SystemClock};
use nocturne_lake::Lake;
use nocturne_scheduler::{Flush, JobCommand, Scheduler, SchedulerHandle, flush_with};
use tokio::task::JoinHandle;

use super::{
    Config,
    control::Asked,
    transport::{self, Transport},
};
use crate::failure::Advise;

/// The parts, running.
pub(crate) struct Learning {
    /// How records travel.
    pub(crate) transport: Transport,
    /// The batcher.
    pub(crate) batcher: BatcherHandle,
    /// Nights.
    pub(crate) scheduler: SchedulerHandle,
    /// Who asks a schema registry.
    pub(crate) registries: Vec<Asked>,
    sealing: JoinHandle<Result<(), BatcherError>>,
    nights: JoinHandle<()>,
}

/// Opens the log, holds it against the lake, and starts the batcher and the scheduler.
///
/// # Errors
/// When a part cannot start, or log and lake do not belong together.
pub(crate) async fn open_learning(state: &Path, config: &Config, lake: &Lake, shutdown: &Shutdown) -> anyhow::Result<Learning> {
    let transport = Transport::open(state, config).await?;
    let group = transport.group(config)?;
    let registries = transport.registry().into_iter().chain(transport::registry_of(&group)).collect();
    let batcher = open_batcher(config, group, lake).await?;
    let handle = batcher.handle();
    let flushing = handle.clone();
    let flush = flush_with(move || {
        let batcher = flushing.clone();
        async move { batcher.flush().await }
    });
    let scheduler = open_scheduler(config, lake, flush).await?;
    let scheduler_handle = scheduler.handle();
    Ok(Learning {
        transport,
        batcher: handle,
        scheduler: scheduler_handle,
        registries,
        sealing: tokio::spawn(sealing(batcher, shutdown.clone())),
        nights: tokio::spawn(scheduler.run(shutdown.clone())),
    })
}

/// A batcher that has not begun.
///
/// # Errors
/// When log and lake do not belong together.
pub(crate) async fn open_batcher(config: &Config, group: Group, lake: &Lake) -> anyhow::Result<Batcher> {
    let writer = format!("nocturne-{}", std::process::id());
    let batcher = Batcher::open(config.batcher.clone(), group, lake, &writer).await;
    batcher.advise("starting the batcher", "`nocturne lake audit` says what is wrong with the batches")
}

/// A scheduler that has not begun.
///
/// # Errors
/// When the schedule makes no sense or the lake cannot be read.
pub(crate) async fn open_scheduler(config: &Config, lake: &Lake, flush: Flush) -> anyhow::Result<Scheduler> {
    let mut command = JobCommand::this_executable().context("finding this program, which nights run as")?;
    command.environment.extend(config.store.environment()?);
    let at = command.args.len() - 1;
    command.args.splice(at..at, ["--device".to_owned(), config.sleep.device.to_string()]);
    let scheduler = Scheduler::open(config.nights.clone(), lake.clone(), Arc::new(SystemClock), command, flush).await;
    scheduler.advise("starting the scheduler", "check --schedule, --time-zone and the [nights] settings; if the error names an object of the lake, restore that from a copy")
}

/// Seals until it is told to stop. A server that answers and seals nothing would fill its disk, and look sound: it stops, and whoever watches it starts it again.
async fn sealing(batcher: Batcher, shutdown: Shutdown) -> Result<(), BatcherError> {
    let ended = batcher.run(shutdown.clone()).await;
    if !shutdown.is_requested() {
        tracing::error!("sealing has ended, and nobody asked for that; the server stops");
        shutdown.request();
    }
    ended
}

impl Learning {
    /// Waits until the parts have stopped, then closes the log.
    pub(crate) async fn finished(self) -> anyhow::Result<()> {
        let nights = self.nights.await.context("stopping the scheduler");
        let sealing = self.sealing.await.context("stopping the batcher");
        self.transport.close().await;
        nights?;
        sealing?.context("sealing the log")
    }
}
