//! librdkafka's producer as a [`Wire`].

use std::{
    borrow::Cow,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use nocturne_wire::{Offset, Topic, avro};
use rdkafka::{
    ClientContext,
    client::OAuthToken,
    config::{FromClientConfigAndContext as _, RDKafkaLogLevel},
    error::{KafkaError as NativeError, RDKafkaErrorCode},
    message::DeliveryResult,
    producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext, PurgeConfig},
};
use tokio::sync::watch;

use super::{
    KafkaError, KafkaSettings, client,
    registrar::{Registration, SchemaIds},
    token,
};
use crate::spool::wire::{Fate, NotHanded, Report, Wire};

const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// What callbacks leave for the forwarder.
#[derive(Debug, Default)]
struct Inbox {
    reports: Vec<Report>,
    down: Option<String>,
    fatal: bool,
}

pub(crate) struct Context {
    inbox: Arc<Mutex<Inbox>>,
    token_file: Option<std::path::PathBuf>,
}

impl Context {
    fn with<T>(&self, act: impl FnOnce(&mut Inbox) -> T) -> T {
        act(&mut self.inbox.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ClientContext for Context {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        client::log(level, facility, message);
    }

    fn stats_raw(&self, _: &[u8]) {}

    fn error(&self, error: NativeError, reason: &str) {
        tracing::debug!(%error, reason, "Kafka producer");
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::AllBrokersDown) => self.with(|inbox| inbox.down = Some(reason.to_owned())),
            Some(RDKafkaErrorCode::Fatal) => self.with(|inbox| inbox.fatal = true),
            _ => {}
        }
    }

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        token::read(self.token_file.as_deref().ok_or("`token_file` is not set")?)
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, mark: usize) {
        let (topic, offset) = unmark(mark);
        let fate = match result {
            Ok(_) => Fate::Delivered,
            Err((error, _)) => fate_of(error),
        };
        self.with(|inbox| inbox.reports.push(Report { topic, offset, fate }));
    }
}

/// Topic and offset in one word, so that a record in flight allocates nothing.
const fn mark(topic: Topic, offset: Offset) -> usize {
    (offset.0 as usize) << 1 | matches!(topic, Topic::Feedback) as usize
}

const fn unmark(mark: usize) -> (Topic, Offset) {
    let topic = if mark & 1 == 1 { Topic::Feedback } else { Topic::Interactions };
    (topic, Offset((mark >> 1) as u64))
}

/// Whether trying again can help.
fn fate_of(error: &NativeError) -> Fate {
    match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::MessageSizeTooLarge | RDKafkaErrorCode::InvalidRecord | RDKafkaErrorCode::InvalidMessageSize) => {
            Fate::Refused(error.to_string())
        }
        _ => Fate::Returned(error.to_string()),
    }
}

pub(crate) struct KafkaWire {
    settings: KafkaSettings,
    inbox: Arc<Mutex<Inbox>>,
    producer: BaseProducer<Context>,
    /// Whether this release's schemas are registered, when there is a registry.
    registration: Option<watch::Receiver<Registration>>,
}

impl KafkaWire {
    pub(crate) fn open(
        settings: &KafkaSettings,
        registration: Option<watch::Receiver<Registration>>,
    ) -> Result<Self, KafkaError> {
        let inbox = Arc::default();
        let producer = make(settings, &inbox)?;
        Ok(Self { settings: settings.clone(), inbox, producer, registration })
    }

    /// Ids of this release's schemas, when there is a registry.
    fn ids(&self) -> Result<Option<SchemaIds>, String> {
        self.registration.as_ref().map(|registration| registration.borrow().ids()).transpose()
    }
}

/// A record as it is sent: framed when its schema has an id. What another release wrote, and is in the spool since, goes as it is: batchers read both.
fn sent(ids: Option<SchemaIds>, topic: Topic, record: &[u8]) -> Cow<'_, [u8]> {
    let own = avro::peek_fingerprint(record) == Some(avro::fingerprint(topic));
    match (ids, avro::datum(record)) {
        (Some(ids), Some(datum)) if own => avro::framed(ids.of(topic), datum).into(),
        _ => record.into(),
    }
}

