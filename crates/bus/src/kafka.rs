//! Kafka as the transport: librdkafka behind the same types as the local log.

pub(crate) mod admin;
pub(crate) mod buffer;
mod chunks;
pub(crate) mod client;
pub(crate) mod consumer;
mod described;
mod doctor;
mod flow;
pub(crate) mod group;
mod guarded;
pub(crate) mod intake;
pub(crate) mod producer;
pub(crate) mod registrar;
pub(crate) mod registry;
pub(crate) mod settings;
mod token;
pub(crate) mod window;

pub use self::{
    admin::{TopicState, create_topics, delete_topics, inspect_topic},
    client::{KafkaError, PASSWORD_VARIABLE},
    doctor::{Check, Finding, Part, examine_kafka, registry::examine_registry},
    registry::{REGISTRY_PASSWORD_VARIABLE, Registered, Registry, RegistryError, RegistryStatus},
    settings::{
        Assignment, Codec, ConsumerSettings, CreateSettings, KafkaSettings, Mechanism, ProducerSettings, Protocol,
        RegistrySettings, SecuritySettings, TopicNames,
    },
};
