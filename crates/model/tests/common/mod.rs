//! Models that tests compare ways and devices over.

#![allow(dead_code, reason = "every test file uses some of it")]
#![allow(clippy::unwrap_used, reason = "a test that panics says what it found")]

pub(crate) mod online;
pub(crate) mod plain;

use burn::tensor::Device;
use nocturne_model::{
    Model, ModelConfig,
    config::{BankConfig, BankShape, MixerConfig, Wiring},
    kernels::mlp::Activation,
    params, presets,
    tensors::Tensors,
};
use nocturne_wire::manifest::Period;

/// Two blocks of one kind, with banks of every kind.
pub(crate) fn config_of(name: &str, wiring: Wiring) -> ModelConfig {
    let mixer = presets::mixer(name, 32, 2).unwrap();
    let mut config = presets::model(&format!("{name} with {wiring:?} banks"), &mixer, 320, 32, 2, 0);
    let memory =
        |period| BankConfig { name: "fast".into(), period: Period::Tokens(period), shape: BankShape::Memory { width: 16 } };
    let mut banks = vec![
        BankConfig::perceptron("session", Period::Tokens(8), 24, Activation::Silu),
        BankConfig::perceptron("slow", Period::Night, 24, Activation::Silu),
        BankConfig::perceptron("frozen", Period::Never, 24, Activation::Silu),
    ];
    if wiring == Wiring::Nested {
        banks.pop();
    } else {
        banks[2].shape = BankShape::Perceptron { hidden: 40, activation: Activation::Silu, gated: true };
        banks.push(memory(8));
    }
    config.blocks.iter_mut().for_each(|block| {
        block.cms.wiring = wiring;
        block.cms.banks.clone_from(&banks);
    });
    config.check().unwrap();
    config
}

/// Every mixer, and every wiring.
pub(crate) fn every() -> Vec<ModelConfig> {
    let mut all: Vec<ModelConfig> = presets::MIXERS.iter().map(|name| config_of(name, Wiring::Independent)).collect();
    all.extend([config_of("gated-delta", Wiring::Sequential), config_of("attention", Wiring::Nested)]);
    all.push(twice_slow());
    let mut llama = config_of("attention", Wiring::Independent);
    llama.name = "attention with everything".into();
    for block in &mut llama.blocks {
        if let MixerConfig::Attention(c) = &mut block.mixer {
            (c.kv_heads, c.window, c.qk_norm, c.qkv_bias, c.out_bias) = (1, Some(20), true, true, true);
        }
    }
    all.push(llama);
    all
}

/// Two banks of a block that nights change.
pub(crate) fn twice_slow() -> ModelConfig {
    let mut config = config_of("gated-delta", Wiring::Independent);
    config.name = "gated-delta with two nightly banks".into();
    let second = BankConfig::perceptron("slow_wide", Period::Night, 30, Activation::SquaredRelu);
    config.blocks.iter_mut().for_each(|block| block.cms.banks.push(second.clone()));
    config.check().unwrap();
    config
}

/// A random model in which nothing is at the zero or the one that it begins with, so that everything is seen.
pub(crate) fn tensors_of(config: &ModelConfig) -> Tensors {
    let mut tensors = params::collect(config, &Model::new(config, 5, &Device::flex()));
    for (n, values) in tensors.values_mut().enumerate() {
        values.data.iter_mut().enumerate().for_each(|(i, x)| *x += ((i * 7 + n) as f32).sin() * 0.03);
    }
    tensors
}
