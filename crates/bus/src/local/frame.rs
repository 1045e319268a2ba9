//! Records as bytes: header (length u32, CRC-32 u32 over offset, length and payload, offset u64; all little-endian), then payload.

use std::io::{self, Read};

use bytes::Bytes;
use nocturne_wire::Offset;

/// Largest payload that is accepted; a length beyond it in a file can only be damage.
pub const MAX_PAYLOAD_BYTES: usize = 16 << 20;

/// Bytes before a payload.
pub(crate) const HEADER_BYTES: usize = 16;

/// Bytes that a payload takes in a segment.
pub(crate) const fn framed(payload: usize) -> u64 {
    (HEADER_BYTES + payload) as u64
}

/// Appends a record to a buffer; its payload is given in two parts, so that a prefix costs no copy of the rest.
pub(crate) fn encode(offset: Offset, payload: [&[u8]; 2], into: &mut Vec<u8>) {
    let bytes = payload[0].len() + payload[1].len();
    debug_assert!(bytes <= MAX_PAYLOAD_BYTES, "the publisher refuses larger payloads");
    let length = bytes as u32;
    into.reserve(HEADER_BYTES + bytes);
    into.extend_from_slice(&length.to_le_bytes());
    into.extend_from_slice(&checksum(offset, length, payload).to_le_bytes());
    into.extend_from_slice(&offset.0.to_le_bytes());
    into.extend_from_slice(payload[0]);
    into.extend_from_slice(payload[1]);
}

fn checksum(offset: Offset, length: u32, payload: [&[u8]; 2]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&offset.0.to_le_bytes());
    crc.update(&length.to_le_bytes());
    crc.update(payload[0]);
    crc.update(payload[1]);
    crc.finalize()
}

/// A header that could be one; only the checksum tells.
struct Header {
    length: u32,
    crc: u32,
    offset: Offset,
}

impl Header {
    fn read(bytes: [u8; HEADER_BYTES]) -> Self {
        let [l0, l1, l2, l3, c0, c1, c2, c3, offset @ ..] = bytes;
        Self {
            length: u32::from_le_bytes([l0, l1, l2, l3]),
            crc: u32::from_le_bytes([c0, c1, c2, c3]),
            offset: Offset(u64::from_le_bytes(offset)),
        }
    }

    fn fits(&self, payload: &[u8]) -> bool {
        checksum(self.offset, self.length, [payload, &[]]) == self.crc
    }
}

/// What comes next in a segment.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A whole, undamaged record with the expected offset.
    Record(Offset, Bytes),
    /// The segment ends here, between two records.
    End,
    /// What follows is not the expected record: torn, damaged or foreign.
    Damaged,
}

/// Reads the records of a segment one by one; holds one record at a time.
#[derive(Debug)]
pub(crate) struct Scanner<R> {
    reader: R,
    expected: Offset,
    position: u64,
}

impl<R: Read> Scanner<R> {
    /// Reads from `reader`, which stands at byte `position` of a segment, where the record `expected` starts.
    pub(crate) const fn new(reader: R, expected: Offset, position: u64) -> Self {
        Self { reader, expected, position }
    }

    /// Offset of the record that comes next.
    pub(crate) const fn expected(&self) -> Offset {
        self.expected
    }

    /// Byte at which the record that comes next starts.
    pub(crate) const fn position(&self) -> u64 {
        self.position
    }

    /// Reads the next record. After [`Step::Damaged`] the scanner's position is where the damage starts, and reading on makes no
    /// sense.
    pub(crate) fn next(&mut self) -> io::Result<Step> {
        let mut header = Vec::with_capacity(HEADER_BYTES);
        self.reader.by_ref().take(HEADER_BYTES as u64).read_to_end(&mut header)?;
        if header.is_empty() {
            return Ok(Step::End);
        }
        let Ok(header) = <[u8; HEADER_BYTES]>::try_from(header.as_slice()) else { return Ok(Step::Damaged) };
        let header = Header::read(header);
        let length = header.length as usize;
        if header.offset != self.expected || length > MAX_PAYLOAD_BYTES {
            return Ok(Step::Damaged);
        }
        let mut payload = Vec::with_capacity(length);
        self.reader.by_ref().take(length as u64).read_to_end(&mut payload)?;
        if payload.len() != length || !header.fits(&payload) {
            return Ok(Step::Damaged);
        }
        self.position += framed(length);
        self.expected = header.offset.next();
        Ok(Step::Record(header.offset, payload.into()))
    }
}

