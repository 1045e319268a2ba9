//! The parts as processes of their own: `nocturne inference`, `nocturne batcher`, `nocturne scheduler`. They meet in Kafka and in the lake.

use std::{io::Read as _, path::PathBuf, sync::Arc, thread, time::Duration};

use anyhow::Context;
use clap::Args;
use nocturne_kit::{Shutdown, StateDir, telemetry};
use nocturne_lake::Lake;
use nocturne_scheduler::{EndPositions, Flush, Schedule};
use nocturne_wire::Topic;
use serde::Serialize;

use crate::{
    address::{Address, Published, url},
    allocators,
    args::Global,
    failure::{Advise, refused},
    output::{self, Outcome},
    places,
    server::{
        self, Config,
        control::{self, Parts},
        transport::{self, Transport},
    },
};

const EXAMPLES: &str = "\
Examples:
  nocturne up --print-config > nocturne.toml        every key with its default
  nocturne inference --config nocturne.toml --state /var/lib/nocturne
  nocturne batcher --config nocturne.toml --state /run/nocturne-batcher
  nocturne scheduler --config nocturne.toml --state /run/nocturne-scheduler

The file needs `brokers` in [kafka] and `url` in [store], which all processes share; --state is each process's own directory: the spool of an
inference process, and the file that tells other commands on this machine where it listens.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct RoleArgs {
    /// Configuration file, TOML
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Base that a new lake begins with; the shipped one unless given (inference only)
    #[arg(long, value_name = "DIR")]
    base: Option<PathBuf>,
    /// Stop when standard input closes: whoever started the process is gone then
    #[arg(long, hide = true)]
    supervised: bool,
}

/// What every role begins with.
struct Begun {
    config: Config,
    state: StateDir,
    lake: Lake,
    shutdown: Shutdown,
}

fn begin(global: &Global, args: &RoleArgs, needs_kafka: bool) -> anyhow::Result<Begun> {
    let mut config = Config::load(args.config.as_deref())?;
    config.store.override_with(global);
    let hint = "the parts meet there; `nocturne up` runs all of them in one process without either";
    if needs_kafka && !config.kafka.is_set() {
        return Err(refused("starting: `brokers` in [kafka] is not set", hint));
    }
    if config.store.url.is_empty() {
        return Err(refused("starting: neither `url` in [store] nor --store is set", hint));
    }
    telemetry::install(&config.telemetry).advise("setting up the log", "correct the [telemetry] table")?;
    let shutdown = Shutdown::new();
    shutdown.on_signals(|_| output::tell("draining; press Ctrl-C again to end at once"))?;
    if args.supervised {
        stop_with_input(shutdown.clone())?;
    }
    let state = places::take(&global.state)?;
    let lake = places::configured_lake(state.path(), &config.store)?;
    Ok(Begun { config, state, lake, shutdown })
}

fn stop_with_input(shutdown: Shutdown) -> anyhow::Result<()> {
    let wait = move || {
        // Whatever comes is of no interest, only the end.
        std::io::stdin().read_to_end(&mut Vec::new()).ok();
        shutdown.request();
    };
    thread::Builder::new().name("input".to_owned()).spawn(wait).map(drop).context("watching standard input")
}

#[derive(Serialize)]
struct Started {
    role: &'static str,
    control: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    api: Option<String>,
    lake: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    kafka: Option<String>,
}

fn tell(global: &Global, role: &'static str, begun: &Begun, address: &Address) -> anyhow::Result<()> {
    let started = Started {
        role,
        control: url(address.control, ""),
        api: address.api.map(|api| url(api, "/v1")),
        lake: begun.lake.location().to_owned(),
        kafka: begun.config.kafka.is_set().then(|| begun.config.kafka.brokers.clone()),
    };
    output::show(global.format, &started, |started| {
        let mut rows = vec![("control", started.control.clone()), ("lake", started.lake.clone())];
        rows.extend(started.api.clone().map(|api| ("API", api)));
        rows.extend(started.kafka.clone().map(|kafka| ("Kafka", kafka)));
        format!("Nocturne's {} is up\n{}", started.role, output::properties(rows))
    })
}

/// Serves the model and sends what it logs to Kafka.
pub(crate) async fn inference(global: &Global, args: &RoleArgs) -> anyhow::Result<Outcome> {
    allocators::ask(allocators::SERVING);
    let begun = begin(global, args, true)?;
    let Begun { config, state, lake, shutdown } = &begun;
    server::seed(lake, config, args.base.as_deref()).await?;
    let transport = Transport::open(state.path(), config).await?;
    let mut settings = config.inference.clone();
    settings.admin_listen.get_or_insert_with(server::private);
    let serving = nocturne_inference::serve(settings, lake.clone(), transport.publisher(), shutdown.clone()).await;
    let serving = serving.advise(
        "starting the inference service",
        "`nocturne generations list` shows what the lake holds; choose another address in [inference] if it is taken",
    )?;
    let registries = transport.registry().into_iter().collect();
    let parts = Parts { spool: transport.spool(), registries, ..Parts::default() };
    let (routes, control) = control::serve(parts, config.control.listen, shutdown.clone()).await?;
    let address = Address { pid: std::process::id(), api: Some(serving.address()), admin: serving.admin_address(), control };
    let published = Published::write(state, &address)?;
    tell(global, "inference", &begun, &address)?;
    shutdown.requested().await;
    serving.finished().await;
    transport.close().await;
    routes.await.context("closing the control routes")?;
    drop(published);
    Ok(Outcome::Done)
}

