//! From records to the bytes of a batch, and back to ids. No I/O: it runs on a blocking thread.

use std::time::{Duration, Instant};

use bytes::Bytes;
use nocturne_bus::Record;
use nocturne_columns::{ColumnsError, DeadLetter, IdHash, decode, id_hashes, open_batch, seal, seal_dead_letters};
use nocturne_wire::{BatchName, Offset, avro, batch::BatchFooter};

use crate::recent::RecentIds;

/// Why an offset has no record: the log set the damage aside when it was opened.
const LOST: &str = "the log lost the record: its segment was damaged";

/// Why an offset of a Kafka topic has no record.
const NOT_A_RECORD: &str = "Kafka has no record at this offset: it is a transaction's marker, or was compacted away";

/// The range that is to be sealed.
#[derive(Debug, Clone)]
pub(crate) struct Range {
    pub(crate) name: BatchName,
    pub(crate) last: Offset,
    pub(crate) begin: Offset,
    pub(crate) topic_id: String,
    pub(crate) writer: String,
    /// Whether the records come from this process's own log.
    pub(crate) local: bool,
}

/// A batch that is ready to be created.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) footer: BatchFooter,
    pub(crate) parquet: Bytes,
    pub(crate) dead: Option<Bytes>,
    pub(crate) ids: Vec<IdHash>,
    pub(crate) decode: Duration,
    pub(crate) encode: Duration,
}

/// Decodes, drops duplicates and encodes.
pub(crate) fn prepare(range: Range, records: &[Record], recent: &RecentIds) -> Result<Prepared, ColumnsError> {
    let Range { name, last, begin, topic_id, writer, local } = range;
    let raw: Vec<(Offset, &[u8])> = records.iter().map(|record| (record.offset, record.payload.as_ref())).collect();
    let begun = Instant::now();
    let decoded = decode(name.topic, &raw, Some(recent.set()))?;
    let decode = begun.elapsed();
    let mut dead = decoded.dead;
    dead.extend(lost(name.first, last, records, if local { LOST } else { NOT_A_RECORD }));
    dead.sort_by_key(|letter| letter.offset);
    let footer = BatchFooter {
        name,
        last,
        begin,
        topic_id,
        schema_fingerprint: avro::fingerprint_hex(name.topic),
        writer,
        rows: decoded.batch.num_rows() as u64,
        dead: dead.len() as u64,
        duplicates: decoded.duplicates,
    };
    let parquet = seal(&decoded.batch, &footer)?;
    let dead = if dead.is_empty() { None } else { Some(seal_dead_letters(&dead, &footer)?) };
    Ok(Prepared { footer, parquet, dead, ids: decoded.ids, decode, encode: begun.elapsed() - decode })
}

/// A dead letter for every offset of the range that has no record.
fn lost(first: Offset, last: Offset, records: &[Record], reason: &str) -> Vec<DeadLetter> {
    let mut letters = Vec::new();
    let mut next = first;
    for end in records.iter().map(|record| record.offset).chain([last.next()]) {
        letters.extend((next.0..end.0).map(|offset| DeadLetter {
            offset: Offset(offset),
            reason: reason.to_owned(),
            raw: Vec::new(),
        }));
        next = end.next();
    }
    letters
}

/// What a sealed batch says about itself, and the ids in it, in order.
pub(crate) fn contents(name: &BatchName, bytes: &Bytes) -> Result<(BatchFooter, Vec<IdHash>), ColumnsError> {
    let (footer, rows) = open_batch(name, bytes)?;
    Ok((footer, id_hashes(&rows)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_offset_without_a_record_becomes_a_dead_letter() {
        let records = [3, 4, 7].map(|n| Record { offset: Offset(n), payload: Bytes::new() });
        let offsets: Vec<_> = lost(Offset(2), Offset(9), &records, LOST).iter().map(|letter| letter.offset.0).collect();
        assert_eq!(offsets, [2, 5, 6, 8, 9]);
        assert!(lost(Offset(3), Offset(4), &records[..2], LOST).is_empty());
    }
}
