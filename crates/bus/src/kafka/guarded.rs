//! Properties of librdkafka that are not for choice, because what is promised stands on them.

use std::collections::BTreeMap;

use super::{KafkaError, KafkaSettings};

const BROKERS: &str = "it is what `brokers` says";
const POSITION: &str = "where to go on is in the lake; a position that Kafka keeps would skip records or repeat them";
const ACKNOWLEDGED: &str = "a record leaves the spool when every broker in sync has it, and not before";

/// Keys with their second names, and why each is set as it is.
const GUARDED: [(&str, &str); 16] = [
    ("bootstrap.servers", BROKERS),
    ("metadata.broker.list", BROKERS),
    ("group.id", "it is what `consumer.group` says"),
    ("group.instance.id", "it is what `consumer.instance` says"),
    ("auto.offset.reset", "an offset that is gone must be an error: going on elsewhere would lose records without a word"),
    ("enable.auto.commit", POSITION),
    ("auto.commit.enable", POSITION),
    ("enable.auto.offset.store", POSITION),
    ("isolation.level", "what a producer took back must not be learned"),
    ("check.crcs", "a record that was damaged on its way would be sealed"),
    ("acks", ACKNOWLEDGED),
    ("request.required.acks", ACKNOWLEDGED),
    ("enable.idempotence", "what is sent again would be there twice, or in another order"),
    ("transactional.id", "nobody would commit the transactions, and nothing would be delivered"),
    ("delivery.report.only.error", "a record leaves the spool on the report that it was delivered"),
    ("partitioner", "all that one session says must be in one partition, whoever sends it"),
];

/// Refuses settings that give one of them a value.
pub(super) fn check(settings: &KafkaSettings) -> Result<(), KafkaError> {
    table("properties", &settings.properties)?;
    table("producer.properties", &settings.producer.properties)?;
    table("consumer.properties", &settings.consumer.properties)
}

fn table(table: &'static str, properties: &BTreeMap<String, String>) -> Result<(), KafkaError> {
    match GUARDED.iter().find(|(key, _)| properties.contains_key(*key)) {
        Some((key, why)) => Err(KafkaError::Guarded { table, key, why }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(key: &str) -> [KafkaSettings; 3] {
        let entry = BTreeMap::from([(key.to_owned(), "latest".to_owned())]);
        let mut all = [KafkaSettings::default(), KafkaSettings::default(), KafkaSettings::default()];
        all[0].properties.clone_from(&entry);
        all[1].producer.properties.clone_from(&entry);
        all[2].consumer.properties = entry;
        all
    }

    #[test]
    fn what_the_promises_stand_on_is_refused_by_name_in_every_table() {
        for (key, why) in GUARDED {
            for (settings, table) in with(key).iter().zip(["`properties`", "`producer.properties`", "`consumer.properties`"]) {
                let told = settings.client().err().map(|error| error.to_string()).unwrap_or_default();
                assert!([table, key, why].iter().all(|part| told.contains(part)), "{key} in {table}: {told}");
            }
        }
    }

    #[test]
    fn everything_else_may_be_set() {
        for settings in with("socket.timeout.ms") {
            assert!(settings.client().is_ok());
        }
    }
}
