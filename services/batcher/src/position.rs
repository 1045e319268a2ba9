//! Where a partition stands: what its newest batch says.

use bytes::Bytes;
use nocturne_bus::LocalLog;
use nocturne_wire::{BatchName, InteractionId, Offset, Partition, Topic, batch::BatchFooter};

use crate::{BatcherError, prepare, recent::RecentIds, store::Store};

/// Where sealing goes on, and the ids that were sealed before.
#[derive(Debug)]
pub(crate) struct Position {
    pub(crate) next: Offset,
    /// Where sealing began.
    pub(crate) begin: Offset,
    pub(crate) recent: RecentIds,
}

impl Position {
    /// Where sealing goes on at the earliest when the newest batch is this one and cannot be read.
    pub(crate) fn unknown(newest: BatchName) -> Self {
        Self { next: newest.first, begin: newest.first, recent: RecentIds::new(0) }
    }
}

/// Reads a partition's position from the lake and holds the log against it: the two must belong together.
pub(crate) async fn find<S: Store>(
    store: &S,
    log: &LocalLog,
    (topic, partition): (Topic, Partition),
    recent_ids: usize,
) -> Result<Position, BatcherError> {
    let failed = |source| BatcherError::Lake { doing: "finding the position of", topic, partition, source };
    let mut recent = RecentIds::new(recent_ids);
    let (mut begin, mut next) = (Offset(0), Offset(0));
    let names = store.names(topic, partition).await.map_err(failed)?;
    for (age, name) in names.into_iter().rev().enumerate() {
        if age > 0 && recent.is_full() {
            break;
        }
        let Some(bytes) = store.find(name).await.map_err(failed)? else { continue };
        match read(name, bytes).await {
            Ok((footer, ids)) if age == 0 => {
                check_topic(&footer, log.topic_id(topic))?;
                (begin, next) = (footer.begin, footer.last.next());
                recent.extend_older(ids.into_iter());
            }
            Ok((_, ids)) => recent.extend_older(ids.into_iter()),
            // Only the newest batch says where to go on. An older damaged one is the audit's to report.
            Err(error) if age > 0 => tracing::warn!(?name, %error, "an older batch cannot be read; its ids are not recognized"),
            Err(error) => return Err(error),
        }
    }
    meet(log, topic, partition, next).await?;
    Ok(Position { next, begin, recent })
}

/// Reads a batch on a blocking thread.
pub(crate) async fn read(name: BatchName, bytes: Bytes) -> Result<(BatchFooter, Vec<InteractionId>), BatcherError> {
    let read = tokio::task::spawn_blocking(move || prepare::contents(&name, &bytes)).await;
    read.map_err(|source| BatcherError::Panicked { what: format!("{} partition {}", name.topic, name.partition), source })?
        .map_err(|source| BatcherError::Batch { name, source })
}

/// Whether a batch came from this log.
pub(crate) fn check_topic(footer: &BatchFooter, log: &str) -> Result<(), BatcherError> {
    if footer.topic_id == log {
        return Ok(());
    }
    let BatchName { topic, partition, .. } = footer.name;
    Err(BatcherError::TopicRecreated { topic, partition, lake: footer.topic_id.clone(), log: log.to_owned() })
}

/// Brings the log's range and the lake's position together.
async fn meet(log: &LocalLog, topic: Topic, partition: Partition, position: Offset) -> Result<(), BatcherError> {
    let range = log.range(topic, partition);
    if range.start > position {
        return Err(BatcherError::LakeBehind { topic, partition, position, start: range.start });
    }
    if range.end < position {
        // The log lost a tail that was sealed before. Its offsets must not be given again: they name rows in the lake.
        tracing::warn!(%topic, %partition, end = %range.end, %position, "the log ends before what was sealed from it; moving it on");
        log.advance(topic, partition, position).await?;
    }
    Ok(())
}
