//! What a memory carries from one token to later ones, where nothing else does: one block, no banks beside it, and places that neither a convolution nor a window
//! reaches.
#![allow(clippy::unwrap_used, reason = "a test that panics says what it found")]

mod common;

use std::sync::Arc;

use burn::tensor::Device;
use nocturne_model::{ModelConfig, config::MixerConfig, model::SlowBank, ops::Way, params, presets, tensors::Tensors};

use self::common::tensors_of;

const TOKENS: usize = 112;
/// Past the convolution, the segment and the window of every preset.
const REACH: usize = 64;

fn ids() -> Vec<u32> {
    (0..TOKENS).map(|n| (n * 37 % 300) as u32).collect()
}

fn memories() -> impl Iterator<Item = ModelConfig> {
    let names = presets::MIXERS.into_iter().filter(|name| *name != "attention");
    names.map(|name| presets::model(name, &presets::mixer(name, 32, 2).unwrap(), 320, 32, 1, 0))
}

fn logits(config: &ModelConfig, tensors: &Tensors, ids: &[u32], way: Way) -> Vec<Vec<f32>> {
    let model = params::load(config, "test", tensors, &Device::flex()).unwrap().by(way);
    let hidden = model.hidden(&Arc::new(ids.to_vec()), 1, SlowBank::On);
    let all: Vec<f32> = hidden.matmul(model.head_matrix().transpose().unsqueeze()).into_data().try_to_vec().unwrap();
    all.chunks(config.vocab).map(<[_]>::to_vec).collect()
}

/// Of the places that only a memory reaches from a token, how many hear of it.
fn heard(config: &ModelConfig, tensors: &Tensors, at: usize, way: Way) -> usize {
    let mut changed = ids();
    changed[at] = 299;
    let [before, after] = [ids(), changed].map(|ids| logits(config, tensors, &ids, way));
    assert_eq!(before[..at], after[..at], "{}: a token before {at} sees it", config.name);
    (at + REACH..TOKENS).filter(|t| before[*t] != after[*t]).count()
}

#[test]
fn a_memory_alone_carries_a_token_on_and_never_back() {
    for config in memories() {
        let tensors = tensors_of(&config);
        for way in [Way::Fused, Way::Composed] {
            // At the borders of chunks and inside them.
            for at in [0, 7, 15, 16, 31, 32] {
                let (heard, all) = (heard(&config, &tensors, at, way), TOKENS - at - REACH);
                assert!(heard > all / 2, "{}, {way:?}: token {at} is heard at {heard} of {all} places", config.name);
            }
        }
    }
}

/// With steps of zero, and nothing in the memory to begin with, nothing is carried: to the last bit.
#[test]
fn a_memory_without_a_step_carries_nothing() {
    for mut config in memories() {
        let kept = match &mut config.blocks[0].mixer {
            MixerConfig::Titans(c) => {
                c.max_step = 0.0;
                "memory"
            }
            MixerConfig::Hope(c) => {
                c.max_step = 0.0;
                "boxes"
            }
            _ => continue,
        };
        let mut tensors = tensors_of(&config);
        let found: Vec<_> = tensors.iter_mut().filter(|(of, _)| of.ends_with(&format!(".{kept}"))).collect();
        assert_eq!(found.len(), 1, "{}: {kept}", config.name);
        found.into_iter().for_each(|(_, values)| values.data.fill(0.0));
        for way in [Way::Fused, Way::Composed] {
            assert_eq!(heard(&config, &tensors, 16, way), 0, "{}, {way:?}", config.name);
        }
    }
}
