//! A model's own voice, many conversations at a time: what a night, or whoever examines a base, has it say.

use std::sync::Arc;

use nocturne_wire::record::Role;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use crate::{Base, Decoder, ModelError, Piece, SessionState, StepInput, Weights};

/// Sequences that are decoded together.
const TOGETHER: usize = 48;

/// One message to read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    /// Who says it.
    pub role: Role,
    /// What is said.
    pub text: String,
}

impl Line {
    /// A user's message.
    pub fn user(text: impl Into<String>) -> Self {
        Self { role: Role::User, text: text.into() }
    }

    /// A message of the model's.
    pub fn assistant(text: impl Into<String>) -> Self {
        Self { role: Role::Assistant, text: text.into() }
    }
}

/// What the model said.
#[derive(Debug, Clone, PartialEq)]
pub struct Spoken {
    /// The text.
    pub text: String,
    /// Whether the model ended it by itself.
    pub ended: bool,
}

/// How to choose tokens.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Choice {
    /// Always the most likely one.
    Greedy,
    /// Sampled at a temperature.
    Sampled {
        /// Divides the logits.
        temperature: f32,
        /// Seed of the draw.
        seed: u64,
    },
}

/// Speaks with one generation's weights.
#[derive(Debug)]
pub struct Voice {
    base: Arc<Base>,
    decoder: Decoder,
}

impl Voice {
    /// A voice over a base.
    pub fn new(base: &Arc<Base>) -> Self {
        Self { base: Arc::clone(base), decoder: Decoder::new(base) }
    }

    /// Tokens of a conversation, without the opening of an answer; none where an imported base's chat template refuses it.
    pub fn tokens(&self, lines: &[Line]) -> Vec<u32> {
        self.try_tokens(lines).unwrap_or_default()
    }

    /// The same for those who must know about a refusal.
    ///
    /// # Errors
    /// When an imported base's chat template refuses the conversation.
    pub fn try_tokens(&self, lines: &[Line]) -> Result<Vec<u32>, ModelError> {
        let messages: Vec<(Role, &str)> = lines.iter().map(|line| (line.role, line.text.as_str())).collect();
        if messages.is_empty() {
            return Ok(Vec::new());
        }
        self.base.chat().conversation(self.base.tokenizer(), &messages, false)
    }

    /// Reads conversations; gives the states after them. Empty conversations give fresh states.
    pub fn read(&mut self, weights: &Weights, conversations: &[Vec<u32>]) -> Vec<SessionState> {
        let mut states: Vec<SessionState> = conversations.iter().map(|_| SessionState::new(&self.base)).collect();
        let mut pairs: Vec<(&mut SessionState, &Vec<u32>)> =
            states.iter_mut().zip(conversations).filter(|(_, tokens)| !tokens.is_empty()).collect();
        for group in pairs.chunks_mut(TOGETHER) {
            let mut pieces: Vec<Piece<'_>> =
                group.iter_mut().map(|(state, tokens)| Piece { state, tokens: tokens.as_slice() }).collect();
            self.decoder.prefill_many(weights, &mut pieces);
        }
        states
    }

    /// Answers one message in each of many states; the states are copied.
    pub fn answer(
        &mut self,
        weights: &Weights,
        asked: &[(&SessionState, &str)],
        choice: Choice,
        max_tokens: usize,
    ) -> Vec<Spoken> {
        let mut spoken = Vec::with_capacity(asked.len());
        for (n, group) in asked.chunks(TOGETHER).enumerate() {
            spoken.extend(self.answer_group(weights, group, choice, max_tokens, (n * TOGETHER) as u64));
        }
        spoken
    }

    fn answer_group(
        &mut self,
        weights: &Weights,
        asked: &[(&SessionState, &str)],
        choice: Choice,
        max_tokens: usize,
        first: u64,
    ) -> Vec<Spoken> {
        let mut turns: Vec<Turn> =
            asked.iter().enumerate().map(|(n, (state, _))| Turn::new((*state).clone(), choice, first + n as u64)).collect();
        let prompts: Vec<Vec<u32>> = asked.iter().map(|(state, text)| self.prompt(state, text)).collect();
        let vocab = self.base.config().vocab;
        let mut pieces: Vec<Piece<'_>> =
            turns.iter_mut().zip(&prompts).map(|(turn, tokens)| Piece { state: &mut turn.state, tokens }).collect();
        let logits = self.decoder.prefill_many(weights, &mut pieces).to_vec();
        for (turn, logits) in turns.iter_mut().zip(logits.chunks_exact(vocab)) {
            turn.choose(logits, self.base.chat().ends());
        }
        for _ in 1..max_tokens {
            let mut open: Vec<&mut Turn> = turns.iter_mut().filter(|t| !t.ended).collect();
            if open.is_empty() {
                break;
            }
            let mut steps: Vec<StepInput<'_>> = open
                .iter_mut()
                .map(|t| StepInput { token: t.ids.last().copied().unwrap_or_default(), state: &mut t.state })
                .collect();
            let logits = self.decoder.step(weights, &mut steps).to_vec();
            for (turn, logits) in open.into_iter().zip(logits.chunks_exact(vocab)) {
                turn.choose(logits, self.base.chat().ends());
            }
        }
        turns.into_iter().map(|turn| turn.finish(&self.base)).collect()
    }

