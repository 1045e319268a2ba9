//! The one thread that writes: group commit.

use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use nocturne_wire::{Offset, Partition, Topic};
use tokio::sync::{mpsc, oneshot};

use super::{
    disk::Disk,
    partition::{PartitionWriter, cost},
    publisher::{AppendError, Position},
    settings::{Durability, OnFull, Partitions},
    stats::{Counters, Stats, count},
};

/// Commands that wait for the writer: far above what one machine answers in the time of an `fdatasync`, so that it is full only
/// when the disk has stalled.
pub(crate) const QUEUE_CAPACITY: usize = 4096;

/// Most bytes in one group, so that no acknowledgement waits for more than a few megabytes of others.
const GROUP_BYTES: u64 = 4 << 20;

/// What publishers and the writer share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) partitions: Partitions,
    pub(crate) counters: Counters,
    pub(crate) queued_bytes: AtomicU64,
    /// Whether records keep their keys.
    pub(crate) keyed: bool,
}

/// One record on its way in.
#[derive(Debug)]
pub(crate) struct Append {
    pub(crate) topic: Topic,
    pub(crate) partition: Partition,
    /// Stands before the payload.
    pub(crate) prefix: Vec<u8>,
    pub(crate) payload: Bytes,
    pub(crate) done: Option<oneshot::Sender<Result<Position, AppendError>>>,
}

/// What the writer is asked to do.
#[derive(Debug)]
pub(crate) enum Command {
    Append(Append),
    Trim { topic: Topic, partition: Partition, before: Offset, done: oneshot::Sender<io::Result<()>> },
    Advance { topic: Topic, partition: Partition, to: Offset, done: oneshot::Sender<io::Result<()>> },
    Close { done: oneshot::Sender<()> },
}

type Waiting = (Position, Option<oneshot::Sender<Result<Position, AppendError>>>);

/// The writer's state.
pub(crate) struct Writer {
    pub(crate) partitions: BTreeMap<(Topic, Partition), PartitionWriter>,
    pub(crate) disk: Box<dyn Disk>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) segment_bytes: u64,
    pub(crate) max_bytes: u64,
    pub(crate) on_full: OnFull,
    pub(crate) durability: Durability,
    /// Whether the last write failed: a full disk is reported when it starts and when it ends, not for every record.
    pub(crate) failing: bool,
    pub(crate) drops: DropReport,
}

/// Tells of lost records once a minute, however many they are.
#[derive(Debug, Default)]
pub(crate) struct DropReport {
    told: u64,
    at: Option<Instant>,
}

impl DropReport {
    /// How many records were lost since the last time, when it is time to tell.
    fn due(&mut self, dropped: u64, now: Instant) -> Option<u64> {
        let new = dropped - self.told;
        if new == 0 || self.at.is_some_and(|at| now.duration_since(at) < TELL_EVERY) {
            return None;
        }
        (self.told, self.at) = (dropped, Some(now));
        Some(new)
    }

    pub(crate) fn report(&mut self, stats: &Stats, now: Instant) {
        if let Some(new) = self.due(stats.dropped(), now) {
            tracing::error!(
                new,
                queue_full = stats.dropped_busy,
                log_full = stats.dropped_full,
                write_failed = stats.dropped_failed,
                oldest = stats.dropped_oldest,
                "records were lost; the totals count since the start"
            );
        }
    }
}

const TELL_EVERY: Duration = Duration::from_mins(1);

