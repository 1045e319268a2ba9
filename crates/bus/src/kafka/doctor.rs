//! What is wrong with the way to Kafka, found step by step; each finding says what to do.

pub(crate) mod registry;

use std::{
    fs,
    net::{TcpStream, ToSocketAddrs as _},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use nocturne_wire::Topic;
use rdkafka::{
    ClientContext,
    admin::{AdminClient, AdminOptions, ResourceSpecifier},
    client::{Client, OAuthToken},
    config::{FromClientConfigAndContext as _, RDKafkaLogLevel},
    consumer::{BaseConsumer, Consumer as _, ConsumerContext},
    error::{KafkaError as NativeError, RDKafkaErrorCode},
};
use serde::Serialize;

use super::{
    KafkaSettings,
    client::Plain,
    described::{self, Permissions},
    token,
};

const CONNECT_WITHIN: Duration = Duration::from_secs(3);
const ANSWER_WITHIN: Duration = Duration::from_secs(8);
const MILLISECONDS_A_DAY: u64 = 24 * 60 * 60 * 1000;

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    /// As it should be.
    Good,
    /// It works, and is not as it should be.
    Doubtful,
    /// It does not work.
    Bad,
}

/// Whom the way to Kafka is examined for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Part {
    /// A process that writes: inference.
    Inference,
    /// A process that reads: a batcher.
    Batcher,
    /// Both.
    #[default]
    All,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was looked at.
    pub what: String,
    /// How it ended.
    pub finding: Finding,
    /// What was found.
    pub found: String,
    /// What to do; empty when nothing is to be done.
    pub fix: String,
}

impl Check {
    /// A check that found everything in order.
    pub fn good(what: impl Into<String>, found: impl Into<String>) -> Self {
        Self { what: what.into(), finding: Finding::Good, found: found.into(), fix: String::new() }
    }

    /// A check that found something to mend.
    pub fn bad(what: impl Into<String>, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { what: what.into(), finding: Finding::Bad, found: found.into(), fix: fix.into() }
    }

    /// A check that found something to think about.
    pub fn doubtful(what: impl Into<String>, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { finding: Finding::Doubtful, ..Self::bad(what, found, fix) }
    }
}

/// Keeps what librdkafka complains about.
struct Listening {
    heard: Arc<Mutex<Vec<String>>>,
    token_file: Option<std::path::PathBuf>,
}

impl ClientContext for Listening {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, _: RDKafkaLogLevel, _: &str, _: &str) {}

    fn error(&self, _: NativeError, reason: &str) {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).push(reason.to_owned());
    }

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        token::read(self.token_file.as_deref().ok_or("`token_file` is not set")?)
    }
}

impl ConsumerContext for Listening {}

/// Examines the way to Kafka for the parts that are to go it. `window_days` is how long records must be kept at least: a night that fails over a weekend must still find them.
/// Blocks for seconds when something is wrong.
pub fn examine_kafka(settings: &KafkaSettings, part: Part, window_days: u32) -> Vec<Check> {
    let mut checks = Vec::new();
    if let Err(error) = settings.client() {
        let why = nocturne_kit::telemetry::chain(&error);
        checks.push(Check::bad("settings", why, "correct the table [kafka]"));
        return checks;
    }
    checks.push(Check::good("settings", format!("{} over {:?}", settings.brokers, settings.security.protocol)));
    checks.extend(certificate_authority(settings));
    for broker in settings.brokers.split(',').map(str::trim).filter(|broker| !broker.is_empty()) {
        checks.push(reach(broker));
    }
    if checks.iter().all(|check| check.finding == Finding::Bad || !check.what.starts_with("broker")) {
        return checks;
    }
    talk(settings, part, window_days, &mut checks);
    checks
}

/// Strimzi has two authorities, and each of its secrets holds a `ca.crt`.
fn certificate_authority(settings: &KafkaSettings) -> Option<Check> {
    let file = settings.security.ca_file.as_ref()?;
    let text = fs::read_to_string(file).ok()?;
    let body: String = text.lines().filter(|line| !line.starts_with("-----")).collect();
    let what = format!("certificate authority {}", file.display());
    let Ok(der) = STANDARD.decode(body.as_bytes()) else {
        // Several certificates in one file, perhaps; OpenSSL has the last word.
        return Some(Check::good(what, "readable"));
    };
    if der.windows(10).any(|bytes| bytes == b"clients-ca") {
        let fix =
            "mount the secret `<cluster>-cluster-ca-cert`, which signs brokers; the `ca.crt` of a user's secret signs clients";
        return Some(Check::bad(what, "it is Strimzi's authority for clients", fix));
    }
    Some(Check::good(what, "readable"))
}

