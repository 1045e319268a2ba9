//! Errors of the model crate.

use crate::device::DeviceError;

/// What was wrong with a model, a bank or a text.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// `config.json` cannot be used.
    #[error("the model's config.json is not valid")]
    Config(#[source] serde_json::Error),
    /// The config contradicts itself.
    #[error("the model's config is inconsistent: {0}")]
    Inconsistent(String),
    /// `tokenizer.json` cannot be used.
    #[error("the tokenizer cannot be used: {0}")]
    Tokenizer(String),
    /// A foreign checkpoint cannot be used.
    #[error(transparent)]
    Import(#[from] crate::import::ImportError),
    /// A safetensors file cannot be parsed.
    #[error("{what} is not a valid safetensors file")]
    Format {
        /// Which file.
        what: String,
        /// What the parser said.
        #[source]
        source: safetensors::SafeTensorError,
    },
    /// A tensor is missing.
    #[error("{what} lacks the tensor `{tensor}`")]
    Missing {
        /// Which file.
        what: String,
        /// Which tensor.
        tensor: String,
    },
    /// A tensor does not belong here.
    #[error("{what} holds the tensor `{tensor}`, which this model does not have there")]
    Foreign {
        /// Which file.
        what: String,
        /// Which tensor.
        tensor: String,
    },
    /// A tensor has other extents or another type.
    #[error("tensor `{tensor}` of {what} is {found}, {expected} is needed")]
    Mismatch {
        /// Which file.
        what: String,
        /// Which tensor.
        tensor: String,
        /// What was found.
        found: String,
        /// What is needed.
        expected: String,
    },
    /// burn cannot write or read what an optimizer remembers.
    #[error("what the optimizer remembers cannot be written or read")]
    Record(#[source] burn::store::RecordError),
    /// A tensor holds NaN or infinity.
    #[error("tensor `{tensor}` of {what} holds values that are not finite")]
    NotFinite {
        /// Which file.
        what: String,
        /// Which tensor.
        tensor: String,
    },
    /// There is no such device.
    #[error(transparent)]
    Device(#[from] DeviceError),
}
