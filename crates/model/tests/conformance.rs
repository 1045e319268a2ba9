//! One suite over every device that is present: whatever holds on the CPU's fused operations holds there, to 1e-3 of the largest value.
//!
//! The reference is always the fused way on the CPU; the composed way on the CPU is the first that is held against it. A device that the build or the
//! machine lacks is told as SKIPPED, with the reason. The last lines say how far each device was off. Runs as any test does, or alone, as a file carried to
//! another machine; `crates/model/scripts/` has a script for LibTorch and one for a GPU.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that panics says what it found")]

mod common;

use std::{
    collections::BTreeMap,
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError},
};

use burn::{
    module::{Module, ModuleMapper, Param},
    optim::GradientsParams,
    tensor::{Device, Tensor, TensorData},
};
use libtest_mimic::{Arguments, Trial};
use nocturne_model::{
    DeviceName, Model, ModelConfig,
    cms::Beside,
    device::check_default,
    kernels::{
        head::{Goal, Target, Targets, Teacher},
        quiet::Quiet,
    },
    mixers::{Mixer, Past},
    model::SlowBank,
    ops::Way,
    optim::{self, MuonSettings},
    params,
    tensors::Tensors,
    train::{Aim, Lesson, Row, Trainer},
};

use self::common::{every, tensors_of};

/// What a device may be off, in parts of the largest value.
const TOLERANCE: f64 = 1e-3;
const BATCH: usize = 2;
const TIME: usize = 50;
const MUON: MuonSettings = MuonSettings { rate: 0.02, momentum: 0.9, weight_decay: 0.01 };

/// What is held against the reference.
#[derive(Debug, Clone)]
struct Subject {
    name: String,
    device: Device,
    way: Way,
}

impl Subject {
    fn reference() -> Self {
        Self { name: "flex".into(), device: Device::flex(), way: Way::Fused }
    }

    fn model(&self, config: &ModelConfig, device: &Device) -> Model {
        params::load(config, "test", &tensors_of(config), device).unwrap().by(self.way)
    }
}

/// All that are there; says which are not, unless nothing but a list is wanted.
fn subjects(tell: bool) -> Vec<Subject> {
    let mut all = vec![Subject { name: "flex, composed".into(), way: Way::Composed, ..Subject::reference() }];
    for name in [DeviceName::Tch, DeviceName::TchCuda(0), DeviceName::Cuda(0)] {
        match name.open() {
            Ok(device) => all.push(Subject { name: name.to_string(), way: Way::of(&device), device }),
            Err(error) if tell => println!("SKIPPED {name}: {error}"),
            Err(_) => {}
        }
    }
    all
}

/// The largest difference in parts of the largest value that is expected.
fn off(got: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(got.len(), expected.len());
    assert!(got.iter().all(|x| x.is_finite()), "not all values are finite");
    let largest = expected.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
    let difference = got.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0_f32, f32::max);
    if difference == 0.0 { 0.0 } else { f64::from(difference) / f64::from(largest) }
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_to_vec().unwrap()
}

fn ids() -> Arc<Vec<u32>> {
    Arc::new((0..BATCH * TIME).map(|n| (n * 37 % 300) as u32).collect())
}

fn logits(subject: &Subject, config: &ModelConfig) -> Vec<f32> {
    let model = subject.model(config, &subject.device);
    let hidden = model.hidden(&ids(), BATCH, SlowBank::On);
    // A product of the test's own is computed where it is exact.
    let here = |values: Vec<f32>, shape: [usize; 2]| Tensor::<2>::from_data(TensorData::new(values, shape), &Device::flex());
    let hidden = here(values(hidden), [BATCH * TIME, config.width]);
    values(hidden.matmul(here(values(model.head_matrix()), [config.vocab, config.width]).transpose()))
}

fn same_logits(subject: &Subject, config: &ModelConfig) -> f64 {
    off(&logits(subject, config), &logits(&Subject::reference(), config))
}

/// Puts gradients where parameters are.
struct Gradients(GradientsParams);

impl ModuleMapper for Gradients {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let gradient = self.0.remove::<D>(param.id);
        param.map(|value| gradient.unwrap_or_else(|| value.detach().zeros_like()))
    }
}

