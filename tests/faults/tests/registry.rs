//! Confluent's framing over a real Kafka, a real schema registry and Confluent's own client.

#![allow(clippy::panic, reason = "a test that has failed says with what")]

mod common;

use std::{fs, sync::OnceLock};

use nocturne_bus::{
    Check, Finding, KafkaSettings, RegistrySettings, RegistryStatus, Spool, SpoolSettings, create_topics, examine_registry,
};
use nocturne_columns::{DeadLetter, read_dead_letters};
use nocturne_faults::{Oracle, interaction, kafka_settings};
use nocturne_lake::Lake;
use nocturne_support::{Absent, Kafka, Python, Registry, or_skip};
use nocturne_wire::{Topic, avro};
use tempfile::NamedTempFile;

use self::common::{LONG, Running, Sending, checked, publish};

/// One cluster for all tests of this file; each has topics of its own.
fn kafka() -> Result<&'static Kafka, Absent> {
    static KAFKA: OnceLock<Result<Kafka, Absent>> = OnceLock::new();
    KAFKA.get_or_init(|| Kafka::start(1)).as_ref().map_err(Clone::clone)
}

/// One registry for those that do not stop it.
fn registry() -> Result<&'static Registry, Absent> {
    static REGISTRY: OnceLock<Result<Registry, Absent>> = OnceLock::new();
    REGISTRY.get_or_init(Registry::start).as_ref().map_err(Clone::clone)
}

fn with_registry(settings: &KafkaSettings, url: &str) -> KafkaSettings {
    // The doctor asks once: a machine with other work to do must not look like a registry that is away.
    let registry = RegistrySettings { url: url.to_owned(), timeout_milliseconds: 30_000, ..RegistrySettings::default() };
    KafkaSettings { registry, ..settings.clone() }
}

/// One that speaks TLS under an authority of its own, and lets in whom it knows.
fn secured() -> Result<&'static Registry, Absent> {
    static REGISTRY: OnceLock<Result<Registry, Absent>> = OnceLock::new();
    REGISTRY.get_or_init(Registry::start_secured).as_ref().map_err(Clone::clone)
}

/// A file with a password in it.
fn written(password: &str) -> NamedTempFile {
    let file = NamedTempFile::new().expect("a file");
    fs::write(file.path(), password).expect("written");
    file
}

/// Everything that a secured registry wants, with the password in that file.
fn with_secured(settings: &KafkaSettings, registry: &Registry, password: &NamedTempFile) -> KafkaSettings {
    let (keys, plain) = (registry.secured(), with_registry(settings, &registry.url()));
    let registry = RegistrySettings {
        username: keys.username.to_owned(),
        password_file: Some(password.path().to_owned()),
        ca_file: Some(keys.ca),
        ..plain.registry
    };
    KafkaSettings { registry, ..settings.clone() }
}

/// Waits until so many records are sealed or dead.
async fn accounted(batcher: &Running, records: u64) {
    let mut status = batcher.handle.status();
    let all =
        status.wait_for(|status| status.partitions.values().map(|p| p.rows + p.dead + p.duplicates).sum::<u64>() >= records);
    let waited = tokio::time::timeout(LONG, all).await.map(|status| drop(status.expect("alive")));
    waited.unwrap_or_else(|_| panic!("not sealed: {:?}", batcher.handle.status().borrow()));
}

/// Waits until the spool says this of what holds it up.
async fn held_up(spool: &Spool, by: &str) {
    let mut status = spool.status();
    let told = status.wait_for(|status| status.error.as_ref().is_some_and(|error| error.contains(by)));
    drop(tokio::time::timeout(LONG, told).await.expect("told in time").expect("alive"));
    assert_eq!((status.borrow().delivered, status.borrow().connected), (0, false));
}

fn counted(spool: &Spool) -> RegistryStatus {
    *spool.registry().expect("one is configured").borrow()
}

async fn raw(sending: &Sending, bytes: Vec<u8>) {
    let ack = sending.spool.publisher().publish_acked(Topic::Interactions, b"session", bytes.into()).expect("room");
    ack.await.expect("kept");
}

