//! Avro's binary primitives: zigzag numbers, length-prefixed text, little-endian floats.

use super::DecodeError;

/// Appends Avro values to a buffer.
#[derive(Debug)]
pub(super) struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    pub(super) fn new(bytes: Vec<u8>) -> Self {
        Self { bytes }
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.bytes
    }

    pub(super) fn long(&mut self, value: i64) {
        let mut rest = ((value << 1) ^ (value >> 63)) as u64;
        while rest >= 0x80 {
            self.bytes.push((rest as u8) | 0x80);
            rest >>= 7;
        }
        self.bytes.push(rest as u8);
    }

    /// A count; what does not fit Avro's signed 64 bits is clamped, which no real count reaches.
    pub(super) fn count(&mut self, value: u64) {
        self.long(i64::try_from(value).unwrap_or(i64::MAX));
    }

    pub(super) fn text(&mut self, text: &str) {
        self.count(text.len() as u64);
        self.bytes.extend_from_slice(text.as_bytes());
    }

    pub(super) fn float(&mut self, value: f32) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    pub(super) fn boolean(&mut self, value: bool) {
        self.bytes.push(u8::from(value));
    }
}

/// Takes Avro values from the front of a slice; every error names the field that was being read.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) fn finish(self) -> Result<(), DecodeError> {
        if self.rest.is_empty() { Ok(()) } else { Err(DecodeError::Trailing { bytes: self.rest.len() }) }
    }

    pub(super) fn take(&mut self, field: &'static str, length: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(DecodeError::Truncated { field })?;
        self.rest = rest;
        Ok(taken)
    }

    pub(super) fn long(&mut self, field: &'static str) -> Result<i64, DecodeError> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(field, 1)?[0];
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok((value >> 1) as i64 ^ -((value & 1) as i64));
            }
        }
        Err(DecodeError::Invalid { field, reason: "a number has more than 64 bits".to_owned() })
    }

    /// A number that must fit an unsigned type.
    pub(super) fn count<T: TryFrom<i64>>(&mut self, field: &'static str) -> Result<T, DecodeError> {
        let value = self.long(field)?;
        T::try_from(value).map_err(|_| DecodeError::Invalid { field, reason: format!("{value} is out of range") })
    }

    pub(super) fn text(&mut self, field: &'static str) -> Result<&'a str, DecodeError> {
        let length = self.count::<usize>(field)?;
        let bytes = self.take(field, length)?;
        std::str::from_utf8(bytes).map_err(|_| DecodeError::Invalid { field, reason: "not UTF-8".to_owned() })
    }

    pub(super) fn float(&mut self, field: &'static str) -> Result<f32, DecodeError> {
        let bytes = self.take(field, 4)?;
        let value = f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        // A NaN would compare false with every threshold of curation, and pass.
        if value.is_finite() { Ok(value) } else { Err(DecodeError::Invalid { field, reason: format!("{value} is not finite") }) }
    }

    pub(super) fn boolean(&mut self, field: &'static str) -> Result<bool, DecodeError> {
        match self.take(field, 1)?[0] {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(DecodeError::Invalid { field, reason: format!("{other} is not a boolean") }),
        }
    }

    /// Calls `item` once an element of an array.
    pub(super) fn array(
        &mut self,
        field: &'static str,
        mut item: impl FnMut(&mut Self) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        loop {
            let count = self.long(field)?;
            if count == 0 {
                return Ok(());
            }
            if count < 0 {
                // A negative count announces the block's length in bytes, which only skipping readers need.
                self.long(field)?;
            }
            for _ in 0..count.unsigned_abs() {
                item(self)?;
            }
        }
    }
}
