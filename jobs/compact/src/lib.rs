//! Rewriting of what was sealed: small batches into large ones, without what is to be forgotten, up to what may be kept.
//!
//! A run is a process of its own and may die at any step: it claims what it is about to do ([`nocturne_wire::rewrite`]), writes the batch that takes the
//! others' place, and removes those. Whoever runs next finishes what was claimed. Readers see every offset once at any moment; only those that glob the
//! store without looking at names can meet a batch and its successor side by side, for as long as the removal takes.
//!
//! * [`Rewriter::compact`]: runs of small batches become large ones, sorted by tenant, subject and session.
//! * [`Rewriter::erase`], [`Rewriter::apply_erasures`]: batches that hold a forgotten subject are written again without it.
//! * [`Rewriter::retain`]: batches whose newest record is older than allowed are removed.

mod choose;
mod compact;
mod erase;
mod error;
mod retain;
mod rewriter;
mod settings;
#[cfg(test)]
mod tests;

pub use compact::Compacted;
pub use erase::{ErasureReport, Wish};
pub use error::CompactError;
pub use retain::Retained;
pub use rewriter::Rewriter;
pub use settings::CompactSettings;

/// This crate's outcome.
pub type Result<T, E = CompactError> = std::result::Result<T, E>;
