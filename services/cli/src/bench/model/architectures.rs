//! The architectures of this build: blocks of one mixer each, everything else equal.

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use anyhow::Context;
use clap::Args;
use nocturne_model::{
    Banks, Base, Decoder, DeviceName, ModelConfig, SessionState, StepInput, Tokenizer, Weights,
    config::{HeadConfig, MixerConfig},
    model::SlowBank,
    optim, presets,
    tensors::{SLOW, Tensors},
    train::{Aim, Lesson, Row, Trainer},
};
use nocturne_synthetic::{Example, Readout, Tally, Task};
use serde_json::json;

use super::learner::{Architectures, Learner, Score, Speed};
use crate::{
    bench::{rate, rate_of},
    failure::{Advise, refused},
};

/// Extents of every model that is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Args)]
pub(super) struct Size {
    /// Channels of every model; heads have 32 each, perceptrons twice as many hidden ones
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = width)]
    pub(super) width: usize,
    /// Blocks of every model
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=64))]
    pub(super) blocks: usize,
}

/// Channels of a head.
const HEAD: usize = 32;

fn width(text: &str) -> Result<usize, String> {
    let width: usize = text.parse().map_err(|_| format!("`{text}` is no number"))?;
    let sound = width > 0 && width.is_multiple_of(HEAD) && width <= 4096;
    if sound { Ok(width) } else { Err(format!("a width is a multiple of {HEAD}, up to 4096")) }
}

/// The vocabulary where speed is measured.
const SPEED_VOCABULARY: usize = 512;

/// All that can be measured, training on a device.
pub(super) fn all(size: Size, own: Own, device: DeviceName, weight_decay: f32) -> Box<dyn Architectures> {
    Box::new(Mixers { size, own, device, weight_decay })
}

/// Mixers that somebody sets up, by name.
pub(super) type Own = BTreeMap<String, MixerConfig>;

/// Reads mixers: a TOML table each, as `mixer` in a recipe.
pub(super) fn read_own(file: &Path) -> anyhow::Result<Own> {
    let hint = "each table names a mixer, as [mine] with kind = \"attention\" and what else a recipe's mixer has";
    let doing = || format!("reading mixers from {}", file.display());
    let text = std::fs::read_to_string(file).advise(doing(), hint)?;
    toml::from_str(&text).advise(doing(), hint)
}

/// The mixers of [`presets`] and one's own.
struct Mixers {
    size: Size,
    own: Own,
    device: DeviceName,
    weight_decay: f32,
}

impl Mixers {
    fn trainer(&self, config: &ModelConfig, seed: u64) -> anyhow::Result<Trainer> {
        Ok(Trainer::base(config, seed, optim::for_comparison(self.weight_decay)).on(&self.device.open()?))
    }

    fn config(&self, architecture: &str, vocab: usize) -> anyhow::Result<ModelConfig> {
        let Size { width, blocks } = self.size;
        let mixer = self
            .own
            .get(architecture)
            .cloned()
            .or_else(|| presets::mixer(architecture, width, width / HEAD))
            .ok_or_else(|| {
                refused(format!("there is no architecture {architecture}"), format!("choose from {}", self.names().join(", ")))
            })?;
        let config = presets::model(architecture, &mixer, vocab, width, blocks, 2 * width);
        config.check()?;
        Ok(config)
    }

    fn config_for(&self, architecture: &str, task: &Task) -> anyhow::Result<ModelConfig> {
        let mut config = self.config(architecture, task.vocab())?;
        if task.readout() == Readout::FromLast {
            config.head = HeadConfig::FromLast { positions: task.longest() };
        }
        Ok(config)
    }
}

impl Architectures for Mixers {
    fn names(&self) -> Vec<String> {
        presets::MIXERS.map(str::to_owned).into_iter().chain(self.own.keys().cloned()).collect()
    }

    fn settings(&self, architecture: &str, task: &Task) -> serde_json::Value {
        let config = self.config_for(architecture, task).ok();
        let optimizer = format!(
            "AdamW, beta 0.9 and 0.98, weight decay {} on matrices, the gradient of each parameter cut to a norm of 1",
            self.weight_decay
        );
        json!({"config": config, "device": self.device, "optimizer": optimizer})
    }

    fn learner(&self, architecture: &str, task: &Task, seed: u64) -> anyhow::Result<Box<dyn Learner>> {
        let config = self.config_for(architecture, task)?;
        Ok(Box::new(Student(self.trainer(&config, seed)?)))
    }

    fn speed_settings(&self, architecture: &str) -> serde_json::Value {
        json!({"config": self.config(architecture, SPEED_VOCABULARY).ok(), "device": self.device, "tokens_a_step": STEP_TOKENS})
    }

    fn speed(&self, architecture: &str, context: usize) -> anyhow::Result<Speed> {
        let config = self.config(architecture, SPEED_VOCABULARY)?;
        let mut trainer = self.trainer(&config, 1)?;
        let training = (context <= STEP_TOKENS).then(|| training_speed(&mut trainer, context));
        if self.device != DeviceName::Flex {
            // Decoding is the CPU's own: its figures would stand under another device's name.
            return Ok(Speed { training, reading: None, generating: None });
        }
        let (reading, generating) = decoding_speed(&config, trainer.tensors(), context)?;
        Ok(Speed { training, reading: Some(reading), generating: Some(generating) })
    }
}

