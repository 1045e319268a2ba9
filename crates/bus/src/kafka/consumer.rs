//! The native consumer, and what its callbacks leave for the poll thread.

use std::{
    collections::{BTreeMap, VecDeque},
    path::PathBuf,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use rdkafka::{
    ClientContext, TopicPartitionList,
    client::OAuthToken,
    config::{FromClientConfigAndContext as _, RDKafkaLogLevel},
    consumer::{BaseConsumer, Consumer as _, ConsumerContext, RebalanceProtocol},
    error::KafkaError as NativeError,
    types::RDKafkaRespErr,
};

use super::{KafkaError, KafkaSettings, client, token};

/// What one partition may fill of an answer: brokers give whole batches of a producer, and only the first of an answer when it is larger.
const FETCH_BYTES: u64 = 1 << 20;

/// How many partitions an answer has room for. librdkafka begins anew with the same partitions whenever its queue was full; with room for one, each would be
/// read to its end before the next one begins, and the workers of all others would have nothing to do. More would be memory, for every broker.
const PARTITIONS_A_FETCH: u64 = 4;

pub(crate) type Consumer = BaseConsumer<Context>;

/// A rebalance that the group asks for.
pub(super) struct Rebalance {
    pub(super) assigned: bool,
    pub(super) partitions: TopicPartitionList,
}

/// What callbacks leave for the poll thread.
#[derive(Default)]
pub(crate) struct Context {
    rebalances: Mutex<VecDeque<Rebalance>>,
    /// Ends of partitions, of librdkafka's statistics.
    ends: Mutex<BTreeMap<(String, i32), i64>>,
    token_file: Option<PathBuf>,
    /// Whether the group was left: nobody is there any more who would carry out what is noted.
    left: AtomicBool,
}

impl Context {
    /// The next rebalance that is to be carried out.
    pub(super) fn rebalance(&self) -> Option<Rebalance> {
        self.rebalances.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    /// Partitions' ends that came since they were last taken.
    pub(super) fn take_ends(&self) -> BTreeMap<(String, i32), i64> {
        std::mem::take(&mut *self.ends.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// From now on rebalances are answered at once, and nothing is asked any more.
    pub(super) fn leave(&self) {
        self.left.store(true, Ordering::SeqCst);
    }

    pub(super) fn has_left(&self) -> bool {
        self.left.load(Ordering::SeqCst)
    }
}

impl ClientContext for Context {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        client::log(level, facility, message);
    }

    fn stats(&self, statistics: rdkafka::Statistics) {
        let partitions = statistics.topics.into_values().flat_map(|topic| {
            let name = topic.topic;
            topic.partitions.into_values().map(move |partition| ((name.clone(), partition.partition), partition.hi_offset))
        });
        *self.ends.lock().unwrap_or_else(PoisonError::into_inner) = partitions.filter(|(_, end)| *end >= 0).collect();
    }

    fn error(&self, error: NativeError, reason: &str) {
        tracing::debug!(%error, reason, "Kafka consumer");
    }

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        token::read(self.token_file.as_deref().ok_or("`token_file` is not set")?)
    }
}

impl ConsumerContext for Context {
    /// Only notes what is asked for: the poll thread carries it out between two polls, when readers have let go.
    fn rebalance(&self, consumer: &BaseConsumer<Self>, kind: RDKafkaRespErr, partitions: &mut TopicPartitionList) {
        let assigned = kind == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        if self.has_left() {
            // Closing goes on only when this was answered. What could fail has no meaning any more.
            answer(consumer, assigned, partitions);
            return;
        }
        let asked = Rebalance { assigned, partitions: partitions.clone() };
        self.rebalances.lock().unwrap_or_else(PoisonError::into_inner).push_back(asked);
    }
}

/// Answers a rebalance for a member that is going: what is assigned is taken, for closing to give back.
pub(super) fn answer(consumer: &Consumer, assigned: bool, partitions: &TopicPartitionList) {
    let answered = if assigned { assign(consumer, partitions) } else { unassign(consumer, partitions) };
    if let Err(error) = answered {
        tracing::debug!(%error, "leaving the group");
    }
}

/// Whether only partitions that move are named in a rebalance.
pub(super) fn is_cooperative(consumer: &Consumer) -> bool {
    matches!(consumer.rebalance_protocol(), RebalanceProtocol::Cooperative)
}

/// Takes partitions in the way of the group's protocol.
pub(super) fn assign(consumer: &Consumer, partitions: &TopicPartitionList) -> Result<(), NativeError> {
    if is_cooperative(consumer) { consumer.incremental_assign(partitions) } else { consumer.assign(partitions) }
}

/// Gives partitions back in the way of the group's protocol.
pub(super) fn unassign(consumer: &Consumer, partitions: &TopicPartitionList) -> Result<(), NativeError> {
    if is_cooperative(consumer) { consumer.incremental_unassign(partitions) } else { consumer.unassign() }
}

/// Makes a consumer. Without a group it only answers questions.
pub(crate) fn make(settings: &KafkaSettings) -> Result<Consumer, KafkaError> {
    let consumer = &settings.consumer;
    let mut config = settings.client()?;
    config
        .set("group.id", &consumer.group)
        .set("partition.assignment.strategy", consumer.assignment.as_str())
        .set("session.timeout.ms", consumer.session_timeout_milliseconds.to_string())
        .set("queued.max.messages.kbytes", consumer.prefetch_bytes.div_ceil(1024).to_string())
        // One answer holds this much of all partitions and that much of one; both grow when they are decompressed.
        .set("fetch.max.bytes", (FETCH_BYTES * PARTITIONS_A_FETCH).to_string())
        .set("fetch.message.max.bytes", FETCH_BYTES.to_string())
        // A full queue empties in milliseconds; by default the next fetch would wait a second.
        .set("fetch.queue.backoff.ms", "5")
        .set("fetch.wait.max.ms", "100")
        // A topic that is made after the group was joined is not to wait for five minutes.
        .set("topic.metadata.refresh.interval.ms", "10000")
        // Where to read from is in the lake. An offset that is gone is an error, not a reason to skip.
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "error")
        // Ends of partitions are those of what was committed, and so is what is read.
        .set("isolation.level", "read_committed")
        .set("check.crcs", "true");
    if let Some(instance) = &consumer.instance {
        config.set("group.instance.id", instance);
    }
    for (key, value) in &consumer.properties {
        config.set(key, value);
    }
    let context = Context { token_file: settings.security.token_file.clone(), ..Context::default() };
    Consumer::from_config_and_context(&config, context).map_err(|error| settings.refused(error))
}
