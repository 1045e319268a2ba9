//! What this program does of the work.

use std::{fs, sync::Arc, time::Duration};

use anyhow::Context;
use nocturne_model::{
    Banks, Base, Decoder, SessionState, StepInput, Tokenizer, Weights,
    config::MixerConfig,
    decode::Piece,
    import::{Files, SlowBanks, convert},
    model::SlowBank,
    optim, presets,
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
            let Some((file, trainer)) = beginning(work) else { continue };
            tensors::write_file(&request.checkpoint.join(file), &trainer.tensors(), Precision::Single)
                .context("writing what training begins with")?;
        }
        Ok(Self { weights: Weights::new(Arc::clone(&base), banks), base })
    }

    /// Does all of it once.
    pub(super) fn measure(&mut self, works: &[Work], least: Duration) -> Measured {
        let (tokens_per_second, first_losses) =
            works.iter().map(|work| self.work(work, least)).map(|(f, l)| (Some(f), l)).unzip();
        Measured { program: format!("nocturne {}", env!("CARGO_PKG_VERSION")), tokens_per_second, first_losses }
    }

    /// Tokens a second, and the loss of the first step where there is one.
    fn work(&self, work: &Work, least: Duration) -> (f64, Option<f64>) {
        let mut decoder = Decoder::new(&self.base);
        let figure = match work {
            Work::Read { batch, prompt } => rate(batch * prompt, least, || {
                self.read(&mut decoder, *batch, *prompt);
            }),
            Work::Generate { batch, prompt, tokens } => {
                let read = self.read(&mut decoder, *batch, *prompt);
                rate_of(
                    batch * tokens,
                    least,
                    || read.clone(),
                    |mut states| {
                        for n in 0..*tokens {
                            let mut step: Vec<_> =
                                states.iter_mut().map(|state| StepInput { state, token: self.token(n, 0) }).collect();
                            decoder.step(&self.weights, &mut step);
                        }
                    },
                )
            }
            Work::Train { .. } => return train(work, least).unwrap_or_default(),
        };
        (figure, None)
    }

    fn token(&self, n: usize, salt: usize) -> u32 {
        token(n, salt, self.base.config().vocab)
    }

    fn read(&self, decoder: &mut Decoder, batch: usize, prompt: usize) -> Vec<SessionState> {
        let mut states: Vec<SessionState> = (0..batch).map(|_| SessionState::new(&self.base)).collect();
        let prompts: Vec<Vec<u32>> = (0..batch).map(|salt| (0..prompt).map(|n| self.token(n, salt)).collect()).collect();
        let mut pieces: Vec<Piece<'_>> = states.iter_mut().zip(&prompts).map(|(state, tokens)| Piece { state, tokens }).collect();
        decoder.prefill_many(&self.weights, &mut pieces);
        states
    }
}

fn token(n: usize, salt: usize, vocab: usize) -> u32 {
    ((n * 7_919 + salt * 104_729) % vocab) as u32
}

/// What training begins with, and the file in which others find it.
fn beginning(work: &Work) -> Option<(String, Trainer)> {
    let Work::Train { architecture, vocab, width, heads, blocks, hidden, .. } = work else { return None };
    let mut mixer = presets::mixer(architecture, *width, *heads)?;
    if let MixerConfig::GatedDelta(c) = &mut mixer {
        // As in its paper.
        c.gate = true;
    }
    let config = presets::model(architecture, &mixer, *vocab, *width, *blocks, *hidden);
    Some((format!("train-{architecture}.safetensors"), Trainer::base(&config, 1, optim::for_comparison())))
}

fn train(work: &Work, least: Duration) -> Option<(f64, Option<f64>)> {
    let Work::Train { vocab, rows, context, .. } = work else { return None };
    let (_, mut trainer) = beginning(work)?;
    let aim = |position| Aim { position, lesson: Lesson::Next, weight: 1.0, counted: false };
    let row = |salt| Row {
        ids: (0..*context).map(|n| token(n, salt, *vocab)).collect(),
        aims: (0..*context as u32 - 1).map(aim).collect(),
        quiet: 0.0,
    };
    let rows: Vec<Row> = (0..*rows).map(row).collect();
    let mut first = None;
    let figure = rate(rows.len() * context, least, || {
        let loss = trainer.step(&rows, 1e-3, SlowBank::On).loss;
        first.get_or_insert(loss);
    });
    Some((figure, first))
}
