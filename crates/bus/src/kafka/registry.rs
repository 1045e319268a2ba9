//! A schema registry that speaks Confluent's API: what is asked of it, and what its answers mean.
//!
//! It is asked by the thread that registers this release's schemas (`registrar.rs`), by batchers for the schemas of framed records, and by the doctor; never
//! on the way of a request. An id that the registry denies is told apart from everything else that is wrong with it: the former says something about a
//! record, the latter about the registry, and only that is tried again.

mod answer;

use std::{env, fmt, fs, path::Path, time::Duration};

use reqwest::{Certificate, Client, RequestBuilder, Url};

use self::answer::Answer;
pub(crate) use self::answer::Lookup;
use super::RegistrySettings;

/// Environment variable that holds the registry's password.
pub const REGISTRY_PASSWORD_VARIABLE: &str = "NOCTURNE_REGISTRY_PASSWORD";

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
    #[error("{doing} at the schema registry {url}")]
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
    pub const fn is_final(&self) -> bool {
        match self {
            Self::Settings(_) | Self::File { .. } | Self::Client { .. } | Self::Incompatible { .. } => true,
            Self::Unreachable { .. } | Self::Refused { .. } => false,
        }
    }
}

/// What a status means.
pub(crate) const fn advice(status: u16) -> &'static str {
    match status {
        401 => "are `username` and the password in [kafka.registry] right?",
        403 => "allow this user to read schemas, and inference processes to register those of their topics",
        404 | 405 => "is `url` in [kafka.registry] where Confluent's API begins? Apicurio's ends with /apis/ccompat/v7",
        422 => "it takes no Avro schemas, or not this one",
        _ => "what does its own log say?",
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
    login: Option<(String, String)>,
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
            for certificate in Certificate::from_pem_bundle(&pem).map_err(failed)? {
                client = client.add_root_certificate(certificate);
            }
        }
        let login = if settings.username.is_empty() { None } else { Some((settings.username.clone(), password(settings)?)) };
        Ok(Some(Self { client: client.build().map_err(failed)?, base, login }))
    }

    /// Where it is.
    pub fn url(&self) -> &str {
        self.base.as_str()
    }

    /// The schema of an id.
    ///
    /// # Errors
    /// When the registry does not answer, or not to the question.
    pub async fn schema(&self, id: u32) -> Result<Registered, RegistryError> {
        let doing = || format!("asking for the schema {id}");
        let answer = self.send(&doing, self.client.get(self.at(&["schemas", "ids", &id.to_string()]))).await?;
        answer.schema().ok_or_else(|| self.refused(doing(), &answer))
    }

    /// Registers a schema as a subject's newest, if it is not registered yet; its id.
    pub(crate) async fn register(&self, subject: &str, schema: &str) -> Result<u32, RegistryError> {
        let doing = || format!("registering the schema of {subject}");
        let answer = self.send(&doing, self.post(&["subjects", subject, "versions"], schema)).await?;
        match answer.status {
            409 => {
                Err(RegistryError::Incompatible { subject: subject.to_owned(), url: self.base.to_string(), said: answer.said() })
            }
            _ => answer.id().ok_or_else(|| self.refused(doing(), &answer)),
        }
    }

    /// Whether a schema is registered with a subject.
    pub(crate) async fn look_up(&self, subject: &str, schema: &str) -> Result<Lookup, RegistryError> {
        let doing = || format!("looking for the schema of {subject}");
        let answer = self.send(&doing, self.post(&["subjects", subject], schema)).await?;
        answer.lookup().ok_or_else(|| self.refused(doing(), &answer))
    }

    /// Whether a schema may follow a subject's newest.
    pub(crate) async fn is_compatible(&self, subject: &str, schema: &str) -> Result<bool, RegistryError> {
        let doing = || format!("asking whether the schema of {subject} is compatible");
        let path = ["compatibility", "subjects", subject, "versions", "latest"];
        let answer = self.send(&doing, self.post(&path, schema)).await?;
        answer.is_compatible().ok_or_else(|| self.refused(doing(), &answer))
    }

    /// How many subjects there are.
    pub(crate) async fn subjects(&self) -> Result<usize, RegistryError> {
        let doing = || "listing subjects".to_owned();
        let answer = self.send(&doing, self.client.get(self.at(&["subjects"]))).await?;
        answer.subjects().ok_or_else(|| self.refused(doing(), &answer))
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

    async fn send(&self, doing: &impl Fn() -> String, request: RequestBuilder) -> Result<Answer, RegistryError> {
        let failed = |source: reqwest::Error| RegistryError::Unreachable {
            doing: doing(),
            url: self.base.to_string(),
            source: source.without_url(),
        };
        let request = match &self.login {
            Some((user, password)) => request.basic_auth(user, Some(password)),
            None => request,
        };
        let mut response = request.send().await.map_err(failed)?;
        let mut answer = Answer { status: response.status().as_u16(), body: Vec::new() };
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            answer.body.extend_from_slice(&chunk);
            if answer.body.len() > MAX_ANSWER_BYTES {
                answer.body = b"an answer without end".to_vec();
                return Err(self.refused(doing(), &answer));
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

fn password(settings: &RegistrySettings) -> Result<String, RegistryError> {
    if let Some(file) = &settings.password_file {
        let read = fs::read_to_string(file).map_err(|source| unreadable("password", file, source))?;
        return Ok(read.trim_end_matches(['\r', '\n']).to_owned());
    }
    env::var(REGISTRY_PASSWORD_VARIABLE).map_err(|_| {
        let variable = REGISTRY_PASSWORD_VARIABLE;
        RegistryError::Settings(format!("`username` needs a password: set `password_file`, or {variable} in the environment"))
    })
}

fn unreadable(what: &'static str, file: &Path, source: std::io::Error) -> RegistryError {
    RegistryError::File { what, file: file.to_owned(), source }
}

#[cfg(test)]
mod tests;
