//! Publisher and intake of the interaction stream: over a durable local log, or over Kafka with that log as its spool.
//!
//! | transport | a record is acknowledged when | it leaves this machine when | offsets are given by |
//! |---|---|---|---|
//! | [`LocalLog`] | the log has it, durably | it was sealed into the lake | the log |
//! | [`Spool`] and Kafka | the spool has it, durably | Kafka has acknowledged it | the brokers |
//!
//! A [`Publisher`] is the same for both, and so is an [`Intake`]. A [`Group`] hands out partitions: all of a local log, or what the
//! consumer group gives this process.
//!
//! The log is a directory: `<topic>/topic.json` names the topic, `<topic>/<partition>/<first offset, 20 digits>.log` are its
//! segments. A record has an offset that is never used again, and a checksum over all of it.
//!
//! * One named thread writes. Requests reach it over a bounded channel and never wait for it; it writes whatever is queued, makes
//!   it durable with one `fdatasync` a touched partition, and only then acknowledges (group commit).
//! * What an [`Intake`] can see is durable. A record that was acknowledged survives `kill -9`; one that failed was cut away.
//! * A torn tail is cut and counted when the log is opened. Damage before the tail is set aside in a `*.corrupt` file, counted and
//!   reported, and offsets go on after the highest one known: an offset that was given to a record never names another one.
//!
//! Rejected: one file for all partitions (one `fdatasync` a group, but trimming by partition then needs compaction), and
//! memory-mapped segments (a full disk becomes a SIGBUS instead of an error that can be answered).

mod group;
mod intake;
mod kafka;
mod local;
mod spool;

pub use group::{Change, Group, Revoked};
pub use intake::{Intake, ReadError};
pub use kafka::{
    Assignment, Check, Codec, ConsumerSettings, CreateSettings, Finding, KafkaError, KafkaSettings, Mechanism, PASSWORD_VARIABLE,
    Part, ProducerSettings, Protocol, REGISTRY_PASSWORD_VARIABLE, Registered, Registry, RegistryError, RegistrySettings,
    RegistryStatus, SecuritySettings, TopicNames, TopicState, create_topics, delete_topics, examine_kafka, examine_registry,
    inspect_topic,
};
pub use local::{
    frame::{MAX_PAYLOAD_BYTES, frame, intact_records},
    intake::{Intake as LocalIntake, IntakeError, Record},
    log::{CommandError, LocalLog, OpenError},
    publisher::{Ack, AppendError, Position, PublishError, PublishResult, Publisher, open_envelope},
    recovery::Recovered,
    settings::{Durability, LogSettings, OnFull, Partitions},
    stats::Stats,
};
pub use spool::{Spool, SpoolError, SpoolSettings, SpoolStatus};
