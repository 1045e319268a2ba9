//! The six tasks of mechanistic architecture design (MAD, arXiv 2403.17844), as its published generators draw them where they and the paper differ.
//!
//! Recall tasks are trained on the next token everywhere and scored only where the sequence has determined it; `every_token` says whether training does so
//! here. The published sets have 12,800 sequences for training (256 for memorization) and 1,280 for test.

mod compression;
mod copying;
mod fuzzy;
mod memorization;
mod recall;

pub use compression::CompressionSettings;
pub use copying::CopyingSettings;
pub use fuzzy::FuzzySettings;
pub use memorization::MemorizationSettings;
pub use recall::RecallSettings;
