//! Training on rows of tokens with targets: what the base's recipe and a night share.

use std::{collections::HashMap, sync::Arc};

use burn::{
    module::{Module, ParamGroup},
    optim::{GradientsAccumulator, GradientsParams, ModuleOptimizer},
    store::{ModuleRecord, RecordError},
    tensor::{Bytes, Device},
};
use nocturne_wire::record::Role;

use crate::{
    chat::{ChatTokens, PAD},
    config::HopeConfig,
    error::ModelError,
    hope::{Hope, SlowBank},
    kernels::{
        head::{Goal, Tally, Target, Targets, distributions},
        quiet::Quiet,
    },
    params,
    tensors::Tensors,
    tokenizer::Tokenizer,
};

/// What a position of a row should learn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lesson {
    /// The token that follows.
    Next,
    /// What generation 0 would say there: Kullback-Leibler divergence.
    Keep,
}

/// One position with a target.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Aim {
    /// The position whose prediction is trained.
    pub position: u32,
    /// What it should learn.
    pub lesson: Lesson,
    /// Weight in the loss.
    pub weight: f32,
    /// Whether it counts in the accuracy.
    pub counted: bool,
}

/// One sequence with its targets.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Row {
    /// Token ids.
    pub ids: Vec<u32>,
    /// Targets in the order of positions.
    pub aims: Vec<Aim>,
    /// Penalty on half the squared length of what a slow bank adds at each position, weighed like a target's loss but not part of the loss that is told.
    pub quiet: f32,
}

/// One message of a row and the weight of predicting it.
#[derive(Debug, Clone, Copy)]
pub struct Said<'a> {
    /// Who says it.
    pub role: Role,
    /// What is said.
    pub text: &'a str,
    /// Weight of its text.
    pub weight: f32,
    /// Whether its text counts in the accuracy.
    pub counted: bool,
}

/// Weight of predicting who speaks next: without it a model cannot end a turn that it writes for a user.
const ROLE_WEIGHT: f32 = 1.0;

impl Row {
    /// A conversation whose every message is predicted with its own weight.
    pub fn said(tokenizer: &Tokenizer, messages: &[Said<'_>]) -> Self {
        let mut row = Self::default();
        for message in messages {
            let tokens = ChatTokens.message(tokenizer, message.role, message.text);
            for (n, id) in tokens.into_iter().enumerate() {
                let weight = if n == 0 { ROLE_WEIGHT.min(message.weight * 2.0) } else { message.weight };
                if let Some(position) = row.ids.len().checked_sub(1).filter(|_| weight > 0.0) {
                    let counted = message.counted && n > 0;
                    row.aims.push(Aim { position: position as u32, lesson: Lesson::Next, weight, counted });
                }
                row.ids.push(id);
            }
        }
        row
    }

    /// Cuts the row after `limit` tokens.
    pub fn truncate(&mut self, limit: usize) {
        self.ids.truncate(limit);
        self.aims.retain(|aim| (aim.position as usize) + 1 < limit);
    }

    /// The same conversation, every position of which should stay as generation 0 has it, with this weight times its own (1 where it has none).
    pub fn keep(mut self, weight: f32) -> Self {
        let own: HashMap<u32, f32> = self.aims.iter().map(|aim| (aim.position, aim.weight)).collect();
        let positions = 0..self.ids.len() as u32;
        let keep = |position: u32| {
            let weight = weight * own.get(&position).copied().unwrap_or(1.0);
            Aim { position, lesson: Lesson::Keep, weight, counted: false }
        };
        self.aims = positions.map(keep).collect();
        self
    }

    /// The same row, over which slow banks should say little.
    ///
    /// What Kullback-Leibler divergence rewards stops where the right token is certain; banks then grow until they drown the stream wherever nothing was
    /// rehearsed. This holds their answer down at every position and in every channel.
    pub fn quiet(self, penalty: f32) -> Self {
        Self { quiet: penalty, ..self }
    }
}

/// Rows of similar length, padded to the longest.
#[derive(Debug)]
struct Batch {
    ids: Arc<Vec<u32>>,
    rows: usize,
    time: usize,
    aims: Vec<(u32, Aim, u32)>,
    /// The penalty of every position when any row has one.
    quiet: Option<Arc<Vec<f32>>>,
}

impl Batch {
    fn of(rows: &[&Row]) -> Self {
        let time = rows.iter().map(|r| r.ids.len()).max().unwrap_or(0);
        let mut ids = vec![PAD; rows.len() * time];
        let mut aims = Vec::new();
        let mut quiet = rows.iter().any(|r| r.quiet > 0.0).then(|| vec![0.0; ids.len()]);
        for (n, row) in rows.iter().enumerate() {
            if let Some(quiet) = &mut quiet {
                quiet[n * time..n * time + row.ids.len()].fill(row.quiet);
            }
            ids[n * time..n * time + row.ids.len()].copy_from_slice(&row.ids);
            let at = (n * time) as u32;
            aims.extend(row.aims.iter().map(|aim| {
                let next = row.ids.get(aim.position as usize + 1).copied().unwrap_or(PAD);
                (at + aim.position, *aim, next)
            }));
        }
        Self { ids: Arc::new(ids), rows: rows.len(), time, aims, quiet: quiet.map(Arc::new) }
    }

