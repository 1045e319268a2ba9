//! Settings of the Kafka transport. What is not here is set by `properties`, which go to librdkafka as they are and win over everything; those that
//! the guarantees stand on are refused there.

use std::{collections::BTreeMap, path::PathBuf};

use nocturne_wire::Topic;
use serde::{Deserialize, Serialize};

/// Names of the topics.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TopicNames {
    /// The topic of interactions.
    pub interactions: String,
    /// The topic of feedback.
    pub feedback: String,
}

impl Default for TopicNames {
    fn default() -> Self {
        Self { interactions: "nocturne.interactions".to_owned(), feedback: "nocturne.feedback".to_owned() }
    }
}

impl TopicNames {
    /// A topic's name on Kafka.
    pub fn of(&self, topic: Topic) -> &str {
        match topic {
            Topic::Interactions => &self.interactions,
            Topic::Feedback => &self.feedback,
        }
    }

    /// The topic of that name on Kafka.
    pub fn find(&self, name: &str) -> Option<Topic> {
        Topic::ALL.into_iter().find(|topic| self.of(*topic) == name)
    }
}

/// How connections are secured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// Not at all.
    #[default]
    Plaintext,
    /// TLS; with a client certificate that is mutual TLS.
    Ssl,
    /// A user name or token, unencrypted.
    SaslPlaintext,
    /// A user name or token over TLS.
    SaslSsl,
}

impl Protocol {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Plaintext => "plaintext",
            Self::Ssl => "ssl",
            Self::SaslPlaintext => "sasl_plaintext",
            Self::SaslSsl => "sasl_ssl",
        }
    }

    /// Whether the connection is encrypted.
    pub const fn is_encrypted(self) -> bool {
        matches!(self, Self::Ssl | Self::SaslSsl)
    }

    /// Whether somebody logs in.
    pub const fn is_sasl(self) -> bool {
        matches!(self, Self::SaslPlaintext | Self::SaslSsl)
    }
}

/// How somebody logs in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mechanism {
    /// User name and password as they are; over TLS only, if you can.
    #[serde(rename = "PLAIN")]
    Plain,
    /// Challenge and response over SHA-256.
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    /// Challenge and response over SHA-512.
    #[default]
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
    /// A token from a file that somebody renews, such as a projected service account token.
    #[serde(rename = "OAUTHBEARER")]
    OauthBearer,
}

impl Mechanism {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
            Self::OauthBearer => "OAUTHBEARER",
        }
    }
}

/// Security. The password may also come from the environment as `NOCTURNE_KAFKA_PASSWORD`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SecuritySettings {
    /// How connections are secured.
    pub protocol: Protocol,
    /// Certificates that the brokers' must be signed by, PEM; those of the system unless given. With Strimzi that is the secret
    /// `<cluster>-cluster-ca-cert`, not the `ca.crt` of the user's secret, which signs clients.
    pub ca_file: Option<PathBuf>,
    /// The client's certificate, PEM.
    pub certificate_file: Option<PathBuf>,
    /// The client's key, PEM.
    pub key_file: Option<PathBuf>,
    /// Whether the broker's name must be the one in its certificate.
    pub verify_hostname: bool,
    /// How somebody logs in.
    pub mechanism: Mechanism,
    /// User name.
    pub username: String,
    /// File that holds the password.
    pub password_file: Option<PathBuf>,
    /// File that holds the token of `OAUTHBEARER`; it is read again before the token ends.
    pub token_file: Option<PathBuf>,
}

impl Default for SecuritySettings {
    fn default() -> Self {
        Self {
            protocol: Protocol::default(),
            ca_file: None,
            certificate_file: None,
            key_file: None,
            verify_hostname: true,
            mechanism: Mechanism::default(),
            username: String::new(),
            password_file: None,
            token_file: None,
        }
    }
}

/// Compression of what is sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Codec {
    /// None.
    None,
    /// Half the size at hardly any cost.
    Lz4,
    /// Smaller: what is sent is text, and the network and the brokers' disks are dearer than this process's time.
    #[default]
    Zstd,
}

impl Codec {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}

/// Settings of sending. `acks = all` and `enable.idempotence = true` are not for choice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProducerSettings {
    /// Most bytes inside librdkafka; the rest waits in the spool.
    pub queue_bytes: u64,
    /// Milliseconds after which a record that was handed over and not acknowledged goes back to the spool.
    pub delivery_timeout_milliseconds: u64,
    /// Milliseconds that a record waits for others to be sent with.
    pub linger_milliseconds: u64,
    /// Bytes that are sent together.
    pub batch_bytes: u64,
    /// Compression.
    pub compression: Codec,
    /// Largest record; a larger one is set aside in the spool's folder `refused`. Topic and broker must allow as much.
    pub message_max_bytes: u64,
    /// More librdkafka properties.
    pub properties: BTreeMap<String, String>,
}

