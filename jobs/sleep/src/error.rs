//! Errors of a night.

/// Why a night broke.
#[derive(Debug, thiserror::Error)]
pub enum SleepError {
    /// The lake failed.
    #[error("cannot {doing}")]
    Lake {
        /// What was being done.
        doing: &'static str,
        /// Why it failed.
        #[source]
        source: nocturne_lake::LakeError,
    },
    /// The ledger refused the promotion.
    #[error("cannot promote the new generation")]
    Promote(#[source] nocturne_lake::AppendError),
    /// A batch or a query failed.
    #[error("cannot {doing}")]
    Columns {
        /// What was being done.
        doing: &'static str,
        /// Why it failed.
        #[source]
        source: nocturne_columns::ColumnsError,
    },
    /// The model or its banks are not usable.
    #[error("cannot {doing}")]
    Model {
        /// What was being done.
        doing: &'static str,
        /// Why it failed.
        #[source]
        source: nocturne_model::ModelError,
    },
    /// There is nothing to train on.
    #[error("cannot train where `[sleep] device` says")]
    Device(#[source] nocturne_model::DeviceError),
    /// The base lacks a file.
    #[error("the base lacks `{0}`; publish the base again")]
    BaseFile(&'static str),
    /// The rehearsal set is damaged.
    #[error("line {line} of the base's rehearsal.jsonl cannot be read")]
    Rehearsal {
        /// Counted from 1.
        line: usize,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A planned batch cannot be opened.
    #[error("cannot open the planned batch `{batch}`; `nocturne lake audit` lists all that is damaged, and nothing was trained")]
    Batch {
        /// Its path in the lake.
        batch: String,
        /// Why.
        #[source]
        source: nocturne_columns::ColumnsError,
    },
    /// What an earlier night taught cannot be read, and would be forgotten.
    #[error(
        "cannot read all lessons of night {night}, which what serves has learned: restore its lessons.jsonl from a copy of the lake, or set [nights.gates] min_remembered = 0 to let them be forgotten"
    )]
    Unremembered {
        /// The night.
        night: nocturne_wire::NightId,
    },
    /// No thread could be started.
    #[error("cannot start a thread to train on")]
    Thread(#[source] std::io::Error),
    /// The thread that trains ended without a result.
    #[error("the training thread broke down; the log holds its last words, and nothing was published")]
    Panicked,
    /// Something other than the slow banks changed.
    #[error("{0} tensors outside the slow banks changed; nothing was published")]
    Leaked(u64),
}