    /// Splits rows into batches of similar length with at most `cap` padded tokens each.
    fn split(rows: &[Row], cap: usize) -> Vec<Self> {
        let mut sorted: Vec<&Row> = rows.iter().filter(|r| !r.aims.is_empty()).collect();
        sorted.sort_by_key(|r| r.ids.len());
        let mut batches = Vec::new();
        let mut from = 0;
        for n in 0..sorted.len() {
            let longest = sorted.get(n + 1).map_or(usize::MAX, |r| r.ids.len());
            let shortest = sorted[from].ids.len();
            let full = longest.saturating_mul(n + 2 - from) > cap;
            let uneven = longest > shortest.saturating_mul(2).max(24);
            if full || uneven {
                batches.push(Self::of(&sorted[from..=n]));
                from = n + 1;
            }
        }
        batches
    }
}

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
    model: Hope,
    optimizer: Optim,
    max_batch_tokens: usize,
}

struct Optim(ModuleOptimizer);

impl std::fmt::Debug for Optim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ModuleOptimizer")
    }
}

/// Padded tokens that go through the model at once; more only costs memory.
const MAX_BATCH_TOKENS: usize = 4096;

impl Trainer {
    /// Everything but the slow banks is trained: the base's recipe.
    pub fn base(config: &HopeConfig, seed: u64, optimizer: ModuleOptimizer) -> Self {
        let device = Device::flex().autodiff();
        let model = Hope::new(config, seed, &device).freeze_group(Hope::slow_banks());
        Self { model, optimizer: Optim(optimizer), max_batch_tokens: MAX_BATCH_TOKENS }
    }

    /// As [`Trainer::base`], from a base's tensors on.
    ///
    /// # Errors
    /// When a tensor is missing, foreign or of other extents.
    pub fn base_from(config: &HopeConfig, base: &Tensors, seed: u64, optimizer: ModuleOptimizer) -> Result<Self, ModelError> {
        let device = Device::flex().autodiff();
        let mut tensors = params::collect(&Hope::new(config, seed, &device));
        tensors.extend(base.clone());
        let model = params::load(config, "the base to go on from", &tensors, &device)?.freeze_group(Hope::slow_banks());
        Ok(Self { model, optimizer: Optim(optimizer), max_batch_tokens: MAX_BATCH_TOKENS })
    }

    /// Only the slow banks are trained: a night. `tensors` holds the whole model.
    ///
    /// # Errors
    /// When a tensor is missing, foreign or of other extents.
    pub fn night(config: &HopeConfig, tensors: &Tensors, optimizer: ModuleOptimizer) -> Result<Self, ModelError> {
        let device = Device::flex().autodiff();
        let model = params::load(config, "the parent generation", tensors, &device)?;
        let model = model.freeze_group(ParamGroup::all()).unfreeze_group(Hope::slow_banks());
        Ok(Self { model, optimizer: Optim(optimizer), max_batch_tokens: MAX_BATCH_TOKENS })
    }

    /// The parameters by name.
    pub fn tensors(&self) -> Tensors {
        params::collect(&self.model)
    }

