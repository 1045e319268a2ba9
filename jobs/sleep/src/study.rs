//! What a training step is made of, and the steps.

mod draw;
mod material;
mod sample;
mod settings;

use std::time::Instant;

use jiff::Timestamp;
use nocturne_columns::MetricRow;
use nocturne_model::{
    ModelConfig, Tokenizer,
    model::SlowBank,
    optim,
    tensors::Tensors,
    train::{StepStats, Trainer},
};
use nocturne_wire::{Sha256Hex, plan};

pub use self::sample::SampleNight;
pub(crate) use self::settings::StudySettings;
use self::{draw::Draw, material::Material};
use crate::{distill::Distilled, error::SleepError, history::History, rehearsal::Rehearsal};

/// What training gave.
#[derive(Debug)]
pub(crate) struct Studied {
    /// All tensors afterwards.
    pub(crate) tensors: Tensors,
    /// Curves.
    pub(crate) metrics: Vec<MetricRow>,
    /// Steps.
    pub(crate) steps: u64,
    /// Tokens.
    pub(crate) tokens: u64,
    /// Seconds.
    pub(crate) seconds: f64,
}

/// What generation 0 answers, without any context, to questions that it should go on answering so.
#[derive(Debug, Default)]
pub(crate) struct KeptAnswers {
    /// Questions about names that nobody mentioned.
    pub(crate) unknown: Vec<(String, String)>,
    /// Questions about taught names that nobody answered.
    pub(crate) untaught: Vec<(String, String)>,
}

/// What a night studies, and from where on.
#[derive(Debug)]
pub(crate) struct Curriculum<'a> {
    /// Shape of the model.
    pub(crate) config: &'a ModelConfig,
    /// All tensors of the parent.
    pub(crate) parent: &'a Tensors,
    /// The base's tokenizer.
    pub(crate) tokenizer: &'a Tokenizer,
    /// Lessons.
    pub(crate) distilled: &'a Distilled,
    /// What earlier nights taught.
    pub(crate) history: &'a History,
    /// What stays as it is without being a conversation of the rehearsal set.
    pub(crate) answers: &'a KeptAnswers,
    /// What else stays as it is.
    pub(crate) rehearsal: &'a [Rehearsal],
    /// Digests of questions that are never trained on.
    pub(crate) held_out: &'a [Sha256Hex],
    /// Seed of every draw.
    pub(crate) seed: u64,
    /// When training must be over.
    pub(crate) deadline: Option<Timestamp>,
}

/// Trains the slow banks of the parent's tensors on what was distilled. A training that would miss its deadline becomes shorter, its decay included: a night
/// that learned a little less is worth more than one that is ended.
///
/// # Errors
/// When the parent's tensors do not fit the configuration.
pub(crate) fn study(
    c: &Curriculum<'_>,
    settings: &StudySettings,
    progress: &mut dyn FnMut(u64, u64, StepStats),
) -> Result<Studied, SleepError> {
    let failed = |source| SleepError::Model { doing: "load the parent generation for training", source };
    let mut trainer = Trainer::night(c.config, c.parent, optim::for_night(settings.muon)).map_err(failed)?;
    let material = Material::of(c.distilled, c.history, c.answers, c.rehearsal, c.tokenizer, settings);
    let mut steps = settings.steps(material.lessons.len());
    let settings = &settings.for_lessons(material.lessons.len(), material.history.len());
    let own = c
        .distilled
        .lessons
        .iter()
        .chain(&c.history.lessons)
        .filter_map(|l| l.held_out.as_ref())
        .map(|w| plan::question_digest(&w.question));
    let held_out = c.held_out.iter().cloned().chain(own).collect();
    let mut draw = Draw::new(c.seed, held_out);
    let mut metrics = Vec::new();
    let (begun, mut tokens, mut step) = (Instant::now(), 0, 0);
    while step < steps {
        let rows = draw.rows(&material, settings, c.tokenizer);
        let scale = optim::schedule(step, steps, settings.warm_up, settings.decay_from);
        let stats = trainer.step(&rows, scale, SlowBank::On);
        tokens += stats.tokens;
        for (name, value) in
            [("loss", stats.loss), ("accuracy", stats.accuracy), ("rate", scale), ("tokens", stats.tokens as f64)]
        {
            metrics.push(MetricRow { step, name: name.to_owned(), value });
        }
        step += 1;
        if let Some(deadline) = c.deadline {
            let left = deadline.duration_since(Timestamp::now()).as_secs_f64();
            steps = affordable(step, steps, begun.elapsed().as_secs_f64(), left);
        }
        progress(step, steps, stats);
    }
    Ok(Studied { tensors: trainer.tensors(), metrics, steps, tokens, seconds: begun.elapsed().as_secs_f64() })
}

/// Steps in all when `done` of `planned` took `seconds` and so many are left.
fn affordable(done: u64, planned: u64, seconds: f64, left: f64) -> u64 {
    let more = (left.max(0.0) * done as f64 / seconds.max(1e-9)) as u64;
    planned.min(done + more)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_training_becomes_as_short_as_its_deadline_asks() {
        assert_eq!(affordable(10, 200, 5.0, 1000.0), 200, "there is time");
        assert_eq!(affordable(10, 200, 5.0, 20.0), 50, "half a second a step");
        assert_eq!(affordable(10, 200, 5.0, -3.0), 10, "it is over");
    }
}