/// Targets of both kinds on every third row.
fn targets(vocab: usize) -> Targets {
    let mut targets = Targets::default();
    let mut scores = Vec::new();
    for row in (0..BATCH * TIME).step_by(3) {
        let taught = row % 2 == 1;
        let goal = if taught { Goal::Teacher((scores.len() / vocab) as u32) } else { Goal::Token((row * 7 % vocab) as u32) };
        if taught {
            scores.extend((0..vocab).map(|n| ((n * (row + 1)) as f32 * 0.1).sin()));
        }
        targets.rows.push(Target { row: row as u32, goal, weight: 1.0 + row as f32 * 0.01, counted: !taught });
    }
    targets.teacher = Teacher::of_scores(scores, vocab);
    targets
}

/// The loss, what it counted, and the gradient of it and of a penalty with regard to every parameter.
fn gradients(subject: &Subject, config: &ModelConfig) -> (f32, (u64, u64), Tensors) {
    let model = subject.model(config, &subject.device.clone().autodiff());
    let quiet = Quiet { weights: Arc::new((0..BATCH * TIME).map(|n| (n % 3) as f32 * 0.1).collect()), normalizer: 20.0 };
    let hidden = model.hidden_beside(&ids(), BATCH, SlowBank::On, &Beside { quiet: Some(&quiet), ..Beside::default() });
    let (loss, tally) = model.loss(hidden, Arc::new(targets(config.vocab)), 20.0);
    let value = loss.clone().into_scalar::<f32>();
    let gradients = GradientsParams::from_grads(loss.backward(), &model);
    let tally = *tally.lock().unwrap_or_else(PoisonError::into_inner);
    (value, (tally.counted, tally.right), params::collect(config, &model.map(&mut Gradients(gradients))))
}

fn same_gradients(subject: &Subject, config: &ModelConfig) -> f64 {
    let (loss, tally, found) = gradients(subject, config);
    let (expected_loss, expected_tally, expected) = gradients(&Subject::reference(), config);
    assert_eq!((tally, found.len()), (expected_tally, expected.len()));
    let mut worst = off(&[loss], &[expected_loss]);
    for (name, expected) in &expected {
        let error = off(&found[name].data, &expected.data);
        assert!(error <= TOLERANCE, "the gradient of {name} is off by {error:.1e}");
        worst = worst.max(error);
    }
    let idle = expected.iter().filter(|(_, gradient)| gradient.data.iter().all(|x| *x == 0.0)).map(|(name, _)| name);
    let idle: Vec<_> = idle.collect();
    assert!(idle.is_empty(), "nothing was compared of {idle:?}");
    worst
}

/// Rows of several lengths, some of which should stay as they are.
fn rows() -> Vec<Row> {
    let row = |first: u32, length: u32| {
        let aims = (0..length - 1).map(|position| Aim { position, lesson: Lesson::Next, weight: 1.0, counted: true });
        Row { ids: (0..length).map(|n| 5 + (first + 7 * n) % 290).collect(), aims: aims.collect(), quiet: 0.0 }
    };
    let mut rows: Vec<Row> = (0..8).map(|n| row(n, 20 + 3 * n)).collect();
    rows.push(row(3, 45).keep(1.0).quiet(0.01));
    rows
}

fn night(subject: &Subject, config: &ModelConfig) -> Trainer {
    let night = Trainer::night(config, &tensors_of(config), optim::for_night(MUON)).unwrap();
    night.on(&subject.device).by(subject.way)
}

/// Everything but the slow banks is trained.
fn base(subject: &Subject, config: &ModelConfig) -> Trainer {
    let base = Trainer::base_from(config, &tensors_of(config), 7, optim::for_base(MUON, 1e-3)).unwrap();
    base.on(&subject.device).by(subject.way)
}

fn losses(mut trainer: Trainer, slow: SlowBank, steps: usize) -> Vec<f32> {
    (0..steps).map(|_| trainer.step(&rows(), 1.0, slow).loss as f32).collect()
}

/// Steps of a base's training, and of a night's.
fn trained(subject: &Subject, config: &ModelConfig) -> Vec<Vec<f32>> {
    vec![losses(base(subject, config), SlowBank::Off, 4), losses(night(subject, config), SlowBank::On, 4)]
}