fn make(settings: &KafkaSettings, inbox: &Arc<Mutex<Inbox>>) -> Result<BaseProducer<Context>, KafkaError> {
    let producer = &settings.producer;
    let mut config = settings.client()?;
    config
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("queue.buffering.max.kbytes", producer.queue_bytes.div_ceil(1024).to_string())
        // Bytes are what bounds the queue; small records must not fill it by their number.
        .set("queue.buffering.max.messages", "1000000")
        .set("message.timeout.ms", producer.delivery_timeout_milliseconds.to_string())
        .set("linger.ms", producer.linger_milliseconds.to_string())
        .set("batch.size", producer.batch_bytes.to_string())
        .set("compression.type", producer.compression.as_str())
        .set("message.max.bytes", producer.message_max_bytes.to_string())
        // The partition of a key that Kafka's own clients compute.
        .set("partitioner", "murmur2_random");
    for (key, value) in &producer.properties {
        config.set(key, value);
    }
    let context = Context { inbox: inbox.clone(), token_file: settings.security.token_file.clone() };
    BaseProducer::from_config_and_context(&config, context).map_err(|error| settings.refused(error))
}

impl KafkaWire {
    fn take_reports(&mut self) -> Vec<Report> {
        self.producer.poll(Duration::ZERO);
        self.producer.context().with(|inbox| std::mem::take(&mut inbox.reports))
    }
}

impl Wire for KafkaWire {
    fn hand(&mut self, topic: Topic, offset: Offset, key: &[u8], payload: &[u8]) -> Result<(), NotHanded> {
        let name = self.settings.topics.of(topic);
        let payload = sent(self.ids().map_err(NotHanded::Failed)?, topic, payload);
        let record = BaseRecord::with_opaque_to(name, mark(topic, offset)).key(key).payload(&*payload);
        self.producer.send(record).map_err(|(error, _)| match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::QueueFull) => NotHanded::Full,
            Some(RDKafkaErrorCode::MessageSizeTooLarge) => NotHanded::Refused(error.to_string()),
            _ => NotHanded::Failed(error.to_string()),
        })
    }

    fn reports(&mut self, wait: Duration) -> Vec<Report> {
        let reports = self.take_reports();
        if !reports.is_empty() || wait.is_zero() {
            return reports;
        }
        // Not in librdkafka, which waits for a time of the wall clock: where that is set back, a wait of milliseconds lasts as long as the step, and
        // nothing is sent meanwhile.
        thread::sleep(wait);
        self.take_reports()
    }

    fn went_down(&mut self) -> Option<String> {
        self.producer.context().with(|inbox| inbox.down.take())
    }

    fn probe(&mut self) -> Result<(), String> {
        // Without ids nothing can be sent: to the spool that is a broker that does not answer yet.
        self.ids()?;
        let metadata = self.producer.client().fetch_metadata(Some(&self.settings.topics.interactions), PROBE_TIMEOUT);
        // What was reported before the answer is out of date.
        self.producer.context().with(|inbox| inbox.down = None);
        metadata.map(drop).map_err(|error| error.to_string())
    }

    fn recall(&mut self) {
        self.producer.purge(PurgeConfig::default().queue());
    }

    fn renew_if_broken(&mut self) -> bool {
        let broken = self.producer.context().with(|inbox| std::mem::take(&mut inbox.fatal));
        if !broken {
            return false;
        }
        match make(&self.settings, &self.inbox) {
            // The old one gives everything back as it goes.
            Ok(producer) => self.producer = producer,
            Err(error) => {
                tracing::error!(%error, "the Kafka producer cannot be made anew; trying again");
                self.producer.context().with(|inbox| inbox.fatal = true);
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_holds_topic_and_offset() {
        for topic in Topic::ALL {
            for offset in [0, 1, 1 << 40, u64::MAX >> 1] {
                assert_eq!(unmark(mark(topic, Offset(offset))), (topic, Offset(offset)));
            }
        }
    }

    #[test]
    fn only_records_of_this_release_are_framed_and_only_with_a_registry() {
        let ids = SchemaIds { interactions: 7, feedback: 8 };
        let record = |print| avro::single_object(print, b"datum");
        for (topic, id) in [(Topic::Interactions, 7), (Topic::Feedback, 8)] {
            let own = record(avro::fingerprint(topic));
            assert_eq!(avro::open_framed(&sent(Some(ids), topic, &own)), Some((id, &b"datum"[..])));
            assert_eq!(sent(None, topic, &own), own);
            for other in [record(1), b"poison".to_vec(), Vec::new()] {
                assert_eq!(sent(Some(ids), topic, &other), other);
            }
        }
    }

    #[test]
    fn only_what_no_repetition_can_cure_is_refused() {
        let failed = |code| fate_of(&NativeError::MessageProduction(code));
        assert!(matches!(failed(RDKafkaErrorCode::MessageSizeTooLarge), Fate::Refused(_)));
        for code in [RDKafkaErrorCode::MessageTimedOut, RDKafkaErrorCode::PurgeQueue, RDKafkaErrorCode::TopicAuthorizationFailed]
        {
            assert!(matches!(failed(code), Fate::Returned(_)), "{code:?}");
        }
    }
}
