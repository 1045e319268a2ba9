//! Training on rows of tokens with targets: what the base's recipe and a night share.

mod batch;
mod lanes;
mod predict;
mod row;

use std::sync::{Arc, OnceLock, PoisonError};

use burn::{
    module::{Module, ParamGroup},
    optim::{GradientsAccumulator, GradientsParams, ModuleOptimizer},
    store::{ModuleRecord, RecordError},
    tensor::{Bytes, Device},
};

pub use self::predict::Predicted;
pub use self::row::{Aim, Lesson, Row, Said};
use self::{batch::Batch, lanes::Lanes};
use crate::{
    cms::{Beside, Moments},
    config::ModelConfig,
    device,
    error::ModelError,
    kernels::{
        head::{Goal, Tally, Target, Targets, Teacher, distributions},
        quiet::Quiet,
    },
    model::{Model, SlowBank},
    ops::Way,
    optim::{InputMoments, OptimizerPlan, OptimizerState},
    params,
    tensors::{self, Tensors},
};

/// What one optimizer step did.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct StepStats {
    /// Weighted mean loss, nats.
    pub loss: f64,
    /// Share of counted tokens that were the most likely ones.
    pub accuracy: f64,
    /// Tokens read, padding left out.
    pub tokens: u64,
}

/// A model in training.
#[derive(Debug)]
pub struct Trainer {
    config: ModelConfig,
    model: Model,
    /// Generation 0, where it is not the model without its slow banks.
    zero: Option<Model>,
    /// The head's matrix, once it was asked for, where training leaves it alone: generation 0 is asked by every batch.
    head: Option<OnceLock<Vec<f32>>>,
    plan: OptimizerPlan,
    optimizer: Optim,
    /// What the optimizer learns about the inputs of layers; see [`InputMoments`].
    inputs: InputMoments,
    device: Device,
    lanes: Lanes,
}

/// What one batch gave.
struct Pass {
    loss: f64,
    tally: Tally,
    gradients: GradientsParams,
    inputs: InputMoments,
}

struct Optim(ModuleOptimizer);

impl std::fmt::Debug for Optim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ModuleOptimizer")
    }
}

impl Trainer {
    fn of(config: &ModelConfig, model: Model, plan: OptimizerPlan, device: Device) -> Self {
        let inputs = InputMoments::default();
        let optimizer = Optim(plan.build(&model, &inputs));
        Self {
            config: config.clone(),
            model,
            zero: None,
            head: None,
            plan,
            optimizer,
            inputs,
            device,
            lanes: Lanes::of_this_machine(),
        }
    }

    /// Everything but the slow banks is trained: the base's recipe.
    pub fn base(config: &ModelConfig, seed: u64, optimizer: OptimizerPlan) -> Self {
        let device = Device::flex().autodiff();
        let model = Model::new(config, seed, &device).freeze_group(params::nightly(config));
        Self::of(config, model, optimizer, device)
    }

    /// As [`Trainer::base`], from a base's tensors on.
    ///
    /// # Errors
    /// When a tensor is missing, foreign or of other extents.
    pub fn base_from(config: &ModelConfig, base: &Tensors, seed: u64, optimizer: OptimizerPlan) -> Result<Self, ModelError> {
        let device = Device::flex().autodiff();
        let mut tensors = params::collect(config, &Model::new(config, seed, &device));
        tensors.extend(base.clone());
        let model = params::load(config, "the base to go on from", &tensors, &device)?.freeze_group(params::nightly(config));
        Ok(Self::of(config, model, optimizer, device))
    }

    /// Only the slow banks are trained: a night. `tensors` holds the whole model.
    ///
    /// # Errors
    /// When a tensor is missing, foreign or of other extents.
    pub fn night(config: &ModelConfig, tensors: &Tensors, optimizer: OptimizerPlan) -> Result<Self, ModelError> {
        let device = Device::flex().autodiff();
        let model = params::load(config, "the parent generation", tensors, &device)?;
        let model = model.freeze_group(ParamGroup::all()).unfreeze_group(params::nightly(config));
        Ok(Self { head: Some(OnceLock::new()), ..Self::of(config, model, optimizer, device) })
    }

