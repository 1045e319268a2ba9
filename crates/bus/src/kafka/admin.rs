//! Making topics.

use std::{collections::BTreeMap, ops::Range, time::Duration};

use nocturne_wire::{Partition, Topic};
use rdkafka::{
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    config::FromClientConfigAndContext as _,
    consumer::Consumer as _,
    error::{KafkaError as NativeError, RDKafkaErrorCode},
};

use super::{KafkaError, KafkaSettings, client::Plain, consumer, described};

const TIMEOUT: Duration = Duration::from_secs(30);
const MILLISECONDS_A_DAY: u64 = 24 * 60 * 60 * 1000;

/// Deletes the topics, with everything in them: those of a measurement or a demonstration.
///
/// # Errors
/// When the brokers do not answer or refuse.
pub async fn delete_topics(settings: &KafkaSettings) -> Result<(), KafkaError> {
    let admin = admin(settings)?;
    let names = Topic::ALL.map(|topic| settings.topics.of(topic));
    let options = AdminOptions::new().operation_timeout(Some(TIMEOUT)).request_timeout(Some(TIMEOUT));
    let results = admin.delete_topics(&names, &options).await;
    results.map_err(|error| settings.failed("deleting topics", error)).map(drop)
}

/// A topic as the brokers have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicState {
    /// Its identity.
    pub id: String,
    /// The offsets that are there, Kafka's own.
    pub partitions: BTreeMap<Partition, Range<u64>>,
}

/// Looks at a topic; blocks.
///
/// # Errors
/// When the brokers do not answer, or there is no such topic.
pub fn inspect_topic(settings: &KafkaSettings, topic: Topic) -> Result<TopicState, KafkaError> {
    let name = settings.topics.of(topic);
    let consumer = consumer::make(settings)?;
    let failed = |error| settings.failed(format!("looking at topic `{name}`"), error);
    let id = described::topic_id(consumer.client(), name, TIMEOUT).map_err(failed)?;
    let id = id.ok_or_else(|| KafkaError::NoTopic { name: name.to_owned(), brokers: settings.brokers.clone() })?;
    let metadata = consumer.fetch_metadata(Some(name), TIMEOUT).map_err(failed)?;
    let mut partitions = BTreeMap::new();
    for partition in metadata.topics().iter().flat_map(|topic| topic.partitions()) {
        let (start, end) = consumer.fetch_watermarks(name, partition.id(), TIMEOUT).map_err(failed)?;
        partitions.insert(Partition(partition.id().max(0) as u32), start.max(0) as u64..end.max(0) as u64);
    }
    Ok(TopicState { id, partitions })
}

fn admin(settings: &KafkaSettings) -> Result<AdminClient<Plain>, KafkaError> {
    AdminClient::from_config_and_context(&settings.client()?, Plain::new(settings)).map_err(|error| settings.refused(error))
}

/// Makes the topics that are missing; gives the names of those that were made.
///
/// # Errors
/// When the brokers do not answer or refuse.
pub async fn create_topics(settings: &KafkaSettings) -> Result<Vec<String>, KafkaError> {
    let admin = admin(settings)?;
    let retention = (u64::from(settings.create.retention_days) * MILLISECONDS_A_DAY).to_string();
    let largest = settings.producer.message_max_bytes.to_string();
    let topics: Vec<_> = Topic::ALL
        .into_iter()
        .map(|topic| {
            let replication = TopicReplication::Fixed(settings.create.replication);
            NewTopic::new(settings.topics.of(topic), settings.create.partitions(topic), replication)
                .set("retention.ms", &retention)
                .set("max.message.bytes", &largest)
                // Retention goes by the brokers' clock: theirs is one, and records of a publisher whose clock is wrong are neither refused nor deleted early.
                .set("message.timestamp.type", "LogAppendTime")
        })
        .collect();
    let options = AdminOptions::new().operation_timeout(Some(TIMEOUT)).request_timeout(Some(TIMEOUT));
    let results = admin.create_topics(&topics, &options).await;
    let results = results.map_err(|error| settings.failed("making topics", error))?;
    let mut made = Vec::new();
    for result in results {
        match result {
            Ok(name) => made.push(name),
            Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((name, code)) => {
                return Err(settings.failed(format!("making topic `{name}`"), NativeError::AdminOp(code)));
            }
        }
    }
    Ok(made)
}