fn reach(broker: &str) -> Check {
    let what = format!("broker {broker}");
    let addresses: Vec<_> = match broker.to_socket_addrs() {
        Ok(addresses) => addresses.collect(),
        Err(error) => {
            return Check::bad(
                what,
                format!("its name is not known: {error}"),
                "correct `brokers` (host:port), or the name service of this machine",
            );
        }
    };
    let connected = addresses.iter().find(|address| TcpStream::connect_timeout(address, CONNECT_WITHIN).is_ok());
    match connected {
        Some(address) => Check::good(what, format!("answers at {address}")),
        None => Check::bad(
            what,
            format!("nobody answers at {}", addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
            "is it running, and do network policies and firewalls let this machine in?",
        ),
    }
}

fn talk(settings: &KafkaSettings, part: Part, window_days: u32, checks: &mut Vec<Check>) {
    let heard: Arc<Mutex<Vec<String>>> = Arc::default();
    let context = Listening { heard: heard.clone(), token_file: settings.security.token_file.clone() };
    let mut config = match settings.client() {
        Ok(config) => config,
        Err(error) => return checks.push(Check::bad("client", error.to_string(), "correct the table [kafka]")),
    };
    config.set("group.id", &settings.consumer.group);
    let consumer: BaseConsumer<Listening> = match BaseConsumer::from_config_and_context(&config, context) {
        Ok(consumer) => consumer,
        Err(error) => {
            let fix = "correct certificates and properties in [kafka]";
            return checks.push(Check::bad("client", error.to_string(), fix));
        }
    };
    // Polling serves the callbacks that log in and that hear complaints.
    drop(consumer.poll(Duration::from_millis(200)));
    let metadata = consumer.fetch_metadata(None, ANSWER_WITHIN);
    drop(consumer.poll(Duration::from_millis(200)));
    let metadata = match metadata {
        Ok(metadata) => metadata,
        Err(error) => {
            let complaints = heard.lock().unwrap_or_else(PoisonError::into_inner).join("; ");
            let fix = advice(&complaints);
            return checks.push(Check::bad("talking to the brokers", format!("{error}: {complaints}"), fix));
        }
    };
    checks.push(Check::good("talking to the brokers", format!("{} brokers, logged in", metadata.brokers().len())));
    for topic in Topic::ALL {
        check_topic(settings, part, &consumer, topic, checks);
    }
    if part != Part::Inference {
        check_group(settings, &consumer, checks);
    }
    check_configs(settings, window_days, checks);
}

/// What a complaint of librdkafka means.
fn advice(complaints: &str) -> &'static str {
    let says = |text: &str| complaints.to_lowercase().contains(text);
    if says("certificate verify failed") || says("self-signed") || says("unable to get local issuer") {
        "`ca_file` does not hold the authority that signed the brokers' certificates; with Strimzi that is the secret `<cluster>-cluster-ca-cert`, not the user's `ca.crt`"
    } else if says("hostname") || says("ip address mismatch") {
        "the brokers' certificates name other hosts: use those names in `brokers`"
    } else if says("certificate required") || says("bad certificate") || says("alert") {
        "the brokers want a client certificate that they trust: set `certificate_file` and `key_file`"
    } else if says("authentication") || says("sasl") {
        "user name, password, mechanism or token are wrong, or the broker does not speak the mechanism"
    } else if says("disconnected") || says("ssl") {
        "does `protocol` fit the port? A listener with TLS hangs up on plain text, and the other way round"
    } else {
        "do the brokers advertise addresses that this machine can reach?"
    }
}