    fn prompt(&self, state: &SessionState, text: &str) -> Vec<u32> {
        self.base.chat().asked(self.base.tokenizer(), state.position() == 0, text)
    }

    /// The tokens of answers after messages in states, the end marks included, and the negative log-likelihood of each, nats.
    pub fn likelihoods(&mut self, weights: &Weights, said: &[(&SessionState, &str, &str)]) -> Vec<(Vec<u32>, Vec<f32>)> {
        let mut out = Vec::with_capacity(said.len());
        for group in said.chunks(TOGETHER) {
            let mut states: Vec<SessionState> = group.iter().map(|(state, _, _)| (*state).clone()).collect();
            let answers: Vec<Vec<u32>> = group.iter().map(|(_, _, answer)| self.answer_tokens(answer)).collect();
            let whole: Vec<Vec<u32>> = group
                .iter()
                .zip(&answers)
                .map(|((state, message, _), answer)| [self.prompt(state, message).as_slice(), answer].concat())
                .collect();
            let mut pieces: Vec<Piece<'_>> =
                states.iter_mut().zip(&whole).map(|(state, tokens)| Piece { state, tokens: tokens.as_slice() }).collect();
            let scores = self.decoder.score_many(weights, &mut pieces);
            out.extend(answers.into_iter().zip(scores).map(|(answer, nll)| {
                let skip = nll.len() - answer.len();
                (answer, nll[skip..].to_vec())
            }));
        }
        out
    }

    fn answer_tokens(&self, answer: &str) -> Vec<u32> {
        let mut tokens = self.base.tokenizer().encode(answer);
        tokens.push(self.base.chat().end());
        tokens
    }

    /// Kullback-Leibler divergence of `other` from `zero`, summed over the tokens of a conversation, nats.
    pub fn divergence(&mut self, zero: &Weights, other: &Weights, tokens: &[u32]) -> f64 {
        let mut states = [zero, other].map(|_| SessionState::new(&self.base));
        let [ours, theirs] = &mut states;
        let p = self.decoder.prefill_all(zero, ours, tokens);
        let q = self.decoder.prefill_all(other, theirs, tokens);
        let vocab = self.base.config().vocab;
        p.chunks_exact(vocab).zip(q.chunks_exact(vocab)).map(|(p, q)| divergence(p, q)).sum()
    }

    /// The base.
    pub fn base(&self) -> &Arc<Base> {
        &self.base
    }
}

struct Turn {
    state: SessionState,
    ids: Vec<u32>,
    ended: bool,
    choice: Choice,
    rng: ChaCha8Rng,
}

impl Turn {
    fn new(state: SessionState, choice: Choice, stream: u64) -> Self {
        let seed = match choice {
            Choice::Greedy => 0,
            Choice::Sampled { seed, .. } => seed,
        };
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(stream);
        Self { state, ids: Vec::new(), ended: false, choice, rng }
    }

    fn choose(&mut self, logits: &[f32], ends: &[u32]) {
        let token = match self.choice {
            Choice::Greedy => most_likely(logits),
            Choice::Sampled { temperature, .. } => self.sample(logits, temperature),
        };
        self.ended = ends.contains(&token);
        self.ids.push(token);
    }

    fn sample(&mut self, logits: &[f32], temperature: f32) -> u32 {
        let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let weights: Vec<f32> = logits.iter().map(|l| ((l - top) / temperature).exp()).collect();
        let mut left = self.rng.random::<f32>() * weights.iter().sum::<f32>();
        for (id, weight) in weights.iter().enumerate() {
            left -= weight;
            if left <= 0.0 {
                return id as u32;
            }
        }
        most_likely(logits)
    }

    fn finish(self, base: &Base) -> Spoken {
        let kept = self.ids.len() - usize::from(self.ended);
        Spoken { text: base.tokenizer().decode(&self.ids[..kept]), ended: self.ended }
    }
}

fn most_likely(logits: &[f32]) -> u32 {
    let mut best = 0;
    for (id, value) in logits.iter().enumerate() {
        if *value > logits[best] {
            best = id;
        }
    }
    best as u32
}

/// Divergence of two rows of logits, nats.
fn divergence(p: &[f32], q: &[f32]) -> f64 {
    let normalizer = |x: &[f32]| {
        let top = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        top + x.iter().map(|v| (v - top).exp()).sum::<f32>().ln()
    };
    let (log_p, log_q) = (normalizer(p), normalizer(q));
    p.iter().zip(q).map(|(p, q)| f64::from((p - log_p).exp()) * f64::from((p - log_p) - (q - log_q))).sum()
}
