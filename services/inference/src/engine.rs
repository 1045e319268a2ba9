//! What the service needs of a model, and nothing else.
//!
//! Scheduling, sessions, swaps and HTTP are written against [`Engine`], so that they are tested with an engine whose answers are
//! known. Every call is synchronous and bound to a processor: it runs on a named thread, never on tokio. The alternative, boxed
//! states behind an object-safe trait, costs a downcast at each step and hides that a state belongs to one engine.

use nocturne_wire::{manifest::TensorEntry, record::Role};

#[cfg(test)]
pub(crate) mod fake;
pub(crate) mod hope;

/// Turns tokens into text one at a time; gives only whole characters. No token is the end: it gives what was not completed.
pub(crate) type TextStream<'e> = Box<dyn FnMut(Option<u32>) -> Option<String> + 'e>;

/// Why a conversation cannot be written as tokens.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Unwritable(pub(crate) String);

/// Why banks cannot be decoded with.
#[derive(Debug, thiserror::Error)]
#[error("load the slow banks")]
pub(crate) struct LoadError(#[source] pub(crate) Box<dyn std::error::Error + Send + Sync>);

/// What reading tokens gives.
pub(crate) struct Prefilled {
    /// Scores of the token that follows.
    pub(crate) logits: Vec<f32>,
    /// Negative log-likelihood of the tokens read, in nats. The first token of an empty state has none, so the list may be one
    /// shorter than the tokens; it is aligned at the end.
    pub(crate) nll: Vec<f32>,
}

/// One session's next token.
pub(crate) struct Step<'s, S> {
    /// The session.
    pub(crate) state: &'s mut S,
    /// The token that it reads.
    pub(crate) token: u32,
}

/// A base model with exchangeable slow banks.
pub(crate) trait Engine: Send + Sync + 'static {
    /// What one generation decodes with.
    type Weights: Send + Sync + 'static;
    /// The memory of one session; valid only for the generation that computed it.
    type State: Clone + Send + Sync + 'static;
    /// Buffers of one decoding thread.
    type Scratch;

    /// Tokens that a state can hold.
    fn max_context(&self) -> usize;
    /// The token that ends a turn where one is written.
    fn end(&self) -> u32;
    /// Every token with which the model may end its answer; [`Engine::end`] is one of them.
    fn ends(&self) -> &[u32];
    /// The tokens that open an answer.
    fn open_answer(&self) -> Vec<u32>;
    /// Whether a message's tokens are the same wherever it stands. Otherwise only whole conversations can be written.
    fn is_local(&self) -> bool;
    /// A whole message with its markers, where messages have tokens of their own.
    fn message(&self, role: Role, text: &str) -> Vec<u32>;
    /// A whole conversation; `open` adds what opens an answer.
    fn conversation(&self, messages: &[(Role, &str)], open: bool) -> Result<Vec<u32>, Unwritable>;
    /// Bare text.
    fn encode(&self, text: &str) -> Vec<u32>;
    /// The text of tokens, without markers.
    fn decode(&self, tokens: &[u32]) -> String;
    /// Starts to turn tokens into text.
    fn text(&self) -> TextStream<'_>;
    /// Checks slow banks (names, shapes, finite values) and makes them ready to decode with.
    fn load(&self, slow: &[u8]) -> Result<Self::Weights, LoadError>;
    /// The tensors of a bank's file, as a manifest lists them.
    fn tensors(&self, file: &[u8], bank: &str) -> Result<Vec<TensorEntry>, LoadError>;
    /// Buffers for one thread.
    fn scratch(&self) -> Self::Scratch;
    /// An empty session.
    fn state(&self) -> Self::State;
    /// Memory that a session takes.
    fn state_bytes(&self, state: &Self::State) -> usize;
    /// Reads tokens.
    fn prefill(&self, scratch: &mut Self::Scratch, weights: &Self::Weights, state: &mut Self::State, tokens: &[u32])
    -> Prefilled;
    /// Reads one token in each session; gives the scores row by row.
    fn step<'s>(&self, scratch: &'s mut Self::Scratch, weights: &Self::Weights, batch: &mut [Step<'_, Self::State>])
    -> &'s [f32];
}
