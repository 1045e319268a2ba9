//! `kill -9` at each step that a publisher, a batcher and a rewriter make on a disk: before it is made, and when half of what it writes is written.

use nocturne_faults::{
    deaths::{Deaths, House},
    interaction, seal_batch,
};
use nocturne_lake::Lake;
use nocturne_support::{Death, Step, Steps, or_skip};

const VICTIM: &str = env!("CARGO_BIN_EXE_victim");

/// Batches before they are merged.
const BATCHES: u64 = 4;

/// Every death at every step.
fn all(steps: &Steps) -> Deaths<'_> {
    // The state of a disk after a step is that before the next one.
    Deaths { steps, step: Step::Change, kinds: &[Death::Before, Death::Halfway], most: u64::MAX, seed: 0 }
}

fn lake(house: &House) -> Lake {
    Lake::open(&house.path("lake")).expect("opens")
}

#[tokio::test]
async fn a_publisher_that_dies_at_any_step_has_published_what_it_acknowledged() {
    let steps = or_skip!(Steps::compile());
    let mut house = House::new(VICTIM, Vec::new());
    house.run(&["publish-local", "DIR/log", "before", "0", "5"]);
    let scene = async |variables: &[_], when: &str| {
        let mut twin = house.twin();
        let lived = twin.lives(&["publish-local", "DIR/log", "k", "0", "70"], variables);
        twin.run(&["publish-local", "DIR/log", "after", "0", "5"]);
        twin.run(&["batch-local", "DIR/log", "DIR/lake"]);
        twin.check(&lake(&twin), when).await;
        lived
    };
    let toll = all(&steps).each("a publisher", scene).await;
    assert!(toll.died > 8, "{toll:?}");
}

#[tokio::test]
async fn a_batcher_that_dies_at_any_step_loses_nothing_and_doubles_nothing() {
    let steps = or_skip!(Steps::compile());
    let mut house = House::new(VICTIM, Vec::new());
    house.run(&["publish-local", "DIR/log", "k", "0", "130"]);
    house.run(&["batch-local", "DIR/log", "DIR/lake"]);
    house.run(&["publish-local", "DIR/log", "k", "130", "130"]);
    let scene = async |variables: &[_], when: &str| {
        let mut twin = house.twin();
        let lived = twin.lives(&["batch-local", "DIR/log", "DIR/lake"], variables);
        // What a batcher left behind may be found by another one, or by records that came since.
        twin.run(&["publish-local", "DIR/log", "k", "260", "10"]);
        twin.run(&["batch-local", "DIR/log", "DIR/lake"]);
        twin.check(&lake(&twin), when).await;
        lived
    };
    let toll = all(&steps).each("a batcher", scene).await;
    assert!(toll.died > 20, "{toll:?}");
}

#[tokio::test]
async fn a_rewriter_that_dies_at_any_step_shows_every_row_once_and_is_finished_by_the_next_one() {
    let steps = or_skip!(Steps::compile());
    let mut house = House::new(VICTIM, Vec::new());
    for batch in 0..BATCHES {
        let records: Vec<_> = (batch * 20..batch * 20 + 20).map(|n| interaction("r", n, 100)).collect();
        seal_batch(&lake(&house), batch * 20, &records).await.expect("sealed");
        house.oracle.acknowledge_all(&records);
    }
    let scene = async |variables: &[_], when: &str| {
        let mut twin = house.twin();
        let lived = twin.lives(&["compact", "DIR/lake"], variables);
        twin.check(&lake(&twin), when).await;
        twin.run(&["compact", "DIR/lake"]);
        assert!(twin.check(&lake(&twin), when).await.batches < BATCHES, "{when}: the next one merges");
        lived
    };
    let toll = all(&steps).each("a rewriter", scene).await;
    assert!(toll.died > 10, "{toll:?}");
}
