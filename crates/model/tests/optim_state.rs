//! What an optimizer remembers outlives the process, and is refused where it does not fit.
#![allow(clippy::unwrap_used, reason = "a test that panics says what it found")]

use nocturne_model::{
    Base, ModelConfig, ModelError,
    model::SlowBank,
    optim::{
        self, AdamSettings, DeltaMomentumSettings, DgdSettings, DmgdSettings, M3Settings, MomentumSettings, MuonSettings,
        OptimizerSettings, OptimizerState,
    },
    tensors::{self, Tensors},
    train::{Aim, Lesson, Row, Trainer},
};

const WHAT: &str = "the parent's optimizer";

struct Night {
    config: ModelConfig,
    tensors: Tensors,
}

impl Night {
    fn new() -> Self {
        let files = Base::shipped_files();
        let base = Base::load(&files["config.json"], &files["tokenizer.json"], &files["model.safetensors"]).unwrap();
        let mut tensors = base.tensors().clone();
        tensors.extend(tensors::read("banks", &base.untrained_banks().unwrap()).unwrap());
        Self { config: base.config().clone(), tensors }
    }

    fn begin(&self, tensors: &Tensors, settings: OptimizerSettings) -> Trainer {
        Trainer::night(&self.config, tensors, optim::for_night(settings)).unwrap()
    }
}

fn steps(trainer: &mut Trainer, steps: std::ops::Range<u32>) {
    for step in steps {
        let ids: Vec<u32> = (0..12).map(|n| 20 + (step * 31 + n * 7) % 400).collect();
        let aims = (0..11).map(|position| Aim { position, lesson: Lesson::Next, weight: 1.0, counted: true });
        trainer.step(&[Row { ids, aims: aims.collect(), quiet: 0.0 }], 0.5, SlowBank::On);
    }
}

const MUON: OptimizerSettings = OptimizerSettings::Muon(MuonSettings { rate: 0.1, momentum: 0.9, weight_decay: 0.0 });

fn m3(square_retention: Option<f64>) -> OptimizerSettings {
    OptimizerSettings::M3(M3Settings { slow_chunk_steps: 2, square_retention, ..M3Settings::default() })
}

#[test]
fn a_night_that_goes_on_from_what_was_kept_is_the_night_that_never_ended() {
    let night = Night::new();
    let kinds = [
        MUON,
        m3(Some(0.9)),
        OptimizerSettings::Adam(AdamSettings::default()),
        OptimizerSettings::Momentum(MomentumSettings::default()),
        OptimizerSettings::DeltaMomentum(DeltaMomentumSettings::default()),
        OptimizerSettings::Dmgd(DmgdSettings::default()),
    ];
    for settings in kinds {
        let mut whole = night.begin(&night.tensors, settings);
        steps(&mut whole, 0..3);
        let file = whole.remembered().unwrap().write(WHAT).unwrap();
        let kept = OptimizerState::read(WHAT, &file).unwrap();
        assert_eq!(kept, whole.remembered().unwrap());
        assert_eq!(kept.write(WHAT).unwrap(), file);
        let mut next = night.begin(&whole.tensors(), settings);
        next.remember(WHAT, &kept).unwrap();
        let mut afresh = night.begin(&whole.tensors(), settings);
        steps(&mut whole, 3..5);
        steps(&mut next, 3..5);
        steps(&mut afresh, 3..5);
        assert!(next.tensors() == whole.tensors(), "{settings:?}");
        assert!(afresh.tensors() != whole.tensors(), "what was kept made no difference: {settings:?}");
        assert_eq!(next.remembered().unwrap(), whole.remembered().unwrap());
    }
}

#[test]
fn an_optimizer_that_remembers_nothing_goes_on_from_nothing() {
    let night = Night::new();
    let mut trainer = night.begin(&night.tensors, OptimizerSettings::Dgd(DgdSettings { erase: 0.0, ..DgdSettings::default() }));
    steps(&mut trainer, 0..1);
    let kept = trainer.remembered().unwrap();
    assert_eq!(kept, OptimizerState::default());
    let kept = OptimizerState::read(WHAT, &kept.write(WHAT).unwrap()).unwrap();
    trainer.remember(WHAT, &kept).unwrap();
}

