//! The optimizers as burn's: zero rates, saving in the middle, settings.
#![allow(clippy::unwrap_used, reason = "a test that panics says what it found")]

use burn::{
    module::{Module, Param},
    optim::{GradientsParams, ModuleOptimizer},
    tensor::{Device, Tensor, TensorData},
};
use nocturne_model::optim::{
    self, AdamSettings, DeltaMomentumSettings, DgdSettings, DmgdSettings, InputMoments, M3Settings, MomentumSettings,
    MuonSettings, OptimizerSettings,
};
use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

#[derive(Module, Debug)]
struct Layer {
    tall: Param<Tensor<2>>,
    wide: Param<Tensor<2>>,
    bias: Param<Tensor<1>>,
}

const TALL: usize = 6;
const MIDDLE: usize = 4;
const WIDE: usize = 9;

/// Numbers in (-1, 1), some of them -0.
fn noise(seed: u64, n: usize) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..n).map(|n| if n % 5 == 3 { -0.0 } else { rng.random_range(-1.0..1.0) }).collect()
}

fn tensor<const D: usize>(seed: u64, shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(noise(seed, shape.iter().product()), shape.to_vec()), device)
}

impl Layer {
    fn new(seed: u64) -> Self {
        let device = Device::flex().autodiff();
        Self {
            tall: Param::from_tensor(tensor(seed, [TALL, MIDDLE], &device)),
            wide: Param::from_tensor(tensor(seed + 1, [MIDDLE, WIDE], &device)),
            bias: Param::from_tensor(tensor(seed + 2, [WIDE], &device)),
        }
    }

    /// Gradients of a loss that every step has other inputs for, and what layers read on the way.
    fn gradients(&self, step: u64, inputs: &InputMoments) -> GradientsParams {
        let device = self.bias.val().device();
        let x: Tensor<2> = tensor(1000 + step, [7, TALL], &device);
        let hidden = x.clone().matmul(self.tall.val());
        let y = hidden.clone().matmul(self.wide.val()) + self.bias.val().unsqueeze();
        for (id, read, width) in [(self.tall.id, x, TALL), (self.wide.id, hidden, MIDDLE)] {
            inputs.add(id, &read.into_data().try_to_vec::<f32>().unwrap(), width, None);
        }
        let miss = y - tensor(2000 + step, [7, WIDE], &device);
        GradientsParams::from_grads((miss.clone() * miss).mean().backward(), self)
    }

    fn bits(&self) -> Vec<u32> {
        let tensors = [self.tall.val().into_data(), self.wide.val().into_data(), self.bias.val().into_data()];
        tensors.into_iter().flat_map(|data| data.try_to_vec::<f32>().unwrap()).map(f32::to_bits).collect()
    }
}

/// Every optimizer, as few steps as make every part of its memory count.
fn every() -> Vec<OptimizerSettings> {
    let m3 = M3Settings { slow_chunk_steps: 4, ..M3Settings::default() };
    vec![
        OptimizerSettings::Adam(AdamSettings { weight_decay: 0.1, ..AdamSettings::default() }),
        OptimizerSettings::Muon(MuonSettings { rate: 0.1, momentum: 0.9, weight_decay: 0.1 }),
        OptimizerSettings::Momentum(MomentumSettings { weight_decay: 0.1, ..MomentumSettings::default() }),
        OptimizerSettings::DeltaMomentum(DeltaMomentumSettings::default()),
        OptimizerSettings::Dmgd(DmgdSettings::default()),
        OptimizerSettings::Dgd(DgdSettings::default()),
        OptimizerSettings::M3(m3),
        OptimizerSettings::M3(M3Settings { square_retention: Some(0.99), nesterov: true, weight_decay: 0.1, ..m3 }),
    ]
}

struct Run {
    layer: Layer,
    optimizer: ModuleOptimizer,
    inputs: InputMoments,
}

impl Run {
    fn new(settings: OptimizerSettings, layer: Layer) -> Self {
        let inputs = InputMoments::default();
        let optimizer = optim::for_night(settings).build(&layer, &inputs);
        Self { layer, optimizer, inputs }
    }

    fn steps(&mut self, steps: std::ops::Range<u64>, scale: f64) {
        for step in steps {
            let gradients = self.layer.gradients(step, &self.inputs);
            self.layer = self.optimizer.step(scale, self.layer.clone(), gradients);
        }
    }
}

#[test]
fn a_step_at_rate_zero_changes_no_bit() {
    for settings in every() {
        let mut run = Run::new(settings, Layer::new(1));
        // With a memory that is not empty, too.
        for _ in 0..2 {
            let before = run.layer.bits();
            run.steps(0..1, 0.0);
            assert_eq!(run.layer.bits(), before, "{settings:?}");
            run.steps(1..6, 1.0);
            assert_ne!(run.layer.bits(), before, "{settings:?}");
        }
    }
}

#[test]
fn every_parameter_is_moved() {
    for settings in every() {
        let mut run = Run::new(settings, Layer::new(1));
        let before = run.layer.clone();
        run.steps(0..1, 1.0);
        assert_ne!(run.layer.tall.val().into_data(), before.tall.val().into_data(), "{settings:?}");
        assert_ne!(run.layer.wide.val().into_data(), before.wide.val().into_data(), "{settings:?}");
        assert_ne!(run.layer.bias.val().into_data(), before.bias.val().into_data(), "{settings:?}");
    }
}

