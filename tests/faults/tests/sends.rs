//! `kill -9` at what a publisher, a batcher and a rewriter send to a real Kafka and to a real S3 server, at what they say, and at what the publisher writes to its
//! disk: before bytes are out, when half of them are, and when all are and nobody has heard of it.
//!
//! Requests to S3 are all met. How often a client of Kafka sends differs from time to time, and each death takes seconds, so that a few are drawn:
//! `cargo test --workspace --test sends -- --rounds 200 --seed 3` draws more, and others.

use std::sync::{
    OnceLock,
    atomic::{AtomicU64, Ordering},
};

use nocturne_bus::create_topics;
use nocturne_faults::{
    deaths::{Deaths, House, Toll},
    in_rounds, interaction, kafka_settings,
    rounds::{Rounds, block_on},
    seal_batch,
};
use nocturne_lake::Lake;
use nocturne_support::{Absent, Death, Kafka, S3, Step, Steps, or_skip};

const VICTIM: &str = env!("CARGO_BIN_EXE_victim");

/// Batches before they are merged.
const BATCHES: u64 = 4;

in_rounds!(
    a_rewriter_that_dies_at_any_request_to_s3_shows_every_row_once_and_is_finished_by_the_next_one,
    a_rewriter_that_dies_at_any_request_to_s3_while_it_erases_leaves_nobody_to_be_found_after_the_next_one,
    a_batcher_that_dies_at_any_request_to_s3_loses_nothing_and_doubles_nothing,
    a_batcher_that_dies_between_kafka_and_s3_at_what_it_sends_or_says_loses_nothing_and_doubles_nothing,
    a_publisher_that_dies_on_the_way_to_kafka_has_published_once_what_it_acknowledged,
);

/// The servers that the tests share, each in folders and topics of its own.
struct Street {
    s3: S3,
    folders: AtomicU64,
}

impl Street {
    fn find() -> Result<&'static Self, Absent> {
        static STREET: OnceLock<Result<Street, Absent>> = OnceLock::new();
        let build = || S3::start().map(|s3| Self { s3, folders: AtomicU64::new(0) });
        STREET.get_or_init(build).as_ref().map_err(Clone::clone)
    }

    fn kafka() -> Result<&'static Kafka, Absent> {
        static KAFKA: OnceLock<Result<Kafka, Absent>> = OnceLock::new();
        KAFKA.get_or_init(|| Kafka::start(1)).as_ref().map_err(Clone::clone)
    }

    fn house(&self) -> House {
        House::new(VICTIM, self.s3.options().map(|(key, value)| (key.to_uppercase(), value)).into())
    }

    /// An empty lake in the bucket, and where it is.
    fn lake(&self) -> (Lake, String) {
        let url = self.s3.url(&format!("lake-{}", self.folders.fetch_add(1, Ordering::Relaxed)));
        (Lake::open_with(&url, &self.s3.options().into()).expect("opens"), url)
    }

    fn requests(&self) -> Step {
        Step::Send(port(&self.s3.endpoint()))
    }
}

/// A death at each step, however many rounds are asked for.
const EACH: u64 = u64::MAX;

fn deaths(steps: &Steps, step: Step, most: u64, rounds: Rounds) -> Deaths<'_> {
    let kinds = &[Death::Before, Death::Halfway, Death::After];
    Deaths { steps, step, kinds, most: if most == EACH { EACH } else { rounds.or(most) }, seed: rounds.seed_or(1) }
}

/// The port at the end of an address.
fn port(address: &str) -> u16 {
    address.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port")
}

/// Whether there were steps to die at, and most who were to die did.
fn is_grave(toll: Toll, least: u64) -> bool {
    toll.met >= least && toll.died > toll.tried / 2
}

/// A lake in the bucket with batches that may be rewritten.
async fn sealed(street: &Street) -> (House, Lake, String) {
    let (mut house, (lake, url)) = (street.house(), street.lake());
    for batch in 0..BATCHES {
        let records: Vec<_> = (batch * 20..batch * 20 + 20).map(|n| interaction("r", n, 100)).collect();
        seal_batch(&lake, batch * 20, &records).await.expect("sealed");
        house.oracle.acknowledge_all(&records);
    }
    (house, lake, url)
}

fn a_rewriter_that_dies_at_any_request_to_s3_shows_every_row_once_and_is_finished_by_the_next_one(rounds: Rounds) {
    let (steps, street) = (or_skip!(Steps::compile()), or_skip!(Street::find()));
    let scene = async |variables: &[_], when: &str| {
        let (mut house, lake, url) = sealed(street).await;
        let lived = house.lives(&["compact", &url], variables);
        house.check(&lake, when).await;
        house.run(&["compact", &url]);
        assert!(house.check(&lake, when).await.batches < BATCHES, "{when}: the next one merges");
        lived
    };
    let toll = block_on(deaths(&steps, street.requests(), EACH, rounds).each("a rewriter", scene));
    assert!(is_grave(toll, 10), "{toll:?}");
}

