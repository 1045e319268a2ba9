//! An engine whose answers are known: tokens are bytes, and every token of an answer names the generation that wrote it.
//!
//! Asked `say N`, generation `g` answers `N` times its digit; asked `text …`, it repeats the rest; asked anything else, it says how
//! many tokens its state has read. A gate holds steps back, so that tests decide when decoding goes on.

use std::sync::{Arc, Condvar, Mutex};

use nocturne_wire::{hash::Sha256Hex, manifest::TensorEntry, record::Role};

use super::{Engine, LoadError, Prefilled, Step, TextStream, Unwritable};

const END: u32 = 256;
const OPEN: u32 = 257;
const USER: u32 = 258;
const SYSTEM: u32 = 259;
const VOCAB: usize = 260;

/// What was read, and what is still to be said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct FakeState {
    read: Vec<u32>,
    /// Bytes left of a fixed answer.
    left: Vec<u8>,
    /// Digits left of a `say` answer.
    digits: usize,
}

/// Steps that may run; `None` when all may.
#[derive(Default)]
pub(crate) struct Gate {
    permits: Mutex<Option<usize>>,
    opened: Condvar,
    waiting: Mutex<usize>,
}

impl Gate {
    pub(crate) fn close(&self) {
        *self.permits.lock().unwrap() = Some(0);
    }

    pub(crate) fn allow(&self, steps: usize) {
        if let Some(permits) = &mut *self.permits.lock().unwrap() {
            *permits += steps;
        }
        self.opened.notify_all();
    }

    pub(crate) fn open(&self) {
        *self.permits.lock().unwrap() = None;
        self.opened.notify_all();
    }

    /// Threads held back now.
    pub(crate) fn waiting(&self) -> usize {
        *self.waiting.lock().unwrap()
    }

    fn pass(&self) {
        *self.waiting.lock().unwrap() += 1;
        let mut permits = self.opened.wait_while(self.permits.lock().unwrap(), |permits| *permits == Some(0)).unwrap();
        if let Some(permits) = &mut *permits {
            *permits -= 1;
        }
        *self.waiting.lock().unwrap() -= 1;
    }
}

/// The engine; clones share the gate and the counters.
#[derive(Clone, Default)]
pub(crate) struct Fake {
    pub(crate) gate: Arc<Gate>,
    /// Lengths of all prefills.
    pub(crate) prefills: Arc<Mutex<Vec<usize>>>,
    /// Sizes of all steps.
    pub(crate) steps: Arc<Mutex<Vec<usize>>>,
    /// Whether conversations are written as a whole.
    pub(crate) by_template: bool,
    /// Tokens of a context, where it is not 200.
    pub(crate) context: Option<usize>,
}

/// Weights are one digit: `0` for generation 0. The digit `x` panics when it decodes, `n` gives scores that are not numbers.
pub(crate) struct Digit(u8);

impl Fake {
    /// The next token's scores: certain, so that greedy and sampled answers are the same.
    fn row(state: &mut FakeState, weights: &Digit) -> Vec<f32> {
        assert!(weights.0 != b'x', "these weights break on purpose");
        if weights.0 == b'n' {
            return vec![f32::NAN; VOCAB];
        }
        let next = if state.digits > 0 {
            state.digits -= 1;
            u32::from(weights.0)
        } else if state.left.is_empty() {
            END
        } else {
            u32::from(state.left.remove(0))
        };
        let mut row = vec![-30.0; VOCAB];
        row[next as usize] = 30.0;
        row
    }

    fn open(state: &mut FakeState) {
        let turn = state.read.iter().rposition(|token| *token == USER).map_or(0, |at| at + 1);
        let asked: Vec<u8> = state.read[turn..].iter().filter(|t| **t < 256).map(|t| *t as u8).collect();
        let asked = String::from_utf8_lossy(&asked).into_owned();
        (state.digits, state.left) = match asked.split_once(' ') {
            Some(("say", count)) => (count.parse().unwrap(), Vec::new()),
            Some(("text", text)) => (0, text.as_bytes().to_vec()),
            _ => (0, format!("read {}", state.read.len()).into_bytes()),
        };
    }
}

impl Engine for Fake {
    type Weights = Digit;
    type State = FakeState;
    type Scratch = Vec<f32>;