fn check_topic<C: ConsumerContext>(
    settings: &KafkaSettings,
    part: Part,
    consumer: &BaseConsumer<C>,
    topic: Topic,
    checks: &mut Vec<Check>,
) {
    let name = settings.topics.of(topic);
    let what = format!("topic {name}");
    match id(consumer.client(), name) {
        Err(error) => {
            let fix = "allow the operation Describe on the topic: batchers tell by its id whether it was made anew";
            return checks.push(Check::bad(what, error.to_string(), fix));
        }
        Ok(None) => {
            let fix =
                if settings.create.enabled { "the first process to start makes it" } else { "make it, or set `create.enabled`" };
            return checks.push(Check::doubtful(what, "it does not exist", fix));
        }
        Ok(Some(_)) => {}
    }
    let metadata = consumer.fetch_metadata(Some(name), ANSWER_WITHIN);
    let partitions = metadata.map(|metadata| metadata.topics().first().map_or(0, |topic| topic.partitions().len()));
    match partitions.and_then(|count| consumer.fetch_watermarks(name, 0, ANSWER_WITHIN).map(|_| count)) {
        Ok(count) => checks.push(Check::good(what, format!("{count} partitions"))),
        Err(error) => return checks.push(Check::bad(what, error.to_string(), "allow the operation Describe on the topic")),
    }
    match described::topic_permissions(consumer.client(), name, ANSWER_WITHIN) {
        Ok(permissions) => checks.extend(uses(name, part, permissions)),
        Err(error) => checks.push(Check::doubtful(format!("permissions on {name}"), error.to_string(), TRY_AGAIN)),
    }
}

/// What is to be done with a topic, against what the brokers allow. Nothing is written for that: a record would stay in the topic.
fn uses(name: &str, part: Part, permissions: Option<Permissions>) -> Vec<Check> {
    let (write, read) = (format!("writing to {name}"), format!("reading {name}"));
    let (to_write, to_read) = (
        "allow the operation Write on the topic for inference processes; for a batcher's user ask with `--part batcher`",
        "allow the operation Read on the topic for batchers; for an inference process's user ask with `--part inference`",
    );
    let wanted = [
        (part != Part::Batcher, write, permissions.map(|allowed| allowed.write), to_write),
        (part != Part::Inference, read, permissions.map(|allowed| allowed.read), to_read),
    ];
    let check = |(wanted, what, allowed, fix): (bool, String, Option<bool>, &str)| {
        wanted.then(|| match allowed {
            Some(true) => Check::good(what, "allowed"),
            Some(false) => Check::bad(what, "not allowed", fix),
            None => Check::doubtful(what, "the brokers do not say whether it is allowed, and it was not tried", fix),
        })
    };
    wanted.into_iter().filter_map(check).collect()
}

fn id<C: ClientContext>(client: &Client<C>, name: &str) -> Result<Option<String>, NativeError> {
    described::topic_id(client, name, ANSWER_WITHIN)
}

const TRY_AGAIN: &str = "try again: coordinators move while brokers start";

fn check_group<C: ConsumerContext>(settings: &KafkaSettings, consumer: &BaseConsumer<C>, checks: &mut Vec<Check>) {
    let group = &settings.consumer.group;
    let what = format!("group {group}");
    let fix = "allow the operation Read on the group";
    let mut list = rdkafka::TopicPartitionList::new();
    list.add_partition(settings.topics.of(Topic::Interactions), 0);
    // What was committed may be asked for with Describe alone; joining needs Read, which the brokers tell of groups that are there.
    let asked = consumer.committed_offsets(list, ANSWER_WITHIN);
    let told = asked.and_then(|_| described::group_permissions(consumer.client(), group, ANSWER_WITHIN));
    checks.push(match told {
        Ok(Some(Permissions { read: true, .. })) => Check::good(what, "may be joined"),
        Ok(Some(_)) => Check::bad(what, "may be looked at, and not joined", fix),
        Ok(None) => Check::good(what, "may be looked at; it is not there yet, and whether it may be joined was not tried"),
        Err(error) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::GroupAuthorizationFailed) => {
            Check::bad(what, error.to_string(), fix)
        }
        Err(error) => Check::doubtful(what, error.to_string(), TRY_AGAIN),
    });
}

