//! Rebalances, poison, sizes, topics made anew and every kind of security, over a real Kafka.

#![allow(clippy::panic, reason = "a test that has failed says with what")]

mod common;

use std::{sync::OnceLock, time::Duration};

use jiff::Timestamp;
use nocturne_batcher::Batcher;
use nocturne_bus::{
    Assignment, Change, Finding, Group, Intake, KafkaSettings, Mechanism, Part, Protocol, SecuritySettings, create_topics,
    delete_topics, examine_kafka,
};
use nocturne_faults::{Oracle, encoded, interaction, kafka_settings, sealing};
use nocturne_kit::Shutdown;
use nocturne_lake::Lake;
use nocturne_support::{Absent, Kafka, Python, or_skip};
use nocturne_wire::{
    Offset, Partition, Topic,
    epoch::{Epoch, EpochStart},
};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use self::common::{LONG, Running, Sending, checked, publish};

/// One cluster for all tests of this file; each has topics of its own.
fn kafka() -> Result<&'static Kafka, Absent> {
    static KAFKA: OnceLock<Result<Kafka, Absent>> = OnceLock::new();
    KAFKA.get_or_init(|| Kafka::start(1)).as_ref().map_err(Clone::clone)
}

#[tokio::test(flavor = "multi_thread")]
async fn records_go_through_spool_kafka_and_batcher_once() {
    let kafka = or_skip!(kafka());
    let settings = kafka_settings(&kafka.brokers(), "way");
    assert_eq!(create_topics(&settings).await.expect("made").len(), 2);
    assert!(create_topics(&settings).await.expect("there already").is_empty());
    let (lake, mut oracle) = (Lake::memory(), Oracle::default());
    let sending = Sending::open(&settings);
    let batcher = Running::start(&settings, &lake).await;
    publish(&sending.spool.publisher(), &mut oracle, "a", 0..1000).await;
    checked(&oracle, &lake).await;
    batcher.stop().await;
    // Another process goes on where the lake says.
    let batcher = Running::start(&settings, &lake).await;
    publish(&sending.spool.publisher(), &mut oracle, "b", 0..500).await;
    let verdict = checked(&oracle, &lake).await;
    assert_eq!((verdict.rows, verdict.duplicates_dropped, verdict.dead), (1500, 0, 0));
    let flushed = tokio::time::timeout(LONG, batcher.handle.flush()).await.expect("in time").expect("sealed");
    assert_eq!((flushed.len(), flushed.values().map(|end| end.0).sum::<u64>()), (5, 1500));
    batcher.stop().await;
    sending.spool.close().await;
}

