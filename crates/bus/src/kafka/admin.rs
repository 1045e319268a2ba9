//! Making topics.

use std::time::Duration;

use nocturne_wire::Topic;
use rdkafka::{
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    config::FromClientConfigAndContext as _,
    error::{KafkaError as NativeError, RDKafkaErrorCode},
};

use super::{KafkaError, KafkaSettings, client::Plain};

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
