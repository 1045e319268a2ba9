//! The spool: a log on this machine that is sent on to Kafka, so that a request never waits for a broker and none of its records is
//! lost while there is none.
//!
//! A record is acknowledged when the spool has it, and leaves the spool when Kafka has acknowledged it. Only a small window of records is
//! inside librdkafka: its own queue forgets what it could not deliver in time, the spool does not.

mod cursor;
pub(crate) mod forwarder;
#[cfg(test)]
mod tests;
pub(crate) mod wire;

use std::{
    path::Path,
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use nocturne_kit::Shutdown;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use self::forwarder::Forwarder;
use crate::{
    Durability, KafkaSettings, LogSettings, OnFull, OpenError, Partitions, Publisher, Recovered, RegistryError, RegistryStatus,
    Stats,
    kafka::{
        KafkaError,
        producer::KafkaWire,
        registrar::{Registrar, Registration},
    },
    local::log::LocalLog,
};

/// Settings of the spool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SpoolSettings {
    /// A segment that would grow beyond this is closed; segments are what is deleted after delivery.
    pub segment_bytes: u64,
    /// Most bytes on disk.
    pub max_bytes: u64,
    /// What happens to records beyond it; every loss is counted, and told once a minute.
    pub on_full: OnFull,
    /// When a record counts as acknowledged.
    pub durability: Durability,
    /// Seconds that a stopping process goes on sending; the rest stays for the next start.
    pub drain_seconds: u64,
}

impl Default for SpoolSettings {
    fn default() -> Self {
        Self {
            segment_bytes: 16 << 20,
            max_bytes: 4 << 30,
            on_full: OnFull::default(),
            durability: Durability::Disk,
            drain_seconds: 5,
        }
    }
}

impl SpoolSettings {
    pub(crate) fn log(&self) -> LogSettings {
        LogSettings {
            partitions: Partitions { interactions: 1, feedback: 1 },
            segment_bytes: self.segment_bytes,
            max_bytes: self.max_bytes,
            on_full: self.on_full,
            durability: self.durability,
        }
    }
}

/// How the spool stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SpoolStatus {
    /// Whether a broker answers.
    pub connected: bool,
    /// Records that Kafka acknowledged since the start.
    pub delivered: u64,
    /// Records that came back since the start and were, or will be, sent again.
    pub returned: u64,
    /// Records that Kafka will never take, set aside in the folder `refused`.
    pub refused: u64,
    /// Records that were lost since the start.
    pub dropped: u64,
    /// Records that wait to be acknowledged by Kafka.
    pub backlog_records: u64,
    /// Bytes of the spool on disk.
    pub backlog_bytes: u64,
    /// Records inside librdkafka.
    pub handed: u64,
    /// What went wrong last, until it is over.
    pub error: Option<String>,
}

/// Why the spool was not opened.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// Its log was not.
    #[error(transparent)]
    Log(#[from] OpenError),
    /// Kafka's client was not made.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    /// Its cursor cannot be read.
    #[error("reading how far the spool was delivered")]
    Cursor(#[source] std::io::Error),
}

/// A spool that sends.
#[derive(Debug)]
pub struct Spool {
    log: LocalLog,
    stop: Shutdown,
    status: watch::Receiver<SpoolStatus>,
    registration: Option<watch::Receiver<Registration>>,
    registry: Option<watch::Receiver<RegistryStatus>>,
    forwarder: Option<JoinHandle<()>>,
}

impl Spool {
    /// Opens the spool in a directory that belongs to this process alone, and begins to send. Brokers and the schema registry need not be there.
    ///
    /// # Errors
    /// When the directory cannot be read or repaired, or the settings make no sense.
    pub fn open(dir: &Path, settings: &SpoolSettings, kafka: &KafkaSettings) -> Result<Self, SpoolError> {
        let registrar = Registrar::open(kafka)?;
        let registration = registrar.as_ref().map(Registrar::registration);
        let registry = registrar.as_ref().map(Registrar::registry);
        let wire = KafkaWire::open(kafka, registration.clone())?;
        let log = LocalLog::open_keyed(dir, &settings.log())?;
        let (sender, status) = watch::channel(SpoolStatus::default());
        let stop = Shutdown::new();
        let time = Arc::new(Instant::now);
        let forwarder = Forwarder::new(log.clone(), dir, wire, kafka.producer.queue_bytes, time, sender);
        let forwarder = forwarder.map_err(SpoolError::Cursor)?;
        let (stopped, drain) = (stop.clone(), Duration::from_secs(settings.drain_seconds));
        let thread = thread::Builder::new().name("spool-forwarder".to_owned()).spawn(move || forwarder.run(&stopped, drain));
        let forwarder = Some(thread.map_err(KafkaError::Thread)?);
        let spool = Self { log, stop, status, registration, registry, forwarder };
        if let Some(registrar) = registrar {
            registrar.start(&spool.stop)?;
        }
        Ok(spool)
    }

    /// Waits for the schema registry's first word, when there is a registry, for as long as one answer of it may take. What was refused is asked for
    /// again while this spool is open, whatever the word was; until then records wait.
    ///
    /// # Errors
    /// What the registry, or the way to it, had to say.
    pub async fn registered(&self) -> Result<(), Arc<RegistryError>> {
        let Some(mut registration) = self.registration.clone() else { return Ok(()) };
        match registration.wait_for(|registration| !matches!(registration, Registration::Asking)).await.as_deref() {
            Ok(Registration::Failed(error)) => Err(error.clone()),
            // The thread is gone when the spool is being closed.
            Ok(Registration::Asking | Registration::Known(_)) | Err(_) => Ok(()),
        }
    }

    /// A handle that publishes.
    pub fn publisher(&self) -> Publisher {
        self.log.publisher()
    }

    /// How the spool stands; told about once a second.
    pub fn status(&self) -> watch::Receiver<SpoolStatus> {
        self.status.clone()
    }

    /// How the schema registry has answered, when there is one.
    pub fn registry(&self) -> Option<watch::Receiver<RegistryStatus>> {
        self.registry.clone()
    }

    /// What opening had to repair.
    pub const fn recovered(&self) -> Recovered {
        self.log.recovered()
    }

    /// The log's counters.
    pub fn stats(&self) -> Stats {
        self.log.stats()
    }

    /// Writes what is queued, sends what can be sent in the time that the settings give, and stops.
    pub async fn close(mut self) {
        self.stop.request();
        if let Some(forwarder) = self.forwarder.take() {
            // A panic was printed when it happened; what it did not send is in the spool.
            tokio::task::spawn_blocking(move || forwarder.join()).await.ok();
        }
        self.log.close().await;
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        self.stop.request();
    }
}
