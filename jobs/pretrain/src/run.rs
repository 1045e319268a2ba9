//! The training run.

use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    time::Instant,
};

use nocturne_model::{
    ModelConfig, ModelError, Tokenizer,
    device::Device,
    model::SlowBank,
    optim,
    tensors::{self, SLOW, Tensors},
    train::Trainer,
};
use nocturne_world::{Corpus, rehearsal};
use serde::{Deserialize, Serialize};

use crate::{error::PretrainError, recipe::Recipe, rows};

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Steps done.
    pub step: u64,
    /// Steps in all.
    pub steps: u64,
    /// Tokens read so far.
    pub tokens: u64,
    /// Tokens a second since the run was started or resumed.
    pub tokens_per_second: f64,
    /// Weighted mean loss of this step, nats.
    pub loss: f64,
    /// Share of answer tokens that were the most likely ones in this step.
    pub accuracy: f64,
}

/// What a run gave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Steps.
    pub steps: u64,
    /// Tokens.
    pub tokens: u64,
    /// Seconds since the run was started or resumed.
    pub seconds: f64,
    /// Mean answer-token accuracy of the last 50 steps.
    pub accuracy: f64,
    /// Bytes of `model.safetensors`.
    pub model_bytes: u64,
}

/// Where the training run stood when it was written.
#[derive(Debug, Serialize, Deserialize)]
struct Mark {
    step: u64,
    tokens: u64,
    conversations: u64,
    recipe: Recipe,
    curve: Vec<Progress>,
}

struct Files<'a>(&'a Path);

impl Files<'_> {
    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), PretrainError> {
        let (path, staged) = (self.path(name), self.path(&format!("{name}.part")));
        let failed = |source| PretrainError::File { action: "write", path: path.clone(), source };
        fs::create_dir_all(self.0).map_err(failed)?;
        let written = File::create(&staged).and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        });
        written.and_then(|()| fs::rename(&staged, &path)).map_err(failed)
    }

    fn read(&self, name: &str) -> Result<Vec<u8>, PretrainError> {
        let path = self.path(name);
        fs::read(&path).map_err(|source| PretrainError::File { action: "read", path, source })
    }

    fn refused(&self, name: &str, why: &(impl ToString + ?Sized)) -> PretrainError {
        PretrainError::Checkpoint { path: self.path(name), why: why.to_string() }
    }
}

const CHECKPOINT: &str = "checkpoint.bin";

/// What a run begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin<'a> {
    /// Random weights and a tokenizer of its own.
    Fresh,
    /// The last checkpoint in the output folder.
    Resume,
    /// The weights and the tokenizer of a base in another folder: the next stage of a recipe in stages.
    From(&'a Path),
}

/// Trains a base by a recipe into `out`.
///
/// # Errors
/// When the recipe makes no sense, a file cannot be read or written, or what is begun with belongs to another recipe or another shape of model.
pub fn train(
    recipe: &Recipe,
    out: &Path,
    begin: Begin<'_>,
    on_progress: &mut dyn FnMut(Progress),
) -> Result<Summary, PretrainError> {
    if let Some(fault) = recipe.fault() {
        return Err(PretrainError::Recipe(fault));
    }
    recipe.corpus.check()?;
    let files = Files(out);
    let corpus = Corpus::new(recipe.seed, recipe.corpus.clone());
    let mut run = Run::start(recipe, &files, &corpus, begin)?;
    if run.mark.step == 0 {
        // What it began with is not in the recipe: from here on it can be resumed.
        run.checkpoint(&files)?;
    }
    let begun = Instant::now();
    let tokens_before = run.mark.tokens;
    while run.mark.step < recipe.steps {
        let mut progress = run.step(recipe, &corpus)?;
        progress.tokens_per_second = (progress.tokens - tokens_before) as f64 / begun.elapsed().as_secs_f64();
        run.mark.curve.push(progress);
        on_progress(progress);
        if run.mark.step.is_multiple_of(recipe.checkpoint_every_steps) && run.mark.step < recipe.steps {
            run.checkpoint(&files)?;
        }
    }
    let model_bytes = finish(recipe, &files, &run)?;
    let last = &run.mark.curve[run.mark.curve.len().saturating_sub(50)..];
    Ok(Summary {
        steps: run.mark.step,
        tokens: run.mark.tokens,
        seconds: begun.elapsed().as_secs_f64(),
        accuracy: last.iter().map(|p| p.accuracy).sum::<f64>() / last.len().max(1) as f64,
        model_bytes,
    })
}

struct Run {
    trainer: Trainer,
    tokenizer: Tokenizer,
    mark: Mark,
}

