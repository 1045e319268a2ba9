//! From records to the bytes of a batch, and back to ids. No I/O: it runs on a blocking thread.

use bytes::Bytes;
use nocturne_bus::Record;
use nocturne_columns::{ColumnsError, DeadLetter, IdHash, Range, Resolved, Schemas, Sealed, open_ids, resolve, seal_records};
use nocturne_wire::{BatchName, Offset, batch::BatchFooter};

use crate::{
    BatcherError,
    framed::{Names, unframe},
    recent::RecentIds,
};

/// Why an offset has no record: the log set the damage aside when it was opened.
const LOST: &str = "the log lost the record: its segment was damaged";

/// Why an offset of a Kafka topic has no record.
const NOT_A_RECORD: &str = "Kafka has no record at this offset: it is a transaction's marker, or was compacted away";

/// Takes records out of their frames, decodes, drops duplicates and encodes. `local` says whether the records come from this process's own log.
pub(crate) fn prepare(
    range: Range,
    records: &[Record],
    local: bool,
    recent: &RecentIds,
    names: &Names,
    schemas: &Schemas,
    threads: usize,
) -> Result<Sealed, BatcherError> {
    in_order(range.name, range.last, records)?;
    let name = range.name;
    let came: Vec<(Offset, &[u8])> = records.iter().map(|record| (record.offset, record.payload.as_ref())).collect();
    let Resolved { records: plain, dead: nameless } = unframe(names, came.iter().copied());
    let resolved = resolve(name.topic, schemas, plain.iter().map(|(offset, raw)| (*offset, raw.as_ref())));
    let raw: Vec<(Offset, &[u8])> = resolved.records.iter().map(|(offset, raw)| (*offset, raw.as_ref())).collect();
    let mut letters = lost(range.name.first, range.last, records, if local { LOST } else { NOT_A_RECORD });
    letters.extend(nameless);
    letters.extend(resolved.dead);
    seal_records(range, &raw, letters, &came, Some(recent), threads).map_err(|source| BatcherError::Encode { name, source })
}

/// Whether offsets ascend within the range. If they did not, a record would be sealed twice or under another one's offset, and nothing else
/// would tell.
fn in_order(name: BatchName, last: Offset, records: &[Record]) -> Result<(), BatcherError> {
    let mut least = name.first;
    for Record { offset, .. } in records {
        if *offset < least || *offset > last {
            return Err(BatcherError::Disorder { name, offset: *offset, least });
        }
        least = offset.next();
    }
    Ok(())
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
    open_ids(name, bytes)
}

#[cfg(test)]
mod tests {
    use nocturne_wire::{Partition, Topic};

    use super::*;

    #[test]
    fn only_offsets_that_ascend_within_the_range_are_sealed() {
        let name = BatchName::new(Topic::Interactions, Partition(0), Offset(3));
        let records =
            |offsets: &[u64]| offsets.iter().map(|n| Record { offset: Offset(*n), payload: Bytes::new() }).collect::<Vec<_>>();
        for good in [&[][..], &[3], &[3, 4, 5], &[4, 7], &[7]] {
            assert!(in_order(name, Offset(7), &records(good)).is_ok(), "{good:?}");
        }
        for (bad, found) in [(&[2, 3][..], (2, 3)), (&[3, 3], (3, 4)), (&[3, 5, 4], (4, 6)), (&[3, 8], (8, 4))] {
            match in_order(name, Offset(7), &records(bad)) {
                Err(BatcherError::Disorder { offset, least, .. }) => assert_eq!((offset.0, least.0), found, "{bad:?}"),
                other => panic!("{bad:?}: {other:?}"),
            }
        }
    }

    #[test]
    fn every_offset_without_a_record_becomes_a_dead_letter() {
        let records = [3, 4, 7].map(|n| Record { offset: Offset(n), payload: Bytes::new() });
        let offsets: Vec<_> = lost(Offset(2), Offset(9), &records, LOST).iter().map(|letter| letter.offset.0).collect();
        assert_eq!(offsets, [2, 5, 6, 8, 9]);
        assert!(lost(Offset(3), Offset(4), &records[..2], LOST).is_empty());
    }
}