    /// One optimizer step over rows, gradients summed over batches of similar length. `scale` is the schedule's factor.
    pub fn step(&mut self, rows: &[Row], scale: f64, slow: SlowBank) -> StepStats {
        let batches = Batch::split(rows, self.max_batch_tokens);
        let weight: f32 = batches.iter().flat_map(|b| &b.aims).map(|(_, aim, _)| aim.weight).sum();
        let mut gradients = GradientsAccumulator::new();
        let mut stats = StepStats::default();
        let mut tally = Tally::default();
        for batch in &batches {
            let (loss, batch_tally) = self.backward(batch, weight, slow, &mut gradients);
            stats.loss += loss;
            tally.counted += batch_tally.counted;
            tally.right += batch_tally.right;
        }
        stats.tokens = rows.iter().map(|r| r.ids.len() as u64).sum();
        stats.accuracy = tally.right as f64 / tally.counted.max(1) as f64;
        let model = self.model.clone();
        self.model = self.optimizer.0.step(scale, model, gradients.grads());
        stats
    }

    fn backward(&self, batch: &Batch, weight: f32, slow: SlowBank, gradients: &mut GradientsAccumulator<Hope>) -> (f64, Tally) {
        let targets = Arc::new(self.targets(batch));
        let quiet = batch.quiet.clone().map(|weights| Quiet { weights, normalizer: weight });
        let hidden = self.model.hidden_quiet(&batch.ids, batch.rows, slow, quiet.as_ref());
        let (loss, tally) = self.model.loss(hidden, targets, weight);
        let value = f64::from(loss.clone().into_scalar::<f32>());
        let computed = GradientsParams::from_grads(loss.backward(), &self.model);
        gradients.accumulate(&self.model, computed);
        let tally = *tally.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        (value, tally)
    }

    /// Looks up what generation 0 says wherever a row should stay as it is.
    fn targets(&self, batch: &Batch) -> Targets {
        let kept: Vec<u32> = batch.aims.iter().filter(|(_, a, _)| a.lesson == Lesson::Keep).map(|(row, _, _)| *row).collect();
        let teacher = if kept.is_empty() { Vec::new() } else { self.zero_says(batch, &kept) };
        let mut next_teacher = 0;
        let rows = batch.aims.iter().map(|(row, aim, next)| {
            let goal = match aim.lesson {
                Lesson::Next => Goal::Token(*next),
                Lesson::Keep => {
                    next_teacher += 1;
                    Goal::Teacher(next_teacher - 1)
                }
            };
            Target { row: *row, goal, weight: aim.weight, counted: aim.counted }
        });
        Targets { rows: rows.collect(), teacher }
    }

    fn zero_says(&self, batch: &Batch, rows: &[u32]) -> Vec<f32> {
        let model = self.model.valid();
        let hidden = model.hidden(&batch.ids, batch.rows, SlowBank::Off);
        let width = hidden.dims()[2];
        debug_assert_eq!(hidden.dims()[1], batch.time, "one hidden row a token");
        let hidden: Vec<f32> = hidden.into_data().try_to_vec().unwrap_or_default();
        let embed: Vec<f32> = model.embed.val().into_data().try_to_vec().unwrap_or_default();
        distributions(&hidden, &embed, width, rows)
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

    /// Goes on from what [`Trainer::state`] gave.
    ///
    /// # Errors
    /// Says what does not fit.
    pub fn restore(self, state: &[u8]) -> Result<Self, String> {
        let (length, rest) = state.split_first_chunk::<8>().ok_or("it is too short")?;
        let length = usize::try_from(u64::from_le_bytes(*length)).map_err(|e| e.to_string())?;
        if length > rest.len() {
            return Err("it is cut off".to_owned());
        }
        let (model, optimizer) = rest.split_at(length);
        let record = ModuleRecord::from_bytes(Bytes::from_bytes_vec(model.to_vec())).map_err(|e| e.to_string())?;
        let model = self.model.load_record(record);
        let optimizer = self.optimizer.0.from_bytes(Bytes::from_bytes_vec(optimizer.to_vec())).map_err(|e| e.to_string())?;
        Ok(Self { model, optimizer: Optim(optimizer), ..self })
    }
}
