//! Registers this release's schemas, away from everything that waits: records stay in the spool until their ids are known.

use std::{
    ops::ControlFlow,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use nocturne_kit::{Shutdown, retry::Backoff, retry::retry, telemetry::chain};
use nocturne_wire::{Topic, avro};
use tokio::sync::watch;

use super::{KafkaError, KafkaSettings, Registry, RegistryError, RegistryStatus};

const TELL_EVERY: Duration = Duration::from_mins(1);

/// Ids of this release's schemas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SchemaIds {
    pub(crate) interactions: u32,
    pub(crate) feedback: u32,
}

impl SchemaIds {
    pub(crate) const fn of(self, topic: Topic) -> u32 {
        match topic {
            Topic::Interactions => self.interactions,
            Topic::Feedback => self.feedback,
        }
    }
}

/// How far registering is.
#[derive(Debug, Clone)]
pub(crate) enum Registration {
    /// The registry has not answered yet.
    Asking,
    /// It did not do it, and is asked again.
    Failed(Arc<RegistryError>),
    /// It did.
    Known(SchemaIds),
}

impl Registration {
    /// The ids, or why there are none.
    pub(crate) fn ids(&self) -> Result<SchemaIds, String> {
        match self {
            Self::Asking => Err("the schema registry has not answered yet".to_owned()),
            Self::Failed(error) => Err(chain(&**error)),
            Self::Known(ids) => Ok(*ids),
        }
    }
}

/// The subject of a topic's records, as Confluent's clients name it unless they are told otherwise.
pub(crate) fn subject(settings: &KafkaSettings, topic: Topic) -> String {
    format!("{}-value", settings.topics.of(topic))
}

/// Registers once it is started.
pub(crate) struct Registrar {
    registry: Registry,
    settings: KafkaSettings,
    told: watch::Sender<Registration>,
}

impl Registrar {
    /// One that has not begun; `None` when no registry is configured.
    pub(crate) fn open(settings: &KafkaSettings) -> Result<Option<Self>, KafkaError> {
        let Some(registry) = Registry::open(&settings.registry)? else { return Ok(None) };
        registry.note_ids(false);
        Ok(Some(Self { registry, settings: settings.clone(), told: watch::channel(Registration::Asking).0 }))
    }

    /// How far it is.
    pub(crate) fn registration(&self) -> watch::Receiver<Registration> {
        self.told.subscribe()
    }

    /// How the registry has answered.
    pub(crate) fn registry(&self) -> watch::Receiver<RegistryStatus> {
        self.registry.status()
    }

    /// Begins to register, until it is done or stopped.
    pub(crate) fn start(self, stop: &Shutdown) -> Result<(), KafkaError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(KafkaError::Thread)?;
        let stop = stop.clone();
        let work = move || runtime.block_on(register(&self.registry, &self.settings, &stop, &self.told));
        thread::Builder::new().name("schema-registry".to_owned()).spawn(work).map(drop).map_err(KafkaError::Thread)
    }
}

async fn register(registry: &Registry, settings: &KafkaSettings, stop: &Shutdown, told: &watch::Sender<Registration>) {
    let spoken = Mutex::new(None);
    let attempt = async |_| {
        let tried = try_once(registry, settings).await;
        tried.map_err(|error| {
            tell(&spoken, &error);
            told.send_replace(Registration::Failed(Arc::new(error)));
            ControlFlow::Continue(())
        })
    };
    tokio::select! {
        biased;
        () = stop.requested() => {}
        registered = retry(Backoff::ENDLESS, stop, attempt) => {
            if let Ok(ids) = registered {
                tracing::info!(interactions = ids.interactions, feedback = ids.feedback, url = registry.url(), "schemas registered");
                told.send_replace(Registration::Known(ids));
                registry.note_ids(true);
            }
        }
    }
}

async fn try_once(registry: &Registry, settings: &KafkaSettings) -> Result<SchemaIds, RegistryError> {
    let register = async |topic| registry.register(&subject(settings, topic), avro::schema(topic)).await;
    Ok(SchemaIds { interactions: register(Topic::Interactions).await?, feedback: register(Topic::Feedback).await? })
}

/// Tells of a failure now, and of further ones once a minute.
fn tell(spoken: &Mutex<Option<Instant>>, error: &RegistryError) {
    let mut spoken = spoken.lock().unwrap_or_else(PoisonError::into_inner);
    if spoken.is_some_and(|spoken| spoken.elapsed() < TELL_EVERY) {
        return;
    }
    *spoken = Some(Instant::now());
    let text = chain(error);
    if error.is_final() || error.is_denied() {
        tracing::error!(error = text, "records wait in the spool until their schemas are registered");
    } else {
        tracing::warn!(error = text, "records wait in the spool until their schemas are registered");
    }
}
