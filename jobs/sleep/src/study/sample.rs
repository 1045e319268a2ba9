//! The steps of a night without its day, to measure speed with.

use std::collections::HashSet;

use nocturne_model::{
    ModelConfig, ModelError, Writing,
    device::Device,
    model::SlowBank,
    optim,
    tensors::Tensors,
    train::{StepStats, Trainer},
};

use super::{KeptAnswers, StudySettings, draw::Draw, material::Material};
use crate::{distill::Distilled, error::SleepError, history::History, rehearsal::Rehearsal};

/// Steps as a night without history takes them, its lessons and strangers being questions of the rehearsal set.
#[derive(Debug)]
pub struct SampleNight {
    material: Material,
    settings: StudySettings,
    draw: Draw,
    trainer: Trainer,
}

/// The rate does not matter for the speed; a small one keeps the values small.
const SCALE: f64 = 0.01;

impl SampleNight {
    /// Prepares a night from a base's `rehearsal.jsonl` and the tensors of its generation 0.
    ///
    /// # Errors
    /// When the rehearsal set cannot be read, or the tensors do not fit.
    pub fn new(rehearsal: &[u8], config: &ModelConfig, tensors: &Tensors, writing: Writing<'_>) -> Result<Self, SleepError> {
        let settings = StudySettings::default();
        let rehearsal = Rehearsal::parse(rehearsal)?;
        let asked = |task: &str| -> Vec<(String, String)> {
            let of_task = rehearsal.iter().filter(|conversation| conversation.task == task);
            of_task.flat_map(Rehearsal::questions).map(|(_, question, answer)| (question.to_owned(), answer.to_owned())).collect()
        };
        let (strangers, known) = (asked("unknown"), asked("core"));
        let answers = KeptAnswers { untaught: strangers.clone(), unknown: strangers };
        let failed = |source: ModelError| SleepError::Model { doing: "write the rehearsal set", source };
        let material = Material::of(&Distilled::default(), &History::default(), &answers, &rehearsal, writing, &settings);
        let mut material = material.map_err(failed)?;
        material.lessons = known.into_iter().map(|exchange| (String::new(), vec![exchange])).collect();
        let failed = |source: ModelError| SleepError::Model { doing: "load generation 0 for training", source };
        let trainer = Trainer::night(config, tensors, optim::for_night(settings.optimizer)).map_err(failed)?;
        Ok(Self { material, settings, draw: Draw::new(1, HashSet::new()), trainer })
    }

    /// The same on another device.
    #[must_use]
    pub fn on(self, device: &Device) -> Self {
        Self { trainer: self.trainer.on(device), ..self }
    }

    /// Takes the next step.
    ///
    /// # Errors
    /// When the chat template of an imported base refuses a row.
    pub fn step(&mut self, writing: Writing<'_>) -> Result<StepStats, ModelError> {
        let rows = self.draw.rows(&self.material, &self.settings, writing)?;
        Ok(self.trainer.step(&rows, SCALE, SlowBank::On))
    }
}
