//! Errors of pre-training.

use std::path::PathBuf;

/// Why a base could not be trained.
#[derive(Debug, thiserror::Error)]
pub enum PretrainError {
    /// A file could not be read or written.
    #[error("cannot {action} {path}")]
    File {
        /// `read` or `write`.
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The model refused something.
    #[error("the model cannot be built from the recipe")]
    Model(#[from] nocturne_model::ModelError),
    /// The recipe contradicts itself.
    #[error("no base can be trained by the recipe: {0}")]
    Recipe(String),
    /// The recipe's mixture of conversations makes no sense.
    #[error("no conversation can be drawn by the recipe")]
    Corpus(#[from] nocturne_world::BadCorpus),
    /// The loss is no number any more.
    #[error("the loss of step {step} is {loss}: begin again with lower rates, for going on would come to the same")]
    Diverged {
        /// The step, from 1 on.
        step: u64,
        /// What it was.
        loss: f64,
    },
    /// A checkpoint does not belong to the recipe or is damaged.
    #[error("the checkpoint in {path} cannot be resumed: {why}; remove it to start over")]
    Checkpoint {
        /// Which file.
        path: PathBuf,
        /// Why.
        why: String,
    },
}
