//! The first morning of a lake: a base, generation 0 and the ledger's first entry.

use std::collections::BTreeMap;

use bytes::Bytes;
use jiff::Timestamp;
use nocturne_lake::{AppendError, Expect, Lake, LakeError, LedgerDraft};
use nocturne_model::ModelError;
use nocturne_wire::{
    generation::{Generation, GenerationName},
    hash::Sha256Hex,
    ledger::LedgerAction,
    manifest::{FileEntry, MANIFEST_VERSION, Manifest},
    path::SLOW_FILE,
};

use crate::{
    engine::hope,
    follow::prepare::SLOW_BANK,
    threads::{self, ThreadError},
};

/// Why a lake could not be seeded.
#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    /// The lake did not do it.
    #[error("seed channel `{channel}` of the lake")]
    Lake {
        /// The channel.
        channel: String,
        /// Why.
        #[source]
        source: LakeError,
    },
    /// The ledger was not begun.
    #[error("begin the ledger of channel `{channel}`")]
    Ledger {
        /// The channel.
        channel: String,
        /// Why.
        #[source]
        source: AppendError,
    },
    /// The files are not a base.
    #[error("load the base that the lake is seeded with")]
    Base(#[source] ModelError),
    /// Loading broke.
    #[error("load the base that the lake is seeded with")]
    Thread(#[source] ThreadError),
    /// The lake has a generation 0 of another base.
    #[error("the lake holds generation {generation} of base {found}, not of base {given}; use another lake for another base")]
    OtherBase {
        /// Generation 0 of the lake.
        generation: GenerationName,
        /// Its base.
        found: Sha256Hex,
        /// The base that was given.
        given: Sha256Hex,
    },
}

/// What the lake starts with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seeded {
    /// Generation that the channel serves.
    pub serving: GenerationName,
    /// Whether this call began the channel.
    pub begun: bool,
}

/// Stores a base (`config.json`, `tokenizer.json`, `model.safetensors`, `rehearsal.jsonl`), publishes generation 0 and begins the
/// channel's ledger. A channel that has begun is left as it is; a seeding that a crash interrupted is taken up again.
///
/// # Errors
/// When the files are not a base, when the lake holds another base's generation 0, or when the lake fails.
pub async fn seed(lake: &Lake, files: BTreeMap<String, Bytes>, channel: &str, now: Timestamp) -> Result<Seeded, SeedError> {
    let failed = |source| SeedError::Lake { channel: channel.to_owned(), source };
    if let Some(head) = lake.ledger(channel).head().await.map_err(failed)? {
        return Ok(Seeded { serving: head.generation, begun: false });
    }
    let listed: Vec<_> = files.iter().map(|(name, bytes)| (name.clone(), bytes.clone())).collect();
    let untrained = threads::run("seed-base", move || untrained(&files)).await.map_err(SeedError::Thread)?;
    let (bank, tensors) = untrained.map_err(SeedError::Base)?;
    let base = lake.bases().put(&listed).await.map_err(failed)?;
    let zero = if let Some(name) = lake.generations().find(Generation::ZERO).await.map_err(failed)? {
        let found = lake.generations().manifest(&name).await.map_err(failed)?.base;
        if found != base {
            return Err(SeedError::OtherBase { generation: name, found, given: base });
        }
        name
    } else {
        let manifest = zero(base, tensors, &bank, now);
        lake.generations().publish(&manifest, &[(SLOW_FILE.to_owned(), bank)]).await.map_err(failed)?
    };
    let draft = LedgerDraft {
        action: LedgerAction::Begin,
        generation: zero,
        time: now,
        actor: "nocturne".to_owned(),
        reason: "the base, before its first night".to_owned(),
        night: None,
    };
    match lake.ledger(channel).append(&draft, Expect::Empty).await {
        Ok(entry) => Ok(Seeded { serving: entry.generation, begun: true }),
        Err(AppendError::Conflict { head, .. }) => Ok(Seeded { serving: head.generation, begun: false }),
        Err(source) => Err(SeedError::Ledger { channel: channel.to_owned(), source }),
    }
}

type Tensors = Vec<nocturne_wire::manifest::TensorEntry>;

fn untrained(files: &BTreeMap<String, Bytes>) -> Result<(Bytes, Tensors), ModelError> {
    let base = hope::load_base(files)?;
    let bank = base.untrained_banks()?;
    let tensors = nocturne_model::tensors::entries(&bank, SLOW_BANK)?;
    Ok((bank.into(), tensors))
}

fn zero(base: Sha256Hex, tensors: Tensors, bank: &Bytes, now: Timestamp) -> Manifest {
    let file = FileEntry { path: SLOW_FILE.to_owned(), bytes: bank.len() as u64, sha256: Sha256Hex::of(bank) };
    Manifest {
        version: MANIFEST_VERSION,
        number: Generation::ZERO,
        content: Manifest::content_of(&tensors),
        base,
        parent: None,
        night: None,
        created: now,
        tensors,
        files: vec![file],
        batches: Vec::new(),
        optimizer: None,
    }
}
