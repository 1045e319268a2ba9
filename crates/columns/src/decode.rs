//! Avro records into Arrow rows; what is not a record becomes a dead letter.
//!
//! Every record is read twice: by the hand-written decoder of `wire`, which checks what Arrow cannot (ids, ranges, UTF-8, trailing
//! bytes), builds nothing and gives the id, and by `arrow-avro`, which appends it to the columns. A columnar decoder that fails in the middle of
//! a record has already appended some of its columns, and its batch is lost; after the check it does not fail. If it ever does,
//! the batch is decoded again without that record.

use std::{
    collections::HashSet,
    hash::{DefaultHasher, Hasher as _},
    sync::Arc,
};

use arrow::array::{ArrayRef, RecordBatch, UInt64Array};
use arrow_avro::reader::Decoder;
use nocturne_wire::{
    Offset, Topic,
    avro::{self, Place},
};

use crate::{ColumnsError, DeadLetter, Result, schema};

/// An id as 128 bits of hash: it takes half the memory of the shortest id, and two different ids meet once in 10^38.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IdHash(u128);

impl IdHash {
    /// The hash of an id; the same in every process of a release.
    pub fn of(id: &str) -> Self {
        let half = |salt: u8| {
            let mut hasher = DefaultHasher::new();
            hasher.write_u8(salt);
            hasher.write(id.as_bytes());
            hasher.finish()
        };
        Self(u128::from(half(0)) << 64 | u128::from(half(1)))
    }
}

impl IdHash {
    /// Half of it, for whoever keeps a table of them.
    pub const fn half(&self) -> u64 {
        self.0 as u64
    }
}

/// Ids that were sealed before.
pub trait Known {
    /// Whether this one was.
    fn knows(&self, id: &IdHash) -> bool;
}

impl Known for HashSet<IdHash> {
    fn knows(&self, id: &IdHash) -> bool {
        self.contains(id)
    }
}

/// What became of a range of records.
#[derive(Debug, Clone)]
pub struct Decoded {
    /// The rows, in the order of offsets.
    pub batch: RecordBatch,
    /// Records that are not rows, with the reason.
    pub dead: Vec<DeadLetter>,
    /// Records that were dropped because their id was there before.
    pub duplicates: u64,
    /// Ids of the rows, in their order: to be remembered as recent.
    pub ids: Vec<IdHash>,
}

/// Decodes interactions; see [`decode`].
///
/// # Errors
/// As [`decode`].
pub fn interactions_from_avro(records: &[(Offset, &[u8])], recent: Option<&dyn Known>) -> Result<Decoded> {
    decode(Topic::Interactions, records, recent)
}

/// Decodes feedback; see [`decode`].
///
/// # Errors
/// As [`decode`].
pub fn feedback_from_avro(records: &[(Offset, &[u8])], recent: Option<&dyn Known>) -> Result<Decoded> {
    decode(Topic::Feedback, records, recent)
}

/// Decodes records of a topic in Avro's single-object encoding. A record that cannot be read becomes a dead letter wherever it
/// stands; one whose id occurred before, here or among `recent`, is counted and dropped.
///
/// # Errors
/// Only when the Avro schema itself cannot be turned into columns; never because of a record.
pub fn decode(topic: Topic, records: &[(Offset, &[u8])], recent: Option<&dyn Known>) -> Result<Decoded> {
    let Sorted { mut valid, mut dead, duplicates } = sort_out(topic, records, recent);
    let batch = Columnar::new(topic, valid.len()).columns(&mut valid, &mut dead)?;
    dead.sort_by_key(|letter| letter.offset);
    Ok(Decoded { batch, dead, duplicates, ids: valid.into_iter().map(|record| record.id).collect() })
}

/// Records by what becomes of them.
pub(crate) struct Sorted<'a> {
    pub(crate) valid: Vec<Valid<'a>>,
    pub(crate) dead: Vec<DeadLetter>,
    pub(crate) duplicates: u64,
}