impl Writer {
    /// Serves commands until the log is closed or nobody can send any more.
    pub(crate) fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let mut closing = Vec::new();
        while let Some(command) = commands.blocking_recv() {
            let Some(leftover) = self.group(command, &mut commands) else { continue };
            match leftover {
                Command::Append(_) => {}
                Command::Trim { topic, partition, before, done } => {
                    let counters = &self.shared.counters;
                    let result = self.partitions.get_mut(&(topic, partition)).map(|p| p.trim(before, counters));
                    // Whoever asked may have stopped waiting; the work is done all the same.
                    done.send(result.unwrap_or(Ok(()))).ok();
                }
                Command::Advance { topic, partition, to, done } => {
                    let disk = &*self.disk;
                    let result = self.partitions.get_mut(&(topic, partition)).map(|p| p.advance(to, disk));
                    done.send(result.unwrap_or(Ok(()))).ok();
                }
                Command::Close { done } => {
                    // From here on senders are refused; what they sent before is still written.
                    commands.close();
                    closing.push(done);
                }
            }
        }
        // The files are closed before anybody is told, so that the log can be opened again at once.
        drop(self);
        for done in closing {
            done.send(()).ok();
        }
    }

    /// Commits `first` and whatever else is queued, up to a command of another kind, which is handed back.
    fn group(&mut self, first: Command, commands: &mut mpsc::Receiver<Command>) -> Option<Command> {
        let limit = GROUP_BYTES.min(self.segment_bytes);
        let mut waiting: Vec<Waiting> = Vec::new();
        let mut bytes = 0;
        let mut command = Some(first);
        let leftover = loop {
            match command {
                Some(Command::Append(append)) => bytes += self.stage(append, bytes, &mut waiting),
                other => break other,
            }
            if bytes >= limit || waiting.len() >= QUEUE_CAPACITY {
                break None;
            }
            command = commands.try_recv().ok();
        };
        self.commit(waiting);
        leftover
    }

    /// Stages one record; the bytes it takes.
    fn stage(&mut self, append: Append, staged: u64, waiting: &mut Vec<Waiting>) -> u64 {
        let Append { topic, partition, prefix, payload, done } = append;
        let length = prefix.len() + payload.len();
        self.shared.queued_bytes.fetch_sub(length as u64, Ordering::Relaxed);
        let bytes = cost(length);
        if !self.has_room(staged + bytes) {
            count(&self.shared.counters.dropped_full, 1);
            answer(done, Err(AppendError::Full { max_bytes: self.max_bytes }));
            return 0;
        }
        let Some(writer) = self.partitions.get_mut(&(topic, partition)) else {
            answer(done, Err(AppendError::Closed));
            return 0;
        };
        let offset = writer.stage([&prefix, &payload]);
        waiting.push((Position { topic, partition, offset }, done));
        bytes
    }

    /// Whether `more` bytes may be written; where the oldest records are to make room, they do.
    fn has_room(&mut self, more: u64) -> bool {
        let counters = &self.shared.counters;
        let fits = || counters.bytes.load(Ordering::Relaxed) + more <= self.max_bytes;
        while !fits() {
            if self.on_full == OnFull::RefuseNew {
                return false;
            }
            let largest = self.partitions.values_mut().filter(|p| p.oldest().is_some()).max_by_key(|p| p.bytes());
            let Some((partition, (end, _))) = largest.and_then(|p| p.oldest().map(|oldest| (p, oldest))) else { return false };
            if partition.trim(end, counters).is_err() {
                return false;
            }
        }
        true
    }

    /// Writes every touched partition, then syncs each, then answers: the first sync often carries the others' metadata with it.
    fn commit(&mut self, waiting: Vec<Waiting>) {
        if waiting.is_empty() {
            return;
        }
        let mut failed: BTreeMap<(Topic, Partition), Arc<io::Error>> = BTreeMap::new();
        let touched = || self.partitions.iter().filter(|(_, p)| p.has_staged()).map(|(key, _)| *key);
        let touched: Vec<_> = touched().collect();
        for phase in [Phase::Write, Phase::Sync] {
            for key in &touched {
                let Some(partition) = self.partitions.get_mut(key).filter(|_| !failed.contains_key(key)) else { continue };
                let result = match phase {
                    Phase::Write => partition.write(&*self.disk, self.segment_bytes),
                    Phase::Sync => partition.commit(self.durability, &self.shared.counters),
                };
                if let Err(error) = result {
                    partition.roll_back();
                    failed.insert(*key, Arc::new(error));
                }
            }
        }
        count(&self.shared.counters.commits, 1);
        self.report(failed.values().next());
        self.drops.report(&self.shared.counters.snapshot(), Instant::now());
        for (position, done) in waiting {
            let Position { topic, partition, .. } = position;
            let result = match failed.get(&(topic, partition)) {
                None => Ok(position),
                Some(error) => {
                    count(&self.shared.counters.dropped_failed, 1);
                    Err(AppendError::Write { topic, partition, source: error.clone() })
                }
            };
            answer(done, result);
        }
    }

    fn report(&mut self, error: Option<&Arc<io::Error>>) {
        match (error, self.failing) {
            (Some(error), false) => tracing::error!(%error, "the log cannot be written; records are lost until it can"),
            (None, true) => tracing::info!("the log can be written again"),
            (Some(_), true) | (None, false) => {}
        }
        self.failing = error.is_some();
    }
}

#[derive(Clone, Copy)]
enum Phase {
    Write,
    Sync,
}

fn answer(done: Option<oneshot::Sender<Result<Position, AppendError>>>, result: Result<Position, AppendError>) {
    if let Some(done) = done {
        // A client that went away does not wait for its acknowledgement.
        done.send(result).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_are_told_once_a_minute_and_all_of_them() {
        let (mut report, begun) = (DropReport::default(), Instant::now());
        let at = |seconds| begun + Duration::from_secs(seconds);
        assert_eq!(report.due(0, at(0)), None);
        assert_eq!(report.due(3, at(1)), Some(3));
        assert_eq!(report.due(90, at(30)), None);
        assert_eq!(report.due(100, at(61)), Some(97));
        assert_eq!(report.due(100, at(200)), None);
    }
}
