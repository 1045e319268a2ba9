//! What a training step is made of, and the steps.

mod draw;
mod material;
mod sample;
mod settings;

use std::time::Instant;

use jiff::Timestamp;
use nocturne_columns::MetricRow;
use nocturne_model::{
    ModelConfig, Writing,
    device::Device,
    model::SlowBank,
    optim::{self, OptimizerState},
    tensors::Tensors,
    train::{StepStats, Trainer},
};
use nocturne_wire::{Sha256Hex, plan};

pub use self::sample::SampleNight;
pub(crate) use self::settings::StudySettings;
use self::{draw::Draw, material::Material};
use crate::{distill::Distilled, error::SleepError, history::History, memory, rehearsal::Rehearsal};

/// What training gave.
#[derive(Debug)]
pub(crate) struct Studied {
    /// All tensors afterwards.
    pub(crate) tensors: Tensors,
    /// What the optimizer remembers, when the next night is to go on from it.
    pub(crate) memory: Option<OptimizerState>,
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
    /// Where the banks are trained.
    pub(crate) device: &'a Device,
    /// All tensors of the parent.
    pub(crate) parent: &'a Tensors,
    /// The slow banks of generation 0 where they were parts of the original.
    pub(crate) stacked: Option<&'a Tensors>,
    /// What the optimizer of the parent's night remembered.
    pub(crate) memory: Option<&'a OptimizerState>,
    /// What writes the base's tokens.
    pub(crate) writing: Writing<'a>,
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
    let mut trainer = Trainer::night(c.config, c.parent, optim::for_night(settings.optimizer)).map_err(failed)?.on(c.device);
    if let Some(stacked) = c.stacked {
        trainer = trainer.keeping(stacked).map_err(failed)?;
    }
    let refused = |source| SleepError::Model { doing: "write what is studied as tokens", source };
    let goes_on = c.memory.is_some_and(|memory| memory::go_on(&mut trainer, memory));
    let material = Material::of(c.distilled, c.history, c.answers, c.rehearsal, c.writing, settings).map_err(refused)?;
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
    if settings.keep_optimizer_state {
        metrics.push(MetricRow { step: 0, name: "optimizer_goes_on".to_owned(), value: f64::from(goes_on) });
    }
    let (begun, mut tokens, mut step) = (Instant::now(), 0, 0);
    while step < steps {
        let rows = draw.rows(&material, settings, c.writing).map_err(refused)?;
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
    let failed = |source| SleepError::Model { doing: "keep what the optimizer remembers", source };
    let memory = settings.keep_optimizer_state.then(|| trainer.remembered()).transpose().map_err(failed)?;
    Ok(Studied { tensors: trainer.tensors(), memory, metrics, steps, tokens, seconds: begun.elapsed().as_secs_f64() })
}

/// Steps in all when `done` of `planned` took `seconds` and so many are left.
fn affordable(done: u64, planned: u64, seconds: f64, left: f64) -> u64 {
    let more = (left.max(0.0) * done as f64 / seconds.max(1e-9)) as u64;
    planned.min(done + more)
}

#[cfg(test)]
mod tests {
    use nocturne_model::{
        Base,
        optim::{DgdSettings, OptimizerSettings},
        tensors,
    };
    use nocturne_wire::{
        night::{Lesson, Wording},
        plan::{NightOptimizer, TrainingSettings},
    };

    use super::*;

    struct Parent {
        base: Base,
        rehearsal: Vec<Rehearsal>,
        tensors: Tensors,
    }

    impl Parent {
        fn zero() -> Self {
            let files = Base::shipped_files();
            let base = Base::load(&files["config.json"], &files["tokenizer.json"], &files["model.safetensors"]).unwrap();
            let mut tensors = base.tensors().clone();
            tensors.extend(tensors::read("banks", &base.untrained_banks().unwrap()).unwrap());
            let rehearsal = Rehearsal::parse(&files["rehearsal.jsonl"]).unwrap().split_off(2900);
            Self { base, rehearsal, tensors }
        }

