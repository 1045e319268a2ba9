//! The demonstration over Kafka: two inference processes, two batchers and a scheduler, each with its own configuration file and state directory.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::Context;
use jiff::Timestamp;
use nocturne_lake::Lake;
use tokio::process::{Child, Command};

use super::Place;
use crate::{
    address::{self, Address},
    admin::Admin,
    api::Api,
    failure::{Advise, refused},
    places,
    server::Config,
};

const REPLICAS: usize = 2;
const BATCHERS: usize = 2;

/// How long a process may take to say where it listens: the first one seeds the lake.
const START_WITHIN: Duration = Duration::from_mins(1);

/// How long a process may take to stop: it answers, sends and seals what is under way.
const STOP_WITHIN: Duration = Duration::from_secs(40);

const LOOK_EVERY: Duration = Duration::from_millis(50);

struct Process {
    name: String,
    child: Child,
    state: PathBuf,
    address: Address,
}

/// The processes, running.
pub(super) struct Processes {
    lake: Lake,
    replicas: Vec<Process>,
    batchers: Vec<Process>,
    scheduler: Process,
}

impl Processes {
    /// Starts them all over topics of their own; the lake must be a new one.
    pub(super) async fn start(state: &Path, brokers: &str, store: &str, base: Option<&Path>) -> anyhow::Result<Self> {
        std::fs::create_dir_all(state).with_context(|| format!("making {}", state.display()))?;
        let mut config = config(brokers, store);
        let lake = places::configured_lake(state, &config.store)?;
        let begun = lake
            .list("ledger")
            .await
            .advise(format!("looking into the lake {store}"), "`nocturne doctor store` finds out what is wrong with it")?;
        if !begun.is_empty() {
            let what = format!("demonstrating on the lake {store}: something has begun there");
            return Err(refused(what, "an earlier day would be mixed with this one; name a new folder with --store"));
        }
        let start =
            async |name: String, role: &'static str, config: &Config| Process::start(state, name, role, config, base).await;
        let mut batchers = Vec::new();
        for n in 1..=BATCHERS {
            batchers.push(start(format!("batcher-{n}"), "batcher", &config).await?);
        }
        let mut replicas = Vec::new();
        for n in 1..=REPLICAS {
            config.inference.process_uid = format!("inference-{n}");
            replicas.push(start(format!("inference-{n}"), "inference", &config).await?);
        }
        config.control.batchers = batchers.iter().map(|batcher| address::url(batcher.address.control, "")).collect();
        let scheduler = start("scheduler".to_owned(), "scheduler", &config).await?;
        Ok(Self { lake, replicas, batchers, scheduler })
    }

    /// How a client reaches them.
    pub(super) async fn place(&self) -> anyhow::Result<Place> {
        let apis: Vec<_> = self.replicas.iter().filter_map(|process| process.address.api).collect();
        let admins = self.replicas.iter().filter_map(|process| process.address.admin).collect();
        let batchers = self.batchers.iter().map(|process| process.address.control).collect();
        let all = self.replicas.iter().chain(&self.batchers).chain([&self.scheduler]);
        Ok(Place {
            api: Api::connect(&apis).await?,
            admin: Admin::of(admins, self.scheduler.address.control, batchers)?,
            lake: self.lake.clone(),
            pids: all.map(|process| process.address.pid).collect(),
        })
    }

    /// Stops them all: first those that write, then those that read.
    pub(super) async fn close(self) -> anyhow::Result<()> {
        for process in self.replicas.into_iter().chain(self.batchers).chain([self.scheduler]) {
            process.stop().await?;
        }
        Ok(())
    }
}

fn config(brokers: &str, store: &str) -> Config {
    let mut config = Config::default();
    brokers.clone_into(&mut config.kafka.brokers);
    // Another demonstration on the same brokers has other topics.
    let tag = Timestamp::now().as_millisecond();
    config.kafka.topics.interactions = format!("nocturne-demo-{tag}.interactions");
    config.kafka.topics.feedback = format!("nocturne-demo-{tag}.feedback");
    config.kafka.consumer.group = format!("nocturne-demo-{tag}");
    config.kafka.create.interactions = 4;
    store.clone_into(&mut config.store.url);
    config.inference.listen.set_port(0);
    config.nights.schedule.enabled = false;
    config
}

impl Process {
    async fn start(
        folder: &Path,
        name: String,
        role: &'static str,
        config: &Config,
        base: Option<&Path>,
    ) -> anyhow::Result<Self> {
        let doing = format!("starting {name}");
        let state = folder.join(&name);
        let file = folder.join(format!("{name}.toml"));
        tokio::fs::write(&file, toml::to_string_pretty(config)?).await.with_context(|| format!("writing {}", file.display()))?;
        let log = std::fs::File::create(folder.join(format!("{name}.log"))).context(doing.clone())?;
        let mut command = Command::new(std::env::current_exe().context("finding this program")?);
        command.arg("--state").arg(&state).args([role, "--supervised", "--config"]).arg(&file);
        if let Some(base) = base.filter(|_| role == "inference") {
            command.arg("--base").arg(base);
        }
        command.env_remove("NOCTURNE_STORE").env_remove("NOCTURNE_STATE");
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log).kill_on_drop(true);
        // A Ctrl-C at the terminal is for the demonstration, which stops them in their order.
        #[cfg(unix)]
        command.process_group(0);
        let mut child = command.spawn().context(doing.clone())?;
        let begun = Instant::now();
        loop {
            if let Some(address) = address::running(&state).await? {
                return Ok(Self { name, child, state, address });
            }
            if let Some(status) = child.try_wait().context(doing.clone())? {
                let said = std::fs::read_to_string(folder.join(format!("{name}.log"))).unwrap_or_default();
                let last: Vec<_> = said.lines().rev().take(3).collect();
                let said = last.into_iter().rev().collect::<Vec<_>>().join("\n");
                return Err(refused(format!("{doing}: it ended with {status}: {said}"), "check --kafka and --store"));
            }
            if begun.elapsed() > START_WITHIN {
                return Err(refused(
                    format!("{doing}: it does not say where it listens"),
                    "its log lies beside its state with --out",
                ));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn stop(mut self) -> anyhow::Result<()> {
        drop(self.child.stdin.take());
        match tokio::time::timeout(STOP_WITHIN, self.child.wait()).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => Err(refused(format!("stopping {}: it ended with {status}", self.name), self.look())),
            Ok(Err(error)) => Err(error).with_context(|| format!("stopping {}", self.name)),
            Err(_) => Err(refused(format!("stopping {}: it does not end", self.name), self.look())),
        }
    }

    fn look(&self) -> String {
        format!("its log is {}.log, kept with --out", self.state.display())
    }
}
