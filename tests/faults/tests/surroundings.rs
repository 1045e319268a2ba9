//! What the world around does to a publisher and a batcher over a real Kafka: disks fill up, clocks jump, other clients write and read.

#![allow(clippy::panic, reason = "a test that has failed says with what")]

mod common;

use std::{collections::BTreeSet, path::Path, sync::OnceLock};

use jiff::Timestamp;
use nocturne_batcher::{BatcherSettings, SealSettings};
use nocturne_bus::{AppendError, KafkaSettings, OnFull, Publisher, Spool, SpoolSettings, create_topics};
use nocturne_faults::{Oracle, audited, encoded, interaction, kafka_settings};
use nocturne_lake::Lake;
use nocturne_support::{Absent, Kafka, Kcat, Python, SmallDisk, or_skip};
use nocturne_wire::{Interaction, Partition, Topic};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use self::common::{LONG, Running, Sending, checked, publish};

/// One cluster for the tests that leave it alone; each has topics of its own.
fn kafka() -> Result<&'static Kafka, Absent> {
    static KAFKA: OnceLock<Result<Kafka, Absent>> = OnceLock::new();
    KAFKA.get_or_init(|| Kafka::start(1)).as_ref().map_err(Clone::clone)
}

async fn topics(kafka: &Kafka, name: &str) -> KafkaSettings {
    let settings = kafka_settings(&kafka.brokers(), name);
    create_topics(&settings).await.expect("made");
    settings
}

/// Publishes one record; whether it was acknowledged, and why not.
async fn offer(publisher: &Publisher, oracle: &mut Oracle, record: &Interaction) -> Result<(), AppendError> {
    let (key, payload) = encoded(record);
    oracle.issue(&record.id);
    publisher.publish_acked(Topic::Interactions, &key, payload.into()).expect("the queue has room").await?;
    oracle.acknowledge(&record.id);
    Ok(())
}

