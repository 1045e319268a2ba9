//! A bucket as a lake: what the protocol asks of a store, and a day's way from the log to a batch that is compacted and erased from.

use jiff::Timestamp;
use nocturne_batcher::Batcher;
use nocturne_bus::{Group, LocalLog};
use nocturne_compact::{Rewriter, Wish};
use nocturne_faults::{Oracle, eager_compaction, encoded, interaction, log_settings, sealing};
use nocturne_kit::Shutdown;
use nocturne_lake::Lake;
use nocturne_wire::Topic;

/// Asks of an empty bucket whatever its kind is to be asked.
pub(crate) async fn is_a_lake(url: &str, options: impl IntoIterator<Item = (String, String)>) {
    let lake = Lake::open_with(url, &options.into_iter().collect()).expect("opens");
    for (step, outcome) in lake.probe().await {
        outcome.unwrap_or_else(|error| panic!("{step}: {error}"));
    }
    let dir = tempfile::tempdir().expect("a folder");
    let log = LocalLog::open(dir.path(), &log_settings()).expect("opens");
    let (mut oracle, publisher) = (Oracle::default(), log.publisher());
    let batcher = Batcher::open(sealing(), Group::local(&log), &lake, "test").await.expect("opens");
    let (handle, shutdown) = (batcher.handle(), Shutdown::new());
    let running = tokio::spawn(batcher.run(shutdown.clone()));
    let mut forgotten = None;
    for n in 0..400 {
        let record = interaction("a", n, 100);
        let (key, payload) = encoded(&record);
        oracle.issue(&record.id);
        publisher.publish_acked(Topic::Interactions, &key, payload.into()).expect("room").await.expect("kept");
        if record.subject == *forgotten.get_or_insert_with(|| record.subject.clone()) {
            continue;
        }
        oracle.acknowledge(&record.id);
    }
    handle.flush().await.expect("sealed");
    shutdown.request();
    running.await.expect("no panic").expect("ends well");
    let sealed = oracle.check(&lake).await.expect("nothing wrong");
    assert_eq!((sealed.rows, sealed.dead), (400, 0));

    let rewriter = Rewriter::new(lake.clone(), eager_compaction(), "test");
    let compacted = rewriter.compact(|_| {}).await.expect("compacted");
    assert!(compacted.merged > compacted.written && compacted.skipped.is_empty(), "{compacted:?}");
    let wish = Wish { subject: forgotten.expect("somebody"), tenant: None, until: Timestamp::now() };
    let erased = rewriter.erase(&wish).await.expect("erased");
    assert!(erased.interactions > 0 && erased.unreadable.is_empty(), "{erased:?}");
    let left = oracle.check(&lake).await.expect("nothing wrong");
    assert_eq!((left.rows, left.rows), (400 - erased.interactions, oracle.acknowledged()));
    assert!(left.batches < sealed.batches);
}
