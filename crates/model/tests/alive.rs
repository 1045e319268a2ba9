//! Every bank lives after training: what should change changed, and each bank is heard in the logits.
#![allow(clippy::unwrap_used, reason = "a test that panics says what it found")]

mod common;

use std::sync::Arc;

use burn::tensor::Device;
use nocturne_model::{
    ModelConfig,
    config::{BankConfig, BankShape, Wiring},
    model::SlowBank,
    optim::{self, MuonSettings},
    params, presets,
    tensors::Tensors,
    train::{Aim, Lesson, Row, Trainer},
};
use nocturne_wire::manifest::Period;

use self::common::{config_of, tensors_of, twice_slow};

const STEPS: usize = 6;

fn rows() -> Vec<Row> {
    let row = |first: u32, length: u32| {
        let aims = (0..length - 1).map(|position| Aim { position, lesson: Lesson::Next, weight: 1.0, counted: true });
        Row { ids: (0..length).map(|n| 5 + (first + 7 * n) % 290).collect(), aims: aims.collect(), quiet: 0.0 }
    };
    (0..6).map(|n| row(n, 24 + 3 * n)).collect()
}

fn learned(mut trainer: Trainer, slow: SlowBank) -> Tensors {
    for _ in 0..STEPS {
        trainer.step(&rows(), 1.0, slow);
    }
    trainer.tensors()
}

/// Before the base's training, after it, and after the night that follows.
fn lives(config: &ModelConfig) -> [Tensors; 3] {
    let muon = MuonSettings { rate: 0.02, momentum: 0.9, weight_decay: 0.0 };
    let fresh = tensors_of(config);
    let base = Trainer::base_from(config, &fresh, 7, optim::for_base(muon, 1e-3)).unwrap();
    let base = learned(base, SlowBank::Off);
    let night = Trainer::night(config, &base, optim::for_night(muon)).unwrap();
    let night = learned(night, SlowBank::On);
    [fresh, base, night]
}

fn logits(config: &ModelConfig, tensors: &Tensors) -> Vec<f32> {
    let model = params::load(config, "test", tensors, &Device::flex()).unwrap();
    let ids: Vec<u32> = (0..60).map(|n| (n * 31 % 300) as u32).collect();
    let hidden = model.hidden(&Arc::new(ids), 1, SlowBank::On);
    hidden.matmul(model.head_matrix().transpose().unsqueeze()).into_data().try_to_vec().unwrap()
}

fn norm<'a>(values: impl Iterator<Item = &'a f32>) -> f32 {
    values.map(|x| x * x).sum::<f32>().sqrt()
}

/// How far apart two versions of a bank are, in parts of the first.
fn moved(from: &Tensors, to: &Tensors) -> f32 {
    let apart: Vec<f32> = from.iter().flat_map(|(name, v)| v.data.iter().zip(&to[name].data).map(|(a, b)| a - b)).collect();
    norm(apart.iter()) / norm(from.values().flat_map(|v| &v.data))
}

fn heard(config: &ModelConfig, all: &Tensors, other: &Tensors) -> f32 {
    let changed = all.iter().map(|(name, v)| (name.clone(), other.get(name).unwrap_or(v).clone())).collect();
    let apart: Vec<f32> = logits(config, all).iter().zip(logits(config, &changed)).map(|(a, b)| a - b).collect();
    norm(apart.iter()) / norm(logits(config, all).iter())
}

fn look_at(config: &ModelConfig, block: usize, bank: &BankConfig, [fresh, base, night]: &[Tensors; 3]) {
    let under = format!("blocks.{block}.cms.{}.", bank.name);
    let of = |tensors: &Tensors| -> Tensors {
        tensors.iter().filter(|(name, _)| name.starts_with(&under)).map(|(n, v)| (n.clone(), v.clone())).collect()
    };
    let [fresh, base, after] = [fresh, base, night].map(of);
    let name = format!("{}, {under}", config.name);
    let by_night = bank.period == Period::Night;
    let (changes, stays) = if by_night { ([&base, &after], [&fresh, &base]) } else { ([&fresh, &base], [&base, &after]) };
    assert!(moved(changes[0], changes[1]) > 1e-3, "{name} moved by {}", moved(changes[0], changes[1]));
    assert_eq!(stays[0], stays[1], "{name} moved when it should not");
    let effect = heard(config, night, changes[0]);
    assert!(effect > 1e-5, "{name}: what it learned changes logits by {effect}");
    // Silenced, it is missed: it fires. A memory says nothing before its first chunk is full.
    let mut silent = after.clone();
    let last = if matches!(bank.shape, BankShape::Memory { .. }) { "out" } else { "down" };
    silent.get_mut(&format!("{under}{last}")).unwrap().data.fill(0.0);
    let effect = heard(config, night, &silent);
    assert!(effect > 1e-4, "{name}: without it logits change by {effect}");
}

#[test]
fn every_bank_moves_in_its_own_time_and_is_heard() {
    let wired = [("attention", Wiring::Sequential), ("titans", Wiring::Sequential), ("attention", Wiring::Nested)];
    let all = presets::MIXERS.map(|mixer| (mixer, Wiring::Independent)).into_iter().chain(wired);
    for config in all.map(|(mixer, wiring)| config_of(mixer, wiring)).chain([twice_slow()]) {
        let lives = lives(&config);
        for (block, _, bank) in config.banks() {
            look_at(&config, block, bank, &lives);
        }
    }
}
