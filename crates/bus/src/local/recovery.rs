//! What opening a partition finds: every record is read and checked once, one record in memory at a time.
//!
//! Where the expected record is not whole, either the tail is torn (nothing whole follows in the last segment: the write that was
//! cut off was never acknowledged, so it is cut) or the file is damaged (everything from there on is copied aside, then cut).
//! Telling them apart reads the rest of that one segment into memory, bounded by the segment's size.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufReader, Read, Seek, SeekFrom, Write},
    path::Path,
};

use nocturne_wire::Offset;

use super::{
    disk::sync_folder,
    frame::{self, Scanner, Step},
    segment,
};

/// What opening the log had to repair.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Records found whole.
    pub records: u64,
    /// Bytes of torn tails that were cut; they belonged to writes that were never acknowledged.
    pub torn_bytes: u64,
    /// Segments that were damaged before their end.
    pub corrupt_segments: u64,
    /// Bytes that were set aside from them.
    pub corrupt_bytes: u64,
}

impl Recovered {
    /// Whether nothing had to be cut or set aside.
    pub fn is_clean(&self) -> bool {
        self.torn_bytes == 0 && self.corrupt_segments == 0 && self.corrupt_bytes == 0
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.records += other.records;
        self.torn_bytes += other.torn_bytes;
        self.corrupt_segments += other.corrupt_segments;
        self.corrupt_bytes += other.corrupt_bytes;
    }
}

/// A partition as it was found, after repair.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// First offset and length of each segment, ascending.
    pub(crate) segments: Vec<(Offset, u64)>,
    /// Offset of the next record; the last segment's end unless that segment was damaged.
    pub(crate) next: Offset,
    /// Whether the last segment ends before `next`, so that a new one must start.
    pub(crate) must_roll: bool,
    pub(crate) recovered: Recovered,
}

/// Reads, checks and repairs a partition.
pub(crate) fn recover(folder: &Path) -> io::Result<Found> {
    let firsts = segment::list(folder)?;
    let mut found = Found { segments: Vec::new(), next: Offset(0), must_roll: false, recovered: Recovered::default() };
    for (n, &first) in firsts.iter().enumerate() {
        let last = n + 1 == firsts.len();
        let checked = check(folder, first, last, &mut found.recovered)?;
        found.segments.push((first, checked.length));
        found.must_roll = checked.next != checked.end;
        // A later segment's name is as good a witness as a record of it: names are made before records.
        found.next = found.next.max(checked.next);
    }
    Ok(found)
}

struct Checked {
    /// Bytes of whole records.
    length: u64,
    /// Offset after the last whole record that stays in the segment.
    end: Offset,
    /// Offset after the highest one that was ever given, as far as the segment tells.
    next: Offset,
}

fn check(folder: &Path, first: Offset, last: bool, recovered: &mut Recovered) -> io::Result<Checked> {
    let path = segment::path(folder, first);
    let mut scanner = Scanner::new(BufReader::new(File::open(&path)?), first, 0);
    let step = loop {
        match scanner.next()? {
            Step::Record(..) => recovered.records += 1,
            step => break step,
        }
    };
    let (length, end) = (scanner.position(), scanner.expected());
    if step == Step::End {
        return Ok(Checked { length, end, next: end });
    }
    let rest = read_from(&path, length)?;
    let survivors = survivors(&rest, end);
    if last && survivors.count == 0 {
        recovered.torn_bytes += rest.len() as u64;
        tracing::info!(segment = %path.display(), bytes = rest.len(), "cut a torn tail that was never acknowledged");
    } else {
        set_aside(folder, first, length, &rest)?;
        if last && survivors.next > end {
            // Before the cut: a crash in between must not forget which offsets were given.
            File::create(segment::path(folder, survivors.next))?;
            sync_folder(folder)?;
        }
        recovered.corrupt_segments += 1;
        recovered.corrupt_bytes += rest.len() as u64;
        tracing::error!(
            segment = %path.display(), position = length, bytes = rest.len(), whole_records = survivors.count,
            "damaged segment: the rest was copied to a .corrupt file beside it and is not read"
        );
    }
    let file = OpenOptions::new().write(true).open(&path)?;
    file.set_len(length)?;
    file.sync_all()?;
    Ok(Checked { length, end, next: survivors.next })
}

struct Survivors {
    count: u64,
    next: Offset,
}

/// Whole records behind a damage: they tell which offsets were given.
fn survivors(rest: &[u8], from: Offset) -> Survivors {
    let mut survivors = Survivors { count: 0, next: from };
    let mut at = 0;
    while let Some((ahead, offset)) = frame::find(&rest[at..], survivors.next) {
        let mut scanner = Scanner::new(&rest[at + ahead..], offset, 0);
        while let Ok(Step::Record(..)) = scanner.next() {
            survivors.count += 1;
        }
        survivors.next = scanner.expected();
        at += ahead + scanner.position() as usize;
    }
    survivors
}

fn read_from(path: &Path, position: u64) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(position))?;
    let mut rest = Vec::new();
    file.read_to_end(&mut rest)?;
    Ok(rest)
}

/// Copies damaged bytes to a file of their own, durably, before they are cut.
fn set_aside(folder: &Path, first: Offset, position: u64, rest: &[u8]) -> io::Result<()> {
    let mut copy = 0;
    let mut file = loop {
        let path = folder.join(format!("{:020}-{position}-{copy}.corrupt", first.0));
        match OpenOptions::new().write(true).create_new(true).open(path) {
            Ok(file) => break file,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => copy += 1,
            Err(error) => return Err(error),
        }
    };
    file.write_all(rest)?;
    file.sync_all()?;
    sync_folder(folder)
}
