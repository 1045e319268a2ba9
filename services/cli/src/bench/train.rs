//! Training slow banks, in the steps of a night.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::Context;
use bytes::Bytes;
use nocturne_model::{DeviceName, tensors};
use nocturne_sleep::SampleNight;
use serde::Serialize;

use crate::bases;

/// How long is measured, after two steps of warming up.
const MEASURE: Duration = Duration::from_secs(10);
const WARM_UP: usize = 2;

/// Training speed.
#[derive(Debug, Serialize)]
pub(super) struct Figures {
    tokens_per_second: f64,
    steps: u64,
    tokens_a_step: f64,
    device: DeviceName,
}

impl Figures {
    pub(super) fn row(&self) -> [String; 3] {
        let how = format!("{} steps of {:.0} tokens on {}", self.steps, self.tokens_a_step, self.device);
        ["training slow banks".to_owned(), format!("{:.0} tokens/s", self.tokens_per_second), how]
    }
}

pub(super) fn measure(files: &BTreeMap<String, Bytes>, device: DeviceName) -> anyhow::Result<Figures> {
    let base = bases::load(files)?;
    let rehearsal = files.get("rehearsal.jsonl").context("the base has no rehearsal set")?;
    let mut tensors = base.tensors().clone();
    tensors.extend(tensors::read("the untrained banks", &base.untrained_banks()?)?);
    let night = SampleNight::new(rehearsal, base.config(), &tensors, base.writing());
    let mut night = night.context("preparing a night's training")?.on(&device.open()?);
    for _ in 0..WARM_UP {
        night.step(base.writing())?;
    }
    let (mut steps, mut tokens, begun) = (0, 0, Instant::now());
    while begun.elapsed() < MEASURE {
        tokens += night.step(base.writing())?.tokens;
        steps += 1;
    }
    let seconds = begun.elapsed().as_secs_f64();
    Ok(Figures { tokens_per_second: tokens as f64 / seconds, steps, tokens_a_step: tokens as f64 / steps as f64, device })
}
