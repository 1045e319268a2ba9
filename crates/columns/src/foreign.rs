//! Records of other releases: written with a schema that is not this release's, and read by Avro's rules of schema resolution.
//!
//! A foreign record becomes a record of this release before anything else looks at it: fields that it lacks get their defaults, fields that are unknown here
//! are dropped, numbers widen, symbols that are unknown become their enumeration's default. What cannot be resolved is a dead letter.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use arrow::array::RecordBatch;
use arrow_avro::{
    reader::ReaderBuilder,
    schema::{AvroSchema, Fingerprint, FingerprintAlgorithm, SchemaStore},
};
use nocturne_wire::{Offset, Topic, avro};

use crate::{ColumnsError, DeadLetter, Result, rows};

const WHAT: &str = "writer's schema";

/// Schemas of writers, by fingerprint.
#[derive(Debug, Clone)]
pub struct Schemas {
    texts: BTreeMap<u64, Arc<str>>,
}

impl Default for Schemas {
    /// The schemas of earlier releases.
    fn default() -> Self {
        let earlier = Topic::ALL.into_iter().flat_map(|topic| avro::known(topic).skip(1));
        Self { texts: earlier.map(|(fingerprint, text)| (fingerprint, text.into())).collect() }
    }
}

impl Schemas {
    /// Adds a schema that somebody published under a fingerprint.
    ///
    /// # Errors
    /// [`ColumnsError::Damaged`] when it is no schema, or has another fingerprint.
    pub fn add(&mut self, fingerprint: u64, text: &str) -> Result<()> {
        let found = fingerprint_of(text)?;
        if found != fingerprint {
            return Err(ColumnsError::damaged(WHAT, format!("its fingerprint is {found:016x}, not {fingerprint:016x}")));
        }
        self.texts.insert(fingerprint, text.into());
        Ok(())
    }

    /// Takes in a schema that came under another name than its fingerprint, which is the answer.
    ///
    /// # Errors
    /// [`ColumnsError::Damaged`] when it is no schema, or counts time in other units than a schema of the same fingerprint that is known: fingerprints
    /// leave logical types out.
    pub fn learn(&mut self, text: &str) -> Result<u64> {
        let print = fingerprint_of(text)?;
        let own = || Topic::ALL.into_iter().flat_map(avro::known).find(|(known, _)| *known == print).map(|(_, text)| text);
        match self.texts.get(&print).map(|text| &**text).or_else(own) {
            Some(known) if !units(text).is_subset(&units(known)) => {
                let reason = format!("it is {print:016x} with other units of time: {:?}, not {:?}", units(text), units(known));
                Err(ColumnsError::damaged(WHAT, reason))
            }
            Some(_) => Ok(print),
            None => {
                self.texts.insert(print, text.into());
                Ok(print)
            }
        }
    }

    /// Fingerprints among records that neither this release nor this collection knows.
    pub fn missing<'a>(&self, topic: Topic, records: impl Iterator<Item = &'a [u8]>) -> BTreeSet<u64> {
        let own = avro::fingerprint(topic);
        records.filter_map(avro::peek_fingerprint).filter(|print| *print != own && !self.texts.contains_key(print)).collect()
    }
}

fn fingerprint_of(text: &str) -> Result<u64> {
    // It comes from outside, and the parser is somebody else's.
    let found = catch_unwind(|| AvroSchema::new(text.to_owned()).fingerprint(FingerprintAlgorithm::Rabin));
    let found = found.map_err(|_| ColumnsError::damaged(WHAT, "the parser of Avro schemas panicked"))?;
    match found.map_err(|error| ColumnsError::unreadable(WHAT, "it is not an Avro schema", error))? {
        Fingerprint::Rabin(print) => Ok(print),
        other => Err(ColumnsError::damaged(WHAT, format!("its fingerprint is {other:?}, not a CRC-64"))),
    }
}

/// The units of time that a schema names.
fn units(text: &str) -> BTreeSet<&'static str> {
    let units = [r#""timestamp-millis""#, r#""timestamp-micros""#, r#""timestamp-nanos""#];
    units.into_iter().filter(|unit| text.contains(unit)).collect()
}