/// Waits until a spool has sent, or lost, everything.
async fn emptied(spool: &Spool, records: u64) -> (u64, u64) {
    let mut status = spool.status();
    let done = status.wait_for(|status| status.delivered + status.dropped >= records && status.backlog_records == 0);
    let done = tokio::time::timeout(LONG, done).await.expect("in time").expect("alive").clone();
    (done.delivered, done.dropped)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spool_that_is_full_while_no_broker_answers_refuses_or_drops_as_it_was_told_and_counts_it() {
    const RECORDS: u64 = 1000;
    let kafka = or_skip!(Kafka::start(1));
    let (refusing, dropping) = (topics(&kafka, "refusing").await, topics(&kafka, "dropping").await);
    kafka.kill(1).expect("killed");
    let small = |on_full| SpoolSettings { segment_bytes: 16 << 10, max_bytes: 128 << 10, on_full, ..SpoolSettings::default() };
    let refuse = Sending::open_with(&refusing, &small(OnFull::RefuseNew));
    let (mut kept, mut refused) = (Oracle::default(), 0);
    for n in 0..RECORDS {
        match offer(&refuse.spool.publisher(), &mut kept, &interaction("r", n, 100)).await {
            Ok(()) => {}
            Err(AppendError::Full { .. }) => refused += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(refused > 0 && refused < RECORDS, "{refused}");
    assert_eq!(refuse.spool.stats().dropped_full, refused);
    let drop_oldest = Sending::open_with(&dropping, &small(OnFull::DropOldest));
    for n in 0..RECORDS {
        offer(&drop_oldest.spool.publisher(), &mut Oracle::default(), &interaction("d", n, 100)).await.expect("room is made");
    }
    kafka.start_missing().expect("starts again");
    // Nothing that was acknowledged is lost where new records were refused, and there is room again.
    refuse.delivered(RECORDS - refused).await;
    publish(&refuse.spool.publisher(), &mut kept, "again", 0..100).await;
    assert_eq!(emptied(&refuse.spool, RECORDS + 100).await, (RECORDS + 100 - refused, refused));
    let lake = Lake::memory();
    let batcher = Running::start(&refusing, &lake).await;
    assert_eq!(checked(&kept, &lake).await.rows, kept.acknowledged());
    batcher.stop().await;
    // Where the oldest made room, they and no others are lost, and each is counted.
    let (delivered, dropped) = emptied(&drop_oldest.spool, RECORDS).await;
    assert!(dropped > 0 && delivered + dropped == RECORDS, "{delivered} and {dropped}");
    let mut newest = Oracle::default();
    (dropped..RECORDS).for_each(|n| newest.acknowledge(&interaction("d", n, 100).id));
    (0..RECORDS).for_each(|n| newest.issue(&interaction("d", n, 100).id));
    let lake = Lake::memory();
    let batcher = Running::start(&dropping, &lake).await;
    assert_eq!(checked(&newest, &lake).await.rows, delivered);
    batcher.stop().await;
    refuse.spool.close().await;
    drop_oldest.spool.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_full_under_the_spool_or_the_lake_is_told_and_work_goes_on_when_there_is_room() {
    let disk = or_skip!(SmallDisk::mount(2 << 20));
    let kafka = or_skip!(Kafka::start(1));
    let settings = topics(&kafka, "disk").await;
    kafka.kill(1).expect("killed");
    let spool = SpoolSettings { segment_bytes: 64 << 10, ..SpoolSettings::default() };
    let spool = Spool::open(&disk.path().join("spool"), &spool, &settings).expect("opens");
    let (mut oracle, mut failed, mut number) = (Oracle::default(), 0, 0..);
    let mut offer_next = async |oracle: &mut Oracle| {
        let record = interaction("f", number.next().expect("endless"), 4 << 10);
        offer(&spool.publisher(), oracle, &record).await
    };
    while failed < 20 {
        match offer_next(&mut oracle).await {
            Ok(()) => assert!(oracle.acknowledged() < 1000, "two megabytes hold no more"),
            Err(AppendError::Write { source, .. }) if source.kind() == std::io::ErrorKind::StorageFull => failed += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(spool.stats().dropped_failed, failed);
    // What is delivered makes room.
    kafka.start_missing().expect("starts again");
    let accepted = async {
        while offer_next(&mut oracle).await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(LONG, accepted).await.expect("in time");
    for _ in 0..50 {
        offer_next(&mut oracle).await.expect("room");
    }
    spool.close().await;
    // The same disk under the lake.
    let lake = Lake::open(&disk.path().join("lake").to_string_lossy()).expect("opens");
    disk.fill().expect("filled");
    let batcher = Running::start(&settings, &lake).await;
    let told = batcher.fails_with("No space left on device").await;
    assert!(told.contains("sealing interactions partition"), "{told}");
    assert!(audited(&lake).await.expect("read").clean());
    disk.make_room().expect("made");
    assert_eq!(checked(&oracle, &lake).await.rows, oracle.acknowledged());
    assert_eq!(lake.orphans().await.expect("listed"), Vec::<String>::new(), "what could not be written is cleared away");
    batcher.stop().await;
}

/// Seconds since 1970.
const NOW: i64 = 1_795_000_000;
const YEAR: i64 = 31_556_952;

/// Batches of a partition as the numbers of their rows.
async fn sizes(lake: &Lake) -> Vec<u64> {
    let mut sizes = Vec::new();
    for name in lake.batches().names(Topic::Interactions, Partition(0)).await.expect("listed") {
        let bytes = lake.batches().get(&name).await.expect("read");
        sizes.push(nocturne_columns::read_footer(&bytes).expect("a batch").rows);
    }
    sizes
}

#[tokio::test(flavor = "multi_thread")]
async fn records_whose_clock_jumps_by_years_are_sealed_in_batches_that_are_worth_it() {
    let kafka = or_skip!(kafka());
    let mut settings = kafka_settings(&kafka.brokers(), "clocks");
    settings.create.interactions = 1;
    create_topics(&settings).await.expect("made");
    let sending = Sending::open(&settings);
    let mut oracle = Oracle::default();
    let mut random = ChaCha8Rng::seed_from_u64(9);
    let mut send = async |numbers: std::ops::Range<u64>, time: &mut dyn FnMut(u64) -> i64| {
        for n in numbers {
            let record = Interaction { time: Timestamp::from_second(time(n)).expect("in range"), ..interaction("c", n, 100) };
            offer(&sending.spool.publisher(), &mut oracle, &record).await.expect("kept");
        }
    };
    // One jump ahead and back: the clock was wrong for a hundred records, a century from now.
    send(0..1000, &mut |n| NOW + n as i64 + if (500..600).contains(&n) { 100 * YEAR } else { 0 }).await;
    let seal = SealSettings { records: 320, age_seconds: 3600, idle_seconds: 3600, ..SealSettings::default() };
    let batching = BatcherSettings { seal, ..BatcherSettings::default() };
    let lake = Lake::memory();
    let batcher = Running::start_with(&settings, batching, &lake).await;
    batcher.has_partitions(2).await;
    sending.delivered(1000).await;
    batcher.handle.flush().await.expect("sealed");
    let calm = sizes(&lake).await;
    assert_eq!(calm.iter().sum::<u64>(), 1000);
    assert!(calm.len() <= 1000 / 320 + 3, "a jump ends a batch early, and not every one: {calm:?}");
    // Every record is years away from the last one, between the first century and the last one that there is.
    send(1000..3000, &mut |_| random.random_range(-62_000_000_000..253_000_000_000)).await;
    sending.delivered(3000).await;
    batcher.handle.flush().await.expect("sealed");
    let wild = sizes(&lake).await.split_off(calm.len());
    let (last, others) = wild.split_last().expect("sealed");
    assert!(others.iter().all(|rows| *rows >= 320 / 16), "{wild:?}, and then {last}");
    assert_eq!(checked(&oracle, &lake).await.rows, 3000);
    batcher.stop().await;
    sending.spool.close().await;
}

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../schemas/wire/golden/interaction.v2.avro");

fn golden() -> Interaction {
    let record = include_str!("../../../schemas/wire/golden/interaction.v2.json");
    serde_json::from_str(record).expect("a record")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_whose_clock_is_years_ahead_or_behind_is_heard() {
    let (kafka, python) = (or_skip!(kafka()), or_skip!(Python::install()));
    let settings = topics(kafka, "ahead").await;
    // Brokers refuse what claims to be written an hour from now, and retention takes what claims to be old; here they go by their own clock.
    let program = r#"
import sys, time
from confluent_kafka import Producer
brokers, topic, file = sys.argv[1:]
said, year = [], 365 * 86400 * 1000
producer = Producer({"bootstrap.servers": brokers})
for jump in (-30 * year, 30 * year):
    moment = int(time.time() * 1000) + jump
    producer.produce(topic, open(file, "rb").read(), "s", timestamp=moment, on_delivery=lambda error, message: said.append(str(error)))
    producer.flush(30)
print(*said)
"#;
    let said = python.run(program, &[&settings.brokers, &settings.topics.interactions, GOLDEN]).expect("runs");
    assert_eq!(said.trim(), "None None");
    let (lake, mut oracle) = (Lake::memory(), Oracle::default());
    oracle.issue(&golden().id);
    oracle.acknowledge(&golden().id);
    let batcher = Running::start(&settings, &lake).await;
    assert_eq!(checked(&oracle, &lake).await.rows, 1);
    batcher.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kcat_writes_a_record_that_is_sealed_and_reads_what_was_published_byte_for_byte() {
    let (kafka, kcat) = (or_skip!(kafka()), or_skip!(Kcat::find()));
    let settings = topics(kafka, "kcat").await;
    let (brokers, topic) = (settings.brokers.as_str(), settings.topics.interactions.as_str());
    let (lake, mut oracle) = (Lake::memory(), Oracle::default());
    let record = golden();
    kcat.produce(brokers, topic, record.session.as_str(), Path::new(GOLDEN)).expect("sent");
    oracle.issue(&record.id);
    oracle.acknowledge(&record.id);
    let sending = Sending::open(&settings);
    publish(&sending.spool.publisher(), &mut oracle, "k", 0..50).await;
    sending.delivered(50).await;
    let published = (0..50).map(|n| encoded(&interaction("k", n, 100)).1);
    let expected: BTreeSet<Vec<u8>> = published.chain([std::fs::read(GOLDEN).expect("read")]).collect();
    let read = kcat.consume(brokers, topic).expect("read");
    assert_eq!((read.len(), read.into_iter().collect::<BTreeSet<_>>()), (51, expected));
    let batcher = Running::start(&settings, &lake).await;
    let verdict = checked(&oracle, &lake).await;
    assert_eq!((verdict.rows, verdict.dead), (51, 0));
    batcher.stop().await;
    sending.spool.close().await;
}
