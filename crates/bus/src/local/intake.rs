//! Reading a partition: batches of durable records from an offset on.

use std::{
    fs::File,
    io::{self, BufReader, Seek, SeekFrom},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use nocturne_wire::{Offset, Partition, Topic};

use super::{
    frame::{Scanner, Step, framed},
    partition::View,
    segment,
};

/// Bytes that are read from a segment at once.
const READ_BUFFER_BYTES: usize = 256 << 10;

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its offset.
    pub offset: Offset,
    /// Its bytes.
    pub payload: Bytes,
}

/// Why a partition cannot be read on.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    /// The records were deleted before they were read.
    #[error("{topic} partition {partition} of the log starts at offset {start}; offset {asked} was trimmed away")]
    Trimmed {
        /// The topic.
        topic: Topic,
        /// The partition.
        partition: Partition,
        /// Offset that was to be read.
        asked: Offset,
        /// First offset that is there.
        start: Offset,
    },
    /// A segment was damaged after it was opened.
    #[error(
        "{topic} partition {partition} of the log is damaged at byte {position} of its segment {segment}; \
         opening the log again sets the damage aside"
    )]
    Damaged {
        /// The topic.
        topic: Topic,
        /// The partition.
        partition: Partition,
        /// First offset of the segment.
        segment: Offset,
        /// Where the damage starts.
        position: u64,
    },
    /// A segment cannot be read.
    #[error("reading {topic} partition {partition} of the log at offset {offset}")]
    Io {
        /// The topic.
        topic: Topic,
        /// The partition.
        partition: Partition,
        /// Offset that was to be read.
        offset: Offset,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

/// Where reading stands: a record, and the byte of the segment where it starts.
#[derive(Debug, Clone, Copy)]
struct Cursor {
    next: Offset,
    place: Option<(Offset, u64, Offset)>,
}

/// Reads one partition.
#[derive(Debug)]
pub struct Intake {
    topic: Topic,
    partition: Partition,
    view: Arc<View>,
    cursor: Cursor,
}

impl Intake {
    pub(crate) const fn new(topic: Topic, partition: Partition, view: Arc<View>, from: Offset) -> Self {
        Self { topic, partition, view, cursor: Cursor { next: from, place: None } }
    }

    /// Offset of the next record that [`Intake::poll`] gives, or of a gap before it.
    pub const fn next(&self) -> Offset {
        self.cursor.next
    }

    /// Offset after the last durable record.
    pub fn end(&self) -> Offset {
        *self.view.end.borrow()
    }

    /// Goes to another offset.
    pub fn seek(&mut self, to: Offset) {
        self.cursor = Cursor { next: to, place: None };
    }

    /// Waits for a record that was not read yet; false when none came in time. Cancel safe.
    pub async fn wait(&self, timeout: Duration) -> bool {
        let mut end = self.view.end.subscribe();
        let next = self.cursor.next;
        tokio::time::timeout(timeout, end.wait_for(|end| *end > next)).await.is_ok_and(|found| found.is_ok())
    }

    /// The next durable records in the order of their offsets: at most `max_records`, and no further one once `max_bytes` are
    /// reached. Empty when there is none. Offsets may leave gaps where damage was set aside. Cancel safe.
    ///
    /// # Errors
    /// When the records were trimmed, are damaged or cannot be read.
    pub async fn poll(&mut self, max_records: usize, max_bytes: u64) -> Result<Vec<Record>, IntakeError> {
        let Some(reader) = self.reader(max_records, max_bytes) else { return Ok(Vec::new()) };
        let (topic, partition, offset) = (self.topic, self.partition, self.cursor.next);
        let joined = tokio::task::spawn_blocking(move || reader.run()).await;
        let lost = |error| IntakeError::Io { topic, partition, offset, source: io::Error::other(error) };
        let (records, cursor) = joined.map_err(lost)??;
        self.cursor = cursor;
        Ok(records)
    }

    /// [`Intake::poll`] on the calling thread.
    pub(crate) fn poll_blocking(&mut self, max_records: usize, max_bytes: u64) -> Result<Vec<Record>, IntakeError> {
        let Some(reader) = self.reader(max_records, max_bytes) else { return Ok(Vec::new()) };
        let (records, cursor) = reader.run()?;
        self.cursor = cursor;
        Ok(records)
    }

    fn reader(&self, max_records: usize, max_bytes: u64) -> Option<Reader> {
        let end = self.end();
        (self.cursor.next < end).then(|| Reader {
            topic: self.topic,
            partition: self.partition,
            view: self.view.clone(),
            cursor: self.cursor,
            end,
            records: Vec::new(),
            room: (max_records.max(1), max_bytes.max(1)),
        })
    }
}

/// One poll's work, on a blocking thread. Files are opened anew by each poll: a buffer that outlives one could hold bytes beyond
/// the end that the writer has cut away and written differently since.
struct Reader {
    topic: Topic,
    partition: Partition,
    view: Arc<View>,
    cursor: Cursor,
    end: Offset,
    records: Vec<Record>,
    room: (usize, u64),
}

impl Reader {
    fn run(mut self) -> Result<(Vec<Record>, Cursor), IntakeError> {
        while self.cursor.next < self.end && self.room.0 > 0 && self.room.1 > 0 {
            let (first, position, at) = self.place()?;
            if !self.segment(first, position, at)? {
                break;
            }
        }
        Ok((self.records, self.cursor))
    }

    /// The segment to read, the byte to start at, and the offset of the record there.
    fn place(&self) -> Result<(Offset, u64, Offset), IntakeError> {
        let start = self.view.start();
        if self.cursor.next < start {
            let (topic, partition, asked) = (self.topic, self.partition, self.cursor.next);
            return Err(IntakeError::Trimmed { topic, partition, asked, start });
        }
        let first = self.view.segment_of(self.cursor.next).unwrap_or(start);
        Ok(match self.cursor.place {
            Some(place) if place.0 == first => place,
            _ => (first, 0, first),
        })
    }

    /// Reads one segment as far as there is room; false when nothing can follow.
    fn segment(&mut self, first: Offset, position: u64, at: Offset) -> Result<bool, IntakeError> {
        let mut scanner = match self.open(first, position, at) {
            Ok(scanner) => scanner,
            Err(source) => {
                // Trimmed in between? Then the view says so: it changes before the file goes.
                self.place()?;
                return Err(self.failed(source));
            }
        };
        while scanner.expected() < self.end && self.room.0 > 0 && self.room.1 > 0 {
            match scanner.next().map_err(|source| self.failed(source))? {
                Step::Record(offset, payload) => self.take(offset, payload),
                Step::End => return Ok(self.leave(first)),
                Step::Damaged => {
                    let (topic, partition, position) = (self.topic, self.partition, scanner.position());
                    return Err(IntakeError::Damaged { topic, partition, segment: first, position });
                }
            }
        }
        self.cursor.place = Some((first, scanner.position(), scanner.expected()));
        Ok(true)
    }

    /// Goes on to the segment after `first`, over a gap if there is one.
    fn leave(&mut self, first: Offset) -> bool {
        let Some(after) = self.view.segment_after(first) else { return false };
        self.cursor.next = self.cursor.next.max(after);
        self.cursor.place = Some((after, 0, after));
        true
    }

    fn take(&mut self, offset: Offset, payload: Bytes) {
        if offset < self.cursor.next {
            return;
        }
        self.cursor.next = offset.next();
        self.room.0 -= 1;
        self.room.1 = self.room.1.saturating_sub(framed(payload.len()));
        self.records.push(Record { offset, payload });
    }

    fn open(&self, first: Offset, position: u64, at: Offset) -> io::Result<Scanner<BufReader<File>>> {
        let mut file = File::open(segment::path(&self.view.folder, first))?;
        file.seek(SeekFrom::Start(position))?;
        Ok(Scanner::new(BufReader::with_capacity(READ_BUFFER_BYTES, file), at, position))
    }

    fn failed(&self, source: io::Error) -> IntakeError {
        IntakeError::Io { topic: self.topic, partition: self.partition, offset: self.cursor.next, source }
    }
}
