//! What can go wrong.

use nocturne_columns::ColumnsError;
use nocturne_lake::LakeError;

/// Why batches could not be rewritten. What was claimed is finished by the next run.
#[derive(Debug, thiserror::Error)]
pub enum CompactError {
    /// The lake failed.
    #[error("cannot {doing}")]
    Lake {
        /// What was being done.
        doing: &'static str,
        /// Why it failed.
        #[source]
        source: LakeError,
    },
    /// A batch is damaged, or could not be written.
    #[error("cannot {doing} `{batch}`")]
    Batch {
        /// What was being done.
        doing: &'static str,
        /// Its path in the lake.
        batch: String,
        /// Why it failed.
        #[source]
        source: ColumnsError,
    },
    /// A batch that a claim names is gone, and nothing took its place.
    #[error(
        "`{batch}` is gone, which `{claim}` was to rewrite; restore it from a copy of the lake, `nocturne lake audit` lists all that is missing"
    )]
    Gone {
        /// The batch.
        batch: String,
        /// The claim.
        claim: String,
    },
    /// Others keep claiming the same partition.
    #[error("other processes keep rewriting {topic} partition {partition}; let them finish, then run this again")]
    Contended {
        /// The stream.
        topic: nocturne_wire::Topic,
        /// The partition.
        partition: nocturne_wire::Partition,
    },
    /// A thread of this process panicked.
    #[error("a thread that decoded a batch panicked; this is a bug")]
    Panicked,
}

impl CompactError {
    pub(crate) fn lake(doing: &'static str) -> impl Fn(LakeError) -> Self {
        move |source| Self::Lake { doing, source }
    }
}
