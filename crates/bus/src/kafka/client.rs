//! What producers and consumers share: the native configuration, credentials, and what librdkafka says.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use rdkafka::{ClientConfig, ClientContext, client::OAuthToken, config::RDKafkaLogLevel};

use super::{KafkaSettings, guarded, registry::RegistryError, settings::Mechanism, token};

/// Environment variable that holds the password.
pub const PASSWORD_VARIABLE: &str = "NOCTURNE_KAFKA_PASSWORD";

/// Why a client could not be made or did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum KafkaError {
    /// The settings contradict themselves.
    #[error("the Kafka settings: {0}")]
    Settings(String),
    /// A file of the security settings cannot be read.
    #[error("reading the {what} in {}", file.display())]
    File {
        /// What the file holds.
        what: &'static str,
        /// The file.
        file: std::path::PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// librdkafka refused the configuration.
    #[error("making a Kafka client for {brokers}")]
    Client {
        /// The brokers.
        brokers: String,
        /// Why.
        #[source]
        source: Box<rdkafka::error::KafkaError>,
    },
    /// The brokers did not do it.
    #[error("{doing} on the Kafka brokers {brokers}")]
    Request {
        /// What was asked.
        doing: String,
        /// The brokers.
        brokers: String,
        /// Why.
        #[source]
        source: Box<rdkafka::error::KafkaError>,
    },
    /// The topic is not there.
    #[error("there is no topic `{name}` on the Kafka brokers {brokers}")]
    NoTopic {
        /// Its name.
        name: String,
        /// The brokers.
        brokers: String,
    },
    /// The system did not start a thread.
    #[error("starting a thread for Kafka")]
    Thread(#[source] std::io::Error),
    /// A property is set that is not for choice.
    #[error("the Kafka settings: `{table}` sets `{key}`, which is not for choice: {why}; leave it out")]
    Guarded {
        /// The table of the settings.
        table: &'static str,
        /// The property.
        key: &'static str,
        /// What stands on it.
        why: &'static str,
    },
    /// The client of the schema registry was not made.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The group was left, and nothing can be asked any more.
    #[error("this process has left the consumer group on the Kafka brokers {brokers}")]
    Left {
        /// The brokers.
        brokers: String,
    },
    /// The consumer cannot go on, and says so itself.
    #[error("the consumer of the Kafka brokers {brokers} cannot go on: {reason}")]
    Fatal {
        /// The brokers.
        brokers: String,
        /// What librdkafka says.
        reason: String,
    },
    /// The thread that polls ended without having been asked to; a defect.
    #[error("reading from the Kafka brokers {brokers} ended unexpectedly: {why}")]
    Ended {
        /// The brokers.
        brokers: String,
        /// What the panic said.
        why: String,
    },
}

impl KafkaSettings {
    /// The native configuration of any client.
    ///
    /// # Errors
    /// When the settings contradict themselves or set what is not for choice, or a file cannot be read.
    pub(crate) fn client(&self) -> Result<ClientConfig, KafkaError> {
        guarded::check(self)?;
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.brokers)
            .set("client.id", "nocturne")
            // A half-open connection through a firewall is found out about.
            .set("socket.keepalive.enable", "true")
            .set("statistics.interval.ms", self.statistics_milliseconds.to_string())
            .set("reconnect.backoff.ms", "100")
            .set("reconnect.backoff.max.ms", "2000")
            .set_log_level(RDKafkaLogLevel::Warning);
        self.secure(&mut config)?;
        for (key, value) in &self.properties {
            config.set(key, value);
        }
        Ok(config)
    }

    fn secure(&self, config: &mut ClientConfig) -> Result<(), KafkaError> {
        let security = &self.security;
        let refused = |why: &str| Err(KafkaError::Settings(why.to_owned()));
        config.set("security.protocol", security.protocol.as_str());
        if security.protocol.is_encrypted() {
            let files = [
                ("certificate authority", "ssl.ca.location", &security.ca_file),
                ("client certificate", "ssl.certificate.location", &security.certificate_file),
                ("client key", "ssl.key.location", &security.key_file),
            ];
            for (what, key, file) in files {
                if let Some(file) = file {
                    readable(what, file)?;
                    config.set(key, file.to_string_lossy());
                }
            }
            if security.certificate_file.is_some() != security.key_file.is_some() {
                return refused("`certificate_file` and `key_file` go together");
            }
            let algorithm = if security.verify_hostname { "https" } else { "none" };
            config.set("ssl.endpoint.identification.algorithm", algorithm);
        } else if security.ca_file.is_some() || security.certificate_file.is_some() {
            return refused("certificates are given, and `protocol` is neither `ssl` nor `sasl_ssl`");
        }
        if !security.protocol.is_sasl() {
            return Ok(());
        }
        config.set("sasl.mechanism", security.mechanism.as_str());
        if security.mechanism == Mechanism::OauthBearer {
            return match &security.token_file {
                Some(file) => readable("token", file),
                None => refused("`mechanism = \"OAUTHBEARER\"` needs `token_file`"),
            };
        }
        if security.username.is_empty() {
            return refused("a SASL `protocol` needs `username`");
        }
        config.set("sasl.username", &security.username).set("sasl.password", self.password()?);
        Ok(())
    }

    fn password(&self) -> Result<String, KafkaError> {
        if let Some(file) = &self.security.password_file {
            let read = fs::read_to_string(file);
            let read = read.map_err(|source| KafkaError::File { what: "password", file: file.clone(), source })?;
            return Ok(read.trim_end_matches(['\r', '\n']).to_owned());
        }
        env::var(PASSWORD_VARIABLE).map_err(|_| {
            KafkaError::Settings(format!("a password is needed: set `password_file`, or {PASSWORD_VARIABLE} in the environment"))
        })
    }

    pub(crate) fn refused(&self, source: rdkafka::error::KafkaError) -> KafkaError {
        KafkaError::Client { brokers: self.brokers.clone(), source: Box::new(source) }
    }

    pub(crate) fn failed(&self, doing: impl Into<String>, source: rdkafka::error::KafkaError) -> KafkaError {
        KafkaError::Request { doing: doing.into(), brokers: self.brokers.clone(), source: Box::new(source) }
    }
}

fn readable(what: &'static str, file: &Path) -> Result<(), KafkaError> {
    fs::File::open(file).map(drop).map_err(|source| KafkaError::File { what, file: file.to_owned(), source })
}

/// The context of a client that only asks and is closed.
pub(crate) struct Plain {
    token_file: Option<PathBuf>,
}

impl Plain {
    pub(crate) fn new(settings: &KafkaSettings) -> Self {
        Self { token_file: settings.security.token_file.clone() }
    }
}

impl ClientContext for Plain {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        token::read(self.token_file.as_deref().ok_or("`token_file` is not set")?)
    }
}

/// Passes a line of librdkafka's own log on.
pub(crate) fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical | RDKafkaLogLevel::Error => {
            tracing::warn!(target: "librdkafka", facility, "{message}");
        }
        RDKafkaLogLevel::Warning | RDKafkaLogLevel::Notice => tracing::info!(target: "librdkafka", facility, "{message}"),
        RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => tracing::debug!(target: "librdkafka", facility, "{message}"),
    }
}
