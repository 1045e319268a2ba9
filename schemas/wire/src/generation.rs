//! Generations: a base plus one immutable set of slow banks.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::hash::Sha256Hex;

/// A generation's number; generation 0 is the base with its untrained slow banks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Generation(pub u64);

impl Generation {
    /// The base with untrained slow banks.
    pub const ZERO: Self = Self(0);

    /// The number after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A generation's name in the lake: `<number, 12 digits>-<first 8 digits of its content hash>`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct GenerationName {
    number: Generation,
    hash8: String,
}

/// Text that is not a generation name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a generation name (12 digits, a dash, 8 hexadecimal digits)")]
pub struct NotAGenerationName(String);

impl GenerationName {
    /// Names a generation by its number and content hash.
    pub fn new(number: Generation, content: &Sha256Hex) -> Self {
        Self { number, hash8: content.short().to_owned() }
    }

    /// The generation's number.
    pub const fn number(&self) -> Generation {
        self.number
    }

    /// The first eight digits of the content hash.
    pub fn hash8(&self) -> &str {
        &self.hash8
    }
}

impl fmt::Display for GenerationName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:012}-{}", self.number.0, self.hash8)
    }
}

impl FromStr for GenerationName {
    type Err = NotAGenerationName;

    fn from_str(text: &str) -> Result<Self, NotAGenerationName> {
        let refused = || NotAGenerationName(text.to_owned());
        let (number, hash8) = text.split_once('-').ok_or_else(refused)?;
        let digits = number.len() == 12 && number.bytes().all(|b| b.is_ascii_digit());
        let hex = hash8.len() == 8 && hash8.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if !digits || !hex {
            return Err(refused());
        }
        let number = number.parse().map_err(|_| refused())?;
        Ok(Self { number: Generation(number), hash8: hash8.to_owned() })
    }
}

impl TryFrom<String> for GenerationName {
    type Error = NotAGenerationName;
    fn try_from(text: String) -> Result<Self, NotAGenerationName> {
        text.parse()
    }
}

impl From<GenerationName> for String {
    fn from(name: GenerationName) -> String {
        name.to_string()
    }
}
