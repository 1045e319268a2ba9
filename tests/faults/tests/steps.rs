//! `kill -9` at each step that a publisher, a batcher and a rewriter make on a disk: before it is made, and when half of what it writes is written.

#![allow(clippy::panic, reason = "a test that has failed says with what")]

use std::{fs, path::Path, time::Duration};

use nocturne_faults::{Oracle, Victim, interaction, seal_batch};
use nocturne_lake::Lake;
use nocturne_support::Steps;

const VICTIM: &str = env!("CARGO_BIN_EXE_victim");
const LONG: Duration = Duration::from_mins(1);

/// More than any of them makes.
const MOST_STEPS: u64 = 2000;

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("made");
    for entry in fs::read_dir(from).expect("listed") {
        let entry = entry.expect("listed");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("copied");
        }
    }
}

/// A folder before somebody dies in it, and what was said until then.
struct House {
    folder: tempfile::TempDir,
    oracle: Oracle,
}

impl House {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a folder"), oracle: Oracle::default() }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_string_lossy().into_owned()
    }

    fn twin(&self) -> Self {
        let twin = Self { oracle: self.oracle.clone(), ..Self::new() };
        copy(self.folder.path(), twin.folder.path());
        twin
    }

    /// Runs a victim to its end, which is to be a good one.
    fn run(&mut self, args: &[&str]) {
        self.start(args, &[]).expect("ends well");
    }

    /// Runs a victim; nothing when it died.
    fn start(&mut self, args: &[&str], variables: &[(String, String)]) -> Option<()> {
        let args: Vec<String> = args.iter().map(|arg| arg.replace("DIR", &self.folder.path().to_string_lossy())).collect();
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let victim = Victim::start_with(VICTIM, &args, variables).expect("starts");
        victim.finish(LONG, &mut self.oracle).then_some(())
    }

    /// Every record that was acknowledged is there once, and the audit agrees.
    async fn check(&self, when: &str) {
        let lake = Lake::open(&self.path("lake")).expect("opens");
        let verdict = self.oracle.check(&lake).await.unwrap_or_else(|faults| panic!("{when}:\n{faults}"));
        assert!(verdict.rows >= self.oracle.acknowledged() && verdict.dead == 0, "{when}: {verdict:?}");
    }
}

/// Has a victim die at each of its steps in a twin of a house; `after` then says what is to be done and to hold. How many steps there were; `None` when this
/// machine cannot kill at steps.
async fn at_each_step(house: &House, args: &[&str], mut after: impl AsyncFnMut(House, &str)) -> Option<u64> {
    let steps = match Steps::compile(house.folder.path()) {
        Ok(steps) => steps,
        Err(absent) => {
            println!("SKIPPED: {absent}");
            return None;
        }
    };
    for step in 1..MOST_STEPS {
        for torn in [false, true] {
            let mut twin = house.twin();
            let lived = twin.start(args, &steps.variables(step, torn)).is_some();
            after(twin, &format!("{} dies at step {step}, torn: {torn}", args[0])).await;
            if lived {
                return Some(step - 1);
            }
        }
    }
    panic!("{} makes more than {MOST_STEPS} steps", args[0]);
}

#[tokio::test]
async fn a_publisher_that_dies_at_any_step_has_published_what_it_acknowledged() {
    let mut house = House::new();
    house.run(&["publish-local", "DIR/log", "before", "0", "5"]);
    let steps = at_each_step(&house, &["publish-local", "DIR/log", "k", "0", "70"], async |mut twin, when| {
        twin.run(&["publish-local", "DIR/log", "after", "0", "5"]);
        twin.run(&["batch-local", "DIR/log", "DIR/lake"]);
        twin.check(when).await;
    })
    .await;
    assert!(steps.is_none_or(|steps| steps > 8), "{steps:?} steps");
}

#[tokio::test]
async fn a_batcher_that_dies_at_any_step_loses_nothing_and_doubles_nothing() {
    let mut house = House::new();
    house.run(&["publish-local", "DIR/log", "k", "0", "130"]);
    house.run(&["batch-local", "DIR/log", "DIR/lake"]);
    house.run(&["publish-local", "DIR/log", "k", "130", "130"]);
    let steps = at_each_step(&house, &["batch-local", "DIR/log", "DIR/lake"], async |mut twin, when| {
        // What a batcher left behind may be found by another one, or by records that came since.
        twin.run(&["publish-local", "DIR/log", "k", "260", "10"]);
        twin.run(&["batch-local", "DIR/log", "DIR/lake"]);
        twin.check(when).await;
    })
    .await;
    assert!(steps.is_none_or(|steps| steps > 20), "{steps:?} steps");
}

#[tokio::test]
async fn a_rewriter_that_dies_at_any_step_shows_every_row_once_and_is_finished_by_the_next_one() {
    let mut house = House::new();
    let lake = Lake::open(&house.path("lake")).expect("opens");
    for batch in 0..4 {
        let records: Vec<_> = (batch * 20..batch * 20 + 20).map(|n| interaction("r", n, 100)).collect();
        seal_batch(&lake, batch * 20, &records).await.expect("sealed");
        for record in &records {
            house.oracle.issue(&record.id);
            house.oracle.acknowledge(&record.id);
        }
    }
    let steps = at_each_step(&house, &["compact", "DIR/lake"], async |mut twin, when| {
        twin.check(when).await;
        twin.run(&["compact", "DIR/lake"]);
        twin.check(when).await;
    })
    .await;
    assert!(steps.is_none_or(|steps| steps > 10), "{steps:?} steps");
}
