//! Confluent's framing: a zero byte, the id that a schema registry gave to the writer's schema (four bytes, big-endian), the datum.
//!
//! Single-object encoding begins with `C3`, so that the first byte tells the two apart. What the id stands for only the registry knows.

const MAGIC: u8 = 0;
const HEADER_BYTES: usize = 5;

/// A framed record, from the id of its schema and its datum.
pub fn framed(id: u32, datum: &[u8]) -> Vec<u8> {
    [&[MAGIC][..], &id.to_be_bytes(), datum].concat()
}

/// The schema's id and the datum of a framed record; `None` when it begins like something else.
pub fn open_framed(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (header, datum) = bytes.split_first_chunk::<HEADER_BYTES>()?;
    let [magic, id @ ..] = header;
    (*magic == MAGIC).then(|| (u32::from_be_bytes(*id), datum))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::avro::{datum, decode_interaction, fingerprint, peek_time, peek_time_of, single_object};
    use crate::batch::Topic;

    const SINGLE: &[u8] = include_bytes!("../../golden/interaction.v2.avro");
    const FRAMED: &[u8] = include_bytes!("../../golden/interaction.v2.framed");

    #[test]
    fn the_golden_record_is_framed_and_opened_as_ever() {
        let body = datum(SINGLE).expect("a single object");
        assert_eq!(framed(0x0102_0304, body), FRAMED);
        assert_eq!(open_framed(FRAMED), Some((0x0102_0304, body)));
        let again = single_object(fingerprint(Topic::Interactions), body);
        assert_eq!(again, SINGLE);
        assert_eq!(decode_interaction(&again), decode_interaction(SINGLE));
        assert_eq!(peek_time_of(fingerprint(Topic::Interactions), body), peek_time(SINGLE));
    }

    #[test]
    fn what_begins_otherwise_is_not_framed() {
        for bytes in [&b""[..], b"\0", b"\0\0\0\0", b"\x01\0\0\0\x07rest", SINGLE] {
            assert_eq!(open_framed(bytes), None, "{bytes:?}");
        }
        assert_eq!(open_framed(b"\0\0\0\0\x07"), Some((7, &b""[..])));
        assert_eq!((datum(FRAMED), datum(b"\xc3\x01short")), (None, None));
    }
}
