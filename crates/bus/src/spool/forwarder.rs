//! The one thread that sends the spool on: reads in order, keeps a small window inside the transport, lets go only of what was delivered.
//!
//! | state | what is fed |
//! |---|---|
//! | up | records in order, while the window has room |
//! | settling: a record came back | nothing; when no report is outstanding, what came back is fed again, in order |
//! | down: no broker answers | nothing, so that the transport's own timeout eats no backlog; a probe each second finds out when it is over |

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use nocturne_kit::Shutdown;
use nocturne_wire::{Offset, Partition, Topic};
use tokio::sync::watch;

use super::{
    SpoolStatus,
    cursor::Cursor,
    wire::{Fate, NotHanded, Report, Wire},
};
use crate::{
    kafka::window::Window,
    local::{
        disk::sync_folder,
        intake::{Intake, IntakeError, Record},
        log::LocalLog,
        publisher::open_envelope,
    },
};

/// A spool has one partition a topic: keys decide the partition on Kafka only.
pub(crate) const SPOOL_PARTITION: Partition = Partition(0);

const READ_RECORDS: usize = 1024;
const READ_BYTES: u64 = 1 << 20;
const IDLE_WAIT: Duration = Duration::from_millis(20);
const PROBE_EVERY: Duration = Duration::from_secs(1);
const SAVE_EVERY: Duration = Duration::from_secs(1);
const TELL_EVERY: Duration = Duration::from_mins(1);

/// Tells the time; tests have their own.
pub(crate) type Time = Arc<dyn Fn() -> Instant + Send + Sync>;

/// One topic on its way.
struct Lane {
    topic: Topic,
    intake: Intake,
    window: Window,
    cursor: Cursor,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Link {
    Up,
    Settling,
    Down { probe_at: Instant },
}

pub(crate) struct Forwarder<W> {
    spool: LocalLog,
    dir: PathBuf,
    lanes: BTreeMap<Topic, Lane>,
    wire: W,
    window_bytes: u64,
    link: Link,
    time: Time,
    status: watch::Sender<SpoolStatus>,
    told: Option<Instant>,
    saved: Instant,
}

impl<W: Wire> Forwarder<W> {
    /// Takes up where the last process stopped.
    pub(crate) fn new(
        spool: LocalLog,
        dir: &Path,
        wire: W,
        window_bytes: u64,
        time: Time,
        status: watch::Sender<SpoolStatus>,
    ) -> io::Result<Self> {
        let mut lanes = BTreeMap::new();
        for topic in Topic::ALL {
            let range = spool.range(topic, SPOOL_PARTITION);
            let cursor = Cursor::open(&dir.join(topic.as_str()), spool.topic_id(topic), &range)?;
            let Some(intake) = spool.intake(topic, SPOOL_PARTITION, cursor.delivered()) else { continue };
            lanes.insert(topic, Lane { topic, intake, window: Window::new(cursor.delivered()), cursor });
        }
        let now = time();
        let link = Link::Down { probe_at: now };
        Ok(Self { spool, dir: dir.to_owned(), lanes, wire, window_bytes, link, time, status, told: None, saved: now })
    }

    /// Sends until it is told to stop, then for at most `drain` longer. What is left stays in the spool.
    pub(crate) fn run(mut self, stop: &Shutdown, drain: Duration) {
        let mut until = None;
        loop {
            if stop.is_requested() {
                let end = *until.get_or_insert_with(|| (self.time)() + drain);
                if self.is_empty() || (self.time)() >= end {
                    break;
                }
            }
            self.turn();
        }
        self.save();
        self.tell_status();
    }

    fn is_empty(&self) -> bool {
        self.lanes.values().all(|lane| lane.window.done_before() >= lane.intake.end())
    }

    fn handed(&self) -> u64 {
        self.lanes.values().map(|lane| lane.window.handed()).sum()
    }