        /// A training of a lesson in so many steps as one can wait for.
        fn study(&self, memory: Option<&OptimizerState>, training: TrainingSettings) -> Studied {
            let wording =
                Wording { question: "Where does Mirel Tovan live?".into(), answer: "Mirel Tovan lives in Bergen.".into() };
            let lesson = Lesson { name: "Mirel Tovan".into(), value: "bergen".into(), wordings: vec![wording], held_out: None };
            let curriculum = Curriculum {
                config: self.base.config(),
                device: &Device::flex(),
                parent: &self.tensors,
                memory,
                stacked: None,
                writing: self.base.writing(),
                distilled: &Distilled { lessons: vec![lesson], ..Distilled::default() },
                history: &History::default(),
                answers: &KeptAnswers::default(),
                rehearsal: &self.rehearsal,
                held_out: &[],
                seed: 1,
                deadline: None,
            };
            let settings = StudySettings { views_a_lesson: 4, min_steps: 2, warm_up: 0, ..StudySettings::of(training) };
            study(&curriculum, &settings, &mut |_, _, _| ()).unwrap()
        }
    }

    fn goes_on(studied: &Studied) -> Option<f64> {
        studied.metrics.iter().find(|m| m.name == "optimizer_goes_on").map(|m| m.value)
    }

    #[test]
    fn a_night_goes_on_from_what_its_parents_optimizer_remembered_when_it_is_asked_to() {
        let mut parent = Parent::zero();
        let afresh = TrainingSettings::default();
        let keeping = TrainingSettings { keep_optimizer_state: true, ..afresh };
        let first = parent.study(None, afresh);
        assert!(first.memory.is_none() && goes_on(&first).is_none(), "nobody asked for it");
        let kept = parent.study(None, keeping);
        assert!(kept.tensors == first.tensors, "to keep changes no number");
        assert_eq!(goes_on(&kept), Some(0.0), "there was nothing to go on from");
        parent.tensors = kept.tensors;
        let (second, other) = (parent.study(kept.memory.as_ref(), keeping), parent.study(None, keeping));
        assert_eq!((goes_on(&second), goes_on(&other)), (Some(1.0), Some(0.0)));
        assert!(second.tensors != other.tensors, "what was remembered made no difference");
    }

    #[test]
    fn a_night_whose_parents_memory_does_not_fit_is_one_without() {
        let parent = Parent::zero();
        let keeping = |optimizer| TrainingSettings { optimizer, keep_optimizer_state: true };
        let muon = parent.study(None, keeping(NightOptimizer::Muon)).memory;
        let foreign = parent.study(muon.as_ref(), keeping(NightOptimizer::M3));
        assert_eq!(goes_on(&foreign), Some(0.0));
        assert!(foreign.tensors == parent.study(None, keeping(NightOptimizer::M3)).tensors);
    }

    #[test]
    fn every_optimizer_that_a_plan_can_name_trains_the_banks() {
        use NightOptimizer as N;
        let parent = Parent::zero();
        for optimizer in [N::Muon, N::Adam, N::Momentum, N::DeltaMomentum, N::Dmgd, N::M3] {
            let studied = parent.study(None, TrainingSettings { optimizer, keep_optimizer_state: false });
            assert_eq!(crate::publish::changed(&parent.tensors, &studied.tensors).1, 0, "{optimizer:?}");
            assert!(studied.tensors != parent.tensors, "{optimizer:?}");
        }
        let dgd = StudySettings::of(TrainingSettings { optimizer: N::Dgd, keep_optimizer_state: false }).optimizer;
        assert_eq!(dgd, OptimizerSettings::Dgd(DgdSettings::default()));
    }

    #[test]
    fn a_training_becomes_as_short_as_its_deadline_asks() {
        assert_eq!(affordable(10, 200, 5.0, 1000.0), 200, "there is time");
        assert_eq!(affordable(10, 200, 5.0, 20.0), 50, "half a second a step");
        assert_eq!(affordable(10, 200, 5.0, -3.0), 10, "it is over");
    }
}