/// How long a batcher waits at its start for brokers that are to make topics.
const TOPICS_WAIT: Duration = Duration::from_secs(30);

/// Seals what Kafka holds.
pub(crate) async fn batcher(global: &Global, args: &RoleArgs) -> anyhow::Result<Outcome> {
    allocators::ask(allocators::SEALING);
    let begun = begin(global, args, true)?;
    let Begun { config, state, lake, shutdown } = &begun;
    // Without its topics a consumer has nothing to join for.
    tokio::select! {
        () = shutdown.requested() => return Ok(Outcome::Done),
        () = transport::make_topics(config, TOPICS_WAIT) => {}
    }
    let group = transport::join(config)?;
    let registries = transport::registry_of(&group).into_iter().collect();
    let batcher = server::open_batcher(config, group, lake).await?;
    let parts = Parts { batcher: Some(batcher.handle()), registries, ..Parts::default() };
    let (routes, control) = control::serve(parts, config.control.listen, shutdown.clone()).await?;
    let address = Address { pid: std::process::id(), api: None, admin: None, control };
    let published = Published::write(state, &address)?;
    tell(global, "batcher", &begun, &address)?;
    let sealed = batcher.run(shutdown.clone()).await.context("sealing records");
    shutdown.request();
    routes.await.context("closing the control routes")?;
    drop(published);
    sealed.map(|()| Outcome::Done)
}

/// Plans nights and runs them.
pub(crate) async fn scheduler(global: &Global, args: &RoleArgs) -> anyhow::Result<Outcome> {
    let begun = begin(global, args, false)?;
    let Begun { config, state, lake, shutdown } = &begun;
    Schedule::parse(&config.nights.schedule).advise("reading the schedule of nights", "correct the table [nights.schedule]")?;
    let scheduler = server::open_scheduler(config, lake, flush(config, lake)?).await?;
    let parts = Parts { scheduler: Some(scheduler.handle()), ..Parts::default() };
    let (routes, control) = control::serve(parts, config.control.listen, shutdown.clone()).await?;
    let address = Address { pid: std::process::id(), api: None, admin: None, control };
    let published = Published::write(state, &address)?;
    server::upkeep::start(config.upkeep.clone(), state.path().to_owned(), config.store.clone(), shutdown.clone());
    tell(global, "scheduler", &begun, &address)?;
    scheduler.run(shutdown.clone()).await;
    routes.await.context("closing the control routes")?;
    drop(published);
    Ok(Outcome::Done)
}

/// How long a batcher may take to seal the day before a night goes on without it.
const FLUSH_WITHIN: Duration = Duration::from_mins(2);

/// Has the batchers that are known seal the day, and reads from the lake how far that is. A batcher that does not answer is no reason not to
/// learn: what it holds is sealed by its idle limit and read by the next night.
fn flush(config: &Config, lake: &Lake) -> anyhow::Result<Flush> {
    let http = reqwest::Client::builder().no_proxy().timeout(FLUSH_WITHIN).build().context("setting up the HTTP client")?;
    let (batchers, lake) = (config.control.batchers.clone(), lake.clone());
    Ok(Arc::new(move || {
        let (http, batchers, lake) = (http.clone(), batchers.clone(), lake.clone());
        Box::pin(async move {
            for batcher in &batchers {
                let asked = http.post(format!("{}/admin/flush", batcher.trim_end_matches('/'))).send().await;
                if let Err(error) = asked.and_then(reqwest::Response::error_for_status) {
                    tracing::warn!(batcher, %error, "a batcher did not seal the day; the night reads what is sealed");
                }
            }
            ends(&lake).await
        })
    }))
}

/// Where each partition's batches end, as the newest ones say.
async fn ends(lake: &Lake) -> Result<EndPositions, Box<dyn std::error::Error + Send + Sync>> {
    let mut ends = EndPositions::new();
    for topic in Topic::ALL {
        for (partition, names) in lake.batches().list(topic).await? {
            let Some(newest) = names.last() else { continue };
            let bytes = lake.batches().get(newest).await?;
            let footer = tokio::task::spawn_blocking(move || nocturne_columns::read_footer(&bytes)).await??;
            ends.insert((topic, partition), footer.last.next());
        }
    }
    Ok(ends)
}