impl Default for ProducerSettings {
    fn default() -> Self {
        Self {
            queue_bytes: 32 << 20,
            delivery_timeout_milliseconds: 120_000,
            linger_milliseconds: 20,
            batch_bytes: 1 << 20,
            compression: Codec::default(),
            message_max_bytes: 8 << 20,
            properties: BTreeMap::new(),
        }
    }
}

/// How a group divides partitions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Assignment {
    /// Only partitions that move stand still meanwhile.
    #[default]
    CooperativeSticky,
    /// All of them do.
    Range,
    /// All of them do.
    Roundrobin,
}

impl Assignment {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::CooperativeSticky => "cooperative-sticky",
            Self::Range => "range",
            Self::Roundrobin => "roundrobin",
        }
    }
}

/// Settings of receiving.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConsumerSettings {
    /// The group; every batcher of one lake has the same.
    pub group: String,
    /// A name that lasts over restarts, so that a restart within `session_timeout_milliseconds` moves no partition.
    pub instance: Option<String>,
    /// How the group divides partitions.
    pub assignment: Assignment,
    /// Most bytes that wait for the batcher's workers, in equal shares when one of them does not get on; as many again, and an answer of up to 4 MiB of
    /// each broker, compressed, may wait inside librdkafka.
    pub prefetch_bytes: u64,
    /// Milliseconds without a sign of life after which partitions go to others.
    pub session_timeout_milliseconds: u64,
    /// Seconds that a revoked partition's worker may take to let go; what it seals later loses the race for the batch's name.
    pub release_seconds: u64,
    /// More librdkafka properties.
    pub properties: BTreeMap<String, String>,
}

impl Default for ConsumerSettings {
    fn default() -> Self {
        Self {
            group: "nocturne-batcher".to_owned(),
            instance: None,
            assignment: Assignment::default(),
            prefetch_bytes: 4 << 20,
            session_timeout_milliseconds: 45_000,
            release_seconds: 10,
            properties: BTreeMap::new(),
        }
    }
}

/// Topics that are made when they are missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CreateSettings {
    /// Whether they are.
    pub enabled: bool,
    /// Partitions of the interactions.
    pub interactions: i32,
    /// Partitions of the feedback.
    pub feedback: i32,
    /// Copies; -1 leaves it to the broker.
    pub replication: i32,
    /// Days that the brokers keep records: a night that fails over a long weekend still finds them.
    pub retention_days: u32,
}

impl Default for CreateSettings {
    fn default() -> Self {
        Self { enabled: true, interactions: 8, feedback: 1, replication: -1, retention_days: 7 }
    }
}

impl CreateSettings {
    pub(crate) const fn partitions(&self, topic: Topic) -> i32 {
        match topic {
            Topic::Interactions => self.interactions,
            Topic::Feedback => self.feedback,
        }
    }
}

/// A schema registry that speaks Confluent's API. The password may also come from the environment as `NOCTURNE_REGISTRY_PASSWORD`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RegistrySettings {
    /// Where its API begins, such as `https://registry:8081`, or for Apicurio `…/apis/ccompat/v7`. Empty: there is none, and records are sent in
    /// Avro's single-object encoding.
    pub url: String,
    /// User name, when it wants one.
    pub username: String,
    /// File that holds the password.
    pub password_file: Option<PathBuf>,
    /// Certificates that the registry's may be signed by, PEM, besides those of the system.
    pub ca_file: Option<PathBuf>,
    /// Milliseconds that an answer may take.
    pub timeout_milliseconds: u64,
}

impl Default for RegistrySettings {
    fn default() -> Self {
        Self { url: String::new(), username: String::new(), password_file: None, ca_file: None, timeout_milliseconds: 5_000 }
    }
}

/// Settings of the Kafka transport.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KafkaSettings {
    /// Brokers to begin with, `host:port` with commas between. Empty: there is no Kafka, records stay on this machine.
    pub brokers: String,
    /// Names of the topics.
    pub topics: TopicNames,
    /// Topics that are made when they are missing.
    pub create: CreateSettings,
    /// Security.
    pub security: SecuritySettings,
    /// The schema registry.
    pub registry: RegistrySettings,
    /// Sending.
    pub producer: ProducerSettings,
    /// Receiving.
    pub consumer: ConsumerSettings,
    /// Milliseconds between librdkafka's statistics, which feed the metrics.
    pub statistics_milliseconds: u64,
    /// More librdkafka properties, for sending and receiving.
    pub properties: BTreeMap<String, String>,
}

impl Default for KafkaSettings {
    fn default() -> Self {
        Self {
            brokers: String::new(),
            topics: TopicNames::default(),
            create: CreateSettings::default(),
            security: SecuritySettings::default(),
            registry: RegistrySettings::default(),
            producer: ProducerSettings::default(),
            consumer: ConsumerSettings::default(),
            statistics_milliseconds: 5_000,
            properties: BTreeMap::new(),
        }
    }
}

impl KafkaSettings {
    /// Whether there is a Kafka.
    pub fn is_set(&self) -> bool {
        !self.brokers.is_empty()
    }
}
