//! A schema registry that speaks Confluent's API: what is asked of it, and what its answers mean.
//!
//! It is asked by the thread that registers this release's schemas (`registrar.rs`), by batchers for the schemas of framed records, and by the doctor; never
//! on the way of a request. An id that the registry denies is told apart from everything else that is wrong with it: the former says something about a
//! record, the latter about the registry, and only that is tried again.

mod answer;
mod login;
mod status;

use std::{fmt, fs, path::Path, time::Duration};

use nocturne_kit::telemetry::chain;
use reqwest::{Certificate, Client, RequestBuilder, Url};
use tokio::sync::watch;

pub(crate) use self::answer::Lookup;
use self::{
    answer::Answer,
    login::{Login, PASSWORD},
};
pub use self::{login::REGISTRY_PASSWORD_VARIABLE, status::RegistryStatus};
use super::RegistrySettings;

/// What a registry is told that it is sent.
const CONTENT_TYPE: &str = "application/vnd.schemaregistry.v1+json";
/// Most bytes of an answer: schemas have kilobytes.
const MAX_ANSWER_BYTES: usize = 4 << 20;

/// Why a registry did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The settings contradict themselves.
    #[error("the settings in [kafka.registry]: {0}")]
    Settings(String),
    /// A file of the settings cannot be read.
    #[error("reading the {what} of the schema registry in {}", file.display())]
    File {
        /// What the file holds.
        what: &'static str,
        /// The file.
        file: std::path::PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The client was not made.
    #[error("making a client for the schema registry {url}")]
    Client {
        /// The registry.
        url: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// It did not answer.
    #[error("{doing} at the schema registry {url}{}", suspicion(source))]
    Unreachable {
        /// What was asked.
        doing: String,
        /// The registry.
        url: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// It answered something else than what was asked for.
    #[error("{doing} at the schema registry {url}: it answered {status}, {said}; {}", advice(*status))]
    Refused {
        /// What was asked.
        doing: String,
        /// The registry.
        url: String,
        /// HTTP status.
        status: u16,
        /// Its own words.
        said: String,
    },
    /// This release's schema may not follow what is registered.
    #[error(
        "the schema registry {url} refuses this release's schema for {subject}: {said}. Either somebody else's schema is registered there (choose another name \
         in [kafka.topics]), or the subject's compatibility is stricter than BACKWARD (`PUT /config/{subject}` changes it)"
    )]
    Incompatible {
        /// The subject.
        subject: String,
        /// The registry.
        url: String,
        /// Its own words.
        said: String,
    },
}

impl RegistryError {
    /// Whether asking again cannot help: a person has to change something first.
    pub fn is_final(&self) -> bool {
        match self {
            Self::Settings(_) | Self::Client { .. } | Self::Incompatible { .. } => true,
            // Whoever rotates a password takes its file away for a moment. One that was not there at the start refused the client.
            Self::File { what, .. } => *what != PASSWORD,
            Self::Unreachable { .. } | Self::Refused { .. } => false,
        }
    }

    /// Whether it denies this to the user. It is asked again all the same: what it knows of users may change, and so may the file with the password.
    pub const fn is_denied(&self) -> bool {
        matches!(self, Self::Refused { status: 401 | 403, .. })
    }
}

/// What a status means.
pub(crate) const fn advice(status: u16) -> &'static str {
    match status {
        401 => {
            "are `username` and `password_file` in [kafka.registry], or the variable NOCTURNE_REGISTRY_PASSWORD, set and right? A mended file needs no restart"
        }
        403 => "allow this user to read schemas, and inference processes to register those of their topics",
        404 | 405 => "is `url` in [kafka.registry] where Confluent's API begins? Apicurio's ends with /apis/ccompat/v7",
        422 => "it takes no Avro schemas, or not this one",
        _ => "what does its own log say?",
    }
}

/// What a connection that was not made makes one think of.
fn suspicion(error: &reqwest::Error) -> &'static str {
    // The library that speaks TLS is reqwest's own affair; only its words come up here.
    let told = chain(error);
    let says = |text: &str| told.contains(text);
    if says("UnknownIssuer") || says("BadSignature") {
        ", whose certificate nobody vouches for (does `ca_file` in [kafka.registry] hold the authority that signed it?)"
    } else if says("not valid for name") {
        ", whose certificate is another host's (`url` in [kafka.registry] has to name one that the certificate names)"
    } else if says("InvalidContentType") {
        ", which does not speak TLS there (should `url` in [kafka.registry] begin with http://?)"
    } else {
        ""
    }
}

/// A schema that is registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Registered {
    /// An Avro schema.
    Avro(String),
    /// Something else, or only a part of one; why it is of no use here.
    Unusable(String),
    /// The registry knows none of that id.
    Unknown,
}

/// A schema registry.
#[derive(Clone)]
pub struct Registry {
    client: Client,
    base: Url,
    login: Option<Login>,
    told: watch::Sender<RegistryStatus>,
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").field("url", &self.base.as_str()).finish_non_exhaustive()
    }
}

impl Registry {
    /// A client for what the settings name; `None` when they name nothing. The registry need not be there.
    ///
    /// # Errors
    /// When the settings contradict themselves, or a file cannot be read.
    pub fn open(settings: &RegistrySettings) -> Result<Option<Self>, RegistryError> {
        if settings.url.is_empty() {
            return Ok(None);
        }
        let base = parse(&settings.url)?;
        let mut client = Client::builder().timeout(Duration::from_millis(settings.timeout_milliseconds));
        let failed = |source| RegistryError::Client { url: settings.url.clone(), source };
        if let Some(file) = &settings.ca_file {
            let pem = fs::read(file).map_err(|source| unreadable("certificates", file, source))?;
            let certificates = Certificate::from_pem_bundle(&pem).map_err(failed)?;
            if certificates.is_empty() {
                return Err(RegistryError::Settings(format!("`ca_file` {} holds no certificate in PEM", file.display())));
            }
            for certificate in certificates {
                client = client.add_root_certificate(certificate);
            }
        }
        let login = Login::of(settings)?;
        let told = watch::channel(RegistryStatus::default()).0;
        Ok(Some(Self { client: client.build().map_err(failed)?, base, login, told }))
    }

