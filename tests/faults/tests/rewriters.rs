//! `kill -9` of rewriters at random moments over a real S3 server. Readers see every row once after each, and whoever comes next finishes.
//!
//! `cargo test --workspace --test rewriters -- --rounds 500` runs more than the usual rounds; `--seed N` draws other moments.

#![allow(clippy::panic, reason = "a test that has failed says with what")]

use std::{collections::BTreeSet, time::Duration};

use nocturne_compact::Rewriter;
use nocturne_faults::{
    Oracle, Verdict, Victim, audited, eager_compaction, in_rounds, interaction,
    rounds::{Rounds, block_on},
    seal_batch,
};
use nocturne_lake::Lake;
use nocturne_support::{S3, or_skip};
use nocturne_wire::InteractionId;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

const VICTIM: &str = env!("CARGO_BIN_EXE_victim");
const LONG: Duration = Duration::from_mins(1);
const BATCHES_A_ROUND: u64 = 5;
const ROWS_A_BATCH: u64 = 30;

in_rounds!(rewriters_that_are_killed_at_any_moment_show_every_row_once_and_the_next_one_finishes);

struct House {
    server: S3,
    lake: Lake,
    oracle: Oracle,
    /// Every record, with its subject.
    sealed: Vec<(InteractionId, String)>,
    forgotten: BTreeSet<String>,
}

impl House {
    fn new(server: S3) -> Self {
        let lake = Lake::open_with(&server.url("rewritten"), &server.options().into()).expect("opens");
        Self { server, lake, oracle: Oracle::default(), sealed: Vec::new(), forgotten: BTreeSet::new() }
    }

    async fn seal(&mut self) {
        for _ in 0..BATCHES_A_ROUND {
            let first = self.sealed.len() as u64;
            let records: Vec<_> = (first..first + ROWS_A_BATCH).map(|n| interaction("r", n, 100)).collect();
            seal_batch(&self.lake, first, &records).await.expect("sealed");
            self.oracle.acknowledge_all(&records);
            self.sealed.extend(records.into_iter().map(|record| (record.id, record.subject.to_string())));
        }
        self.note_forgotten();
    }

    /// What is sealed after its subject was forgotten goes with the next run that erases.
    fn note_forgotten(&mut self) {
        let gone = self.sealed.iter().filter(|(_, subject)| self.forgotten.contains(subject));
        gone.for_each(|(id, _)| self.oracle.forget(id));
    }

    fn start(&self, args: &[&str]) -> Victim {
        let variables = self.server.options().map(|(key, value)| (key.to_uppercase(), value));
        let lake = self.server.url("rewritten");
        let args: Vec<&str> = [&args[..1], &[lake.as_str()], &args[1..]].concat();
        Victim::start_with(VICTIM, &args, &variables).expect("starts")
    }

    fn compact(&self) -> Victim {
        self.start(&["compact"])
    }

    fn erase(&mut self, subject: &str) -> Victim {
        self.forgotten.insert(subject.to_owned());
        self.note_forgotten();
        self.start(&["erase", subject])
    }

    /// What the last request of a killed process does may be seen between a listing and a reading, so it is looked at again.
    async fn check(&self, round: u64) -> Verdict {
        for _ in 0..5 {
            if let Ok(verdict) = self.oracle.check(&self.lake).await {
                return verdict;
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        self.oracle.check(&self.lake).await.unwrap_or_else(|faults| panic!("round {round}:\n{faults}"))
    }
}

fn rewriters_that_are_killed_at_any_moment_show_every_row_once_and_the_next_one_finishes(rounds: Rounds) {
    let house = House::new(or_skip!(S3::start()));
    block_on(killing(house, rounds.or(15), rounds.seed_or(5)));
}

async fn killing(mut house: House, rounds: u64, seed: u64) {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut unfinished = 0;
    for round in 1..=rounds {
        house.seal().await;
        let subject = format!("subject-{}", round % 97);
        let mut victims = Vec::new();
        if round % 3 != 0 {
            victims.push(house.compact());
        }
        if round % 3 != 1 {
            victims.push(house.erase(&subject));
        }
        let mut finished = 0;
        for victim in victims {
            assert!(victim.wait_for("open", LONG, &mut house.oracle));
            let moment = Duration::from_millis(random.random_range(0..200));
            finished += u64::from(victim.wait_for("done", moment, &mut house.oracle));
            victim.kill(&mut house.oracle);
        }
        unfinished += u64::from(finished == 0);
        house.check(round).await;
    }
    assert!(house.compact().finish(LONG, &mut house.oracle), "the next one finishes what was begun");
    let rewriter = Rewriter::new(house.lake.clone(), eager_compaction(), "a test");
    let report = rewriter.apply_erasures().await.expect("applied");
    let verdict = house.check(rounds).await;
    println!("{unfinished} of {rounds} rounds were cut short; {report:?}; {verdict:?}");
    assert_eq!(verdict.rows, house.oracle.acknowledged(), "nobody who was forgotten is left");
    let report = audited(&house.lake).await.expect("read");
    assert_eq!(report.leftovers, Vec::<String>::new());
    let [partition] = &report.partitions[..] else { panic!("one partition: {report:?}") };
    assert_eq!(partition.rows + partition.erased, house.sealed.len() as u64, "each offset is accounted for");
}
