//! How records travel: through the log of this machine, or through a spool and Kafka.

use std::{path::Path, time::Duration};

use anyhow::Context;
use nocturne_bus::{Group, LocalLog, Publisher, Spool, SpoolStatus, create_topics};
use tokio::sync::watch;

use super::{Config, control::Asked};
use crate::{failure::Advise, places};

/// The transport, open.
pub(crate) enum Transport {
    /// Records stay on this machine until they are sealed.
    Local(LocalLog),
    /// Records go to Kafka.
    Kafka(Spool),
}

const KAFKA_HINT: &str = "`nocturne doctor kafka` finds out what is wrong";

impl Transport {
    /// Opens what the settings say in a state directory.
    ///
    /// # Errors
    /// When the log cannot be opened, the Kafka settings make no sense, or the schema registry refuses this release's schemas. Brokers and the registry
    /// need not be there.
    pub(crate) async fn open(state: &Path, config: &Config) -> anyhow::Result<Self> {
        if config.kafka.is_set() {
            make_topics(config, TOPICS_WAIT).await;
            let (dir, spool, kafka) = (places::spool_dir(state), config.spool.clone(), config.kafka.clone());
            let opening = tokio::task::spawn_blocking(move || Spool::open(&dir, &spool, &kafka));
            let spool = opening.await.context("opening the spool")?.advise("opening the spool", KAFKA_HINT)?;
            tell(&spool.recovered());
            // A registry that is away does not stop a start; one that will never take the schemas does, before records pile up.
            if let Err(error) = spool.registered().await
                && error.is_final()
            {
                spool.close().await;
                return Err(error).advise("registering schemas", KAFKA_HINT);
            }
            return Ok(Self::Kafka(spool));
        }
        let (dir, settings) = (places::log_dir(state), config.log.clone());
        let opening = tokio::task::spawn_blocking(move || LocalLog::open(&dir, &settings));
        let log = opening.await.context("opening the log")?.advise("opening the log", "check the [log] settings and the disk")?;
        tell(&log.recovered());
        Ok(Self::Local(log))
    }

    /// A handle that publishes.
    pub(crate) fn publisher(&self) -> Publisher {
        match self {
            Self::Local(log) => log.publisher(),
            Self::Kafka(spool) => spool.publisher(),
        }
    }

    /// Who hands out the partitions that a batcher reads.
    ///
    /// # Errors
    /// When the Kafka settings make no sense.
    pub(crate) fn group(&self, config: &Config) -> anyhow::Result<Group> {
        match self {
            Self::Local(log) => Ok(Group::local(log)),
            Self::Kafka(_) => join(config),
        }
    }

    /// How the spool stands, when there is one.
    pub(crate) fn spool(&self) -> Option<watch::Receiver<SpoolStatus>> {
        match self {
            Self::Local(_) => None,
            Self::Kafka(spool) => Some(spool.status()),
        }
    }

    /// How the schema registry has answered to the part that writes, when there is one.
    pub(crate) fn registry(&self) -> Option<Asked> {
        match self {
            Self::Local(_) => None,
            Self::Kafka(spool) => Some(("inference", spool.registry()?)),
        }
    }

    /// Writes what is queued, sends what can be sent at once, and closes.
    pub(crate) async fn close(self) {
        match self {
            Self::Local(log) => log.close().await,
            Self::Kafka(spool) => spool.close().await,
        }
    }
}

/// Joins the group of batchers.
///
/// # Errors
/// When the Kafka settings make no sense.
pub(crate) fn join(config: &Config) -> anyhow::Result<Group> {
    Group::join(&config.kafka).advise("joining the group of batchers", KAFKA_HINT)
}

/// How the schema registry has answered to the part that reads, when there is one.
pub(crate) fn registry_of(group: &Group) -> Option<Asked> {
    Some(("batcher", group.registry()?.status()))
}

/// How long a server that answers requests waits at its start for brokers that are to make topics: it has a spool.
const TOPICS_WAIT: Duration = Duration::from_secs(5);
/// Between two attempts at making topics.
const TOPICS_AGAIN: Duration = Duration::from_secs(30);

/// Makes missing topics. Brokers that are away now do not stop a start: the spool waits for them, and an operator may make topics, too. It goes on until they are
/// made, for as long as the process lives.
pub(crate) async fn make_topics(config: &Config, wait: Duration) {
    if !config.kafka.create.enabled {
        return;
    }
    let kafka = config.kafka.clone();
    let making = tokio::spawn(async move {
        loop {
            match create_topics(&kafka).await {
                Ok(made) if made.is_empty() => return,
                Ok(made) => return tracing::info!(topics = made.join(", "), "topics made"),
                Err(error) => {
                    let error = nocturne_kit::telemetry::chain(&error);
                    tracing::warn!(
                        error,
                        "topics could not be made, which is tried again; `nocturne doctor kafka` finds out what is wrong"
                    );
                }
            }
            tokio::time::sleep(TOPICS_AGAIN).await;
        }
    });
    if tokio::time::timeout(wait, making).await.is_err() {
        tracing::warn!(
            brokers = config.kafka.brokers,
            "no broker has answered yet; going on, `nocturne doctor kafka` finds out what is wrong"
        );
    }
}

fn tell(recovered: &nocturne_bus::Recovered) {
    if recovered.is_clean() {
        tracing::debug!(records = recovered.records, "log opened");
    } else {
        tracing::warn!(?recovered, "log repaired");
    }
}