fn a_rewriter_that_dies_at_any_request_to_s3_while_it_erases_leaves_nobody_to_be_found_after_the_next_one(rounds: Rounds) {
    let (steps, street) = (or_skip!(Steps::compile()), or_skip!(Street::find()));
    let gone = interaction("r", 3, 100);
    let scene = async |variables: &[_], when: &str| {
        let (mut house, lake, url) = sealed(street).await;
        house.oracle.forget(&gone.id);
        let lived = house.lives(&["erase", &url, gone.subject.as_str()], variables);
        house.check(&lake, when).await;
        // Whoever asked hears nothing, and asks again.
        house.run(&["erase", &url, gone.subject.as_str()]);
        assert_eq!(house.check(&lake, when).await.rows, house.oracle.acknowledged(), "{when}");
        lived
    };
    let toll = block_on(deaths(&steps, street.requests(), EACH, rounds).each("a rewriter that erases", scene));
    assert!(is_grave(toll, 10), "{toll:?}");
}

fn a_batcher_that_dies_at_any_request_to_s3_loses_nothing_and_doubles_nothing(rounds: Rounds) {
    let (steps, street) = (or_skip!(Steps::compile()), or_skip!(Street::find()));
    let mut house = street.house();
    house.run(&["publish-local", "DIR/log", "k", "0", "130"]);
    let scene = async |variables: &[_], when: &str| {
        let mut twin = house.twin();
        let (lake, url) = street.lake();
        let lived = twin.lives(&["batch-local", "DIR/log", &url], variables);
        twin.run(&["publish-local", "DIR/log", "k", "130", "10"]);
        twin.run(&["batch-local", "DIR/log", &url]);
        twin.check(&lake, when).await;
        lived
    };
    let toll = block_on(deaths(&steps, street.requests(), EACH, rounds).each("a batcher", scene));
    assert!(is_grave(toll, 8), "{toll:?}");
}

fn a_batcher_that_dies_between_kafka_and_s3_at_what_it_sends_or_says_loses_nothing_and_doubles_nothing(rounds: Rounds) {
    let (steps, street, kafka) = (or_skip!(Steps::compile()), or_skip!(Street::find()), or_skip!(Street::kafka()));
    let brokers = kafka.brokers();
    block_on(create_topics(&kafka_settings(&brokers, "sends"))).expect("made");
    let mut house = street.house();
    house.run(&["publish-kafka", "DIR/spool", &brokers, "sends", "k", "0", "130"]);
    let mut groups = 0..;
    let mut scene = async |variables: &[_], when: &str| {
        let (lake, url) = street.lake();
        // Each in a group of its own: nobody waits until the brokers have noticed a death, and whoever comes next meets what is still on its way.
        let group = format!("sends.{}", groups.next().expect("endless"));
        let lived = house.lives(&["seal-kafka", &brokers, "sends", &group, &url], variables);
        house.run(&["seal-kafka", &brokers, "sends", &format!("{group}.next"), &url]);
        house.check(&lake, when).await;
        lived
    };
    for (step, most) in [(street.requests(), 8), (Step::Send(port(&brokers)), 8), (Step::Word(""), 4)] {
        let toll = block_on(deaths(&steps, step, most, rounds).each("a batcher over Kafka", &mut scene));
        assert!(is_grave(toll, 4), "{toll:?}");
    }
}

fn a_publisher_that_dies_on_the_way_to_kafka_has_published_once_what_it_acknowledged(rounds: Rounds) {
    let (steps, street, kafka) = (or_skip!(Steps::compile()), or_skip!(Street::find()), or_skip!(Street::kafka()));
    let brokers = kafka.brokers();
    block_on(create_topics(&kafka_settings(&brokers, "published"))).expect("made");
    let (mut house, (lake, url), mut turns) = (street.house(), street.lake(), 0..);
    let mut scene = async |variables: &[_], when: &str| {
        let turn: u64 = turns.next().expect("endless");
        let (spool, first, group) = (format!("DIR/spool-{turn}"), format!("{}", turn * 100), format!("published.{turn}"));
        let lived = house.lives(&["publish-kafka", &spool, &brokers, "published", "k", &first, "70"], variables);
        house.run(&["publish-kafka", &spool, &brokers, "published", "after", &first, "5"]);
        house.run(&["seal-kafka", &brokers, "published", &group, &url]);
        house.check(&lake, when).await;
        lived
    };
    for (step, most) in
        [(Step::Send(port(&brokers)), 6), (Step::Change, 6), (Step::Word("published"), 1), (Step::Word("delivered"), 1)]
    {
        let toll = block_on(deaths(&steps, step, most, rounds).each("a publisher", &mut scene));
        assert!(is_grave(toll, 1), "{toll:?}");
    }
}