impl Run {
    fn start(recipe: &Recipe, files: &Files<'_>, corpus: &Corpus, begin: Begin<'_>) -> Result<Self, PretrainError> {
        let device = recipe.device.open().map_err(ModelError::from)?;
        let optimizer = || optim::for_base(recipe.muon, recipe.adam_rate);
        let (tokenizer, trainer) = match begin {
            Begin::Resume => return Self::resume(recipe, files, &device),
            Begin::Fresh => {
                let texts = corpus.text_for_tokenizer(recipe.tokenizer_conversations);
                let tokenizer = Tokenizer::train(texts.iter().map(String::as_str), recipe.model.vocab)?;
                (tokenizer, Trainer::base(&recipe.model, recipe.seed, optimizer()))
            }
            Begin::From(base) => {
                let base = Files(base);
                let tensors = tensors::read("model.safetensors", &base.read("model.safetensors")?)?;
                let tokenizer = Tokenizer::from_json(&base.read("tokenizer.json")?)?;
                (tokenizer, Trainer::base_from(&recipe.model, &tensors, recipe.seed, optimizer())?)
            }
        };
        files.write("tokenizer.json", &tokenizer.to_json()?)?;
        let mark = Mark { step: 0, tokens: 0, conversations: 0, recipe: recipe.clone(), curve: Vec::new() };
        Ok(Self { trainer: trainer.on(&device), tokenizer, mark })
    }

    fn resume(recipe: &Recipe, files: &Files<'_>, device: &Device) -> Result<Self, PretrainError> {
        let checkpoint = files.read(CHECKPOINT)?;
        let (mark, state) = unpack(&checkpoint).ok_or_else(|| files.refused(CHECKPOINT, "it is cut short"))?;
        let mark: Mark = serde_json::from_slice(mark).map_err(|e| files.refused(CHECKPOINT, &e))?;
        if (Recipe { device: recipe.device, ..mark.recipe.clone() }) != *recipe {
            return Err(files.refused(CHECKPOINT, "it was written by another recipe"));
        }
        let tokenizer = Tokenizer::from_json(&files.read("tokenizer.json")?)?;
        let optimizer = optim::for_base(recipe.muon, recipe.adam_rate);
        let trainer = Trainer::base(&recipe.model, recipe.seed, optimizer).on(device);
        let trainer = trainer.restore(state).map_err(|e| files.refused(CHECKPOINT, &e))?;
        Ok(Self { trainer, tokenizer, mark })
    }

    fn step(&mut self, recipe: &Recipe, corpus: &Corpus) -> Result<Progress, PretrainError> {
        let mut rows = Vec::new();
        let mut tokens = 0;
        while tokens < recipe.tokens_a_step {
            let conversation = corpus.conversation(self.mark.conversations);
            self.mark.conversations += 1;
            let mut row = rows::row(&self.tokenizer, &conversation, recipe.weights);
            row.truncate(recipe.model.max_context);
            tokens += row.ids.len() as u64;
            rows.push(row);
        }
        let scale = optim::schedule(self.mark.step, recipe.steps, recipe.warm_up_steps, recipe.decay_from);
        let stats = self.trainer.step(&rows, scale, SlowBank::Off);
        self.mark.step += 1;
        self.mark.tokens += stats.tokens;
        if !stats.loss.is_finite() {
            return Err(PretrainError::Diverged { step: self.mark.step, loss: stats.loss });
        }
        Ok(Progress {
            step: self.mark.step,
            steps: recipe.steps,
            tokens: self.mark.tokens,
            tokens_per_second: 0.0,
            loss: stats.loss,
            accuracy: stats.accuracy,
        })
    }

    fn checkpoint(&self, files: &Files<'_>) -> Result<(), PretrainError> {
        let state = self.trainer.state().map_err(|e| files.refused(CHECKPOINT, &e))?;
        let mark = serde_json::to_vec(&self.mark).map_err(|e| files.refused(CHECKPOINT, &e))?;
        files.write(CHECKPOINT, &[&(mark.len() as u64).to_le_bytes(), mark.as_slice(), &state].concat())
    }
}

/// Mark and state of a checkpoint: one file, so that a kill never pairs the one with another's other.
fn unpack(checkpoint: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = checkpoint.split_first_chunk::<8>()?;
    rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)
}

/// Writes the base as it ships: rounded to 16 bit, slow banks left out.
fn finish(recipe: &Recipe, files: &Files<'_>, run: &Run) -> Result<u64, PretrainError> {
    let config: &ModelConfig = &recipe.model;
    let frozen: Tensors = run.trainer.tensors().into_iter().filter(|(name, _)| !name.contains(SLOW)).collect();
    let model = tensors::write("the base", &frozen)?;
    files.write("config.json", &serde_json::to_vec_pretty(config).unwrap_or_default())?;
    files.write("model.safetensors", &model)?;
    files.write("curve.json", &serde_json::to_vec(&run.mark.curve).unwrap_or_default())?;
    let lines: Vec<String> = rehearsal(recipe.seed, recipe.rehearsal_conversations, &recipe.corpus)
        .iter()
        .filter_map(|conversation| serde_json::to_string(conversation).ok())
        .collect();
    files.write("rehearsal.jsonl", (lines.join("\n") + "\n").as_bytes())?;
    let recipe_text = toml::to_string_pretty(recipe).unwrap_or_default();
    files.write("recipe.toml", recipe_text.as_bytes())?;
    fs::remove_file(files.path(CHECKPOINT)).ok();
    Ok(model.len() as u64)
}