/// A model in training.
struct Student(Trainer);

fn row(example: &Example) -> Row {
    let aim = |aim: &nocturne_synthetic::Aim| Aim {
        position: aim.position,
        lesson: Lesson::Token(aim.target),
        weight: 1.0,
        counted: true,
    };
    Row { ids: example.ids.clone(), aims: example.aims.iter().map(aim).collect(), quiet: 0.0 }
}

impl Learner for Student {
    fn parameters(&self) -> u64 {
        self.0.parameters() as u64
    }

    fn step(&mut self, examples: &[Example], rate: f64) -> anyhow::Result<f64> {
        let rows: Vec<Row> = examples.iter().map(row).collect();
        Ok(self.0.step(&rows, rate, SlowBank::On).loss)
    }

    fn score(&mut self, examples: &[Example]) -> anyhow::Result<Score> {
        let rows: Vec<Row> = examples.iter().map(row).collect();
        let mut score = Score::default();
        for (example, predicted) in examples.iter().zip(self.0.predict(&rows, SlowBank::On)) {
            let mut tally = Tally::default();
            let tokens: Vec<u32> = predicted.iter().map(|p| p.token).collect();
            tally.add(example, &tokens);
            score.tally.merge(&tally);
            score.loss += predicted.iter().map(|p| f64::from(p.nats)).sum::<f64>();
        }
        Ok(score)
    }
}

/// Tokens that a step trains on, and that are read, where speed is measured.
const STEP_TOKENS: usize = 4_096;

/// Tokens that are generated after a context.
const GENERATED: usize = 64;

/// What is measured runs at least so long.
const LEAST: Duration = Duration::from_millis(1_500);

fn tokens(count: usize, salt: usize) -> Vec<u32> {
    (0..count).map(|n| ((n * 7_919 + salt * 104_729) % SPEED_VOCABULARY) as u32).collect()
}

fn training_speed(trainer: &mut Trainer, context: usize) -> f64 {
    let aims = |length: usize| {
        (0..length as u32 - 1).map(|position| Aim { position, lesson: Lesson::Next, weight: 1.0, counted: false })
    };
    let count = (STEP_TOKENS / context).max(1);
    let rows: Vec<Row> = (0..count).map(|n| Row { ids: tokens(context, n), aims: aims(context).collect(), quiet: 0.0 }).collect();
    rate(count * context, LEAST, || {
        trainer.step(&rows, 1e-3, SlowBank::On);
    })
}

/// Tokens a second of reading a context, and of going on after it one by one.
fn decoding_speed(config: &ModelConfig, tensors: Tensors, context: usize) -> anyhow::Result<(f64, f64)> {
    let tokenizer = Tokenizer::train(["a b c"; 2].into_iter(), 300).context("making a tokenizer")?;
    let (slow, frozen): (Tensors, Tensors) = tensors.into_iter().partition(|(name, _)| name.contains(SLOW));
    let base = Arc::new(Base::assemble(config.clone(), tokenizer, frozen).context("assembling the model")?);
    let banks = Banks::from_tensors(&base, &slow).context("assembling the model")?;
    let weights = Weights::new(Arc::clone(&base), banks);
    let mut decoder = Decoder::new(&base);
    let prompt = tokens(context, 0);
    let mut read = SessionState::new(&base);
    let reading = rate(context, LEAST, || {
        read = SessionState::new(&base);
        decoder.prefill(&weights, &mut read, &prompt);
    });
    let generating = rate_of(
        GENERATED,
        LEAST,
        || read.clone(),
        |mut state| {
            for n in 0..GENERATED {
                decoder.step(&weights, &mut [StepInput { state: &mut state, token: (n % SPEED_VOCABULARY) as u32 }]);
            }
        },
    );
    Ok((reading, generating))
}

#[cfg(test)]
mod tests {
    use nocturne_synthetic::catalog;

    use super::*;

    /// Not a pretended learner: a real architecture learns a real task, in the seconds that a test may take.
    #[test]
    fn an_architecture_learns_what_a_task_asks() {
        let task = Task::new("memorization", catalog::find("memorization").expect("a task")).expect("sound");
        let architectures = all(Size { width: 32, blocks: 1 }, Own::new(), DeviceName::Flex, 0.01);
        let mut learner = architectures.learner("gated-delta", &task, 1).expect("a learner");
        let examples = task.train(1, 8);
        let before = learner.score(&examples).expect("scored");
        for _ in 0..30 {
            learner.step(&examples, 5e-3).expect("a step");
        }
        let after = learner.score(&examples).expect("scored");
        assert!(after.loss < 0.5 * before.loss, "{} after {}", after.loss, before.loss);
        assert!(learner.parameters() > 10_000);
    }

    #[test]
    fn sizes_are_what_is_built() {
        let mixers =
            Mixers { size: Size { width: 96, blocks: 3 }, own: Own::new(), device: DeviceName::Flex, weight_decay: 0.01 };
        for name in mixers.names() {
            let config = mixers.config(&name, 64).expect("a sound configuration");
            assert_eq!((config.width, config.blocks.len()), (96, 3), "{name}");
        }
        assert!(width("33").is_err() && width("0").is_err() && width("128") == Ok(128));
    }
}
