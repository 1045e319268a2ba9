//! Decoding: sessions that are moved on by one token at a time, together.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context;
use bytes::Bytes;
use nocturne_model::{Banks, Base, Decoder, SessionState, StepInput, Weights};
use nocturne_wire::record::Role;
use serde::Serialize;

use crate::{bases, output::counted};

/// Sessions that are decoded together.
const SESSIONS: [usize; 3] = [1, 8, 32];

/// How long each is measured.
const MEASURE: Duration = Duration::from_secs(3);

/// Tokens that an answer has before the sessions begin again: contexts stay as long as real ones are.
const ANSWER_TOKENS: usize = 48;

const PROMPT: &str = "The Zanlora kettle is made by Fenwick and costs 37 dollars. What does the Zanlora kettle cost?";

/// One batch size.
#[derive(Debug, Serialize)]
pub(super) struct Figures {
    sessions: usize,
    tokens_per_second: f64,
    milliseconds_a_step: f64,
}

impl Figures {
    pub(super) fn row(&self) -> [String; 3] {
        let how = format!("{:.2} ms a step", self.milliseconds_a_step);
        [format!("decoding, {}", counted(self.sessions, "session")), format!("{:.0} tokens/s", self.tokens_per_second), how]
    }
}

pub(super) fn measure(files: &BTreeMap<String, Bytes>) -> anyhow::Result<Vec<Figures>> {
    let base = Arc::new(bases::load(files)?);
    let banks = Banks::load(&base, &base.untrained_banks()?).context("loading untrained banks")?;
    let weights = Weights::new(base.clone(), banks);
    SESSIONS.into_iter().map(|sessions| batch(&base, &weights, sessions)).collect()
}

fn batch(base: &Arc<Base>, weights: &Weights, sessions: usize) -> anyhow::Result<Figures> {
    let mut decoder = Decoder::new(base);
    let asked = base.chat().conversation(base.tokenizer(), &[(Role::User, PROMPT)], true);
    let prompt = asked.context("writing a question")?;
    let mut read = SessionState::new(base);
    decoder.prefill(weights, &mut read, &prompt);
    let vocab = base.config().vocab;
    let mut steps = 0_u64;
    let mut spent = Duration::ZERO;
    while spent < MEASURE {
        let mut states = vec![read.clone(); sessions];
        let mut tokens = vec![prompt[1]; sessions];
        let begun = Instant::now();
        for _ in 0..ANSWER_TOKENS {
            let mut inputs: Vec<_> =
                states.iter_mut().zip(&tokens).map(|(state, token)| StepInput { state, token: *token }).collect();
            let logits = decoder.step(weights, &mut inputs);
            tokens = logits.chunks_exact(vocab).map(most_likely).collect();
            steps += 1;
        }
        spent += begun.elapsed();
    }
    let seconds = spent.as_secs_f64();
    Ok(Figures {
        sessions,
        tokens_per_second: steps as f64 * sessions as f64 / seconds,
        milliseconds_a_step: seconds * 1e3 / steps as f64,
    })
}

fn most_likely(logits: &[f32]) -> u32 {
    let best = logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
    best.map_or(0, |(token, _)| token as u32)
}
