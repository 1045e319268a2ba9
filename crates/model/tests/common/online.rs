//! Models whose sessions learn.

use std::collections::BTreeMap;

use burn::tensor::Device;
use nocturne_model::{
    Model, ModelConfig,
    config::{BankConfig, BankShape, Wiring},
    kernels::mlp::Activation,
    online::{Online, OnlineSettings, Session},
    params, presets,
    tensors::Tensors,
};
use nocturne_wire::manifest::Period;

pub(crate) const FAST: u32 = 6;
pub(crate) const MIDDLE: u32 = 12;

pub(crate) fn config(mixer: &str, wiring: Wiring) -> ModelConfig {
    let mixer = presets::mixer(mixer, 16, 2).unwrap();
    let mut config = presets::model("test", &mixer, 40, 16, 2, 0);
    let bank = |name, period| BankConfig::perceptron(name, period, 12, Activation::Silu);
    let banks = [
        bank("quick", Period::Tokens(FAST)),
        bank("day", Period::Tokens(MIDDLE)),
        bank("slow", Period::Night),
        bank("frozen", Period::Never),
    ];
    // A nest ends with what nights change.
    let banks = if wiring == Wiring::Nested { &banks[..3] } else { &banks };
    for block in &mut config.blocks {
        block.cms.wiring = wiring;
        block.cms.banks = banks.to_vec();
    }
    config.check().unwrap();
    config
}

pub(crate) fn tensors(config: &ModelConfig) -> Tensors {
    let mut tensors = params::collect(config, &Model::new(config, 5, &Device::flex()));
    for (n, values) in tensors.values_mut().enumerate() {
        values.data.iter_mut().enumerate().for_each(|(i, x)| *x += ((i * 7 + n) as f32).sin() * 0.05);
    }
    tensors
}

pub(crate) fn online(config: &ModelConfig, rate: f32) -> Online {
    Online::new(config, &tensors(config), OnlineSettings { rate, rates: BTreeMap::new(), clip: None }, &Device::flex()).unwrap()
}

pub(crate) fn ids(count: usize) -> Vec<u32> {
    (0..count).map(|n| (n * n * 7 + n * 3) as u32 % 40).collect()
}

/// All weights of all in-session banks.
pub(crate) fn weights(session: &Session) -> Vec<f32> {
    session.banks().into_iter().flat_map(|(_, bank)| bank.values().flat_map(|v| v.data.clone()).collect::<Vec<_>>()).collect()
}

pub(crate) fn worst(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// Every mixer in the chain, both other wirings once, and a linear memory beside banks that learn by gradients.
pub(crate) fn every() -> Vec<ModelConfig> {
    let mut all: Vec<ModelConfig> = presets::MIXERS.iter().map(|name| config(name, Wiring::Sequential)).collect();
    all.extend([config("gated-delta", Wiring::Independent), config("attention", Wiring::Nested), remembering()]);
    all
}

pub(crate) fn remembering() -> ModelConfig {
    let mut config = config("deltanet", Wiring::Sequential);
    let memory = BankConfig { name: "fast".into(), period: Period::Tokens(FAST), shape: BankShape::Memory { width: 8 } };
    config.blocks.iter_mut().for_each(|block| block.cms.banks.push(memory.clone()));
    config.check().unwrap();
    config
}

pub(crate) fn name(config: &ModelConfig) -> String {
    format!("{} {:?}", config.blocks[0].mixer.name(), config.blocks[0].cms.wiring)
}