#[test]
fn the_loss_falls() {
    for settings in every() {
        let mut run = Run::new(settings, Layer::new(1));
        let device = Device::flex().autodiff();
        let loss = |layer: &Layer| {
            let x: Tensor<2> = tensor(1000, [7, TALL], &device);
            let y = x.matmul(layer.tall.val()).matmul(layer.wide.val()) + layer.bias.val().unsqueeze();
            let miss = y - tensor(2000, [7, WIDE], &device);
            (miss.clone() * miss).mean().into_scalar::<f32>()
        };
        let before = loss(&run.layer);
        for _ in 0..30 {
            run.steps(0..1, 0.5);
        }
        let after = loss(&run.layer);
        assert!(after < before, "{settings:?}: {before} to {after}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(12) })]

    #[test]
    fn a_run_that_was_saved_in_between_goes_on_as_if_it_was_not(before in 1_u64..7, after in 1_u64..7, seed in 0_u64..1000) {
        for settings in every() {
            let mut whole = Run::new(settings, Layer::new(seed));
            let mut first = Run::new(settings, whole.layer.clone());
            whole.steps(0..before + after, 0.7);
            first.steps(0..before, 0.7);
            let bytes = first.optimizer.into_bytes().unwrap();
            let mut second = Run::new(settings, first.layer.clone());
            second.optimizer = second.optimizer.from_bytes(bytes).unwrap();
            second.steps(before..before + after, 0.7);
            prop_assert_eq!(second.layer.bits(), whole.layer.bits(), "{:?}", settings);
        }
    }
}

/// Otherwise the test above would not show that anything was saved.
#[test]
fn a_run_that_was_not_saved_goes_on_otherwise() {
    for settings in every().into_iter().filter(|settings| !matches!(settings, OptimizerSettings::Dgd(_))) {
        let mut whole = Run::new(settings, Layer::new(1));
        let mut first = Run::new(settings, whole.layer.clone());
        whole.steps(0..8, 0.7);
        first.steps(0..4, 0.7);
        let mut second = Run::new(settings, first.layer.clone());
        second.steps(4..8, 0.7);
        assert_ne!(second.layer.bits(), whole.layer.bits(), "{settings:?}");
    }
}

#[test]
fn a_memory_of_other_settings_is_not_read() {
    let with = |hidden| OptimizerSettings::Dmgd(DmgdSettings { hidden, ..DmgdSettings::default() });
    let mut first = Run::new(with(8), Layer::new(1));
    first.steps(0..3, 1.0);
    let mut fresh = Run::new(with(4), first.layer.clone());
    let mut restored = Run::new(with(4), first.layer.clone());
    restored.optimizer = restored.optimizer.from_bytes(first.optimizer.into_bytes().unwrap()).unwrap();
    fresh.steps(3..4, 1.0);
    restored.steps(3..4, 1.0);
    assert_eq!(restored.layer.tall.val().into_data(), fresh.layer.tall.val().into_data());
}

#[test]
fn delta_gradient_descent_without_inputs_leaves_weights_as_they_are() {
    let mut run = Run::new(OptimizerSettings::Dgd(DgdSettings::default()), Layer::new(1));
    let before = run.layer.clone();
    let gradients = run.layer.gradients(0, &InputMoments::default());
    run.layer = run.optimizer.step(1.0, run.layer.clone(), gradients);
    assert_eq!(run.layer.tall.val().into_data(), before.tall.val().into_data());
}

#[test]
fn moments_of_passes_add_up_and_leave_padding_out() {
    let id = burn::module::ParamId::new();
    let (x, counted) = (noise(5, 12), [true, false, true, true]);
    let whole = InputMoments::default();
    let kept = [&x[..3], &x[6..]].concat();
    whole.add(id, &kept, 3, None);
    let padded = InputMoments::default();
    padded.add(id, &x, 3, Some(&counted));
    let [first, second, merged] = [(); 3].map(|()| InputMoments::default());
    first.add(id, &kept[..3], 3, None);
    second.add(id, &kept[3..], 3, None);
    merged.merge(&first);
    merged.merge(&second);
    assert!(first.take(id).is_none(), "what was merged is gone");
    let [whole, padded, merged] = [whole, padded, merged].map(|moments| moments.take(id).unwrap());
    assert_eq!((whole.inputs, &whole), (3, &padded));
    assert_eq!((merged.inputs, merged.width), (3, 3));
    for (r, c) in [(0, 0), (1, 2), (2, 1)] {
        let expected: f32 = kept.chunks_exact(3).map(|row| row[r] * row[c]).sum();
        assert!((merged.sum[r * 3 + c] - expected).abs() < 1e-6);
        assert!((whole.mean()[r * 3 + c] - expected / 3.0).abs() < 1e-6);
    }
}

#[test]
fn settings_are_written_and_read_and_unknown_ones_refused() {
    for settings in every() {
        let text = serde_json::to_string(&settings).unwrap();
        assert_eq!(serde_json::from_str::<OptimizerSettings>(&text).unwrap(), settings, "{text}");
    }
    let read = |text: &str| serde_json::from_str::<OptimizerSettings>(text);
    assert_eq!(read(r#"{ "kind": "m3" }"#).unwrap(), OptimizerSettings::M3(M3Settings::default()));
    assert!(read(r#"{ "kind": "m3", "slow_chunk": 3 }"#).is_err());
    assert!(read(r#"{ "kind": "shampoo" }"#).is_err());
}