#[test]
fn delta_gradient_descent_erases_along_what_layers_read() {
    let night = Night::new();
    let trained = |erase: f64| {
        let mut trainer = night.begin(&night.tensors, OptimizerSettings::Dgd(DgdSettings { erase, ..DgdSettings::default() }));
        steps(&mut trainer, 0..3);
        trainer.tensors()
    };
    let (erased, plain) = (trained(1.0), trained(0.0));
    for (name, before) in &night.tensors {
        let moved = |after: &Tensors| after[name] != *before;
        if name.contains(tensors::SLOW) {
            assert!(moved(&erased) && erased[name] != plain[name], "{name}");
        } else {
            assert!(!moved(&erased) && !moved(&plain), "{name}");
        }
    }
}

#[test]
fn only_what_is_trained_is_remembered_and_by_its_name() {
    let night = Night::new();
    let mut trainer = night.begin(&night.tensors, m3(None));
    assert_eq!(trainer.remembered().unwrap(), OptimizerState::default());
    steps(&mut trainer, 0..3);
    let kept = trainer.remembered().unwrap();
    let slow = night.tensors.keys().filter(|name| name.contains(tensors::SLOW));
    let expected: Vec<String> =
        slow.flat_map(|name| ["chunk", "fast", "slow", "slow_update"].map(|part| format!("{name}/{part}"))).collect();
    assert_eq!(kept.tensors.keys().collect::<Vec<_>>(), expected.iter().collect::<Vec<_>>());
    assert!(!kept.counts.is_empty() && kept.counts.iter().all(|(name, n)| name.ends_with("/chunk_steps") && *n == 1));
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let night = Night::new();
    let mut trainer = night.begin(&night.tensors, m3(None));
    steps(&mut trainer, 0..1);
    let kept = trainer.remembered().unwrap();
    let (first, count) = (kept.tensors.keys().next().unwrap().clone(), kept.counts.keys().next().unwrap().clone());
    let refused = |settings, change: &dyn Fn(&mut OptimizerState)| {
        let mut state = kept.clone();
        change(&mut state);
        let state = OptimizerState::read(WHAT, &state.write(WHAT).unwrap())?;
        night.begin(&night.tensors, settings).remember(WHAT, &state)
    };
    assert!(refused(m3(None), &|_| ()).is_ok());
    let missing = refused(m3(None), &|state| assert!(state.tensors.remove(&first).is_some())).unwrap_err();
    assert!(matches!(&missing, ModelError::Missing { tensor, .. } if *tensor == first), "{missing}");
    let missing = refused(m3(None), &|state| assert!(state.counts.remove(&count).is_some())).unwrap_err();
    assert!(matches!(&missing, ModelError::Missing { tensor, .. } if *tensor == count), "{missing}");
    let foreign = refused(m3(None), &|state| state.counts.extend([("blocks.9/steps".to_owned(), 1)])).unwrap_err();
    assert!(matches!(&foreign, ModelError::Foreign { tensor, .. } if tensor == "blocks.9/steps"), "{foreign}");
    let misshapen = refused(m3(None), &|state| state.tensors.get_mut(&first).unwrap().shape.reverse()).unwrap_err();
    assert!(matches!(&misshapen, ModelError::Mismatch { tensor, .. } if *tensor == first), "{misshapen}");
    let infinite = refused(m3(None), &|state| state.tensors.get_mut(&first).unwrap().data[3] = f32::NAN).unwrap_err();
    assert!(matches!(&infinite, ModelError::NotFinite { tensor, .. } if *tensor == first), "{infinite}");
    let other = refused(MUON, &|_| ()).unwrap_err();
    assert!(matches!(&other, ModelError::Missing { tensor, .. } if tensor.ends_with("/velocity")), "{other}");
    let grown = refused(m3(Some(0.9)), &|_| ()).unwrap_err();
    assert!(matches!(&grown, ModelError::Missing { tensor, .. } if tensor.ends_with("/squares")), "{grown}");
    let file = kept.write(WHAT).unwrap();
    assert!(matches!(OptimizerState::read(WHAT, &file[..file.len() / 2]), Err(ModelError::Format { .. })));
    let banks = tensors::write(WHAT, &kept.tensors).unwrap();
    assert!(matches!(OptimizerState::read(WHAT, &banks), Err(ModelError::Mismatch { .. })));
}
