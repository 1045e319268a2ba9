//! The lake: everything the project writes to object storage, under one rule.
//!
//! **Objects are immutable and are created at most once; a name carries a sequence that only grows.** Create-if-absent exists on
//! every store, compare-and-swap does not; so every decision that could race is the creation of one object, and whoever gets
//! [`LakeError::AlreadyExists`] has lost and re-reads. There is no catalog and no lock: what a listing shows is committed.
//!
//! | handle | commit record |
//! |---|---|
//! | [`Batches`] | the batch itself |
//! | [`Ledger`] | the entry with the next sequence |
//! | [`Generations`] | the manifest, written after everything that it lists |
//! | [`Bases`] | none: the folder's name is the digest of all its files |
//! | [`Epochs`] | the epoch with the next sequence |
//! | [`Rewrites`] | the claim with the partition's next sequence, then the batch that takes the others' place |
//! | [`Erasures`] | the erasure with the next sequence |
//! | [`Nights`] | each object for itself |
//!
//! Bytes in, bytes out: the lake knows nothing of Parquet or tensors, and verifies by digest. Names are spelled by
//! [`nocturne_wire::path`] only.

mod bases;
mod batches;
mod epochs;
mod erasures;
mod error;
mod folder;
mod generations;
mod lake;
mod ledger;
mod local;
mod mortal;
mod nights;
mod probe;
mod remote;
mod rewrites;
#[cfg(test)]
mod tests;

pub use bases::Bases;
pub use batches::{Auditable, BatchPaths, Batches, StoredBatch};
pub use bytes::Bytes;
pub use epochs::Epochs;
pub use erasures::Erasures;
pub use error::LakeError;
pub use generations::{Generations, Verified};
pub use lake::{Lake, Object};
pub use ledger::{AppendError, Expect, Ledger, LedgerDraft};
pub use nights::Nights;
pub use rewrites::Rewrites;

/// The lake's outcome.
pub type Result<T, E = LakeError> = std::result::Result<T, E>;
