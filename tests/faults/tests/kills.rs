//! `kill -9` at random moments over the log of one machine: publisher and batcher in turn, each a process of its own.
//!
//! `cargo test --workspace --test kills -- --rounds 5000` runs more than the usual rounds; `--seed N` draws other moments.

#![allow(clippy::panic, reason = "a test that has failed says with what")]

use std::{path::Path, time::Duration};

use nocturne_faults::{
    Oracle, Victim, in_rounds,
    rounds::{Rounds, block_on},
};
use nocturne_lake::Lake;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

const VICTIM: &str = env!("CARGO_BIN_EXE_victim");
const LONG: Duration = Duration::from_mins(1);
const RECORDS_A_ROUND: u64 = 400;

in_rounds!(killing_publisher_and_batcher_at_any_moment_loses_nothing_and_doubles_nothing);

struct House {
    log: String,
    lake: String,
    oracle: Oracle,
    seed: u64,
    random: ChaCha8Rng,
    issued: u64,
}

impl House {
    fn new(dir: &Path, seed: u64) -> Self {
        let path = |name: &str| dir.join(name).to_string_lossy().into_owned();
        Self {
            log: path("log"),
            lake: path("lake"),
            oracle: Oracle::default(),
            seed,
            random: ChaCha8Rng::seed_from_u64(seed),
            issued: 0,
        }
    }

    fn moment(&mut self, most: u64) -> Duration {
        Duration::from_micros(self.random.random_range(0..most * 1000))
    }

    /// Publishes, and is killed somewhere in between.
    fn publish(&mut self, killed: bool) {
        let (first, count) = (self.issued.to_string(), RECORDS_A_ROUND.to_string());
        let victim = Victim::start(VICTIM, &["publish-local", &self.log, "k", &first, &count]).expect("starts");
        self.issued += RECORDS_A_ROUND;
        if killed {
            let moment = self.moment(60);
            victim.leave_alone(moment, &mut self.oracle);
            victim.kill(&mut self.oracle);
        } else {
            assert!(victim.finish(LONG, &mut self.oracle), "publishing ends well");
        }
    }

    /// Seals, and is killed somewhere in between.
    fn batch(&mut self, killed: bool) {
        let victim = Victim::start(VICTIM, &["batch-local", &self.log, &self.lake]).expect("starts");
        if killed {
            // From its opening on, which finds the position in the lake, or from the first batch on.
            if self.random.random() {
                victim.wait_for("open", LONG, &mut self.oracle);
            }
            let moment = self.moment(40);
            victim.leave_alone(moment, &mut self.oracle);
            victim.kill(&mut self.oracle);
        } else {
            assert!(victim.finish(LONG, &mut self.oracle), "sealing ends well");
        }
    }

    fn check(&self, round: u64) {
        let lake = Lake::open(&self.lake).expect("opens");
        let verdict = block_on(self.oracle.check(&lake));
        let verdict = verdict.unwrap_or_else(|faults| panic!("seed {}, round {round}:\n{faults}", self.seed));
        assert!(verdict.rows >= self.oracle.acknowledged(), "round {round}: {verdict:?}");
        assert_eq!(verdict.dead, 0, "round {round}");
    }
}

fn killing_publisher_and_batcher_at_any_moment_loses_nothing_and_doubles_nothing(given: Rounds) {
    let rounds = given.or(200);
    let dir = tempfile::tempdir().expect("a folder");
    let mut house = House::new(dir.path(), given.seed_or(1));
    for round in 1..=rounds {
        // Two kills a round.
        house.publish(true);
        house.batch(true);
        if round % 50 == 0 || round == rounds {
            house.publish(false);
            house.batch(false);
            house.check(round);
        }
    }
    println!("{rounds} rounds, {} acknowledged", house.oracle.acknowledged());
    assert!(house.oracle.acknowledged() > rounds, "the kills left something to be acknowledged");
}
