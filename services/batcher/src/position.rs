//! Where a partition stands: what its newest batch says.

use bytes::Bytes;
use nocturne_bus::Intake;
use nocturne_columns::IdHash;
use nocturne_lake::{LakeError, StoredBatch};
use nocturne_wire::{
    BatchName, Offset,
    batch::BatchFooter,
    epoch::{Epoch, EpochStart},
    path,
};

use crate::{BatcherError, encoders::Encoders, prepare, recent::RecentIds, store::Store};

/// How often a listing is read again because its newest batch made way for another one.
const LISTINGS: usize = 5;

/// Batches that are read at most for ids that may come twice.
const MOST_BATCHES: usize = 256;

/// Where sealing goes on, and the ids that were sealed before.
#[derive(Debug)]
pub(crate) struct Position {
    pub(crate) next: Offset,
    /// Where sealing began.
    pub(crate) begin: Offset,
    /// Identity of the topic that is sealed.
    pub(crate) topic_id: String,
    pub(crate) recent: RecentIds,
}

/// Reads a partition's position from the lake and holds the log against it: the two must belong together. The intake then stands there.
///
/// Besides the newest batch, older ones are read for their ids, but of those that were written again only `most_read` bytes: a process that starts does so for all
/// its partitions at once, and what was compacted holds long texts and few ids.
pub(crate) async fn find<S: Store>(
    store: &S,
    encoders: &Encoders,
    intake: &mut Intake,
    recent_ids: usize,
    most_read: u64,
) -> Result<Position, BatcherError> {
    let (topic, partition) = (intake.topic(), intake.partition());
    let failed = |source| BatcherError::Lake { doing: "finding the position of", topic, partition, source };
    let topic_id = intake.topic_id().await?;
    // Asked for before the listing: another batcher trims what it has sealed, so the listing covers whatever was trimmed until now.
    let trimmed = intake.range().await?.start.0.saturating_sub(intake.shift());
    let mut recent = RecentIds::new(recent_ids);
    let mut newest: Option<BatchFooter> = None;
    let mut stored = store.stored(topic, partition).await.map_err(failed)?;
    // What makes way for another batch after the listing is found under its new name by another listing. Going on behind an older batch would seal again
    // what the new one holds.
    let mut listings = 0;
    while let Some(newest) = stored.last().copied().filter(|_| listings < LISTINGS) {
        if store.find(newest.name).await.map_err(failed)?.is_some() {
            break;
        }
        listings += 1;
        stored = store.stored(topic, partition).await.map_err(failed)?;
    }
    let mut room = most_read;
    for (age, StoredBatch { name, bytes, .. }) in stored.into_iter().rev().take(MOST_BATCHES).enumerate() {
        if age > 0 && (recent.is_full() || name.rewritten.is_some() && bytes > room) {
            break;
        }
        if name.rewritten.is_some() {
            room = room.saturating_sub(bytes);
        }
        let bytes = match store.find(name).await.map_err(failed)? {
            Some(bytes) => bytes,
            None if age > 0 => continue,
            None => return Err(failed(LakeError::NotFound { path: path::batch(&name) })),
        };
        match read(encoders, name, bytes).await {
            Ok((footer, ids)) => {
                recent.extend_older(ids.into_iter());
                newest.get_or_insert(footer);
            }
            // Only the newest batch says where to go on. An older damaged one is the audit's to report.
            Err(error) if age > 0 => tracing::warn!(?name, %error, "an older batch cannot be read; its ids are not recognized"),
            Err(error) => return Err(error),
        }
    }
    let epoch = store.epoch(topic).await.map_err(failed)?;
    let start = start(newest.as_ref(), epoch.as_ref(), intake, &topic_id)?;
    intake.set_shift(start.shift);
    let trimmed = Offset(trimmed + start.shift);
    let (begin, next) = match newest {
        Some(footer) => (footer.begin, footer.last.next().max(start.begin)),
        // A log that somebody trimmed before it was ever sealed lost records; what Kafka let go of before there was a lake is nobody's loss.
        None if intake.is_local() => (start.begin, start.begin),
        None => {
            let first = trimmed.max(start.begin);
            (first, first)
        }
    };
    meet(intake, trimmed, next).await?;
    intake.seek(next);
    Ok(Position { next, begin, topic_id, recent })
}

/// Where the topic's epoch lets the partition go on.
fn start(
    newest: Option<&BatchFooter>,
    epoch: Option<&Epoch>,
    intake: &Intake,
    topic_id: &str,
) -> Result<EpochStart, BatcherError> {
    if let Some(epoch) = epoch.filter(|epoch| epoch.topic_id == topic_id) {
        return Ok(epoch.start(intake.partition()));
    }
    let sealed = newest.map(|footer| &footer.topic_id).or(epoch.map(|epoch| &epoch.topic_id));
    match sealed {
        Some(sealed) if sealed != topic_id => Err(recreated(intake, sealed, topic_id)),
        Some(_) | None => Ok(EpochStart { begin: Offset(0), shift: 0 }),
    }
}

pub(crate) fn recreated(intake: &Intake, lake: &str, log: &str) -> BatcherError {
    let (topic, partition) = (intake.topic(), intake.partition());
    BatcherError::TopicRecreated { topic, partition, lake: lake.to_owned(), log: log.to_owned() }
}

/// Reads a batch on an encoder thread.
pub(crate) async fn read(encoders: &Encoders, name: BatchName, bytes: Bytes) -> Result<(BatchFooter, Vec<IdHash>), BatcherError> {
    let read = encoders.run(move || prepare::contents(&name, &bytes)).await;
    read.map_err(|why| BatcherError::Panicked { what: format!("{} partition {}", name.topic, name.partition), why })?
        .map_err(|source| BatcherError::Batch { name, source })
}

/// Brings the log and the lake's position together: `trimmed` is where the log began before the lake was listed.
async fn meet(intake: &Intake, trimmed: Offset, position: Offset) -> Result<(), BatcherError> {
    let (topic, partition) = (intake.topic(), intake.partition());
    if trimmed > position {
        return Err(BatcherError::LakeBehind { topic, partition, position, start: trimmed });
    }
    let end = intake.range().await?.end;
    if end < position {
        // The log lost a tail that was sealed before. Its offsets must not be given again: they name rows in the lake.
        tracing::warn!(%topic, %partition, %end, %position, "the log ends before what was sealed from it; moving it on");
        intake.advance(position).await?;
    }
    Ok(())
}