    fn max_context(&self) -> usize {
        self.context.unwrap_or(200)
    }

    fn end(&self) -> u32 {
        END
    }

    fn open_answer(&self) -> Vec<u32> {
        vec![OPEN]
    }

    fn ends(&self) -> &[u32] {
        &[END]
    }

    fn is_local(&self) -> bool {
        !self.by_template
    }

    fn message(&self, role: Role, text: &str) -> Vec<u32> {
        let opening = match role {
            Role::Assistant => vec![OPEN],
            Role::System => vec![SYSTEM],
            Role::User | Role::Tool => vec![USER],
        };
        [opening, self.encode(text), vec![END]].concat()
    }

    /// As templates do: something after an end, less of what is long ago, refusals, and nothing at all for a system message alone.
    fn conversation(&self, messages: &[(Role, &str)], open: bool) -> Result<Vec<u32>, Unwritable> {
        if !self.by_template {
            let messages = messages.iter().flat_map(|(role, text)| self.message(*role, text));
            return Ok(messages.chain(open.then_some(OPEN)).collect());
        }
        match messages {
            [(Role::Assistant, _), ..] => return Err(Unwritable("an answer to nothing".into())),
            [(Role::System, _)] => return Ok(Vec::new()),
            _ => {}
        }
        let message = |(n, (role, text)): (usize, &(Role, &str))| {
            let old = n + 3 < messages.len();
            let text = text.strip_suffix("(forget)").filter(|_| old).unwrap_or(text);
            [self.message(*role, text), vec![u32::from(b'\n')]].concat()
        };
        let written = messages.iter().enumerate().flat_map(message);
        Ok(written.chain(open.then_some(OPEN)).collect())
    }

    fn encode(&self, text: &str) -> Vec<u32> {
        text.bytes().map(u32::from).collect()
    }

    fn decode(&self, tokens: &[u32]) -> String {
        String::from_utf8_lossy(&tokens.iter().filter(|t| **t < 256).map(|t| *t as u8).collect::<Vec<_>>()).into_owned()
    }

    fn text(&self) -> TextStream<'_> {
        let mut pending = Vec::new();
        Box::new(move |token| {
            let Some(token) = token else { return (!pending.is_empty()).then(|| "\u{fffd}".to_owned()) };
            pending.push(token as u8);
            let text = std::str::from_utf8(&pending).ok()?.to_owned();
            pending.clear();
            Some(text)
        })
    }

    fn load(&self, slow: &[u8]) -> Result<Digit, LoadError> {
        match slow {
            [digit, ..] if digit.is_ascii_alphanumeric() => Ok(Digit(*digit)),
            _ => Err(LoadError("the bank is not a digit".into())),
        }
    }

    fn tensors(&self, file: &[u8], bank: &str) -> Result<Vec<TensorEntry>, LoadError> {
        let (name, sha256) = ("digit".to_owned(), Sha256Hex::of(file));
        Ok(vec![TensorEntry { name, bank: bank.to_owned(), shape: vec![1], dtype: "U8".to_owned(), sha256 }])
    }

    fn scratch(&self) -> Vec<f32> {
        Vec::new()
    }

    fn state(&self) -> FakeState {
        FakeState::default()
    }

    fn state_bytes(&self, state: &FakeState) -> usize {
        state.read.len() * 4
    }

    fn prefill(&self, _: &mut Vec<f32>, weights: &Digit, state: &mut FakeState, tokens: &[u32]) -> Prefilled {
        self.prefills.lock().unwrap().push(tokens.len());
        let first = usize::from(state.read.is_empty());
        // A token's surprise is its place in the conversation, so that tests can tell which tokens were counted.
        let nll = (first..tokens.len()).map(|at| (state.read.len() + at) as f32).collect();
        state.read.extend_from_slice(tokens);
        Self::open(state);
        Prefilled { logits: Self::row(state, weights), nll }
    }

    fn step<'s>(&self, scratch: &'s mut Vec<f32>, weights: &Digit, batch: &mut [Step<'_, FakeState>]) -> &'s [f32] {
        self.gate.pass();
        self.steps.lock().unwrap().push(batch.len());
        scratch.clear();
        for step in batch {
            step.state.read.push(step.token);
            scratch.extend(Self::row(step.state, weights));
        }
        scratch
    }
}
