//! Identifiers: parsed once at the edge, never passed inward as raw strings.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Longest identifier that is accepted, in bytes.
pub const MAX_ID_BYTES: usize = 200;

/// Why an identifier was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// The text is empty.
    #[error("{what} is empty")]
    Empty {
        /// Which kind of identifier was parsed.
        what: &'static str,
    },
    /// The text is longer than [`MAX_ID_BYTES`].
    #[error("{what} has {bytes} bytes, at most {MAX_ID_BYTES} are allowed")]
    TooLong {
        /// Which kind of identifier was parsed.
        what: &'static str,
        /// Length of the refused text.
        bytes: usize,
    },
    /// The text holds a control character or white space other than a single space.
    #[error("{what} holds a control character")]
    Control {
        /// Which kind of identifier was parsed.
        what: &'static str,
    },
}

fn check(what: &'static str, text: &str) -> Result<(), IdError> {
    if text.is_empty() {
        return Err(IdError::Empty { what });
    }
    if text.len() > MAX_ID_BYTES {
        return Err(IdError::TooLong { what, bytes: text.len() });
    }
    // Nearly every id is ASCII, whose control characters are single bytes.
    let control = if text.is_ascii() { text.bytes().any(|b| b.is_ascii_control()) } else { text.chars().any(char::is_control) };
    if control {
        return Err(IdError::Control { what });
    }
    Ok(())
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Parses the identifier.
            ///
            /// # Errors
            /// When the text is empty, longer than [`MAX_ID_BYTES`] or holds control characters.
            pub fn parse(text: impl Into<String>) -> Result<Self, IdError> {
                let text = text.into();
                check($what, &text)?;
                Ok(Self(text))
            }

            /// Whether a text is such an identifier.
            ///
            /// # Errors
            /// As [`Self::parse`].
            pub fn check(text: &str) -> Result<(), IdError> {
                check($what, text)
            }

            /// The identifier's text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                Self::parse(text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_id!(
    /// One interaction: `<process uid>-<boot>-<sequence>`, so that a replay of the same record is recognized.
    InteractionId, "interaction id"
);
text_id!(
    /// One conversation whose fast banks and recurrent state are kept together.
    SessionId, "session id"
);
text_id!(
    /// Whoever speaks: the unit of consent, of caps and of erasure.
    SubjectId, "subject id"
);
text_id!(
    /// The customer that a subject belongs to.
    TenantId, "tenant id"
);
text_id!(
    /// One night: `<UTC date and time of its plan, 20261121T030000Z>-<channel>`; sorts by time.
    NightId, "night id"
);
