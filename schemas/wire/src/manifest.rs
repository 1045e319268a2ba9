//! Manifests: what a generation is made of, written after everything that they list.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    batch::BatchName,
    generation::{Generation, GenerationName},
    hash::Sha256Hex,
    id::NightId,
    plan::NightOptimizer,
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
    /// Data type as named by safetensors: `F16` or `BF16` for banks, `F32` or `U64` for what an optimizer remembers.
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

/// What an optimizer remembered when its night ended: for the next night, and for nobody who serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OptimizerEntry {
    /// Whose it is.
    pub optimizer: NightOptimizer,
    /// Its file, as [`crate::path::OPTIMIZER_FILE`].
    pub file: FileEntry,
    /// Every tensor of the file.
    pub tensors: Vec<TensorEntry>,
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
    /// What the night's optimizer remembered, when it was to be kept. The generation's name says nothing about it: it changes no answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub optimizer: Option<OptimizerEntry>,
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

#[cfg(test)]
mod tests {
    use super::*;

    /// As every release wrote it before optimizers were kept, and as all others still do.
    const GOLDEN: &str = include_str!("../golden/manifest.v1.json");
    const GOLDEN_WITH_OPTIMIZER: &str = include_str!("../golden/manifest.v1.optimizer.json");

    #[test]
    fn golden_manifests_are_read_and_written_as_ever() {
        for golden in [GOLDEN, GOLDEN_WITH_OPTIMIZER] {
            let manifest: Manifest = serde_json::from_str(golden).unwrap();
            assert_eq!(serde_json::to_string_pretty(&manifest).unwrap(), golden.trim_end());
            assert_eq!(manifest.content, Manifest::content_of(&manifest.tensors));
        }
    }

    #[test]
    fn what_an_optimizer_remembers_does_not_name_a_generation() {
        let [without, with] = [GOLDEN, GOLDEN_WITH_OPTIMIZER].map(|golden| serde_json::from_str::<Manifest>(golden).unwrap());
        assert!(without.optimizer.is_none());
        assert_eq!(with.optimizer.as_ref().map(|kept| kept.optimizer), Some(NightOptimizer::M3));
        assert_eq!(with.name(), without.name());
    }
}
