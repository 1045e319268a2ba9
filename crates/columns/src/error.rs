//! What can go wrong, told apart by what the caller does next.

use arrow::error::ArrowError;
use datafusion::error::DataFusionError;
use parquet::errors::ParquetError;

type Source = Box<dyn std::error::Error + Send + Sync>;

/// Why columns could not be read, written or queried.
#[derive(Debug, thiserror::Error)]
pub enum ColumnsError {
    /// Bytes or rows are not what they should be; reading them again does not help.
    #[error("the {what} is damaged: {reason}")]
    Damaged {
        /// What was read.
        what: &'static str,
        /// What was found.
        reason: String,
        /// The library's own words, when it said something.
        #[source]
        source: Option<Source>,
    },
    /// Rows could not be turned into bytes.
    #[error("the {what} could not be written")]
    Write {
        /// What was written.
        what: &'static str,
        /// The library's own words.
        #[source]
        source: Source,
    },
    /// What was given contradicts itself.
    #[error("the {what} was refused: {reason}")]
    Refused {
        /// What was given.
        what: &'static str,
        /// Why it is refused.
        reason: String,
    },
    /// A query ran out of the memory that it was given and could not spill.
    #[error("the query needs more than {memory_bytes} bytes of memory; give it more, or less to read")]
    OutOfMemory {
        /// The limit.
        memory_bytes: usize,
        /// The engine's own words.
        #[source]
        source: Source,
    },
    /// A query failed.
    #[error("the query failed")]
    Query {
        /// The engine's own words.
        #[source]
        source: Source,
    },
}

impl ColumnsError {
    /// Whether what was read is not what was written.
    pub const fn is_damage(&self) -> bool {
        matches!(self, Self::Damaged { .. })
    }

    /// Whether the fault lies in what was read, so that doing it again does not help.
    pub const fn is_about_input(&self) -> bool {
        matches!(self, Self::Damaged { .. } | Self::Refused { .. })
    }

    pub(crate) fn damaged(what: &'static str, reason: impl Into<String>) -> Self {
        Self::Damaged { what, reason: reason.into(), source: None }
    }

    pub(crate) fn unreadable(what: &'static str, reason: impl Into<String>, source: impl Into<Source>) -> Self {
        Self::Damaged { what, reason: reason.into(), source: Some(source.into()) }
    }

    pub(crate) fn write(what: &'static str) -> impl Fn(ParquetError) -> Self {
        move |source| Self::Write { what, source: source.into() }
    }

    pub(crate) fn build(what: &'static str) -> impl Fn(ArrowError) -> Self {
        move |source| Self::Write { what, source: source.into() }
    }

    pub(crate) fn query(memory_bytes: usize) -> impl Fn(DataFusionError) -> Self {
        move |source| match source.find_root() {
            DataFusionError::ResourcesExhausted(_) => Self::OutOfMemory { memory_bytes, source: source.into() },
            // What this crate itself hands to the engine comes back wrapped.
            DataFusionError::External(inner) => match inner.downcast_ref::<Self>() {
                Some(Self::Damaged { what, reason, .. }) => {
                    Self::Damaged { what, reason: reason.clone(), source: Some(source.into()) }
                }
                _ => Self::Query { source: source.into() },
            },
            _ => Self::Query { source: source.into() },
        }
    }
}
