//! The files of a base model: the one in the binary, or a folder that `nocturne model train` or `nocturne model import` wrote.

use std::{collections::BTreeMap, fs, path::Path};

use bytes::Bytes;
use nocturne_model::{Base, decode::CHAT_FILE};

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
    let imported = dir.join(CHAT_FILE).exists().then_some(CHAT_FILE);
    FILES.into_iter().chain(imported).map(read).collect()
}

/// Loads a base from its files.
pub(crate) fn load(files: &BTreeMap<String, Bytes>) -> anyhow::Result<Base> {
    let loaded = Base::from_files(|name| files.get(name).map(|bytes| &bytes[..]));
    loaded.advise("loading the base", "train one with `nocturne model train`, or leave --base out to use the shipped one")
}
