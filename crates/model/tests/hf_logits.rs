//! Imported checkpoints against transformers: small random models of every family, saved by it, give the same logits here.
#![allow(clippy::unwrap_used, reason = "a test that panics says what it found")]

use std::{collections::BTreeMap, fs, path::Path, sync::Arc};

use burn::tensor::Device;
use nocturne_model::{
    Banks, Base, Decoder, SessionState, Tokenizer, Weights,
    import::{Files, Imported, SlowBanks, convert},
    model::SlowBank,
    params,
    tensors::{self, SLOW, Tensors},
};
use nocturne_support::{Reference, or_skip};
use serde::Deserialize;

#[derive(Deserialize)]
struct Said {
    ids: Vec<u32>,
    logits: Vec<f32>,
}

fn files(folder: &Path) -> Files {
    let entry = |entry: fs::DirEntry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap());
    fs::read_dir(folder).unwrap().map(|found| entry(found.unwrap())).collect()
}

fn worst(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// Logits of every position by decoding, after the model went through its files.
fn decoded(imported: &Imported, ids: &[u32]) -> Vec<f32> {
    let tokenizer = Tokenizer::train(["a b"; 2].into_iter(), 96).unwrap();
    let bytes = tensors::write_as("model", &imported.tensors, imported.precision).unwrap();
    let read = tensors::read("model", &bytes).unwrap();
    assert_eq!(read, imported.tensors, "nothing is lost on disk");
    let mut config = imported.config.clone();
    config.vocab = config.vocab.max(tokenizer.vocab());
    let pad = |tensors: &mut Tensors, name: &str| {
        if let Some(values) = tensors.get_mut(name) {
            values.data.resize(config.vocab * config.width, 0.0);
            values.shape[0] = config.vocab;
        }
    };
    let mut padded = read;
    pad(&mut padded, "embed");
    pad(&mut padded, "head");
    let base = Arc::new(Base::assemble(config.clone(), tokenizer, padded).unwrap());
    let banks = Banks::load(&base, &base.untrained_banks().unwrap()).unwrap();
    let weights = Weights::new(Arc::clone(&base), banks);
    let logits = Decoder::new(&base).prefill_all(&weights, &mut SessionState::new(&base), ids);
    logits.chunks_exact(config.vocab).flat_map(|row| row[..imported.config.vocab].to_vec()).collect()
}

/// The same by the module that is trained.
fn trained(imported: &Imported, ids: &[u32]) -> Vec<f32> {
    let config = &imported.config;
    let mut all = params::collect(config, &nocturne_model::Model::new(config, 1, &Device::flex()));
    all.retain(|name, _| name.contains(SLOW));
    all.extend(imported.tensors.clone());
    let model = params::load(config, "test", &all, &Device::flex()).unwrap();
    let hidden = model.hidden(&Arc::new(ids.to_vec()), 1, SlowBank::On);
    hidden.matmul(model.head_matrix().transpose().unsqueeze()).into_data().try_to_vec().unwrap()
}

#[test]
fn imported_models_give_the_logits_of_transformers() {
    let reference = or_skip!(Reference::install());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    let said = reference.run(include_str!("hf/models.py"), &[path]).unwrap_or_else(|absent| panic!("{absent}"));
    let said: BTreeMap<String, Said> = serde_json::from_str(&said).unwrap();
    assert_eq!(said.len(), 13 + 4 * 3);
    for (name, said) in said {
        let files = files(&folder.path().join(&name));
        for slow in ["stack=1-2", "add=16", "add=8@last:1"] {
            let imported = convert(&name, &files, files.clone(), &slow.parse::<SlowBanks>().unwrap()).unwrap();
            for (how, logits) in [("decoded", decoded(&imported, &said.ids)), ("trained", trained(&imported, &said.ids))] {
                let error = worst(&logits, &said.logits);
                assert!(error < 1e-4, "{name}, {slow}, {how}: {error}");
            }
        }
    }
}
