//! Sessions that learn as bytes: cut and saved anywhere they go on the same, and what is not one is refused.
#![allow(clippy::unwrap_used, reason = "a test that panics says what it found")]

mod common;

use std::collections::BTreeMap;

use burn::tensor::Device;
use nocturne_model::{
    config::{MixerConfig, Wiring},
    online::{Online, OnlineSettings},
};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use self::common::online::{config, every, ids, name, online, tensors, weights};

#[test]
fn a_stream_may_be_cut_anywhere_and_saved_anywhere() {
    for config in every() {
        let online = online(&config, 0.05);
        let ids = ids(41);
        let mut whole = online.begin();
        let expected = online.read(&mut whole, &ids);
        for cuts in [vec![1], vec![6], vec![5, 7, 30], (1..41).collect()] {
            let mut session = online.begin();
            let (mut from, mut logits) = (0, Vec::new());
            for to in cuts.iter().copied().chain([ids.len()]) {
                logits = online.read(&mut session, &ids[from..to]);
                session = online.restore(&session.to_bytes().unwrap()).unwrap();
                from = to;
            }
            assert_eq!(logits, expected, "{} cut at {cuts:?}", name(&config));
            assert_eq!(weights(&session), weights(&whole), "{} cut at {cuts:?}", name(&config));
            let same = session.to_bytes().unwrap() == whole.to_bytes().unwrap();
            assert!(same, "{} cut at {cuts:?}: every number of the state", name(&config));
        }
    }
}

/// What windows do not show any more is not kept: a stream may be of any length.
#[test]
fn a_stream_keeps_no_more_than_its_windows_show() {
    for mixer in ["titans-mag", "titans-mal", "attention"] {
        let mut config = config(mixer, Wiring::Independent);
        for block in &mut config.blocks {
            if let MixerConfig::Attention(c) = &mut block.mixer {
                c.window = Some(20);
            }
        }
        let online = online(&config, 0.05);
        let (mut short, mut long) = (online.begin(), online.begin());
        online.read(&mut short, &ids(72));
        online.read(&mut long, &ids(360));
        let [short, long] = [short, long].map(|session| session.to_bytes().unwrap());
        assert!(long.len() < short.len() + 64, "{mixer}: {} bytes after 72 tokens, {} after 360", short.len(), long.len());
        online.restore(&long).unwrap();
    }
}

/// Equal banks under another mixer, and the same configuration after a night.
#[test]
fn a_session_of_another_model_is_refused() {
    let of = |mixer| config(mixer, Wiring::Independent);
    let mut foreign = online(&of("hope"), 0.05).begin();
    online(&of("hope"), 0.05).read(&mut foreign, &ids(9));
    let bytes = foreign.to_bytes().unwrap();
    online(&of("hope"), 0.05).restore(&bytes).unwrap();
    assert!(online(&of("titans"), 0.05).restore(&bytes).is_err(), "of another mixer");
    let mut learned = tensors(&of("hope"));
    learned.get_mut("blocks.0.cms.slow.down").unwrap().data[0] += 0.1;
    let settings = OnlineSettings { rate: 0.05, rates: BTreeMap::new(), clip: None };
    let next = Online::new(&of("hope"), &learned, settings, &Device::flex()).unwrap();
    assert!(next.restore(&bytes).is_err(), "of another generation");
}

/// A saved session that can be damaged.
struct Saved {
    counts: serde_json::Value,
    tensors: BTreeMap<String, (Vec<usize>, Vec<u8>)>,
}

impl Saved {
    fn of(online: &Online, tokens: usize) -> Self {
        let mut session = online.begin();
        online.read(&mut session, &ids(tokens));
        let bytes = session.to_bytes().unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let metadata = SafeTensors::read_metadata(&bytes).unwrap().1.metadata().clone().unwrap();
        let tensors = file.iter().map(|(name, view)| (name.to_owned(), (view.shape().to_vec(), view.data().to_vec())));
        Self { counts: serde_json::from_str(&metadata["session"]).unwrap(), tensors: tensors.collect() }
    }

    fn is_taken(&self, online: &Online) -> bool {
        let views =
            self.tensors.iter().map(|(name, (shape, data))| (name, TensorView::new(Dtype::F32, shape.clone(), data).unwrap()));
        let counts = [("session".to_owned(), self.counts.to_string())].into();
        online.restore(&safetensors::serialize(views, Some(counts)).unwrap()).is_ok()
    }

    fn with(&self, place: &str, value: serde_json::Value) -> Self {
        let mut counts = self.counts.clone();
        *counts.pointer_mut(place).unwrap() = value;
        Self { counts, tensors: self.tensors.clone() }
    }

    fn without(&self, names: &[&str]) -> Self {
        let kept = self.tensors.iter().filter(|(name, _)| !names.contains(&name.as_str()));
        Self { counts: self.counts.clone(), tensors: kept.map(|(n, t)| (n.clone(), t.clone())).collect() }
    }

    /// With one row less along one axis of a tensor.
    fn narrowed(&self, name: &str, axis: usize) -> Option<Self> {
        let mut tensors = self.tensors.clone();
        let (shape, data) = tensors.get_mut(name)?;
        shape[axis] -= 1;
        data.truncate(4 * shape.iter().product::<usize>());
        Some(Self { counts: self.counts.clone(), tensors })
    }
}

#[test]
fn a_session_in_which_one_thing_is_not_as_it_was_saved_is_refused() {
    for config in every() {
        let (online, config) = (online(&config, 0.05), name(&config));
        // Within a period and at the end of one.
        for tokens in [21, 25] {
            let saved = Saved::of(&online, tokens);
            assert!(saved.is_taken(&online), "{config}");
            for (place, values) in [
                ("/tokens/0", vec![40_u64]),
                ("/blocks/0/position", vec![0, 6, 12, 17, 1 << 50, u64::MAX]),
                ("/blocks/0/filled", vec![1 << 40]),
                ("/blocks/0/banks/0", vec![1]),
                ("/levels/0/counted", vec![5, 6, 1 << 30]),
                ("/levels/1/fired", vec![0, 9, u64::MAX]),
                ("/levels/1/skipped", vec![9, u64::MAX]),
            ] {
                for value in values {
                    let damaged = saved.with(place, value.into());
                    assert!(!damaged.is_taken(&online), "{config}, {tokens} tokens, {place} is {value}");
                }
            }
            for name in saved.tensors.keys() {
                assert!(!saved.without(&[name]).is_taken(&online), "{config}, {tokens} tokens, without {name}");
                for axis in 0..saved.tensors[name].0.len() {
                    let narrowed = saved.narrowed(name, axis).unwrap();
                    assert!(!narrowed.is_taken(&online), "{config}, {tokens} tokens, {name} cut along {axis}");
                }
            }
            let seen = ["stream.0.keys", "stream.0.values"];
            if saved.tensors.contains_key(seen[0]) {
                assert!(!saved.without(&seen).is_taken(&online), "{config}, {tokens} tokens, without {seen:?}");
            }
        }
    }
}