    /// The same where slow banks were parts of the original: `stacked` holds generation 0's, which say what should stay as it is. Banks that were added say
    /// nothing in generation 0, and need no copy.
    ///
    /// # Errors
    /// When a tensor is missing, foreign or of other extents.
    pub fn keeping(self, stacked: &Tensors) -> Result<Self, ModelError> {
        let mut tensors = self.tensors();
        tensors.extend(stacked.clone());
        let zero = params::load(&self.config, "generation 0", &tensors, &self.device.clone().inner())?;
        Ok(Self { zero: Some(zero), ..self })
    }

    /// The same on another device. Only the CPU has lanes: any other device is busy with one batch, and takes them one after the other.
    #[must_use]
    pub fn on(self, device: &Device) -> Self {
        let device = device.clone().autodiff();
        let way = Way::of(&device);
        let lanes = if way == Way::Fused { Lanes::of_this_machine() } else { Lanes::new(0) };
        let zero = self.zero.map(|zero| zero.fork(&device.clone().inner()).by(way));
        Self { model: self.model.fork(&device).by(way), zero, device, lanes, ..self }
    }

    /// The same whose operations go a way that its device can go.
    #[must_use]
    pub fn by(self, way: Way) -> Self {
        Self { model: self.model.by(way), zero: self.zero.map(|zero| zero.by(way)), ..self }
    }

    /// The parameters by name.
    pub fn tensors(&self) -> Tensors {
        params::collect(&self.config, &self.model)
    }

    /// One optimizer step over rows, gradients summed over batches of similar length. `scale` is the schedule's factor.
    pub fn step(&mut self, rows: &[Row], scale: f64, slow: SlowBank) -> StepStats {
        let batches = Batch::split(rows);
        let weight: f32 = batches.iter().flat_map(|b| &b.aims).map(|(_, aim, _)| aim.weight).sum();
        let passes = self.lanes.run(&batches, |batch| self.backward(batch, weight, slow));
        let mut gradients = GradientsAccumulator::new();
        let mut stats = StepStats::default();
        let mut tally = Tally::default();
        for pass in passes {
            gradients.accumulate(&self.model, pass.gradients);
            self.inputs.merge(&pass.inputs);
            stats.loss += pass.loss;
            tally.counted += pass.tally.counted;
            tally.right += pass.tally.right;
        }
        stats.tokens = rows.iter().map(|r| r.ids.len() as u64).sum();
        stats.accuracy = tally.right as f64 / tally.counted.max(1) as f64;
        let model = self.model.clone();
        self.model = self.optimizer.0.step(scale, model, gradients.grads());
        stats
    }

    fn backward(&self, batch: &Batch, weight: f32, slow: SlowBank) -> Pass {
        // burn keeps the graphs of passes that share a parameter under one lock; a copy with leaves of its own meets no other pass.
        let model = self.model.clone().fork(&self.device);
        let targets = Arc::new(self.targets(batch));
        let quiet = batch.quiet.clone().map(|weights| Quiet { weights, normalizer: weight });
        let inputs = InputMoments::default();
        let moments = self.plan.reads_inputs().then(|| Moments { inputs: &inputs, counted: batch.counted() });
        let beside = Beside { quiet: quiet.as_ref(), moments };
        let hidden = model.hidden_beside(&batch.ids, batch.rows, slow, &beside);
        let (loss, tally) = model.loss(hidden, targets, weight);
        let value = f64::from(loss.clone().into_scalar::<f32>());
        let gradients = GradientsParams::from_grads(loss.backward(), &model);
        let tally = *tally.lock().unwrap_or_else(PoisonError::into_inner);
        Pass { loss: value, tally, gradients, inputs }
    }

    /// Numbers that training changes.
    pub fn parameters(&self) -> usize {
        self.model.num_params()
    }