fn same_training(subject: &Subject, config: &ModelConfig) -> f64 {
    let (found, expected) = (trained(subject, config), trained(&Subject::reference(), config));
    for losses in &expected {
        assert!(losses[3] < losses[0], "training lowers the loss: {losses:?}");
    }
    found.iter().zip(&expected).map(|(found, expected)| off(found, expected)).fold(0.0, f64::max)
}

/// The first block's mixer over a stream in parts.
fn going_on(subject: &Subject, config: &ModelConfig) -> f64 {
    let input: Vec<f32> = (0..BATCH * TIME * config.width).map(|n| (n as f32 * 0.37).sin() + (n as f32 * 0.011).cos()).collect();
    let stream = |device| Tensor::<3>::from_data(TensorData::new(input.clone(), [BATCH, TIME, config.width]), device);
    let reference = Subject::reference();
    let whole = reference.model(config, &reference.device).blocks[0].mixer.mix(Way::Fused, stream(&reference.device));
    let model = subject.model(config, &subject.device);
    let (x, mut past, mut said) = (stream(&subject.device), Past::default(), Vec::new());
    for cut in [0, 1, 8, 33, TIME].windows(2) {
        said.push(model.blocks[0].mixer.go_on(x.clone().narrow(1, cut[0], cut[1] - cut[0]), &mut past));
    }
    off(&values(Tensor::cat(said, 1)), &values(whole))
}

/// A training that was begun on a device goes on on the CPU, and the other way round.
fn moving(subject: &Subject, config: &ModelConfig) -> f64 {
    let reference = Subject::reference();
    let expected = losses(base(&reference, config), SlowBank::Off, 4);
    let mut worst = 0.0_f64;
    for (from, to) in [(subject, &reference), (&reference, subject)] {
        let mut begun = base(from, config);
        for _ in 0..2 {
            begun.step(&rows(), 1.0, SlowBank::Off);
        }
        let rest = base(to, config).restore(&begun.state().unwrap()).unwrap();
        worst = worst.max(off(&losses(rest, SlowBank::Off, 2), &expected[2..]));
    }
    worst
}

type Check = (&'static str, fn(&Subject, &ModelConfig) -> f64);

const CHECKS: [Check; 4] = [
    ("the same logits", same_logits),
    ("the same gradients", same_gradients),
    ("the same losses of a few steps", same_training),
    ("going on after a past", going_on),
];

const MOVING: Check = ("a training moves between devices", moving);

/// The worst of each device and check.
type Worst = Arc<Mutex<BTreeMap<(String, &'static str), f64>>>;

fn trial(subject: &Subject, config: &ModelConfig, (what, check): Check, worst: &Worst) -> Trial {
    let (subject, config, worst) = (subject.clone(), config.clone(), Arc::clone(worst));
    Trial::test(format!("{}: {}: {what}", subject.name, config.name), move || {
        let error = check(&subject, &config);
        let mut all = worst.lock().unwrap_or_else(PoisonError::into_inner);
        let most = all.entry((subject.name.clone(), what)).or_default();
        *most = most.max(error);
        if error <= TOLERANCE { Ok(()) } else { Err(format!("off by {error:.1e} of the largest value").into()) }
    })
}

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    let subjects = subjects(!arguments.list);
    if subjects.iter().any(|subject| subject.name.contains("cuda")) {
        // A GPU takes what it is given one after the other.
        arguments.test_threads.get_or_insert(1);
    }
    let worst = Worst::default();
    let mut trials = Vec::new();
    for subject in &subjects {
        for config in every() {
            trials.extend(CHECKS.map(|check| trial(subject, &config, check, &worst)));
        }
    }
    match check_default() {
        Ok(()) => trials.extend(subjects.iter().map(|subject| trial(subject, &every()[0], MOVING, &worst))),
        Err(error) if !arguments.list => println!("SKIPPED {}: {error}", MOVING.0),
        Err(_) => {}
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    for ((subject, what), error) in worst.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        println!("{subject}: {what}: off by {error:.1e} at most");
    }
    conclusion.exit_code()
}
