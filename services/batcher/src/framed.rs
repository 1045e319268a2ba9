//! Framed records, which name their schema by its id in a registry: from there into single-object encoding. No I/O.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use nocturne_columns::{DeadLetter, Resolved};
use nocturne_wire::{Offset, avro};

/// What an id stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Named {
    /// A schema of this fingerprint.
    Schema(u64),
    /// Nothing that a record could be read with, and why.
    Unusable(String),
    /// Nothing, as the registry said then.
    Absent(Instant),
}

/// Ids that were asked for.
pub(crate) type Names = BTreeMap<u32, Named>;

/// Ids that records name.
pub(crate) fn ids<'a>(records: impl Iterator<Item = &'a [u8]>) -> BTreeSet<u32> {
    records.filter_map(avro::open_framed).map(|(id, _)| id).collect()
}

/// Turns framed records into single objects; whatever is not framed stays as it is.
pub(crate) fn unframe<'a>(names: &Names, records: impl Iterator<Item = (Offset, &'a [u8])>) -> Resolved<'a> {
    let mut unframed = Resolved { records: Vec::new(), dead: Vec::new() };
    for (offset, raw) in records {
        match single(names, raw) {
            Ok(record) => unframed.records.push((offset, record)),
            Err(reason) => unframed.dead.push(DeadLetter { offset, reason, raw: raw.to_vec() }),
        }
    }
    unframed
}

fn single<'a>(names: &Names, raw: &'a [u8]) -> Result<Cow<'a, [u8]>, String> {
    let Some((id, datum)) = avro::open_framed(raw) else { return Ok(raw.into()) };
    match names.get(&id) {
        Some(Named::Schema(print)) => Ok(avro::single_object(*print, datum).into()),
        Some(Named::Unusable(why)) => Err(format!("it names its schema by the id {id} of a schema registry: {why}")),
        Some(Named::Absent(_)) | None => {
            Err(format!("it names its schema by the id {id}, and the schema registry knows none of that id"))
        }
    }
}

/// The time of a record, framed or not, as [`avro::peek_time`] gives it.
pub(crate) fn peek_time(names: &Names, raw: &[u8]) -> Option<i64> {
    match avro::open_framed(raw) {
        None => avro::peek_time(raw),
        Some((id, datum)) => match names.get(&id)? {
            Named::Schema(print) => avro::peek_time_of(*print, datum),
            Named::Unusable(_) | Named::Absent(_) => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use nocturne_wire::Topic;

    use super::*;

    fn names() -> Names {
        let own = avro::fingerprint(Topic::Interactions);
        [(7, Named::Schema(own)), (8, Named::Unusable("it is of the type JSON".to_owned())), (9, Named::Absent(Instant::now()))]
            .into()
    }

    #[test]
    fn framed_records_become_single_objects_and_others_stay_as_they_are() {
        let own = avro::fingerprint(Topic::Interactions);
        let framed = avro::framed(7, b"datum");
        let raw: [&[u8]; 4] = [b"poison", &framed, b"", b"\xc3\x01"];
        let Resolved { records: plain, dead } = unframe(&names(), (3..).map(Offset).zip(raw));
        assert!(dead.is_empty());
        let found: Vec<_> = plain.iter().map(|(offset, record)| (offset.0, record.to_vec())).collect();
        let single = avro::single_object(own, b"datum");
        assert_eq!(found, [(3, b"poison".to_vec()), (4, single), (5, Vec::new()), (6, b"\xc3\x01".to_vec())]);
        assert_eq!(ids(raw.into_iter()), [7].into());
    }

    #[test]
    fn ids_that_stand_for_nothing_are_letters_with_the_bytes_as_they_came() {
        let raw = [8, 9, 10].map(|id| avro::framed(id, b"datum"));
        let Resolved { records: plain, dead } = unframe(&names(), (0..).map(Offset).zip(raw.iter().map(Vec::as_slice)));
        assert!(plain.is_empty());
        for (letter, (word, raw)) in dead.iter().zip(["id 8 of", "id 9,", "id 10,"].into_iter().zip(&raw)) {
            assert!(letter.reason.contains(word), "{}", letter.reason);
            assert_eq!(letter.raw, *raw);
        }
        assert!(dead[0].reason.contains("JSON"), "{}", dead[0].reason);
    }

    #[test]
    fn the_time_of_a_framed_record_is_that_of_its_datum() {
        let single = include_bytes!("../../../schemas/wire/golden/interaction.v2.avro");
        let datum = avro::datum(single).expect("a record");
        let time = avro::peek_time(single);
        assert!(time.is_some());
        assert_eq!(peek_time(&names(), single), time);
        assert_eq!([7, 8, 10].map(|id| peek_time(&names(), &avro::framed(id, datum))), [time, None, None]);
    }
}
