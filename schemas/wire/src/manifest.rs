//! Manifests: what a generation is made of, written after everything that they list.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    batch::BatchName,
    generation::{Generation, GenerationName},
    hash::Sha256Hex,
    id::NightId,
};

/// Version of the manifest's own format.
pub const MANIFEST_VERSION: u32 = 1;

/// How often a bank changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Period {
    /// Every given number of tokens, per session.
    Tokens(u32),
    /// By the nightly sleep job.
    Night,
    /// Never after pre-training.
    Never,
}

/// One tensor of a generation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TensorEntry {
    /// Full name, `blocks.2.cms.slow.up`.
    pub name: String,
    /// The bank it belongs to.
    pub bank: String,
    /// Row-major shape.
    pub shape: Vec<usize>,
    /// Data type as named by safetensors, `F16` or `BF16`.
    pub dtype: String,
    /// Digest of its little-endian bytes.
    pub sha256: Sha256Hex,
}

/// One file of a generation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// Path under the generation's folder, as [`crate::path::SLOW_FILE`].
    pub path: String,
    /// Length in bytes.
    pub bytes: u64,
    /// Digest of the whole file.
    pub sha256: Sha256Hex,
}

/// A generation's manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`MANIFEST_VERSION`].
    pub version: u32,
    /// The generation's number.
    pub number: Generation,
    /// Digest over the listed tensors: SHA-256 of `name sha256\n` in the order of names.
    pub content: Sha256Hex,
    /// Fingerprint of the base that the banks belong to.
    pub base: Sha256Hex,
    /// The generation that the banks were trained from; `None` for generation 0.
    pub parent: Option<GenerationName>,
    /// The night that trained it; `None` for generation 0.
    pub night: Option<NightId>,
    /// When it was sealed.
    pub created: Timestamp,
    /// Every tensor.
    pub tensors: Vec<TensorEntry>,
    /// Every file.
    pub files: Vec<FileEntry>,
    /// The batches whose rows it learned from.
    pub batches: Vec<BatchName>,
}

impl Manifest {
    /// The name that the manifest's number and content give.
    pub fn name(&self) -> GenerationName {
        GenerationName::new(self.number, &self.content)
    }

    /// Digest over tensors: SHA-256 of `name sha256\n` in the order of names.
    pub fn content_of(tensors: &[TensorEntry]) -> Sha256Hex {
        let mut lines: Vec<_> = tensors.iter().map(|t| format!("{} {}\n", t.name, t.sha256)).collect();
        lines.sort_unstable();
        Sha256Hex::of(lines.concat().as_bytes())
    }
}