    /// Where it is.
    pub fn url(&self) -> &str {
        self.base.as_str()
    }

    /// How it has answered to this process: to this value and its clones.
    pub fn status(&self) -> watch::Receiver<RegistryStatus> {
        self.told.subscribe()
    }

    /// Tells whether the ids that are written with are known.
    pub(crate) fn note_ids(&self, known: bool) {
        self.told.send_modify(|status| status.ids_known = Some(known));
    }

    /// The schema of an id.
    ///
    /// # Errors
    /// When the registry does not answer, or not to the question.
    pub async fn schema(&self, id: u32) -> Result<Registered, RegistryError> {
        let request = self.client.get(self.at(&["schemas", "ids", &id.to_string()]));
        self.ask(format!("asking for the schema {id}"), request, Answer::schema).await
    }

    /// Registers a schema as a subject's newest, if it is not registered yet; its id.
    pub(crate) async fn register(&self, subject: &str, schema: &str) -> Result<u32, RegistryError> {
        let request = self.post(&["subjects", subject, "versions"], schema);
        let asked = self.ask(format!("registering the schema of {subject}"), request, Answer::id).await;
        asked.map_err(|error| match error {
            RegistryError::Refused { status: 409, url, said, .. } => {
                RegistryError::Incompatible { subject: subject.to_owned(), url, said }
            }
            other => other,
        })
    }

    /// Whether a schema is registered with a subject.
    pub(crate) async fn look_up(&self, subject: &str, schema: &str) -> Result<Lookup, RegistryError> {
        let request = self.post(&["subjects", subject], schema);
        self.ask(format!("looking for the schema of {subject}"), request, Answer::lookup).await
    }

    /// Whether a schema may follow a subject's newest.
    pub(crate) async fn is_compatible(&self, subject: &str, schema: &str) -> Result<bool, RegistryError> {
        let request = self.post(&["compatibility", "subjects", subject, "versions", "latest"], schema);
        self.ask(format!("asking whether the schema of {subject} is compatible"), request, Answer::is_compatible).await
    }

    /// How many subjects there are.
    pub(crate) async fn subjects(&self) -> Result<usize, RegistryError> {
        self.ask("listing subjects".to_owned(), self.client.get(self.at(&["subjects"])), Answer::subjects).await
    }

    /// Asks, and keeps count of how that ended.
    async fn ask<T>(
        &self,
        doing: String,
        request: RequestBuilder,
        read: impl FnOnce(&Answer) -> Option<T>,
    ) -> Result<T, RegistryError> {
        let answered = self.send(&doing, request).await;
        let asked = answered.and_then(|answer| read(&answer).ok_or_else(|| self.refused(doing, &answer)));
        self.told.send_modify(|status| status.note(&asked));
        asked
    }

    fn at(&self, path: &[&str]) -> Url {
        let mut url = self.base.clone();
        // An address of `http` or `https` always has a path.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        url
    }

    fn post(&self, path: &[&str], schema: &str) -> RequestBuilder {
        let body = serde_json::json!({ "schema": schema }).to_string();
        self.client.post(self.at(path)).header("content-type", CONTENT_TYPE).body(body)
    }

    async fn send(&self, doing: &str, request: RequestBuilder) -> Result<Answer, RegistryError> {
        let failed = |source: reqwest::Error| RegistryError::Unreachable {
            doing: doing.to_owned(),
            url: self.base.to_string(),
            source: source.without_url(),
        };
        let request = match &self.login {
            Some(login) => request.basic_auth(login.user(), Some(login.password().await?)),
            None => request,
        };
        let mut response = request.send().await.map_err(failed)?;
        let mut answer = Answer { status: response.status().as_u16(), body: Vec::new() };
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            answer.body.extend_from_slice(&chunk);
            if answer.body.len() > MAX_ANSWER_BYTES {
                answer.body = b"an answer without end".to_vec();
                return Err(self.refused(doing.to_owned(), &answer));
            }
        }
        Ok(answer)
    }

    fn refused(&self, doing: String, answer: &Answer) -> RegistryError {
        RegistryError::Refused { doing, url: self.base.to_string(), status: answer.status, said: answer.said() }
    }
}

fn parse(text: &str) -> Result<Url, RegistryError> {
    let wrong = |why: &str| Err(RegistryError::Settings(format!("`url` {why}")));
    match Url::parse(text) {
        Err(error) => wrong(&format!("is `{text}`: {error}; it begins with http:// or https://")),
        // It would come up in logs.
        Ok(url) if !url.username().is_empty() || url.password().is_some() => {
            wrong("holds a user name or a password; they belong into `username` and `password_file`")
        }
        Ok(url) if !matches!(url.scheme(), "http" | "https") => {
            wrong(&format!("is `{text}`; it begins with http:// or https://"))
        }
        Ok(url) => Ok(url),
    }
}

fn unreadable(what: &'static str, file: &Path, source: std::io::Error) -> RegistryError {
    RegistryError::File { what, file: file.to_owned(), source }
}

#[cfg(test)]
mod tests;
