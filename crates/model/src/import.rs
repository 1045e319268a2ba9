//! Checkpoints of others: what Hugging Face's folders hold, read and checked.
//!
//! Everything here comes from strangers. A file is parsed into a plain value, or refused with what would have been taken; nothing of it runs
//! but the chat template, whose engine can load nothing and whose work is bounded.

use std::collections::BTreeMap;

pub mod checkpoint;
pub mod config;
pub mod convert;
pub mod error;
pub mod settings;
pub mod template;

pub use checkpoint::{Checkpoint, Source};
pub use config::{Family, Foreign, Rope, RopeScaling};
pub use convert::{Imported, Layers, SlowBanks, convert};
pub use error::ImportError;
pub use settings::Settings;
pub use template::{ChatTemplate, TemplateSource};

/// The small files of a checkpoint by name; a file that is not there is no entry.
pub type Files = BTreeMap<String, Vec<u8>>;

/// The files that an import asks for, besides those that hold tensors.
pub const FILES: [&str; 7] = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "chat_template.json",
];
