//! The base that ships inside the program, so that the first run needs nothing else.

use std::collections::BTreeMap;

/// The shipped base's files by name: `config.json`, `model.safetensors`, `rehearsal.jsonl`, `tokenizer.json`.
pub(crate) fn files() -> BTreeMap<String, Vec<u8>> {
    let files: [(&str, &[u8]); 4] = [
        ("config.json", include_bytes!("../base/config.json")),
        ("model.safetensors", include_bytes!("../base/model.safetensors")),
        ("rehearsal.jsonl", include_bytes!("../base/rehearsal.jsonl")),
        ("tokenizer.json", include_bytes!("../base/tokenizer.json")),
    ];
    files.into_iter().map(|(name, bytes)| (name.to_owned(), bytes.to_vec())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_base_is_small_and_loads() {
        let files = files();
        let bytes: usize = files.values().map(Vec::len).sum();
        assert!(bytes <= 8_000_000, "{bytes} bytes");
        crate::Base::load(&files["config.json"], &files["tokenizer.json"], &files["model.safetensors"]).expect("loads");
    }
}
