//! What the ids of framed records stand for, asked of the schema registry once each.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use nocturne_bus::{Registered, Registry, RegistryError};
use nocturne_kit::telemetry::chain;

use crate::{
    framed::{Named, Names},
    schemas::FoundSchemas,
};

/// How long an id that the registry denied is not asked for again; records that name it are dead letters until then.
const ASK_AGAIN: Duration = Duration::from_mins(1);

/// After what time an id that was denied is asked for once more before that is believed: a letter is for ever, and one of several registries may not have
/// heard yet of what was registered at another.
const ASK_TWICE: Duration = Duration::from_secs(2);

/// Why an id stands for nothing here.
const NO_REGISTRY: &str = "a batcher needs that registry to read it; set `url` in [kafka.registry]";

/// The ids that this process has asked for, for all partitions.
#[derive(Debug, Clone)]
pub(crate) struct Writers {
    registry: Option<Registry>,
    names: Arc<Mutex<Arc<Names>>>,
}

impl Writers {
    pub(crate) fn new(registry: Option<Registry>) -> Self {
        Self { registry, names: Arc::default() }
    }

    /// What is known now, without asking.
    pub(crate) fn known(&self) -> Arc<Names> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What these ids stand for. Schemas that were not known are among the found ones then.
    ///
    /// # Errors
    /// When the registry does not answer, or not to the question: no word about any record.
    pub(crate) async fn of(&self, ids: BTreeSet<u32>, schemas: &FoundSchemas) -> Result<Arc<Names>, RegistryError> {
        let Some(registry) = &self.registry else {
            let nothing = |id| (id, Named::Unusable(NO_REGISTRY.to_owned()));
            return Ok(Arc::new(ids.into_iter().map(nothing).collect()));
        };
        let known = self.known();
        let mut denied = Vec::new();
        for id in ids.into_iter().filter(|id| is_open(known.get(id))) {
            match ask(registry, id, schemas).await? {
                Named::Absent(_) => denied.push(id),
                named @ (Named::Schema(_) | Named::Unusable(_)) => self.note(id, named),
            }
        }
        if !denied.is_empty() {
            tokio::time::sleep(ASK_TWICE).await;
        }
        for id in denied {
            self.note(id, ask(registry, id, schemas).await?);
        }
        Ok(self.known())
    }

    fn note(&self, id: u32, named: Named) {
        match &named {
            Named::Schema(print) => {
                tracing::info!(id, fingerprint = format!("{print:016x}"), "a schema was found in the registry");
            }
            Named::Unusable(why) => tracing::error!(id, why, "records of this schema become dead letters"),
            Named::Absent(_) => tracing::error!(id, "records of a schema that the registry does not know become dead letters"),
        }
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let names = Arc::make_mut(&mut names);
        // Ids made up by somebody must not fill the memory.
        names.retain(|_, named| !matches!(named, Named::Absent(_)) || !is_open(Some(named)));
        names.insert(id, named);
    }
}

async fn ask(registry: &Registry, id: u32, schemas: &FoundSchemas) -> Result<Named, RegistryError> {
    Ok(match registry.schema(id).await? {
        Registered::Avro(text) => match schemas.learn(&text) {
            Ok(print) => Named::Schema(print),
            Err(error) => Named::Unusable(chain(&error)),
        },
        Registered::Unusable(why) => Named::Unusable(why),
        Registered::Unknown => Named::Absent(Instant::now()),
    })
}

/// Whether it is to be asked for.
fn is_open(named: Option<&Named>) -> bool {
    match named {
        None => true,
        Some(Named::Absent(asked)) => asked.elapsed() >= ASK_AGAIN,
        Some(Named::Schema(_) | Named::Unusable(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use nocturne_bus::RegistrySettings;
    use nocturne_wire::{Topic, avro};
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::{TcpListener, TcpStream},
        sync::watch,
    };

    use super::*;

    /// A registry that knows this release's interactions as 7, something else as 8, and fails when it is told to; it counts its requests.
    struct Played {
        writers: Writers,
        failing: watch::Sender<bool>,
        requests: watch::Receiver<u32>,
    }

    async fn answer(mut stream: TcpStream, failing: bool) {
        let mut request = vec![0; 4 << 10];
        let read = stream.read(&mut request).await.expect("a request");
        let path = String::from_utf8_lossy(&request[..read]).split(' ').nth(1).unwrap_or_default().to_owned();
        let (status, body) = match path.rsplit('/').next() {
            _ if failing => (503, String::new()),
            Some("7") => (200, format!("{{\"schema\":{:?}}}", avro::INTERACTION_SCHEMA.replace('\n', " "))),
            Some("8") => (200, r#"{"schema":"{}","schemaType":"JSON"}"#.to_owned()),
            Some("9") => (200, r#"{"schema":"no Avro"}"#.to_owned()),
            _ => (404, r#"{"error_code":40403,"message":"not found"}"#.to_owned()),
        };
        let text = format!("HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        stream.write_all(text.as_bytes()).await.expect("taken");
    }

    async fn played() -> Played {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let ((failing, fails), (count, requests)) = (watch::channel(false), watch::channel(0));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.send_modify(|count| *count += 1);
                let failing = *fails.borrow();
                answer(stream, failing).await;
            }
        });
        let registry = Registry::open(&RegistrySettings { url, ..RegistrySettings::default() }).expect("sound");
        Played { writers: Writers::new(registry), failing, requests }
    }

    #[tokio::test]
    async fn each_id_is_asked_for_once_and_one_that_is_denied_twice() {
        let Played { writers, requests, .. } = played().await;
        let schemas = FoundSchemas::default();
        for _ in 0..3 {
            let names = writers.of([7, 8, 9, 10].into(), &schemas).await.expect("answered");
            assert_eq!(names[&7], Named::Schema(avro::fingerprint(Topic::Interactions)));
            assert!(matches!(&names[&8], Named::Unusable(why) if why.contains("JSON")), "{names:?}");
            assert!(matches!(&names[&9], Named::Unusable(why) if why.contains("not an Avro schema")), "{names:?}");
            assert!(matches!(&names[&10], Named::Absent(_)), "{names:?}");
        }
        assert_eq!(*requests.borrow(), 5);
        assert_eq!(writers.known().len(), 4);
    }

    #[tokio::test]
    async fn a_registry_that_fails_says_nothing_about_a_record_and_is_asked_again() {
        let Played { writers, failing, .. } = played().await;
        let schemas = FoundSchemas::default();
        failing.send_replace(true);
        writers.of([7].into(), &schemas).await.expect_err("it fails");
        assert!(writers.known().is_empty());
        failing.send_replace(false);
        assert!(writers.of([7].into(), &schemas).await.is_ok_and(|names| names.contains_key(&7)));
        // What is known needs no registry any more.
        failing.send_replace(true);
        assert!(writers.of([7].into(), &schemas).await.is_ok());
    }

    #[tokio::test]
    async fn without_a_registry_the_reason_says_that_one_is_needed() {
        let names = Writers::new(None).of([7].into(), &FoundSchemas::default()).await.expect("nobody to ask");
        assert!(matches!(&names[&7], Named::Unusable(why) if why.contains("[kafka.registry]")), "{names:?}");
    }
}