/// Checks every record and finds those that were there before.
pub(crate) fn sort_out<'a>(topic: Topic, records: &[(Offset, &'a [u8])], recent: Option<&dyn Known>) -> Sorted<'a> {
    let mut sorted = Sorted { valid: Vec::with_capacity(records.len()), dead: Vec::new(), duplicates: 0 };
    let mut seen = HashSet::with_capacity(records.len());
    for &(offset, raw) in records {
        match avro::check(topic, raw).map(|checked| (IdHash::of(checked.id), checked.place)) {
            Err(error) => sorted.dead.push(DeadLetter { offset, reason: error.to_string(), raw: raw.to_vec() }),
            Ok((id, _)) if recent.is_some_and(|recent| recent.knows(&id)) => sorted.duplicates += 1,
            Ok((id, place)) => {
                if seen.insert(id) {
                    sorted.valid.push(Valid { offset, raw, id, place });
                } else {
                    sorted.duplicates += 1;
                }
            }
        }
    }
    sorted
}

/// Turns checked records into columns, slice after slice.
pub(crate) struct Columnar {
    topic: Topic,
    /// Most rows of a slice.
    rows: usize,
    /// Made for the first slice, because making one parses the schema; none after it has failed in the middle of a record.
    decoder: Option<Decoder>,
}

impl Columnar {
    pub(crate) const fn new(topic: Topic, rows: usize) -> Self {
        Self { topic, rows, decoder: None }
    }

    /// Columns of up to as many records as it was made for; one that the columnar decoder refuses all the same is taken out of them.
    pub(crate) fn columns(&mut self, valid: &mut Vec<Valid<'_>>, dead: &mut Vec<DeadLetter>) -> Result<RecordBatch> {
        loop {
            match self.attempt(valid)? {
                Ok(batch) => return Ok(batch),
                Err(Refused { index, reason }) => {
                    let Valid { offset, raw, .. } = valid.remove(index);
                    dead.push(DeadLetter { offset, reason, raw: raw.to_vec() });
                }
            }
        }
    }

    fn attempt(&mut self, valid: &[Valid<'_>]) -> Result<Result<RecordBatch, Refused>> {
        let schema = schema::of(self.topic)?;
        if valid.is_empty() {
            return Ok(Ok(RecordBatch::new_empty(schema)));
        }
        let mut decoder = match self.decoder.take() {
            Some(decoder) => decoder,
            None => schema::decoder(self.topic, self.rows)?,
        };
        for (index, record) in valid.iter().enumerate() {
            let refused = match decoder.decode(record.raw) {
                Ok(read) if read == record.raw.len() => continue,
                Ok(read) => format!("the columnar decoder stopped after {read} of {} bytes", record.raw.len()),
                Err(error) => format!("the columnar decoder refused it: {error}"),
            };
            return Ok(Err(Refused { index, reason: refused }));
        }
        let failed = |source| ColumnsError::Write { what: "decoded rows", source };
        let rows = decoder.flush().map_err(|error| failed(error.into()))?;
        let rows = rows.ok_or_else(|| failed("the decoder gave no rows".into()))?;
        self.decoder = Some(decoder);
        let offsets: ArrayRef = Arc::new(UInt64Array::from_iter_values(valid.iter().map(|record| record.offset.0)));
        let columns = std::iter::once(offsets).chain(rows.columns().iter().cloned()).collect();
        RecordBatch::try_new(schema, columns).map(Ok).map_err(|error| failed(error.into()))
    }
}

/// A record that was checked.
#[derive(Clone, Copy)]
pub(crate) struct Valid<'a> {
    pub(crate) offset: Offset,
    raw: &'a [u8],
    pub(crate) id: IdHash,
    place: Place<'a>,
}

/// Puts records into the order of [`crate::merge::order`].
pub(crate) fn put_in_order(records: &mut [Valid<'_>]) {
    records.sort_unstable_by(|a, b| (a.place, a.offset).cmp(&(b.place, b.offset)));
}

impl Valid<'_> {
    pub(crate) const fn bytes(&self) -> usize {
        self.raw.len()
    }
}

struct Refused {
    index: usize,
    reason: String,
}