async fn storm(assignment: Assignment, name: &str) {
    let kafka = or_skip!(kafka());
    let mut settings = kafka_settings(&kafka.brokers(), name);
    settings.consumer.assignment = assignment;
    settings.create.interactions = 6;
    create_topics(&settings).await.expect("made");
    let (lake, mut oracle) = (Lake::memory(), Oracle::default());
    let sending = Sending::open(&settings);
    let mut random = ChaCha8Rng::seed_from_u64(3);
    let mut batchers = vec![Running::start(&settings, &lake).await];
    for round in 0..12_u64 {
        publish(&sending.spool.publisher(), &mut oracle, "s", round * 100..(round + 1) * 100).await;
        if batchers.len() < 6 && (batchers.len() == 1 || random.random()) {
            batchers.push(Running::start(&settings, &lake).await);
        } else {
            let one = random.random_range(0..batchers.len());
            batchers.remove(one).stop().await;
        }
        tokio::time::sleep(Duration::from_millis(random.random_range(0..600))).await;
    }
    let verdict = checked(&oracle, &lake).await;
    assert_eq!((verdict.rows, verdict.dead), (1200, 0));
    for batcher in batchers {
        batcher.stop().await;
    }
    sending.spool.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_cooperative_rebalances_loses_nothing_and_doubles_nothing() {
    storm(Assignment::CooperativeSticky, "cooperative").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_eager_rebalances_loses_nothing_and_doubles_nothing() {
    storm(Assignment::Range, "eager").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn poison_in_each_position_and_records_of_any_size_stop_nothing() {
    let kafka = or_skip!(kafka());
    let mut settings = kafka_settings(&kafka.brokers(), "poison");
    settings.create.interactions = 1;
    create_topics(&settings).await.expect("made");
    let (lake, mut oracle) = (Lake::memory(), Oracle::default());
    let sending = Sending::open(&settings);
    let publisher = sending.spool.publisher();
    let raw = async |bytes: Vec<u8>| {
        publisher.publish_acked(Topic::Interactions, b"session-0", bytes.into()).expect("room").await.expect("kept");
    };
    // Batches have forty records: a poison record stands in each position of one.
    for position in 0..40_u64 {
        let first = position * 100;
        publish(&publisher, &mut oracle, "p", first..first + position).await;
        match position % 4 {
            0 => raw(Vec::new()).await,
            1 => raw(b"not a record".to_vec()).await,
            2 => raw(vec![0xc3, 0x01, 1, 2, 3, 4, 5, 6, 7, 8, 9]).await,
            _ => raw(vec![0xff; 70_000]).await,
        }
        publish(&publisher, &mut oracle, "p", first + position..first + 39).await;
    }
    for (n, bytes) in [(90_001, 1 << 10), (90_002, 64 << 10), (90_003, 1 << 20), (90_004, 4 << 20)] {
        let record = interaction("p", n, bytes);
        let (key, payload) = encoded(&record);
        oracle.issue(&record.id);
        publisher.publish_acked(Topic::Interactions, &key, payload.into()).expect("room").await.expect("kept");
        oracle.acknowledge(&record.id);
    }
    let batcher = Running::start(&settings, &lake).await;
    let verdict = checked(&oracle, &lake).await;
    assert_eq!((verdict.rows, verdict.dead), (40 * 39 + 4, 40));
    batcher.stop().await;
    sending.spool.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_was_made_anew_is_refused_until_a_person_accepts_it() {
    let kafka = or_skip!(kafka());
    let mut settings = kafka_settings(&kafka.brokers(), "anew");
    settings.create.interactions = 1;
    create_topics(&settings).await.expect("made");
    let (lake, mut oracle) = (Lake::memory(), Oracle::default());
    let sending = Sending::open(&settings);
    publish(&sending.spool.publisher(), &mut oracle, "a", 0..100).await;
    let batcher = Running::start(&settings, &lake).await;
    checked(&oracle, &lake).await;
    batcher.stop().await;
    delete_topics(&settings).await.expect("deleted");
    let made_again = async {
        let mut made = Vec::new();
        while made.len() < 2 {
            made.extend(create_topics(&settings).await.unwrap_or_default());
        }
    };
    tokio::time::timeout(LONG, made_again).await.expect("made again");
    publish(&sending.spool.publisher(), &mut oracle, "b", 0..130).await;
    sending.delivered(230).await;
    let batcher = Running::start(&settings, &lake).await;
    let told = batcher.fails_with("made anew").await;
    let (was, is) = topic_ids(&told);
    assert_ne!(was, is);
    assert_eq!(lake.batches().names(Topic::Interactions, Partition(0)).await.expect("listed").len(), 3);
    // A person accepts the new one: its offset 0 is the lake's offset 100.
    let start = EpochStart { begin: Offset(100), shift: 100 };
    let epoch = Epoch {
        topic: Topic::Interactions,
        sequence: 0,
        topic_id: is,
        partitions: [(Partition(0), start)].into(),
        time: Timestamp::now(),
        actor: "a test".to_owned(),
        reason: "the topic was deleted by mistake".to_owned(),
    };
    lake.epochs().begin(&epoch).await.expect("begun");
    let sealed = async {
        while oracle.check(&lake).await.is_err_and(|faults| faults.contains("missing")) {
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    };
    tokio::time::timeout(LONG, sealed).await.expect("sealed in time");
    batcher.stop().await;
    sending.spool.close().await;
    checked(&oracle, &lake).await;
}

/// The two ids of the refusal.
fn topic_ids(told: &str) -> (String, String) {
    let after = |mark: &str| told.split_once(mark).and_then(|(_, rest)| rest.split([',', ':']).next()).map(str::to_owned);
    (after("come from topic ").expect("the lake's id"), after("the log is topic ").expect("the new id"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_client_publishes_and_reads_what_we_do() {
    let (kafka, python) = (or_skip!(kafka()), or_skip!(Python::install()));
    let settings = kafka_settings(&kafka.brokers(), "foreign");
    create_topics(&settings).await.expect("made");
    let (lake, mut oracle) = (Lake::memory(), Oracle::default());
    let sending = Sending::open(&settings);
    publish(&sending.spool.publisher(), &mut oracle, "ours", 0..50).await;
    sending.delivered(50).await;
    // The other client copies what it reads into the same topic: each record is there twice, and sealed once.
    let program = r#"
import sys, time
from confluent_kafka import Consumer, Producer
brokers, topic = sys.argv[1:]
consumer = Consumer({"bootstrap.servers": brokers, "group.id": "copy", "auto.offset.reset": "earliest"})
consumer.subscribe([topic])
seen, end = [], time.time() + 30
while len(seen) < 50 and time.time() < end:
    message = consumer.poll(0.5)
    if message and not message.error():
        seen.append((message.key(), message.value(), message.partition()))
consumer.close()
producer = Producer({"bootstrap.servers": brokers, "enable.idempotence": True, "partitioner": "murmur2_random"})
placed = []
for key, value, partition in seen:
    producer.produce(topic, value, key, on_delivery=lambda error, message, wanted=partition: placed.append(message.partition() == wanted))
producer.flush(30)
print(len(seen), all(placed), len(placed))
"#;
    let said = python.run(program, &[&settings.brokers, &settings.topics.interactions]).expect("runs");
    assert_eq!(said.trim(), "50 True 50", "the same keys have the same partitions");
    let batcher = Running::start(&settings, &lake).await;
    let flushed = async {
        loop {
            if batcher.handle.flush().await.is_ok_and(|ends| ends.values().map(|end| end.0).sum::<u64>() == 100) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    };
    tokio::time::timeout(LONG, flushed).await.expect("sealed");
    batcher.stop().await;
    sending.spool.close().await;
    let verdict = checked(&oracle, &lake).await;
    assert_eq!((verdict.rows, verdict.duplicates_dropped), (50, 50));
}

/// Partitions of interactions, in their order, as the group gives them to its only member.
async fn assigned(group: &mut Group) -> Vec<Intake> {
    let change = tokio::time::timeout(LONG, group.next()).await.expect("in time").expect("a member");
    let Some(Change::Assigned(mut intakes)) = change else { panic!("{change:?}") };
    intakes.retain(|intake| intake.topic() == Topic::Interactions);
    intakes.sort_by_key(Intake::partition);
    intakes
}

/// Reads a partition to its end; every offset has a record.
async fn read_whole(intake: &mut Intake) {
    let end = intake.range().await.expect("there").end;
    let reading = async {
        while intake.next() < end {
            let before = intake.next();
            intake.wait(LONG).await;
            let offsets: Vec<_> = intake.poll(100, 1 << 20).await.expect("read").iter().map(|record| record.offset).collect();
            assert_eq!(offsets, (before.0..intake.next().0).map(Offset).collect::<Vec<_>>());
        }
    };
    tokio::time::timeout(LONG, reading).await.expect("nothing holds it up");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_nobody_reads_does_not_hold_up_the_others() {
    let kafka = or_skip!(kafka());
    let mut settings = kafka_settings(&kafka.brokers(), "unread");
    settings.create.interactions = 3;
    settings.consumer.prefetch_bytes = 256 << 10;
    create_topics(&settings).await.expect("made");
    let mut oracle = Oracle::default();
    let sending = Sending::open(&settings);
    let publisher = sending.spool.publisher();
    for n in 0..3000 {
        let (key, payload) = encoded(&interaction("u", n, 4 << 10));
        publisher.publish_acked(Topic::Interactions, &key, payload.into()).expect("room").await.expect("kept");
    }
    publish(&publisher, &mut oracle, "v", 0..100).await;
    sending.delivered(3100).await;
    let mut group = Group::join(&settings).expect("joins");
    let mut intakes = assigned(&mut group).await;
    // All want records at once, and the first takes none.
    intakes.iter_mut().for_each(|intake| intake.seek(Offset(0)));
    for intake in &mut intakes[1..] {
        read_whole(intake).await;
    }
    // Nothing of what was thrown away meanwhile is missing.
    read_whole(&mut intakes[0]).await;
    let ends: u64 = intakes.iter().map(|intake| intake.next().0).sum();
    assert_eq!(ends, 3100);
    // What rests gives its room, and goes on where it is told to.
    intakes[0].seek(Offset(0));
    intakes[0].wait(LONG).await;
    intakes[0].rest();
    assert!(!intakes[0].wait(Duration::from_secs(1)).await, "nothing is read ahead");
    intakes[0].seek(Offset(7));
    read_whole(&mut intakes[0]).await;
    group.leave();
    sending.spool.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_ends_with_a_transaction_is_sealed_to_its_end() {
    let (kafka, python) = (or_skip!(kafka()), or_skip!(Python::install()));
    let mut settings = kafka_settings(&kafka.brokers(), "transactions");
    settings.create.interactions = 1;
    create_topics(&settings).await.expect("made");
    let program = r#"
import sys
from confluent_kafka import Producer
brokers, topic = sys.argv[1:3]
producer = Producer({"bootstrap.servers": brokers, "transactional.id": "foreign"})
producer.init_transactions(30)
for count, keep in zip(sys.argv[3::2], sys.argv[4::2]):
    producer.begin_transaction()
    for n in range(int(count)):
        producer.produce(topic, b"not a record", partition=0)
    producer.flush(30)
    producer.commit_transaction(30) if keep == "keep" else producer.abort_transaction(30)
"#;
    let (brokers, topic) = (settings.brokers.as_str(), settings.topics.interactions.as_str());
    // Ten records and a marker; five that are taken back, and a marker.
    python.run(program, &[brokers, topic, "10", "keep", "5", "take back"]).expect("runs");
    let lake = Lake::memory();
    let batcher = Running::start(&settings, &lake).await;
    batcher.has_partitions(2).await;
    let flushed = async || tokio::time::timeout(LONG, batcher.handle.flush()).await.expect("in time").expect("sealed");
    let key = (Topic::Interactions, Partition(0));
    assert_eq!(flushed().await[&key], Offset(17));
    python.run(program, &[brokers, topic, "3", "keep", "1", "keep", "2", "take back"]).expect("runs");
    assert_eq!(flushed().await[&key], Offset(17 + 4 + 2 + 3));
    batcher.stop().await;
    // Each offset is accounted for: what is no record is a letter without bytes.
    let verdict = checked(&Oracle::default(), &lake).await;
    assert_eq!((verdict.rows, verdict.dead), (0, 26));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batcher_whose_place_another_one_took_ends_with_an_error() {
    let kafka = or_skip!(kafka());
    let mut settings = kafka_settings(&kafka.brokers(), "fenced");
    settings.consumer.instance = Some("one-of-a-kind".to_owned());
    create_topics(&settings).await.expect("made");
    let lake = Lake::memory();
    let batcher = Batcher::open(sealing(), Group::join(&settings).expect("joins"), &lake, "first").await.expect("opens");
    let handle = batcher.handle();
    let first = tokio::spawn(batcher.run(Shutdown::new()));
    let mut status = handle.status();
    let joined = tokio::time::timeout(LONG, status.wait_for(|status| status.partitions.len() == 5)).await;
    drop(joined.expect("in time").expect("alive"));
    let second = Running::start(&settings, &lake).await;
    let ended =
        tokio::time::timeout(LONG, first).await.expect("ends in time").expect("no panic").expect_err("nobody asked for it");
    let told = nocturne_kit::telemetry::chain(&ended);
    assert!(told.contains("cannot go on"), "{told}");
    assert!(status.borrow().ended.as_ref().is_some_and(|ended| *ended == told));
    assert!(handle.flush().await.is_err(), "nobody is there who seals");
    second.has_partitions(5).await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_security_is_spoken_and_wrong_credentials_are_refused() {
    let kafka = or_skip!(Kafka::start_secured());
    let secured = kafka.secured();
    let dir = tempfile::tempdir().expect("a folder");
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).expect("written");
        Some(path)
    };
    let base = SecuritySettings { ca_file: Some(secured.ca.clone()), ..SecuritySettings::default() };
    let sasl = |mechanism, user: &str, password: &str| SecuritySettings {
        protocol: Protocol::SaslSsl,
        mechanism,
        username: user.to_owned(),
        password_file: file(&format!("{user}-{password}"), &format!("{password}\n")),
        ..base.clone()
    };
    let mutual = SecuritySettings {
        protocol: Protocol::Ssl,
        certificate_file: Some(secured.certificate.clone()),
        key_file: Some(secured.key.clone()),
        ..base.clone()
    };
    let stranger = SecuritySettings {
        certificate_file: Some(secured.stranger.0.clone()),
        key_file: Some(secured.stranger.1.clone()),
        ..mutual.clone()
    };
    // {"alg":"none"}.{"sub":"ada","scope":"kafka","iat":now,"exp":in a day}: what Kafka's own validator of unsigned tokens takes.
    let now = Timestamp::now().as_second();
    let claims = format!(r#"{{"sub":"ada","scope":"kafka","iat":{now},"exp":{}}}"#, now + 86_400);
    let token = format!("eyJhbGciOiJub25lIn0.{}.", base64(claims.as_bytes()));
    let oauth = SecuritySettings {
        protocol: Protocol::SaslPlaintext,
        mechanism: Mechanism::OauthBearer,
        token_file: file("token", &token),
        ..SecuritySettings::default()
    };
    let cases = [
        ("plain", &secured.sasl_ssl, sasl(Mechanism::Plain, "bob", "bob-secret"), true),
        ("scram256", &secured.sasl_ssl, sasl(Mechanism::ScramSha256, "alice", "alice-secret"), true),
        ("scram512", &secured.sasl_ssl, sasl(Mechanism::ScramSha512, "alice", "alice-secret512"), true),
        ("mutual", &secured.mutual_tls, mutual, true),
        ("oauth", &secured.oauth, oauth, true),
        ("wrongpassword", &secured.sasl_ssl, sasl(Mechanism::ScramSha512, "alice", "wrong"), false),
        ("stranger", &secured.mutual_tls, stranger, false),
        ("noca", &secured.sasl_ssl, SecuritySettings { ca_file: None, ..sasl(Mechanism::Plain, "bob", "bob-secret") }, false),
    ];
    for (name, brokers, security, good) in cases {
        let plain = kafka_settings(&kafka.brokers(), name);
        create_topics(&plain).await.expect("made");
        let settings = KafkaSettings { brokers: brokers.clone(), security, ..plain };
        let examined = settings.clone();
        let checks = tokio::task::spawn_blocking(move || examine_kafka(&examined, Part::All, 3)).await.expect("no panic");
        let bad: Vec<_> = checks.iter().filter(|check| check.finding == Finding::Bad).collect();
        assert_eq!(bad.is_empty(), good, "{name}: {checks:?}");
        assert!(bad.iter().all(|check| !check.fix.is_empty()), "{bad:?}");
        let sending = Sending::open(&settings);
        let mut oracle = Oracle::default();
        publish(&sending.spool.publisher(), &mut oracle, "x", 0..20).await;
        if good {
            sending.delivered(20).await;
            let lake = Lake::memory();
            let batcher = Running::start(&settings, &lake).await;
            assert_eq!(checked(&oracle, &lake).await.rows, 20, "{name}");
            batcher.stop().await;
        } else {
            tokio::time::sleep(Duration::from_secs(3)).await;
            let status = sending.spool.status().borrow().clone();
            assert_eq!((status.delivered, status.connected), (0, false), "{name}: {status:?}");
        }
        sending.spool.close().await;
    }
    let password = file("carol", "carol-secret\n").expect("written");
    who_may_not_write_is_told_so_and_nothing_is_written(&kafka, &base, password).await;
}

/// A user who may read, and may not write.
fn forbid_writing(kafka: &Kafka, settings: &KafkaSettings, user: &str) {
    let (topics, group) = (&settings.topics, settings.consumer.group.as_str());
    let names = ["--topic", &topics.interactions, "--topic", &topics.feedback];
    let allow = ["--add", "--allow-principal", user, "--operation", "Read", "--group", group];
    kafka.acls(&[&allow[..], &names].concat()).expect("allowed");
    let deny = ["--add", "--deny-principal", user, "--operation", "Write"];
    kafka.acls(&[&deny[..], &names].concat()).expect("denied");
}

async fn examined(settings: &KafkaSettings, part: Part) -> Vec<(String, Finding, String)> {
    let settings = settings.clone();
    let checks = tokio::task::spawn_blocking(move || examine_kafka(&settings, part, 3)).await.expect("no panic");
    checks.into_iter().map(|check| (check.what, check.finding, check.fix)).collect()
}

/// The examination of a permission, which there must be.
fn of<'a>(checks: &'a [(String, Finding, String)], what: &str) -> (Finding, &'a str) {
    let found = checks.iter().find(|(name, ..)| name == what);
    found.map_or_else(|| panic!("{what}: {checks:?}"), |(_, finding, fix)| (*finding, fix.as_str()))
}

async fn who_may_not_write_is_told_so_and_nothing_is_written(
    kafka: &Kafka,
    base: &SecuritySettings,
    password: std::path::PathBuf,
) {
    let plain = kafka_settings(&kafka.brokers(), "forbidden");
    create_topics(&plain).await.expect("made");
    forbid_writing(kafka, &plain, "User:carol");
    let security = SecuritySettings {
        protocol: Protocol::SaslSsl,
        mechanism: Mechanism::Plain,
        username: "carol".to_owned(),
        password_file: Some(password),
        ..base.clone()
    };
    let carol = KafkaSettings { brokers: kafka.secured().sasl_ssl, security, ..plain.clone() };
    let (reading, writing) = ("reading forbidden.interactions", "writing to forbidden.interactions");
    let (group, lake) = ("group forbidden.batcher", Lake::memory());
    let checks = examined(&carol, Part::All).await;
    let (finding, fix) = of(&checks, writing);
    assert!(finding == Finding::Bad && fix.contains("allow the operation Write"), "{checks:?}");
    assert_eq!((of(&checks, reading).0, of(&checks, group).0), (Finding::Good, Finding::Good), "{checks:?}");
    // A batcher needs no more than that; while it runs the brokers say who may join its group.
    let batcher = Running::start(&carol, &lake).await;
    batcher.has_partitions(5).await;
    let checks = examined(&carol, Part::Batcher).await;
    assert!(checks.iter().all(|(_, finding, _)| *finding != Finding::Bad), "{checks:?}");
    let checks = examined(&plain, Part::Inference).await;
    assert_eq!(of(&checks, writing).0, Finding::Good, "{checks:?}");
    assert!(checks.iter().all(|(what, ..)| what != reading && what != group), "{checks:?}");
    let ends = tokio::time::timeout(LONG, batcher.handle.flush()).await.expect("in time").expect("sealed");
    assert_eq!(ends.values().map(|end| end.0).sum::<u64>(), 0, "nothing was written");
    batcher.stop().await;
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0_u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        (0..=chunk.len()).for_each(|n| text.push(char::from(DIGITS[(word >> (18 - 6 * n)) as usize & 63])));
    }
    text
}