    /// Looks up what generation 0 says wherever a row should stay as it is.
    fn targets(&self, batch: &Batch) -> Targets {
        let kept: Vec<u32> = batch.aims.iter().filter(|(_, a, _)| a.lesson == Lesson::Keep).map(|(row, _, _)| *row).collect();
        let teacher = if kept.is_empty() { Teacher::default() } else { self.zero_says(batch, &kept) };
        let mut next_teacher = 0;
        let rows = batch.aims.iter().map(|(row, aim, next)| {
            let goal = match aim.lesson {
                Lesson::Next | Lesson::Token(_) => Goal::Token(*next),
                Lesson::Keep => {
                    next_teacher += 1;
                    Goal::Teacher(next_teacher - 1)
                }
            };
            Target { row: *row, goal, weight: aim.weight, counted: aim.counted }
        });
        Targets { rows: rows.collect(), teacher }
    }

    fn zero_says(&self, batch: &Batch, rows: &[u32]) -> Teacher {
        let (model, slow) = match &self.zero {
            Some(zero) => (zero.clone(), SlowBank::On),
            None => (self.model.valid(), SlowBank::Off),
        };
        let hidden = model.hidden(&batch.ids, batch.rows, slow);
        let width = hidden.dims()[2];
        debug_assert_eq!(hidden.dims()[1], batch.time, "one hidden row a token");
        let hidden = tensors::floats(hidden);
        let values = || tensors::floats(model.head_matrix());
        match &self.head {
            Some(head) => distributions(&hidden, head.get_or_init(values), width, rows),
            None => distributions(&hidden, &values(), width, rows),
        }
    }

    /// What the optimizer remembers, by the names of parameters: for another trainer of the same parameters.
    ///
    /// # Errors
    /// When burn cannot write it.
    pub fn remembered(&self) -> Result<OptimizerState, ModelError> {
        let names = params::paths(&self.config, &self.model).into_iter().collect();
        Ok(OptimizerState::of(&self.optimizer.0)?.renamed(&names))
    }

    /// Has the optimizer remember what another one did, and nothing else; `what` is its name in an error.
    ///
    /// # Errors
    /// When the state is not what this optimizer remembers about the parameters that are trained here; the optimizer is as it was then.
    pub fn remember(&mut self, what: &str, state: &OptimizerState) -> Result<(), ModelError> {
        let fresh = self.plan.build(&self.model, &self.inputs);
        let paths = params::paths(&self.config, &self.model);
        let to_burn = paths.iter().map(|(path, name)| (name.clone(), path.clone())).collect();
        let named = |mut error: ModelError| {
            if let ModelError::Missing { tensor, .. } | ModelError::Mismatch { tensor, .. } | ModelError::Foreign { tensor, .. } =
                &mut error
                && let Some((path, name)) = paths.iter().find(|(path, _)| tensor.starts_with(&format!("{path}/")))
            {
                *tensor = tensor.replacen(path.as_str(), name, 1);
            }
            error
        };
        let restored = state.renamed(&to_burn).restore(what, &self.plan, &self.model, fresh);
        self.optimizer = Optim(restored.map_err(named)?);
        Ok(())
    }