    /// One turn: feed, wait for reports, take them in.
    pub(crate) fn turn(&mut self) {
        let fed = match self.link {
            Link::Up => self.feed(),
            Link::Settling => false,
            Link::Down { probe_at } => {
                self.probe(probe_at);
                false
            }
        };
        let wait = if fed { Duration::ZERO } else { IDLE_WAIT };
        for report in self.wire.reports(wait) {
            self.take(report);
        }
        if let Some(why) = self.wire.went_down() {
            self.go_down(&why);
        }
        if self.wire.renew_if_broken() {
            tracing::error!("the Kafka producer could not go on and was made anew");
            // What the old one had may never be reported; what it did deliver is recognized by its id.
            self.lanes.values_mut().for_each(|lane| lane.window.all_back());
            self.settle_later();
        }
        self.settle();
        let now = (self.time)();
        if now.saturating_duration_since(self.saved) >= SAVE_EVERY {
            self.saved = now;
            self.save();
            self.tell_status();
        }
    }

    /// Hands over what there is room for; whether that was anything.
    fn feed(&mut self) -> bool {
        let mut fed = false;
        for topic in Topic::ALL {
            let used: u64 = self.lanes.values().map(|lane| lane.window.bytes()).sum();
            let Some(lane) = self.lanes.get_mut(&topic).filter(|_| used < self.window_bytes) else { continue };
            let room = READ_BYTES.min(self.window_bytes - used);
            match lane.intake.poll_blocking(READ_RECORDS, room) {
                Ok(records) => {
                    for record in records {
                        if !self.hand(topic, &record) {
                            break;
                        }
                        fed = true;
                    }
                }
                Err(IntakeError::Trimmed { start, .. }) => {
                    let lost = lane.window.skip_to(start);
                    lane.intake.seek(start);
                    self.spool.count_dropped(lost);
                    fed = true;
                }
                Err(error) => {
                    self.tell_error(&format!("reading the spool: {}", nocturne_kit::telemetry::chain(&error)));
                }
            }
        }
        fed
    }

    /// Hands one record over; false when no further one may follow now.
    fn hand(&mut self, topic: Topic, record: &Record) -> bool {
        let Some(lane) = self.lanes.get_mut(&topic) else { return false };
        if !lane.window.wants(record.offset) {
            return true;
        }
        let bytes = record.payload.len() as u64;
        let Some((key, payload)) = open_envelope(&record.payload) else {
            return self.set_aside(topic, record.offset, &record.payload, "it has no key");
        };
        match self.wire.hand(topic, record.offset, &key, &payload) {
            Ok(()) => {
                lane.window.hand(record.offset, bytes);
                true
            }
            Err(NotHanded::Refused(why)) => self.set_aside(topic, record.offset, &record.payload, &why),
            Err(NotHanded::Full) => {
                lane.intake.seek(record.offset);
                false
            }
            Err(NotHanded::Failed(why)) => {
                lane.intake.seek(record.offset);
                self.tell_error(&why);
                false
            }
        }
    }

    fn take(&mut self, report: Report) {
        let Report { topic, offset, fate } = report;
        let Some(lane) = self.lanes.get_mut(&topic) else { return };
        match fate {
            Fate::Delivered => {
                lane.window.done(offset);
                self.status.send_if_modified(|status| {
                    status.delivered += 1;
                    false
                });
            }
            Fate::Returned(why) => {
                lane.window.back(offset);
                if self.link == Link::Up {
                    self.link = Link::Settling;
                    self.wire.recall();
                }
                self.status.send_if_modified(|status| {
                    status.returned += 1;
                    false
                });
                self.tell_error(&why);
            }
            Fate::Refused(why) => {
                match self.read(topic, offset) {
                    Some(record) => _ = self.set_aside(topic, offset, &record, &why),
                    // Without its bytes there is nothing to keep: it is sent again until it can be read or was trimmed.
                    None => {
                        if let Some(lane) = self.lanes.get_mut(&topic) {
                            lane.window.back(offset);
                        }
                        self.settle_later();
                    }
                }
            }
        }
    }

    /// Reads one record again.
    fn read(&self, topic: Topic, offset: Offset) -> Option<bytes::Bytes> {
        let mut intake = self.spool.intake(topic, SPOOL_PARTITION, offset)?;
        let record = intake.poll_blocking(1, u64::MAX).ok()?.pop()?;
        (record.offset == offset).then_some(record.payload)
    }

