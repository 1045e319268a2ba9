//! Everything in one process over one state directory: log, batcher, inference and the schedule of nights.
//!
//! ```text
//! <state>/lock          whose the directory is
//! <state>/log/          the local log
//! <state>/lake/         the lake
//! <state>/address.json  where the running server listens
//! ```
//!
//! The parts know nothing of each other: inference publishes into the log, the batcher seals the log into the lake, nights read the
//! lake, inference follows the ledger. Only the flush before a night is a direct call, handed to the scheduler as a function.

pub(crate) mod config;
pub(crate) mod control;
mod metrics;
mod parts;
pub(crate) mod transport;
pub(crate) mod upkeep;

use std::{net::SocketAddr, path::Path};

use jiff::Timestamp;
use nocturne_bus::Publisher;
use nocturne_kit::{Shutdown, StateDir};
use nocturne_lake::{Bases, Lake};
use nocturne_scheduler::SchedulerHandle;
use nocturne_wire::GenerationName;
use tokio::task::JoinHandle;

pub(crate) use self::{
    config::{Config, StoreSettings},
    control::run_night,
    parts::{Learning, open_batcher, open_learning, open_scheduler},
    upkeep::UpkeepSettings,
};
use crate::{
    address::{Address, Published},
    bases,
    failure::{Advise, refused},
    places,
};

/// A server that runs.
pub(crate) struct Server {
    /// Where it listens.
    pub(crate) address: Address,
    /// Its lake.
    pub(crate) lake: Lake,
    /// Where its API listens.
    pub(crate) api: SocketAddr,
    /// Publishes into its log.
    pub(crate) publisher: Publisher,
    /// Its nights.
    pub(crate) scheduler: SchedulerHandle,
    /// What it served when it started.
    pub(crate) serving: GenerationName,
    shutdown: Shutdown,
    inference: nocturne_inference::Running,
    learning: Learning,
    control: JoinHandle<()>,
    // Dropped last: the file first, then the lock.
    _published: Published,
    _state: StateDir,
}

impl Server {
    /// Starts everything; a new state directory is seeded with the base in `base`, or with the one that ships.
    ///
    /// # Errors
    /// When another process owns the directory, a part cannot start, or an address is taken.
    pub(crate) async fn start(state: &Path, mut config: Config, base: Option<&Path>, shutdown: Shutdown) -> anyhow::Result<Self> {
        let state = places::take(state)?;
        let lake = places::configured_lake(state.path(), &config.store)?;
        seed(&lake, &config, base).await?;
        let learning = open_learning(state.path(), &config, &lake, &shutdown).await?;
        config.inference.admin_listen.get_or_insert_with(private);
        let publisher = learning.transport.publisher();
        let inference = nocturne_inference::serve(config.inference, lake.clone(), publisher.clone(), shutdown.clone());
        let inference = inference.await.advise(
            "starting the inference service",
            "if the address is taken, choose another one, with --listen or `listen` in [inference]; `nocturne generations list` shows what the lake holds",
        )?;
        let parts = control::Parts {
            scheduler: Some(learning.scheduler.clone()),
            batcher: Some(learning.batcher.clone()),
            spool: learning.transport.spool(),
            registries: learning.registries.clone(),
        };
        let (control, control_address) = control::serve(parts, config.control.listen, shutdown.clone()).await?;
        let admin = inference.admin_address().unwrap_or_else(|| inference.address());
        let api = inference.address();
        let address = Address { pid: std::process::id(), api: Some(api), admin: Some(admin), control: control_address };
        let published = Published::write(&state, &address)?;
        upkeep::start(config.upkeep, state.path().to_owned(), config.store, shutdown.clone());
        Ok(Self {
            serving: inference.status().serving,
            address,
            lake,
            api,
            publisher,
            scheduler: learning.scheduler.clone(),
            shutdown,
            inference,
            learning,
            control,
            _published: published,
            _state: state,
        })
    }

    /// Asks everything to stop.
    pub(crate) fn stop(&self) {
        self.shutdown.request();
    }

    /// Waits until everything has stopped: requests in flight are answered and logged before the log closes.
    pub(crate) async fn finished(self) -> anyhow::Result<()> {
        self.inference.finished().await;
        let learning = self.learning.finished().await;
        if let Err(error) = self.control.await {
            tracing::error!(%error, "control routes broke while draining");
        }
        learning
    }
}

/// Admin routes are for this machine only.
pub(crate) fn private() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

pub(crate) async fn seed(lake: &Lake, config: &Config, base: Option<&Path>) -> anyhow::Result<()> {
    let channel = &config.inference.channel;
    let hint = "check that the store can be written, with `nocturne doctor store`";
    lake.publish_schemas().await.advise("publishing the schemas that records are written with", hint)?;
    let head = lake.ledger(channel).head().await;
    let head = head.advise("reading the ledger", "restore the lake's folder ledger/ from a copy")?;
    if let (Some(_), Some(dir)) = (&head, base) {
        let files = bases::files(base)?;
        let given = Bases::fingerprint_of(files.iter().map(|(name, bytes)| (name.as_str(), &bytes[..])));
        let held = lake.bases().list().await.advise("listing the lake's bases", "check that the disk can be read")?;
        if !held.contains(&given) {
            let what = format!("starting with the base in {}: the lake began with another one", dir.display());
            return Err(refused(what, "leave --base out, or begin a new lake with it: choose another --state"));
        }
    }
    if head.is_none() {
        let seeded = nocturne_inference::seed(lake, bases::files(base)?, channel, Timestamp::now()).await;
        seeded.advise(
            "seeding the lake",
            "remove the state directory if it holds nothing you need, or choose another one with --state",
        )?;
    }
    Ok(())
}
