//! One partition: what readers see of it, and the writer's side.

use std::{
    fs, io,
    path::PathBuf,
    sync::{PoisonError, RwLock, atomic::Ordering},
};

use nocturne_wire::Offset;
use tokio::sync::watch;

use super::{
    disk::{Disk, Sink},
    frame::{self, framed},
    recovery::Found,
    segment,
    settings::Durability,
    stats::Counters,
};

/// What readers see of a partition.
#[derive(Debug)]
pub(crate) struct View {
    /// The partition's folder.
    pub(crate) folder: PathBuf,
    /// First offsets of its segments, ascending; never empty.
    segments: RwLock<Vec<Offset>>,
    /// Offset after the last durable record.
    pub(crate) end: watch::Sender<Offset>,
}

impl View {
    fn new(folder: PathBuf, segments: Vec<Offset>, end: Offset) -> Self {
        Self { folder, segments: RwLock::new(segments), end: watch::Sender::new(end) }
    }

    /// The first offset that is still there, or the end when nothing is.
    pub(crate) fn start(&self) -> Offset {
        self.read(|segments| segments.first().copied()).unwrap_or(Offset(0))
    }

    /// The segment that holds `offset`.
    pub(crate) fn segment_of(&self, offset: Offset) -> Option<Offset> {
        self.read(|segments| segments[..segments.partition_point(|first| *first <= offset)].last().copied())
    }

    /// The segment after the one that starts at `first`.
    pub(crate) fn segment_after(&self, first: Offset) -> Option<Offset> {
        self.read(|segments| segments.get(segments.partition_point(|other| *other <= first)).copied())
    }

    fn read<T>(&self, read: impl FnOnce(&Vec<Offset>) -> T) -> T {
        read(&self.segments.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn change(&self, change: impl FnOnce(&mut Vec<Offset>)) {
        change(&mut self.segments.write().unwrap_or_else(PoisonError::into_inner));
    }
}

/// The writer's side of a partition.
pub(crate) struct PartitionWriter {
    view: std::sync::Arc<View>,
    /// Closed segments with their lengths, ascending.
    closed: Vec<(Offset, u64)>,
    first: Offset,
    /// Bytes of the open segment that are durable.
    length: u64,
    sink: Box<dyn Sink>,
    /// Offset after the last durable record.
    end: Offset,
    /// Records that wait for the next commit, encoded.
    staged: Vec<u8>,
    staged_records: u64,
    /// Whether the open segment may hold bytes beyond `length` that could not be cut.
    dirty: bool,
}

impl PartitionWriter {
    /// Takes over a recovered partition.
    pub(crate) fn open(folder: PathBuf, found: &Found, disk: &dyn Disk) -> io::Result<(std::sync::Arc<View>, Self)> {
        let mut segments = found.segments.clone();
        if segments.is_empty() || found.must_roll {
            segments.push((found.next, 0));
        }
        let (first, length) = segments.pop().unwrap_or((found.next, 0));
        let sink = disk.open(&segment::path(&folder, first))?;
        let firsts = segments.iter().map(|(first, _)| *first).chain([first]).collect();
        let view = std::sync::Arc::new(View::new(folder, firsts, found.next));
        let writer = Self {
            view: view.clone(),
            closed: segments,
            first,
            length,
            sink,
            end: found.next,
            staged: Vec::new(),
            staged_records: 0,
            dirty: false,
        };
        Ok((view, writer))
    }

    /// Bytes of all segments that are durable.
    pub(crate) fn bytes(&self) -> u64 {
        self.closed.iter().map(|(_, length)| length).sum::<u64>() + self.length
    }

    /// Takes a record into the next commit and gives it its offset.
    pub(crate) fn stage(&mut self, payload: [&[u8]; 2]) -> Offset {
        let offset = Offset(self.end.0 + self.staged_records);
        frame::encode(offset, payload, &mut self.staged);
        self.staged_records += 1;
        offset
    }

    pub(crate) fn has_staged(&self) -> bool {
        self.staged_records > 0
    }

    /// Writes what is staged. An error leaves the partition as it was before.
    pub(crate) fn write(&mut self, disk: &dyn Disk, segment_bytes: u64) -> io::Result<()> {
        if self.dirty {
            self.sink.cut(self.length)?;
            self.dirty = false;
        }
        if self.length > 0 && self.length + self.staged.len() as u64 > segment_bytes {
            self.roll(disk, self.end)?;
        }
        self.sink.append(&self.staged)
    }

    /// Makes what was written durable and visible.
    pub(crate) fn commit(&mut self, durability: Durability, counters: &Counters) -> io::Result<()> {
        match durability {
            Durability::Disk => self.sink.sync()?,
            Durability::OperatingSystem => {}
        }
        let bytes = self.staged.len() as u64;
        self.length += bytes;
        self.end = Offset(self.end.0 + self.staged_records);
        counters.bytes.fetch_add(bytes, Ordering::Relaxed);
        counters.appended.fetch_add(self.staged_records, Ordering::Relaxed);
        self.forget_staged();
        self.view.end.send_replace(self.end);
        Ok(())
    }

    /// Cuts away what a failed write or commit left, so that the offsets can be given again: nobody has seen them.
    pub(crate) fn roll_back(&mut self) {
        self.dirty = self.sink.cut(self.length).is_err();
        self.forget_staged();
    }

    fn forget_staged(&mut self) {
        self.staged.clear();
        // One unusually large group must not keep its buffer for good.
        self.staged.shrink_to(1 << 20);
        self.staged_records = 0;
    }

    /// Closes the open segment and starts one at `first`.
    fn roll(&mut self, disk: &dyn Disk, first: Offset) -> io::Result<()> {
        let mut sink = disk.open(&segment::path(&self.view.folder, first))?;
        // A roll that failed half-way may have left the file; nothing in it was ever visible.
        sink.cut(0)?;
        self.closed.push((self.first, self.length));
        self.sink = sink;
        self.first = first;
        self.length = 0;
        self.view.change(|segments| segments.push(first));
        Ok(())
    }

    /// Moves the end forward over offsets that are known to be used; nothing happens when it is there already.
    pub(crate) fn advance(&mut self, to: Offset, disk: &dyn Disk) -> io::Result<()> {
        if to <= self.end {
            return Ok(());
        }
        self.roll(disk, to)?;
        self.end = to;
        self.view.end.send_replace(to);
        Ok(())
    }

    /// Where the first closed segment ends, and its bytes; `None` when all that is left is the open one.
    pub(crate) fn oldest(&self) -> Option<(Offset, u64)> {
        let (_, length) = *self.closed.first()?;
        Some((self.closed.get(1).map_or(self.first, |(first, _)| *first), length))
    }

    /// Deletes the closed segments that are wholly before `before`.
    pub(crate) fn trim(&mut self, before: Offset, counters: &Counters) -> io::Result<()> {
        while let Some(&(first, length)) = self.closed.first() {
            let next = self.closed.get(1).map_or(self.first, |(first, _)| *first);
            if next > before {
                break;
            }
            // Readers forget the segment first: one that looks in between is told that it was trimmed.
            self.view.change(|segments| segments.retain(|other| *other != first));
            match fs::remove_file(segment::path(&self.view.folder, first)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    self.view.change(|segments| segments.insert(0, first));
                    return Err(error);
                }
                _ => {}
            }
            self.closed.remove(0);
            counters.bytes.fetch_sub(length, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// Bytes that a payload will take.
pub(crate) const fn cost(payload: usize) -> u64 {
    framed(payload)
}