/// Whether the topics keep records long enough, and take the largest.
fn check_configs(settings: &KafkaSettings, window_days: u32, checks: &mut Vec<Check>) {
    let described = (|| {
        let admin = AdminClient::from_config_and_context(&settings.client().ok()?, Plain::new(settings)).ok()?;
        let names = Topic::ALL.map(|topic| ResourceSpecifier::Topic(settings.topics.of(topic)));
        let options = AdminOptions::new().request_timeout(Some(ANSWER_WITHIN));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
        runtime.block_on(admin.describe_configs(&names, &options)).ok()
    })();
    for (topic, resource) in Topic::ALL.into_iter().zip(described.into_iter().flatten()) {
        let name = settings.topics.of(topic);
        let Ok(resource) = resource else {
            checks.push(Check::doubtful(
                format!("settings of {name}"),
                "they may not be read",
                "allow the operation DescribeConfigs on the topic",
            ));
            continue;
        };
        let number = |key: &str| resource.get(key).and_then(|entry| entry.value.as_ref()?.parse::<i64>().ok());
        checks.extend(number("retention.ms").map(|kept| retention(name, kept, window_days)));
        checks.extend(number("max.message.bytes").map(|largest| size(name, largest, settings.producer.message_max_bytes)));
        if resource
            .get("cleanup.policy")
            .and_then(|entry| entry.value.as_deref())
            .is_some_and(|policy| policy.contains("compact"))
        {
            let fix = "set cleanup.policy=delete: compaction drops all but the newest record of a session";
            checks.push(Check::bad(format!("cleanup of {name}"), "it is compacted", fix));
        }
    }
}

fn retention(name: &str, kept_milliseconds: i64, window_days: u32) -> Check {
    let what = format!("retention of {name}");
    let Ok(kept) = u64::try_from(kept_milliseconds) else { return Check::good(what, "records are kept for ever") };
    let days = kept as f64 / MILLISECONDS_A_DAY as f64;
    if kept < u64::from(window_days) * MILLISECONDS_A_DAY {
        let fix = format!("set retention.ms to {window_days} days at least: what is deleted before it was sealed is lost");
        return Check::bad(what, format!("records are kept for {days:.1} days"), fix);
    }
    Check::good(what, format!("records are kept for {days:.1} days"))
}

fn size(name: &str, largest: i64, wanted: u64) -> Check {
    let what = format!("largest record of {name}");
    if u64::try_from(largest).is_ok_and(|largest| largest >= wanted) {
        return Check::good(what, format!("{largest} bytes"));
    }
    let fix = format!(
        "set max.message.bytes={wanted} on the topic, or lower `producer.message_max_bytes`: larger ones are set aside in the spool"
    );
    Check::doubtful(what, format!("{largest} bytes, {wanted} may be sent"), fix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_are_told_apart() {
        for (complaint, word) in [
            (
                "ssl://b:9093: SSL handshake failed: error:0A000086: certificate verify failed: broker certificate",
                "cluster-ca-cert",
            ),
            ("SASL authentication error: Authentication failed during authentication due to invalid credentials", "password"),
            ("sslv3 alert bad certificate: SSL alert number 42", "client certificate"),
            ("connection to b:9093 disconnected: maybe SSL is needed", "protocol"),
            ("", "advertise"),
        ] {
            assert!(advice(complaint).contains(word), "{complaint}: {}", advice(complaint));
        }
    }

    #[test]
    fn limits_that_lose_records_are_found() {
        assert_eq!(retention("t", 86_400_000, 3).finding, Finding::Bad);
        assert_eq!(retention("t", 7 * 86_400_000, 3).finding, Finding::Good);
        assert_eq!(retention("t", -1, 3).finding, Finding::Good);
        assert_eq!(size("t", 1_048_588, 8 << 20).finding, Finding::Doubtful);
        assert_eq!(size("t", 8 << 20, 8 << 20).finding, Finding::Good);
    }

    #[test]
    fn only_what_a_part_does_is_looked_for() {
        let findings =
            |part, permissions| uses("t", part, permissions).into_iter().map(|check| check.finding).collect::<Vec<_>>();
        let reader = Some(Permissions { read: true, write: false });
        assert_eq!(findings(Part::All, reader), [Finding::Bad, Finding::Good]);
        assert_eq!(findings(Part::Batcher, reader), [Finding::Good]);
        assert_eq!(findings(Part::Inference, reader), [Finding::Bad]);
        assert_eq!(findings(Part::All, None), [Finding::Doubtful; 2]);
    }

    #[test]
    fn nobody_at_home_is_said_with_what_to_do() {
        let settings = KafkaSettings { brokers: "127.0.0.1:9".to_owned(), ..KafkaSettings::default() };
        let checks = examine_kafka(&settings, Part::All, 3);
        let last = checks.last().expect("checks");
        assert_eq!(last.finding, Finding::Bad);
        assert!(last.what.contains("127.0.0.1:9") && !last.fix.is_empty(), "{last:?}");
    }
}