    /// Keeps a record that the brokers never will take, beside the spool: one of them must not stop all others.
    /// False when that failed.
    fn set_aside(&mut self, topic: Topic, offset: Offset, record: &[u8], why: &str) -> bool {
        let folder = self.dir.join("refused");
        let file = folder.join(format!("{topic}-{:020}.record", offset.0));
        // Durable before the spool lets go of its own copy.
        let written = fs::create_dir_all(&folder).and_then(|()| {
            let mut copy = fs::File::create(&file)?;
            copy.write_all(record)?;
            copy.sync_all()?;
            sync_folder(&folder)?;
            sync_folder(&self.dir)
        });
        match written {
            Ok(()) => tracing::error!(%topic, file = %file.display(), why, "a record that Kafka refuses was set aside"),
            Err(error) => {
                // It stays in the spool, and everything after it waits: nothing that was acknowledged is thrown away.
                self.tell_error(&format!("setting aside a record that Kafka refuses in {}: {error}", file.display()));
                if let Some(lane) = self.lanes.get_mut(&topic) {
                    lane.window.hand(offset, 0);
                    lane.window.back(offset);
                }
                self.settle_later();
                return false;
            }
        }
        if let Some(lane) = self.lanes.get_mut(&topic) {
            lane.window.done(offset);
        }
        self.status.send_modify(|status| status.refused += 1);
        true
    }

    /// Stops feeding until what came back can be fed again; a link that is down stays so.
    fn settle_later(&mut self) {
        if self.link == Link::Up {
            self.link = Link::Settling;
        }
    }

    fn go_down(&mut self, why: &str) {
        if matches!(self.link, Link::Down { .. }) {
            return;
        }
        tracing::warn!(why, "no Kafka broker answers; records wait in the spool");
        self.link = Link::Down { probe_at: (self.time)() + PROBE_EVERY };
        self.status.send_modify(|status| {
            status.connected = false;
            status.error = Some(why.to_owned());
        });
    }

    fn probe(&mut self, at: Instant) {
        if (self.time)() < at {
            return;
        }
        match self.wire.probe() {
            Ok(()) => {
                tracing::info!("Kafka answers");
                self.link = Link::Settling;
                self.status.send_modify(|status| {
                    status.connected = true;
                    status.error = None;
                });
            }
            Err(why) => {
                self.link = Link::Down { probe_at: (self.time)() + PROBE_EVERY };
                self.tell_error(&why);
            }
        }
    }

    /// Goes on feeding when nothing that was handed over is outstanding, from the first record that came back.
    fn settle(&mut self) {
        if self.link != Link::Settling || (self.lanes.values().any(|lane| lane.window.has_back()) && self.handed() > 0) {
            return;
        }
        for lane in self.lanes.values_mut().filter(|lane| lane.window.has_back()) {
            lane.intake.seek(lane.window.done_before());
        }
        self.link = Link::Up;
    }

    /// Notes what was delivered, and deletes segments that wholly were.
    fn save(&mut self) {
        for lane in self.lanes.values_mut() {
            let done = lane.window.done_before();
            let topic = lane.topic;
            let freed = match self.spool.first_segment_end(topic, SPOOL_PARTITION) {
                Some(end) if end <= done => self.spool.trim_blocking(topic, SPOOL_PARTITION, done),
                _ => Ok(()),
            };
            if let Err(error) = freed {
                tracing::warn!(%topic, error = nocturne_kit::telemetry::chain(&error), "delivered records stay in the spool");
            }
            if let Err(error) = lane.cursor.save(done) {
                // A restart sends those records again, and the batcher knows them by their ids.
                tracing::debug!(%topic, %error, "the spool's cursor was not saved");
            }
        }
    }

    fn tell_status(&self) {
        let waiting = |lane: &Lane| lane.intake.end().0.saturating_sub(lane.window.done_before().0);
        let backlog = self.lanes.values().map(waiting).sum();
        let (bytes, dropped) = (self.spool.stats().bytes, self.spool.stats().dropped());
        let handed = self.handed();
        self.status.send_modify(|status| {
            status.backlog_records = backlog;
            status.backlog_bytes = bytes;
            status.handed = handed;
            status.dropped = dropped;
        });
    }

    /// Tells of an error now, and of further ones once a minute.
    fn tell_error(&mut self, why: &str) {
        self.status.send_modify(|status| status.error = Some(why.to_owned()));
        let now = (self.time)();
        if self.told.is_none_or(|told| now.saturating_duration_since(told) >= TELL_EVERY) {
            self.told = Some(now);
            tracing::warn!(why, "records stay in the spool and are sent again");
        }
    }
}