async fn letters(lake: &Lake) -> Vec<DeadLetter> {
    let mut letters = Vec::new();
    for object in lake.list("dead-letters").await.expect("listed") {
        letters.extend(read_dead_letters(&lake.get(&object.path).await.expect("there")).expect("read"));
    }
    letters
}

/// Reads a topic with Confluent's client and the schemas in the registry; the number of records, and the fields of the first by its id.
const READ: &str = r#"
import json, sys, time
from confluent_kafka import Consumer
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext
brokers, url, topic, wanted = sys.argv[1:]
read = AvroDeserializer(SchemaRegistryClient({"url": url}))
consumer = Consumer({"bootstrap.servers": brokers, "group.id": "foreign", "auto.offset.reset": "earliest"})
consumer.subscribe([topic])
seen, end = {}, time.time() + 40
while len(seen) < int(wanted) and time.time() < end:
    message = consumer.poll(0.5)
    if message and not message.error():
        record = read(message.value(), SerializationContext(topic, MessageField.VALUE))
        seen[record["id"]] = [message.value()[0], record["session"], record["channel"], record["messages"][0]["role"], str(record["time"])]
consumer.close()
print(json.dumps(seen))
"#;

/// Writes records with Confluent's client and a schema of a later release, which it registers itself.
const WRITE: &str = r#"
import json, sys
from datetime import datetime, timezone
from confluent_kafka import Producer
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
brokers, url, topic, text, count = sys.argv[1:]
schema = json.loads(text)
schema["fields"].insert(0, {"name": "region", "type": ["null", "string"], "default": None})
write = AvroSerializer(SchemaRegistryClient({"url": url}), json.dumps(schema))
producer = Producer({"bootstrap.servers": brokers, "enable.idempotence": True})
for n in range(int(count)):
    record = {
        "region": "north", "id": f"foreign-1-{n}", "time": datetime(2026, 11, 21, 3, 0, n, tzinfo=timezone.utc), "tenant": "tenant", "subject": "ada",
        "session": "session-1", "turn": n, "model": "other", "generation": 0, "messages": [{"role": "user", "content": "hello"}], "answer": "hello",
        "prompt_tokens": 1, "answer_tokens": 1, "prompt_surprise": {"mean_nats": 0.5, "max_nats": 1.0}, "answer_surprise": {"mean_nats": 0.5, "max_nats": 1.0},
        "finish": "stop", "latency_ms": 1.0, "consent": "train", "redactions": 0, "origin": "human", "truncated": False, "channel": "production",
    }
    producer.produce(topic, write(record, SerializationContext(topic, MessageField.VALUE)), b"session-1")
print(producer.flush(30))
"#;