/// A record as it stands in a segment.
pub fn frame(offset: Offset, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES + payload.len());
    encode(offset, [payload, &[]], &mut bytes);
    bytes
}

/// Number of whole, undamaged records at the start of a segment's bytes whose first record should have the offset `first`, and where they end, in bytes.
pub fn intact_records(segment: &[u8], first: Offset) -> (u64, u64) {
    let mut scanner = Scanner::new(segment, first, 0);
    let mut records = 0;
    while let Ok(Step::Record(..)) = scanner.next() {
        records += 1;
    }
    (records, scanner.position())
}

/// Looks for the first undamaged record in `bytes` whose offset is `from` or later: the byte where it starts, and its offset.
/// An offset that the bytes have no room for cannot be one, which makes nearly every position cheap to refuse.
pub(crate) fn find(bytes: &[u8], from: Offset) -> Option<(usize, Offset)> {
    let room = (bytes.len() / HEADER_BYTES) as u64;
    (0..bytes.len().saturating_sub(HEADER_BYTES - 1)).find_map(|at| {
        let (header, rest) = bytes[at..].split_first_chunk::<HEADER_BYTES>()?;
        let header = Header::read(*header);
        let ahead = header.offset.0.checked_sub(from.0)?;
        let payload = rest.get(..header.length as usize)?;
        (ahead <= room && header.fits(payload)).then_some((at, header.offset))
    })
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn segment(first: u64, payloads: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (n, payload) in payloads.iter().enumerate() {
            encode(Offset(first + n as u64), [payload, &[]], &mut bytes);
        }
        bytes
    }

    fn read_all(bytes: &[u8], first: u64) -> (Vec<Vec<u8>>, Step) {
        let mut scanner = Scanner::new(bytes, Offset(first), 0);
        let mut read = Vec::new();
        loop {
            match scanner.next().expect("memory does not fail") {
                Step::Record(_, payload) => read.push(payload.to_vec()),
                end => return (read, end),
            }
        }
    }

    #[test]
    fn zeros_that_a_power_cut_leaves_are_damage() {
        assert_eq!(read_all(&[0; 64], 0), (vec![], Step::Damaged));
        assert_eq!(find(&[0; 64], Offset(0)), None);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(first in 0_u64..1 << 40, payloads in vec(vec(any::<u8>(), 0..50), 0..20)) {
            prop_assert_eq!(read_all(&segment(first, &payloads), first), (payloads, Step::End));
        }

        #[test]
        fn a_cut_segment_gives_a_prefix(payloads in vec(vec(any::<u8>(), 0..50), 1..20), cut in any::<prop::sample::Index>()) {
            let bytes = segment(7, &payloads);
            let (read, _) = read_all(&bytes[..cut.index(bytes.len())], 7);
            prop_assert!(read.len() < payloads.len());
            prop_assert_eq!(&read[..], &payloads[..read.len()]);
        }

        #[test]
        fn a_changed_byte_ends_the_records_before_the_one_it_is_in(
            payloads in vec(vec(any::<u8>(), 0..50), 1..20),
            place in any::<prop::sample::Index>(),
            change in 1_u8..=255,
        ) {
            let mut bytes = segment(7, &payloads);
            let place = place.index(bytes.len());
            bytes[place] ^= change;
            let mut start = 0;
            let whole = payloads.iter().take_while(|p| { start += HEADER_BYTES + p.len(); start <= place }).count();
            let (read, end) = read_all(&bytes, 7);
            prop_assert_eq!(&read[..], &payloads[..whole]);
            prop_assert_eq!(end, Step::Damaged);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..400), first in any::<u64>()) {
            read_all(&bytes, first);
            find(&bytes, Offset(first));
        }

        #[test]
        fn a_record_is_found_behind_damage(junk in vec(any::<u8>(), 0..60), payload in vec(any::<u8>(), 0..50), ahead in 0_u64..3) {
            let mut bytes = junk.clone();
            bytes.extend_from_slice(&segment(100 + ahead, &[payload]));
            bytes.resize(bytes.len() + 64, 0xAA);
            prop_assert_eq!(find(&bytes, Offset(100)), Some((junk.len(), Offset(100 + ahead))));
        }
    }
}
