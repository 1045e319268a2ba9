//! Avro schemas and the single-object encoding of records.
//!
//! A record on the wire is `C3 01`, the CRC-64-AVRO fingerprint of the schema's parsing canonical form (eight bytes, little-endian)
//! and the datum. The encoder and the decoder are written by hand against the two schemas: the request path encodes every
//! interaction, and a generic value tree would allocate once a field. `nocturne-columns` reads what they write with an independent decoder, and
//! golden files under `golden/` hold both to the bytes of earlier releases. The fingerprints are constants, so that an accidental
//! edit of a schema fails a test instead of becoming a silent second version.

mod binary;
mod check;
mod feedback;
mod framed;
mod interaction;
#[cfg(test)]
mod tests;

pub use check::{Checked, Place, check, peek_time, peek_time_of};
pub use feedback::{decode_feedback, encode_feedback};
pub use framed::{framed, open_framed};
pub use interaction::{decode_interaction, encode_interaction};
use jiff::Timestamp;

use self::binary::{Reader, Writer};
use crate::{batch::Topic, id::IdError};

/// The first version of [`INTERACTION_SCHEMA`], without the channel.
const INTERACTION_SCHEMA_V1: &str = include_str!("../avro/interaction.v1.avsc");

/// Avro schema of [`crate::Interaction`].
pub const INTERACTION_SCHEMA: &str = include_str!("../avro/interaction.avsc");
/// Avro schema of [`crate::Feedback`].
pub const FEEDBACK_SCHEMA: &str = include_str!("../avro/feedback.avsc");

const INTERACTION_FINGERPRINT: u64 = 0xe89f_4556_a183_14ff;
const INTERACTION_FINGERPRINT_V1: u64 = 0xd915_15bc_a988_d08b;
const FEEDBACK_FINGERPRINT: u64 = 0x8f86_f97f_0341_9c16;

const MAGIC: [u8; 2] = [0xc3, 0x01];
const HEADER_BYTES: usize = 10;

/// Why bytes are not a record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes do not begin like a single object.
    #[error("not Avro's single-object encoding (the first bytes are not c3 01 and a fingerprint)")]
    NotSingleObject,
    /// The writer's schema is not ours.
    #[error("schema fingerprint {found:016x} is not known, expected {expected:016x}")]
    UnknownSchema {
        /// The record's fingerprint.
        found: u64,
        /// The fingerprint of the topic's schema.
        expected: u64,
    },
    /// The bytes end inside a field.
    #[error("the record ends inside `{field}`")]
    Truncated {
        /// The field.
        field: &'static str,
    },
    /// A field's value is not allowed.
    #[error("`{field}`: {reason}")]
    Invalid {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// Bytes follow the record.
    #[error("{bytes} bytes follow the record")]
    Trailing {
        /// How many.
        bytes: usize,
    },
}

/// The Avro schema of a topic's records.
pub const fn schema(topic: Topic) -> &'static str {
    match topic {
        Topic::Interactions => INTERACTION_SCHEMA,
        Topic::Feedback => FEEDBACK_SCHEMA,
    }
}

/// CRC-64-AVRO of the parsing canonical form of a topic's schema.
pub const fn fingerprint(topic: Topic) -> u64 {
    match topic {
        Topic::Interactions => INTERACTION_FINGERPRINT,
        Topic::Feedback => FEEDBACK_FINGERPRINT,
    }
}

/// The fingerprints and the schemas of a topic that this release knows, its own first and then those of earlier releases.
pub fn known(topic: Topic) -> impl Iterator<Item = (u64, &'static str)> {
    let earlier: &[(u64, &str)] = match topic {
        Topic::Interactions => &[(INTERACTION_FINGERPRINT_V1, INTERACTION_SCHEMA_V1)],
        Topic::Feedback => &[],
    };
    std::iter::once((fingerprint(topic), schema(topic))).chain(earlier.iter().copied())
}

/// The fingerprint that a record in single-object encoding begins with; `None` when it begins like something else.
pub fn peek_fingerprint(bytes: &[u8]) -> Option<u64> {
    let (magic, print) = bytes.get(..HEADER_BYTES)?.split_at(MAGIC.len());
    (magic == MAGIC).then(|| print.iter().rev().fold(0, |value, byte| (value << 8) | u64::from(*byte)))
}

/// The datum of a record in single-object encoding; `None` when the record begins like something else.
pub fn datum(bytes: &[u8]) -> Option<&[u8]> {
    peek_fingerprint(bytes).map(|_| &bytes[HEADER_BYTES..])
}

/// A record of single-object encoding, from the fingerprint of its schema and its datum.
pub fn single_object(fingerprint: u64, datum: &[u8]) -> Vec<u8> {
    [&MAGIC[..], &fingerprint.to_le_bytes(), datum].concat()
}

/// [`fingerprint`] as 16 hexadecimal digits, as batches carry it.
pub fn fingerprint_hex(topic: Topic) -> String {
    format!("{:016x}", fingerprint(topic))
}

fn begin(topic: Topic, capacity: usize) -> Writer {
    let mut bytes = Vec::with_capacity(HEADER_BYTES + capacity);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&fingerprint(topic).to_le_bytes());
    Writer::new(bytes)
}

fn open(topic: Topic, bytes: &[u8]) -> Result<Reader<'_>, DecodeError> {
    let found = peek_fingerprint(bytes).ok_or(DecodeError::NotSingleObject)?;
    let datum = &bytes[HEADER_BYTES..];
    let expected = fingerprint(topic);
    if found != expected {
        return Err(DecodeError::UnknownSchema { found, expected });
    }
    Ok(Reader::new(datum))
}

fn id<T>(reader: &mut Reader<'_>, field: &'static str, parse: fn(String) -> Result<T, IdError>) -> Result<T, DecodeError> {
    let text = reader.text(field)?.to_owned();
    parse(text).map_err(|error| DecodeError::Invalid { field, reason: error.to_string() })
}

fn time(reader: &mut Reader<'_>) -> Result<Timestamp, DecodeError> {
    let micros = reader.long("time")?;
    Timestamp::from_microsecond(micros)
        .map_err(|_| DecodeError::Invalid { field: "time", reason: format!("{micros} microseconds are outside the calendar") })
}

fn symbol<T: Copy>(reader: &mut Reader<'_>, field: &'static str, symbols: &[T]) -> Result<T, DecodeError> {
    let index = reader.long(field)?;
    usize::try_from(index)
        .ok()
        .and_then(|index| symbols.get(index).copied())
        .ok_or_else(|| DecodeError::Invalid { field, reason: format!("{index} is not the index of a symbol") })
}

fn put_symbol<T: PartialEq>(writer: &mut Writer, symbols: &[T], value: &T) {
    let index = symbols.iter().position(|symbol| symbol == value);
    writer.count(index.unwrap_or_default() as u64);
}