    /// Parameters and optimizer state as bytes, to go on later.
    ///
    /// # Errors
    /// When burn cannot write them.
    pub fn state(&self) -> Result<Vec<u8>, RecordError> {
        let model = self.model.clone().into_record().into_bytes()?;
        let optimizer = self.optimizer.0.into_bytes()?;
        let mut bytes = (model.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(&model);
        bytes.extend_from_slice(&optimizer);
        Ok(bytes)
    }

    /// Goes on from what [`Trainer::state`] gave, wherever that was.
    ///
    /// # Errors
    /// Says what does not fit.
    pub fn restore(self, state: &[u8]) -> Result<Self, String> {
        device::check_default().map_err(|e| e.to_string())?;
        let (length, rest) = state.split_first_chunk::<8>().ok_or("it is too short")?;
        let length = usize::try_from(u64::from_le_bytes(*length)).map_err(|e| e.to_string())?;
        if length > rest.len() {
            return Err("it is cut off".to_owned());
        }
        let (model, optimizer) = rest.split_at(length);
        let record = ModuleRecord::from_bytes(Bytes::from_bytes_vec(model.to_vec())).map_err(|e| e.to_string())?;
        let model = self.model.load_record(record);
        // The parameters have the ids of the record by now, and so has the optimizer's state.
        let fresh = self.plan.build(&model, &self.inputs);
        let optimizer = fresh.from_bytes(Bytes::from_bytes_vec(optimizer.to_vec())).map_err(|e| e.to_string())?;
        let head = self.head.map(|_| OnceLock::new());
        Ok(Self { model, optimizer: Optim(optimizer), head, ..self })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::optim::{self, DmgdSettings, M3Settings, MuonSettings, OptimizerSettings};

    fn config() -> ModelConfig {
        let block =
            |mixer: serde_json::Value, banks: serde_json::Value| serde_json::json!({"mixer": mixer, "cms": {"banks": banks}});
        let perceptron = |name: &str, period: &str| serde_json::json!({"name": name, "period": period, "shape": {"perceptron": {"hidden": 16, "activation": "silu"}}});
        let fast = serde_json::json!({"name": "fast", "period": {"tokens": 16}, "shape": {"memory": {"width": 8}}});
        let delta = serde_json::json!({"kind": "gated_delta", "heads": 2, "key_width": 8, "value_width": 8, "conv_taps": 4});
        let attention = serde_json::json!({"kind": "attention", "heads": 2, "kv_heads": 2, "head_width": 8, "rope": {"theta": 1e4}, "conv_taps": 4});
        let banks = [perceptron("frozen", "never"), perceptron("slow", "night")];
        let config = serde_json::json!({
            "name": "test", "vocab": 300, "width": 16, "max_context": 512,
            "blocks": [block(delta, banks.to_vec().into()), block(attention, [&banks[..], &[fast]].concat().into())],
        });
        ModelConfig::parse(config.to_string().as_bytes()).expect("the configuration is sound")
    }

    /// A row of tokens, every position of which learns the next one or stays as it is.
    fn row(first: u32, length: u32) -> Row {
        let aims = (0..length - 1).map(|position| Aim { position, lesson: Lesson::Next, weight: 1.0, counted: true });
        Row { ids: (0..length).map(|n| 5 + (first + 7 * n) % 290).collect(), aims: aims.collect(), quiet: 0.0 }
    }

    fn trained(lanes: usize) -> Tensors {
        let mut trainer = night(MuonSettings { rate: 0.02, momentum: 0.9, weight_decay: 0.0 });
        trainer.lanes = Lanes::new(lanes);
        let mut rows: Vec<Row> = (0..30).map(|n| row(n, 20 + n)).collect();
        rows.extend([row(1, 200).keep(2.0).quiet(0.1), row(2, 180).keep(2.0)]);
        assert!(Batch::split(&rows).len() > 3, "there is something to share");
        for _ in 0..3 {
            trainer.step(&rows, 1.0, SlowBank::On);
        }
        trainer.tensors()
    }

    #[test]
    fn the_number_of_lanes_changes_no_number() {
        let (one, three) = (trained(1), trained(3));
        for (name, tensor) in &one {
            assert_eq!(tensor.data, three[name].data, "{name}");
        }
    }

    fn night(optimizer: impl Into<OptimizerSettings>) -> Trainer {
        let config = config();
        let tensors = params::collect(&config, &Model::new(&config, 3, &Device::flex()));
        Trainer::night(&config, &tensors, optim::for_night(optimizer)).expect("the tensors fit")
    }

    #[test]
    fn a_training_that_was_saved_in_a_slow_chunk_goes_on_as_if_it_was_not() {
        let m3 = M3Settings { slow_chunk_steps: 4, ..M3Settings::default() };
        for optimizer in [OptimizerSettings::M3(m3), OptimizerSettings::Dmgd(DmgdSettings::default())] {
            let rows: Vec<Row> = (0..6).map(|n| row(n, 20 + n)).collect();
            let (mut whole, mut first) = (night(optimizer), night(optimizer));
            let steps = |trainer: &mut Trainer, steps| {
                for _ in 0..steps {
                    trainer.step(&rows, 0.5, SlowBank::On);
                }
            };
            steps(&mut whole, 9);
            steps(&mut first, 6);
            let state = first.state().expect("burn writes it");
            let mut second = night(optimizer).restore(&state).expect("it was just written");
            steps(&mut second, 3);
            assert!(whole.tensors() == second.tensors(), "{optimizer:?}");
        }
    }
}
