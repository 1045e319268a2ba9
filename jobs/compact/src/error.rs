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
    /// A batch's dead letters are gone.
    #[error("`{letters}` is gone, the dead letters of `{batch}`; restore it from a copy of the lake")]
    Letters {
        /// The batch.
        batch: String,
        /// Where its dead letters belong.
        letters: String,
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
    /// Whether it is about a batch or a partition: the others can be rewritten all the same.
    pub(crate) fn is_about_batches(&self) -> bool {
        match self {
            Self::Batch { source, .. } => source.is_about_input(),
            Self::Contended { .. } => true,
            Self::Letters { .. } | Self::Gone { .. } | Self::Lake { .. } | Self::Panicked => self.is_loss(),
        }
    }

    /// Whether a batch is damaged or gone, which no release can mend.
    pub(crate) fn is_loss(&self) -> bool {
        match self {
            Self::Batch { source, .. } => source.is_damage(),
            Self::Letters { .. } | Self::Gone { .. } => true,
            Self::Lake { source, .. } => source.is_damage(),
            Self::Contended { .. } | Self::Panicked => false,
        }
    }

    /// The error with its causes, in one line.
    pub(crate) fn in_a_line(&self) -> String {
        let causes = std::iter::successors(Some(self as &dyn std::error::Error), |error| error.source());
        causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
    }

    pub(crate) fn lake(doing: &'static str) -> impl Fn(LakeError) -> Self {
        move |source| Self::Lake { doing, source }
    }
}
