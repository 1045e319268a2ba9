//! `kill -9` of publisher, batcher and brokers at random moments over a real Kafka; and a batcher that wakes up after its partitions went to others.
//!
//! `cargo test --workspace --test kafka_kills -- --rounds 200` runs more than the usual rounds; `--seed N` draws other moments.

#![allow(clippy::panic, reason = "a test that has failed says with what")]

use std::{
    process::Command,
    time::{Duration, Instant},
};

use nocturne_bus::create_topics;
use nocturne_faults::{
    Oracle, Verdict, Victim, in_rounds, kafka_settings,
    rounds::{Rounds, block_on},
};
use nocturne_lake::Lake;
use nocturne_support::{Kafka, or_skip};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

const VICTIM: &str = env!("CARGO_BIN_EXE_victim");
const LONG: Duration = Duration::from_secs(90);
const RECORDS_A_ROUND: u64 = 300;

in_rounds!(
    killing_publisher_batcher_and_broker_loses_nothing_and_doubles_nothing,
    brokers_that_are_killed_one_after_another_hold_nobody_up_and_lose_nothing,
    a_batcher_that_wakes_after_its_partitions_went_to_another_doubles_nothing,
);

struct House {
    kafka: Kafka,
    name: &'static str,
    brokers: String,
    dir: tempfile::TempDir,
    oracle: Oracle,
    issued: u64,
}

impl House {
    /// Topics of which the brokers keep so many copies.
    fn new(kafka: Kafka, name: &'static str, copies: i32) -> Self {
        let brokers = kafka.brokers();
        let mut settings = kafka_settings(&brokers, name);
        settings.create.replication = copies;
        block_on(create_topics(&settings)).expect("topics");
        Self { kafka, name, brokers, dir: tempfile::tempdir().expect("a folder"), oracle: Oracle::default(), issued: 0 }
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_string_lossy().into_owned()
    }

    fn batcher(&self) -> Victim {
        Victim::start(VICTIM, &["batch-kafka", &self.brokers, self.name, &self.path("lake")]).expect("starts")
    }

    fn publisher(&mut self) -> Victim {
        let (spool, first, count) = (self.path("spool"), self.issued.to_string(), RECORDS_A_ROUND.to_string());
        self.issued += RECORDS_A_ROUND;
        Victim::start(VICTIM, &["publish-kafka", &spool, &self.brokers, self.name, "k", &first, &count]).expect("starts")
    }

    /// Waits until everything that was acknowledged is sealed, then asks the oracle.
    fn check(&self) -> Verdict {
        let lake = Lake::open(&self.path("lake")).expect("opens");
        let end = Instant::now() + LONG;
        loop {
            let checked = block_on(self.oracle.check(&lake));
            match checked {
                Ok(verdict) => return verdict,
                Err(faults) if Instant::now() > end => panic!("{faults}\nbroker: {}", self.kafka.log(1)),
                Err(_) => std::thread::sleep(Duration::from_millis(500)),
            }
        }
    }
}

fn killing_publisher_batcher_and_broker_loses_nothing_and_doubles_nothing(rounds: Rounds) {
    let mut house = House::new(or_skip!(Kafka::start(1)), "kills", 1);
    let mut random = ChaCha8Rng::seed_from_u64(rounds.seed_or(7));
    let mut batchers = vec![house.batcher(), house.batcher()];
    for round in 1..=rounds.or(20) {
        let publisher = house.publisher();
        publisher.leave_alone(Duration::from_millis(random.random_range(0..900)), &mut house.oracle);
        match round % 3 {
            0 => {
                publisher.kill(&mut house.oracle);
                continue;
            }
            1 => {
                let one = random.random_range(0..batchers.len());
                batchers.remove(one).kill(&mut house.oracle);
                batchers.push(house.batcher());
            }
            _ => {
                house.kafka.kill(1).expect("killed");
                house.kafka.start_missing().expect("starts again");
            }
        }
        assert!(publisher.finish(LONG, &mut house.oracle), "round {round}: everything is delivered in the end");
    }
    let publisher = house.publisher();
    assert!(publisher.finish(LONG, &mut house.oracle), "everything is delivered in the end");
    let verdict = house.check();
    assert_eq!(verdict.dead, 0);
    println!("{} acknowledged, {verdict:?}", house.oracle.acknowledged());
}

fn brokers_that_are_killed_one_after_another_hold_nobody_up_and_lose_nothing(rounds: Rounds) {
    let mut house = House::new(or_skip!(Kafka::start(3)), "cluster", 3);
    let mut random = ChaCha8Rng::seed_from_u64(rounds.seed_or(11));
    let batchers = [house.batcher(), house.batcher()];
    for round in 0..rounds.or(4) {
        let broker = 1 + (round % 3) as u16;
        let publisher = house.publisher();
        publisher.leave_alone(Duration::from_millis(random.random_range(0..900)), &mut house.oracle);
        house.kafka.kill(broker).expect("killed");
        // Two copies of three are enough to acknowledge a record (`min.insync.replicas`), to read it and to lead the group.
        assert!(publisher.finish(LONG, &mut house.oracle), "round {round}: delivered while broker {broker} is away");
        house.check();
        house.kafka.start_missing().expect("starts again");
    }
    // With one of three nothing is acknowledged; what waits in the spool goes on when a second one is back.
    let publisher = house.publisher();
    (1..=2).for_each(|broker| house.kafka.kill(broker).expect("killed"));
    publisher.leave_alone(Duration::from_secs(2), &mut house.oracle);
    house.kafka.start_missing().expect("start again");
    assert!(publisher.finish(LONG, &mut house.oracle), "everything is delivered in the end");
    let verdict = house.check();
    assert_eq!((verdict.dead, verdict.rows), (0, house.oracle.acknowledged()));
    drop(batchers);
}

/// There is one round of it: most of its time is the brokers' waiting.
fn a_batcher_that_wakes_after_its_partitions_went_to_another_doubles_nothing(_: Rounds) {
    let mut house = House::new(or_skip!(Kafka::start(1)), "zombie", 1);
    let zombie = house.batcher();
    let publisher = house.publisher();
    assert!(publisher.finish(LONG, &mut house.oracle));
    // It has read, and sealed some of it; now it stands still for longer than the group waits.
    let signal = |signal: &str| {
        let status = Command::new("kill").args([signal, &zombie.pid().to_string()]).status();
        assert!(status.is_ok_and(|status| status.success()));
    };
    let publisher = house.publisher();
    signal("-STOP");
    assert!(publisher.finish(LONG, &mut house.oracle));
    let other = house.batcher();
    house.check();
    signal("-CONT");
    let publisher = house.publisher();
    assert!(publisher.finish(LONG, &mut house.oracle));
    let verdict = house.check();
    assert_eq!((verdict.dead, verdict.rows), (0, house.oracle.acknowledged()));
    drop(other);
}
