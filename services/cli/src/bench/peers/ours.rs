//! What this program does of the work.

use std::{fs, sync::Arc, time::Duration};

use anyhow::{Context, bail};
use nocturne_model::{
    Banks, Base, Decoder, DeviceName, ModelConfig, SessionState, StepInput, Tokenizer, Weights,
    config::MixerConfig,
    decode::Piece,
    import::{Files, SlowBanks, convert},
    model::SlowBank,
    optim, params, presets,
    tensors::{self, Precision},
    train::{Aim, Lesson, Row, Trainer},
};

use super::{
    Request, Work,
    checkpoint::{CONFIG, WEIGHTS},
    report::Measured,
};
use crate::bench::{rate, rate_of};

/// A model that decodes.
pub(super) struct Ours {
    base: Arc<Base>,
    weights: Weights,
}

impl Ours {
    /// Imports the checkpoint.
    pub(super) fn load(request: &Request<'_>) -> anyhow::Result<Self> {
        let read = |name: &str| -> std::io::Result<_> { Ok((name.to_owned(), fs::read(request.checkpoint.join(name))?)) };
        let files: Files = [CONFIG, WEIGHTS].into_iter().map(read).collect::<Result<_, _>>().context("reading the checkpoint")?;
        let slow: SlowBanks = "stack=last:1".parse().map_err(anyhow::Error::msg)?;
        let imported = convert("random", &files, files.clone(), &slow).context("importing the checkpoint")?;
        // Nobody reads what it generates.
        let tokenizer = Tokenizer::train(["a b"; 2].into_iter(), 96).context("making a tokenizer")?;
        let base = Base::assemble(imported.config, tokenizer, imported.tensors).context("assembling the model")?;
        let banks = Banks::load(&base, &base.untrained_banks()?)?;
        let base = Arc::new(base.to_serve());
        for work in request.works {
            let Work::Train { architecture, .. } = work else { continue };
            let file = request.checkpoint.join(format!("train-{architecture}.safetensors"));
            let (_, trainer) = beginning(work)?;
            tensors::write_file(&file, &trainer.tensors(), Precision::Single).context("writing what training begins with")?;
        }
        Ok(Self { weights: Weights::new(Arc::clone(&base), banks), base })
    }

    /// Does all of it once.
    ///
    /// # Errors
    /// When a model cannot be made.
    pub(super) fn measure(&mut self, works: &[Work], least: Duration) -> anyhow::Result<Measured> {
        let figures: Vec<_> = works.iter().map(|work| self.work(work, least)).collect::<anyhow::Result<_>>()?;
        let (tokens_per_second, first_logits) = figures.into_iter().map(|(figure, logits)| (Some(figure), logits)).unzip();
        let program = format!("nocturne {}", env!("CARGO_PKG_VERSION"));
        Ok(Measured { program, tokens_per_second, first_logits, rounding: f64::from(f32::EPSILON) })
    }

    /// Tokens a second, and what the model says to the first sequence: after its last token, or before the first step where it is trained.
    fn work(&self, work: &Work, least: Duration) -> anyhow::Result<(f64, Option<Vec<f32>>)> {
        let mut decoder = Decoder::new(&self.base);
        let mut logits = Vec::new();
        let figure = match work {
            Work::Read { batch, prompt } => rate(batch * prompt, least, || {
                (_, logits) = self.read(&mut decoder, *batch, *prompt);
            }),
            Work::Generate { batch, prompt, tokens } => {
                let (read, _) = self.read(&mut decoder, *batch, *prompt);
                rate_of(
                    batch * tokens,
                    least,
                    || read.clone(),
                    |mut states| {
                        for n in 0..*tokens {
                            let mut step: Vec<_> =
                                states.iter_mut().map(|state| StepInput { state, token: self.token(n, 0) }).collect();
                            let said = decoder.step(&self.weights, &mut step);
                            if n + 1 == *tokens {
                                logits = said[..said.len() / batch].to_vec();
                            }
                        }
                    },
                )
            }
            Work::Train { .. } => return train(work, least),
        };
        Ok((figure, Some(logits)))
    }

    fn token(&self, n: usize, salt: usize) -> u32 {
        token(n, salt, self.base.config().vocab)
    }

    /// States after prompts, and logits after the first of them.
    fn read(&self, decoder: &mut Decoder, batch: usize, prompt: usize) -> (Vec<SessionState>, Vec<f32>) {
        let mut states: Vec<SessionState> = (0..batch).map(|_| SessionState::new(&self.base)).collect();
        let prompts: Vec<Vec<u32>> = (0..batch).map(|salt| (0..prompt).map(|n| self.token(n, salt)).collect()).collect();
        let mut pieces: Vec<Piece<'_>> = states.iter_mut().zip(&prompts).map(|(state, tokens)| Piece { state, tokens }).collect();
        let said = decoder.prefill_many(&self.weights, &mut pieces);
        let logits = said[..said.len() / batch].to_vec();
        (states, logits)
    }
}

fn token(n: usize, salt: usize, vocab: usize) -> u32 {
    ((n * 7_919 + salt * 104_729) % vocab) as u32
}

/// The model that is trained, as it begins.
fn beginning(work: &Work) -> anyhow::Result<(ModelConfig, Trainer)> {
    let Work::Train { architecture, vocab, width, heads, blocks, hidden, .. } = work else { bail!("nothing is trained") };
    let mixer = presets::mixer(architecture, *width, *heads);
    let mut mixer = mixer.with_context(|| format!("there is no architecture {architecture}"))?;
    if let MixerConfig::GatedDelta(c) = &mut mixer {
        // As in its paper.
        c.gate = true;
    }
    let config = presets::model(architecture, &mixer, *vocab, *width, *blocks, *hidden);
    let trainer = Trainer::base(&config, 1, optim::for_comparison(0.01));
    Ok((config, trainer))
}

/// What the model says after the first row: everything that was read before has part in it.
fn logits(config: &ModelConfig, trainer: &Trainer, row: &Row) -> anyhow::Result<Vec<f32>> {
    let model = params::load(config, "the model that is trained", &trainer.tensors(), &DeviceName::Flex.open()?)?;
    let states = model.hidden(&Arc::new(row.ids.clone()), 1, SlowBank::On);
    let [_, time, width] = states.dims();
    let last = states.narrow(1, time - 1, 1).reshape([1, width]);
    last.matmul(model.head_matrix().transpose()).into_data().try_to_vec().context("reading logits")
}

fn train(work: &Work, least: Duration) -> anyhow::Result<(f64, Option<Vec<f32>>)> {
    let Work::Train { vocab, rows, context, .. } = work else { bail!("nothing is trained") };
    let (config, mut trainer) = beginning(work)?;
    let aim = |position| Aim { position, lesson: Lesson::Next, weight: 1.0, counted: false };
    let row = |salt| Row {
        ids: (0..*context).map(|n| token(n, salt, *vocab)).collect(),
        aims: (0..*context as u32 - 1).map(aim).collect(),
        quiet: 0.0,
    };
    let rows: Vec<Row> = (0..*rows).map(row).collect();
    let first = logits(&config, &trainer, &rows[0])?;
    let figure = rate(rows.len() * context, least, || {
        trainer.step(&rows, 1e-3, SlowBank::On);
    });
    Ok((figure, Some(first)))
}
