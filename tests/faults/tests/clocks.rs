//! Clocks of a batcher's own process that jump while it seals: hours ahead, years back, and as on a machine that slept.

#![allow(clippy::panic, reason = "a test that has failed says with what")]

use std::time::{Duration, Instant};

use nocturne_bus::create_topics;
use nocturne_columns::read_footer;
use nocturne_faults::{Victim, deaths::House, kafka_settings};
use nocturne_lake::Lake;
use nocturne_support::{Clock, Kafka, S3, or_skip};
use nocturne_wire::Topic;

const VICTIM: &str = env!("CARGO_BIN_EXE_victim");
const LONG: Duration = Duration::from_mins(1);
const BETWEEN_LOOKS: Duration = Duration::from_millis(200);

const HOUR: i64 = 3600;
const YEAR: i64 = 365 * 24 * HOUR;

/// Ahead and back, near and far, and home again. A batcher that has not heard of its lake for ten minutes looks again where it stands.
const JUMPS: [i64; 7] = [3 * HOUR, -2 * YEAR, 60, -50 * YEAR, 10 * YEAR, -HOUR, 0];

/// More rows than can have been under way when a clock jumped.
const TWO_BURSTS: u64 = 60;

async fn rows(lake: &Lake) -> u64 {
    let mut rows = 0;
    for name in lake.batches().list(Topic::Interactions).await.expect("listed").into_values().flatten() {
        rows += read_footer(&lake.batches().get(&name).await.expect("read")).expect("a batch").rows;
    }
    rows
}

/// Waits until so many rows are sealed, noting what is published meanwhile.
async fn sealed(house: &mut House, lake: &Lake, victim: &Victim, least: u64, when: &str) {
    let end = Instant::now() + LONG;
    while rows(lake).await < least {
        assert!(Instant::now() < end, "{when}: {least} rows are not sealed");
        victim.leave_alone(BETWEEN_LOOKS, &mut house.oracle);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batcher_whose_clocks_jump_goes_on_sealing_and_loses_and_doubles_nothing() {
    let clock = or_skip!(Clock::compile());
    let mut house = House::new(VICTIM, Vec::new());
    let lake = Lake::open(&house.path("lake")).expect("opens");
    let victim = house.start(&["live-local", "DIR/log", "DIR/lake", "k"], &clock.variables());
    sealed(&mut house, &lake, &victim, 1, "before any jump").await;
    for (slept, ahead) in (0..).zip(JUMPS) {
        clock.set_wall(ahead).expect("set");
        clock.set_steady(slept * HOUR as u64).expect("set");
        let least = rows(&lake).await + TWO_BURSTS;
        sealed(&mut house, &lake, &victim, least, &format!("{ahead} s ahead, {slept} hours slept")).await;
    }
    victim.kill(&mut house.oracle);
    house.run(&["batch-local", "DIR/log", "DIR/lake"]);
    let verdict = house.check(&lake, "at the end").await;
    println!("{} acknowledged, {verdict:?}", house.oracle.acknowledged());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batcher_that_an_object_store_refuses_for_its_clock_seals_when_the_clock_is_right_again() {
    let (clock, server) = (or_skip!(Clock::compile()), or_skip!(S3::start()));
    let mut house = House::new(VICTIM, server.options().map(|(key, value)| (key.to_uppercase(), value)).into());
    let (url, options) = (server.url("clocks"), server.options().into());
    let lake = Lake::open_with(&url, &options).expect("opens");
    let victim = house.start(&["live-local", "DIR/log", &url, "k"], &clock.variables());
    sealed(&mut house, &lake, &victim, 1, "before any jump").await;
    for ahead in [3 * HOUR, -2 * YEAR] {
        clock.set_wall(ahead).expect("set");
        // Signatures of requests hold for minutes around the server's time.
        let (before, heard) = (rows(&lake).await, house.oracle.acknowledged());
        victim.leave_alone(Duration::from_secs(4), &mut house.oracle);
        assert!(house.oracle.acknowledged() > heard, "records are taken while the store refuses");
        let sealed_meanwhile = rows(&lake).await - before;
        assert!(sealed_meanwhile < TWO_BURSTS, "{ahead} s ahead the store refuses, yet {sealed_meanwhile} rows were sealed");
        clock.set_wall(0).expect("set");
        let least = house.oracle.acknowledged();
        sealed(&mut house, &lake, &victim, least, &format!("{ahead} s ahead and right again")).await;
    }
    victim.kill(&mut house.oracle);
    house.run(&["batch-local", "DIR/log", &url]);
    house.check(&lake, "at the end").await;
}

/// Publishers go by the right clock: librdkafka waits until a time of the wall clock, and one that is set back makes a wait that is under way last longer by as
/// much (<https://github.com/confluentinc/librdkafka/issues/2145>). What comes from a broker ends a batcher's waits.
#[tokio::test(flavor = "multi_thread")]
async fn a_batcher_over_kafka_whose_clock_jumps_goes_on_sealing_and_loses_and_doubles_nothing() {
    let (clock, kafka) = (or_skip!(Clock::compile()), or_skip!(Kafka::start(1)));
    let brokers = kafka.brokers();
    create_topics(&kafka_settings(&brokers, "jumps")).await.expect("made");
    let mut house = House::new(VICTIM, Vec::new());
    let lake = Lake::open(&house.path("lake")).expect("opens");
    let batcher = house.start(&["batch-kafka", &brokers, "jumps", "DIR/lake"], &clock.variables());
    for (turn, ahead) in (0_u64..).zip(JUMPS) {
        clock.set_wall(ahead).expect("set");
        let first = (turn * 1000).to_string();
        house.run(&["publish-kafka", "DIR/spool", &brokers, "jumps", "k", &first, "200"]);
        let least = house.oracle.acknowledged();
        sealed(&mut house, &lake, &batcher, least, &format!("{ahead} s ahead")).await;
    }
    batcher.kill(&mut house.oracle);
    let verdict = house.check(&lake, "at the end").await;
    println!("{} acknowledged, {verdict:?}", house.oracle.acknowledged());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spool_whose_clock_is_set_back_goes_on_sending() {
    let (clock, kafka) = (or_skip!(Clock::compile()), or_skip!(Kafka::start(1)));
    let brokers = kafka.brokers();
    create_topics(&kafka_settings(&brokers, "back")).await.expect("made");
    let mut house = House::new(VICTIM, Vec::new());
    let victim = house.start(&["trickle-kafka", "DIR/spool", &brokers, "back", "1000"], &clock.variables());
    assert!(victim.wait_for("delivered 3", LONG, &mut house.oracle));
    clock.set_wall(-2 * HOUR).expect("set");
    assert!(victim.wait_for("delivered 10", LONG, &mut house.oracle), "it sends while its clock is two hours behind");
    victim.kill(&mut house.oracle);
}
