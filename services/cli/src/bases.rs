//! The files of a base model: the one in the binary, or a folder that `nocturne model train` or `nocturne model import` wrote.

use std::{collections::BTreeMap, fs, path::Path};

use bytes::Bytes;
use nocturne_model::{Base, ModelError};

use crate::failure::Advise;

const FILES: [&str; 4] = ["config.json", "tokenizer.json", "model.safetensors", "rehearsal.jsonl"];

/// Reads the base in `dir`, or gives the one that ships.
pub(crate) fn files(dir: Option<&Path>) -> anyhow::Result<BTreeMap<String, Bytes>> {
    let Some(dir) = dir else {
        return Ok(Base::shipped_files().into_iter().map(|(name, bytes)| (name, bytes.into())).collect());
    };
    let read = |name: &str| {
        let path = dir.join(name);
        let hint = "a base is a folder as `nocturne model train --out DIR` writes it";
        let bytes = fs::read(&path).advise(format!("reading {}", path.display()), hint)?;
        Ok((name.to_owned(), bytes.into()))
    };
    let imported = dir.join(CHAT).exists().then_some(CHAT);
    FILES.into_iter().chain(imported).map(read).collect()
}

/// The chat template of an imported base.
pub(crate) const CHAT: &str = "chat.json";

/// Loads a base from its files.
pub(crate) fn load(files: &BTreeMap<String, Bytes>) -> anyhow::Result<Base> {
    let file = |name: &str| files.get(name).map_or(&[][..], |bytes| &bytes[..]);
    let (config, tokenizer, tensors) = (file("config.json"), file("tokenizer.json"), file("model.safetensors"));
    let loaded: Result<Base, ModelError> = match files.get(CHAT) {
        Some(chat) => Base::load_imported(config, tokenizer, chat, tensors),
        None => Base::load(config, tokenizer, tensors),
    };
    loaded.advise("loading the base", "train one with `nocturne model train`, or leave --base out to use the shipped one")
}