#[tokio::test(flavor = "multi_thread")]
async fn confluents_client_reads_what_we_send_and_we_seal_what_it_sends() {
    let (kafka, registry, python) = (or_skip!(kafka()), or_skip!(registry()), or_skip!(Python::install()));
    let settings = kafka_settings(&kafka.brokers(), "framed");
    let framing = with_registry(&settings, &registry.url());
    create_topics(&settings).await.expect("made");
    let (lake, mut oracle) = (Lake::memory(), Oracle::default());
    let sending = Sending::open(&framing);
    sending.spool.registered().await.expect("registered");
    publish(&sending.spool.publisher(), &mut oracle, "ours", 0..50).await;
    sending.delivered(50).await;
    let topic = settings.topics.interactions.as_str();
    let seen = python.run(READ, &[&settings.brokers, &registry.url(), topic, "50"]).expect("runs");
    assert_eq!(seen.matches("ours-1-").count(), 50, "{seen}");
    let first = r#""ours-1-0": [0, "session-0", "production", "user", "2023-11-14 22:13:20+00:00"]"#;
    assert!(seen.contains(first), "{seen}");
    // Another process has no registry yet, and sends single objects into the same topic.
    let before = Sending::open(&settings);
    publish(&before.spool.publisher(), &mut oracle, "single", 0..20).await;
    before.delivered(20).await;
    let said = python.run(WRITE, &[&settings.brokers, &registry.url(), topic, avro::schema(Topic::Interactions), "30"]);
    assert_eq!(said.expect("runs").trim(), "0");
    for n in 0..30 {
        oracle.issue(&interaction("foreign", n, 1).id);
    }
    let batcher = Running::start(&framing, &lake).await;
    accounted(&batcher, 100).await;
    batcher.stop().await;
    let verdict = checked(&oracle, &lake).await;
    assert_eq!((verdict.rows, verdict.dead, verdict.duplicates_dropped), (100, 0, 0), "{:?}", letters(&lake).await);
    sending.spool.close().await;
    before.spool.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_that_nobody_knows_are_letters_with_the_bytes_as_they_came() {
    let (kafka, registry) = (or_skip!(kafka()), or_skip!(registry()));
    let settings = kafka_settings(&kafka.brokers(), "unknown");
    let framing = with_registry(&settings, &registry.url());
    create_topics(&settings).await.expect("made");
    let sending = Sending::open(&framing);
    sending.spool.registered().await.expect("registered");
    let mut oracle = Oracle::default();
    publish(&sending.spool.publisher(), &mut oracle, "ours", 0..10).await;
    let unknown = avro::framed(999_999, b"datum");
    raw(&sending, unknown.clone()).await;
    sending.delivered(11).await;
    let lake = Lake::memory();
    let batcher = Running::start(&framing, &lake).await;
    accounted(&batcher, 11).await;
    batcher.stop().await;
    let verdict = checked(&oracle, &lake).await;
    assert_eq!((verdict.rows, verdict.dead), (10, 1));
    let found = letters(&lake).await;
    assert_eq!(found[0].raw, unknown);
    assert!(found[0].reason.contains("knows none of that id"), "{}", found[0].reason);
    // A batcher without the registry can read none of them, says what it needs, and keeps the bytes.
    let (mut alone, lake) = (settings.clone(), Lake::memory());
    alone.consumer.group = "alone".to_owned();
    let batcher = Running::start(&alone, &lake).await;
    accounted(&batcher, 11).await;
    batcher.stop().await;
    let found = letters(&lake).await;
    assert_eq!(found.len(), 11);
    assert!(found.iter().all(|letter| letter.reason.contains("[kafka.registry]")), "{}", found[0].reason);
    assert!(found.iter().all(|letter| avro::open_framed(&letter.raw).is_some()));
    sending.spool.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_is_away_fails_no_request_and_kills_no_record() {
    let (kafka, registry) = (or_skip!(kafka()), or_skip!(Registry::at_rest()));
    let settings = kafka_settings(&kafka.brokers(), "away");
    let mut framing = with_registry(&settings, &registry.url());
    framing.registry.timeout_milliseconds = 1_000;
    create_topics(&settings).await.expect("made");
    let (lake, mut oracle) = (Lake::memory(), Oracle::default());
    let sending = Sending::open(&framing);
    let away = sending.spool.registered().await.expect_err("nobody answers");
    assert!(!away.is_final(), "{away}");
    publish(&sending.spool.publisher(), &mut oracle, "early", 0..40).await;
    held_up(&sending.spool, "schema registry").await;
    or_skip!(registry.start_again());
    sending.delivered(40).await;
    // A batcher that comes while it does not answer waits, and makes no letters.
    or_skip!(registry.freeze());
    let batcher = Running::start(&framing, &lake).await;
    batcher.fails_with("schema registry").await;
    assert!(letters(&lake).await.is_empty());
    or_skip!(registry.thaw());
    accounted(&batcher, 40).await;
    batcher.stop().await;
    let verdict = checked(&oracle, &lake).await;
    assert_eq!((verdict.rows, verdict.dead), (40, 0));
    sending.spool.close().await;
}

fn bad(checks: &[Check]) -> Vec<&Check> {
    checks.iter().filter(|check| check.finding == Finding::Bad).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_elses_schema_is_found_by_the_doctor_and_ends_the_start() {
    let (registry, python) = (or_skip!(registry()), or_skip!(Python::install()));
    // No broker is needed to learn what the registry thinks.
    let settings = with_registry(&kafka_settings("127.0.0.1:9", "theirs"), &registry.url());
    let checks = examine_registry(&settings).await;
    assert_eq!((checks.len(), bad(&checks).len()), (3, 0), "{checks:?}");
    assert!(checks[1].found.contains("nothing is registered yet"), "{checks:?}");
    let program = r#"
import sys
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
url, subject = sys.argv[1:]
client = SchemaRegistryClient({"url": url})
client.register_schema(subject, Schema('{"type": "record", "name": "Order", "fields": [{"name": "price", "type": "long"}]}', "AVRO"))
client.set_compatibility(subject, "BACKWARD")
"#;
    python.run(program, &[&registry.url(), "theirs.interactions-value"]).expect("runs");
    let checks = examine_registry(&settings).await;
    assert_eq!(bad(&checks).len(), 1, "{checks:?}");
    assert!(
        bad(&checks)[0].what.contains("theirs.interactions-value") && bad(&checks)[0].fix.contains("[kafka.topics]"),
        "{checks:?}"
    );
    let sending = Sending::open(&settings);
    let refused = sending.spool.registered().await.expect_err("incompatible");
    assert!(refused.is_final() && refused.to_string().contains("theirs.interactions-value"), "{refused}");
    sending.spool.close().await;
    // One of our own is registered once, whoever asks.
    let ours = with_registry(&kafka_settings("127.0.0.1:9", "mine"), &registry.url());
    for _ in 0..2 {
        let sending = Sending::open(&ours);
        sending.spool.registered().await.expect("registered");
        sending.spool.close().await;
    }
    let checks = examine_registry(&ours).await;
    assert!(bad(&checks).is_empty() && checks[1].found.contains("registered, id"), "{checks:?}");
    let elsewhere = with_registry(&ours, &registry.url().replace("/apis/ccompat/v7", "/nowhere"));
    let checks = examine_registry(&elsewhere).await;
    assert!(bad(&checks).iter().any(|check| check.fix.contains("where Confluent's API begins")), "{checks:?}");
}

/// What the doctor finds to mend, which is one thing.
async fn diagnosis(settings: &KafkaSettings) -> (String, String) {
    let checks = examine_registry(settings).await;
    assert_eq!((checks.len(), bad(&checks).len()), (1, 1), "{checks:?}");
    assert!(checks[0].what.contains(&settings.registry.url), "{checks:?}");
    (checks[0].found.clone(), checks[0].fix.clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_with_an_authority_and_users_of_its_own_is_used_at_both_ends() {
    let (kafka, registry) = (or_skip!(kafka()), or_skip!(secured()));
    let settings = kafka_settings(&kafka.brokers(), "secured");
    let password = written(&format!("{}\n", registry.secured().password));
    let framing = with_secured(&settings, registry, &password);
    create_topics(&settings).await.expect("made");
    let checks = examine_registry(&framing).await;
    assert_eq!((checks.len(), bad(&checks).len()), (3, 0), "{checks:?}");
    let (lake, mut oracle) = (Lake::memory(), Oracle::default());
    let sending = Sending::open(&framing);
    sending.spool.registered().await.expect("registered");
    publish(&sending.spool.publisher(), &mut oracle, "ours", 0..40).await;
    sending.delivered(40).await;
    let told = counted(&sending.spool);
    assert!(told.answered >= 2 && told.denied == 0 && told.ids_known == Some(true), "{told:?}");
    let batcher = Running::start(&framing, &lake).await;
    accounted(&batcher, 40).await;
    batcher.stop().await;
    let verdict = checked(&oracle, &lake).await;
    assert_eq!((verdict.rows, verdict.dead), (40, 0), "{:?}", letters(&lake).await);
    sending.spool.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_that_is_not_configured_is_named_as_ca_file_and_records_wait_for_the_next_start() {
    let (kafka, registry) = (or_skip!(kafka()), or_skip!(secured()));
    let settings = kafka_settings(&kafka.brokers(), "authority");
    let password = written(registry.secured().password);
    let sound = with_secured(&settings, registry, &password);
    let mut blind = sound.clone();
    create_topics(&settings).await.expect("made");
    for ca in [Some(registry.secured().stranger), None] {
        blind.registry.ca_file = ca;
        let (found, fix) = diagnosis(&blind).await;
        assert!(found.contains("`ca_file`") && fix.contains("`ca_file`"), "{found}: {fix}");
    }
    let (lake, mut oracle, dir) = (Lake::memory(), Oracle::default(), tempfile::tempdir().expect("a folder"));
    let brief = SpoolSettings { drain_seconds: 0, ..SpoolSettings::default() };
    let spool = Spool::open(dir.path(), &brief, &blind).expect("opens");
    let refused = spool.registered().await.expect_err("nobody vouches for it");
    let told = refused.to_string();
    let doing = format!("registering the schema of authority.interactions-value at the schema registry {}", registry.url());
    assert!(told.starts_with(&doing) && told.contains("`ca_file` in [kafka.registry]") && !refused.is_final(), "{told}");
    publish(&spool.publisher(), &mut oracle, "early", 0..40).await;
    held_up(&spool, "`ca_file`").await;
    let RegistryStatus { answered, unreachable, ids_known, .. } = counted(&spool);
    assert!(answered == 0 && unreachable > 0 && ids_known == Some(false), "{:?}", counted(&spool));
    spool.close().await;
    let spool = Spool::open(dir.path(), &brief, &sound).expect("opens");
    let mut status = spool.status();
    let delivered = tokio::time::timeout(LONG, status.wait_for(|status| status.delivered >= 40)).await;
    drop(delivered.expect("delivered in time").expect("alive"));
    // A batcher that cannot reach it makes no letters of what it cannot read, either.
    let batcher = Running::start(&blind, &lake).await;
    batcher.fails_with("`ca_file`").await;
    batcher.stop().await;
    assert!(letters(&lake).await.is_empty());
    let batcher = Running::start(&sound, &lake).await;
    accounted(&batcher, 40).await;
    batcher.stop().await;
    let verdict = checked(&oracle, &lake).await;
    assert_eq!((verdict.rows, verdict.dead), (40, 0), "{:?}", letters(&lake).await);
    spool.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_named_kills_no_record_and_needs_no_restart_once_its_file_is_mended() {
    let (kafka, registry) = (or_skip!(kafka()), or_skip!(secured()));
    let settings = kafka_settings(&kafka.brokers(), "password");
    let password = written("wrong");
    let mend = || fs::write(password.path(), registry.secured().password).expect("written");
    let framing = with_secured(&settings, registry, &password);
    create_topics(&settings).await.expect("made");
    let (found, fix) = diagnosis(&framing).await;
    assert!(found.contains("401") && fix.contains("`username`") && fix.contains("`password_file`"), "{found}: {fix}");
    let (lake, mut oracle) = (Lake::memory(), Oracle::default());
    let sending = Sending::open(&framing);
    let denied = sending.spool.registered().await.expect_err("it is wrong");
    let told = denied.to_string();
    assert!(told.contains("401") && told.contains("`username`") && told.contains("`password_file`"), "{told}");
    assert!(denied.is_denied() && !denied.is_final(), "{told}");
    publish(&sending.spool.publisher(), &mut oracle, "early", 0..40).await;
    held_up(&sending.spool, "401").await;
    let RegistryStatus { answered, denied, ids_known, .. } = counted(&sending.spool);
    assert!(answered == 0 && denied > 0 && ids_known == Some(false), "{:?}", counted(&sending.spool));
    mend();
    sending.delivered(40).await;
    assert_eq!(counted(&sending.spool).ids_known, Some(true));
    fs::write(password.path(), "wrong again").expect("written");
    let batcher = Running::start(&framing, &lake).await;
    let told = batcher.fails_with("401").await;
    assert!(told.contains("`password_file`"), "{told}");
    assert!(letters(&lake).await.is_empty());
    mend();
    accounted(&batcher, 40).await;
    batcher.stop().await;
    let verdict = checked(&oracle, &lake).await;
    assert_eq!((verdict.rows, verdict.dead), (40, 0), "{:?}", letters(&lake).await);
    sending.spool.close().await;
}