/// Records after resolution.
#[derive(Debug)]
pub struct Resolved<'a> {
    /// Records of this release, and whatever is of no known schema, as they came or in this release's schema.
    pub records: Vec<(Offset, Cow<'a, [u8]>)>,
    /// Records of known schemas that could not be resolved.
    pub dead: Vec<DeadLetter>,
}

/// Turns records of other releases into records of this one.
pub fn resolve<'a>(topic: Topic, schemas: &Schemas, records: impl Iterator<Item = (Offset, &'a [u8])>) -> Resolved<'a> {
    let own = avro::fingerprint(topic);
    let mut resolved = Resolved { records: Vec::new(), dead: Vec::new() };
    let mut foreign: BTreeMap<u64, Vec<(Offset, &[u8])>> = BTreeMap::new();
    for (offset, raw) in records {
        match avro::peek_fingerprint(raw).filter(|print| *print != own && schemas.texts.contains_key(print)) {
            Some(print) => foreign.entry(print).or_default().push((offset, raw)),
            None => resolved.records.push((offset, Cow::Borrowed(raw))),
        }
    }
    if foreign.is_empty() {
        return resolved;
    }
    for (print, group) in foreign {
        let raw: Vec<&[u8]> = group.iter().map(|(_, raw)| *raw).collect();
        match translate(topic, schemas, print, &raw) {
            Ok(records) => {
                resolved.records.extend(group.iter().map(|(offset, _)| *offset).zip(records.into_iter().map(Cow::Owned)));
            }
            // One of them spoils all: each for itself.
            Err(_) => group.iter().for_each(|(offset, raw)| match translate(topic, schemas, print, &[raw]) {
                Ok(mut record) => resolved.records.extend(record.pop().map(|record| (*offset, Cow::Owned(record)))),
                Err(reason) => resolved.dead.push(DeadLetter { offset: *offset, reason, raw: raw.to_vec() }),
            }),
        }
    }
    resolved.records.sort_unstable_by_key(|(offset, _)| *offset);
    resolved
}

/// As many records of this release as there are of the other one.
fn translate(topic: Topic, schemas: &Schemas, print: u64, raw: &[&[u8]]) -> Result<Vec<Vec<u8>>, String> {
    let failed = |why: &dyn std::fmt::Display| format!("its schema, {print:016x}, cannot be resolved to this release's: {why}");
    let text = schemas.texts.get(&print).ok_or_else(|| failed(&"it is not known"))?;
    // A schema from outside decides what the decoder does; whatever that is, it ends with this record.
    let decoded = catch_unwind(AssertUnwindSafe(|| decode(topic, print, text, raw)));
    let batch = decoded.map_err(|_| failed(&"the decoder panicked"))?.map_err(|reason| failed(&reason))?;
    let records: Vec<Vec<u8>> = match topic {
        Topic::Interactions => rows::interactions(&batch).map(|rows| rows.iter().map(avro::encode_interaction).collect()),
        Topic::Feedback => rows::feedback(&batch).map(|rows| rows.iter().map(avro::encode_feedback).collect()),
    }
    .map_err(|error| failed(&error))?;
    if records.len() == raw.len() { Ok(records) } else { Err(failed(&format!("{} of {} were read", records.len(), raw.len()))) }
}

fn decode(topic: Topic, print: u64, text: &str, raw: &[&[u8]]) -> Result<RecordBatch, String> {
    let words = |error: &dyn std::fmt::Display| error.to_string();
    let mut store = SchemaStore::new();
    let print = Fingerprint::Rabin(print);
    store.set(print, AvroSchema::new(text.to_owned())).map_err(|error| words(&error))?;
    let builder = ReaderBuilder::new()
        .with_writer_schema_store(store)
        .with_reader_schema(AvroSchema::new(avro::schema(topic).to_owned()))
        .with_active_fingerprint(print)
        .with_batch_size(raw.len().max(1));
    let mut decoder = builder.build_decoder().map_err(|error| words(&error))?;
    for record in raw {
        let read = decoder.decode(record).map_err(|error| words(&error))?;
        if read != record.len() {
            return Err(format!("{} bytes follow the record", record.len() - read));
        }
    }
    decoder.flush().map_err(|error| words(&error))?.ok_or_else(|| "the decoder gave no rows".to_owned())
}
