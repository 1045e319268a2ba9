//! The OpenAI-compatible inference service with hot-swapped generations.
//!
//! ```text
//! HTTP (tokio) ─ parse ─ permit ─ pin generation ─ plan ─▶ queue ─▶ decoding threads (batch, step, sample)
//!      ▲                                                               │ text, answer
//!      └────────── relay task: forwards text, logs the answer ◀────────┘
//! ledger ─ follower: fetch, verify, load, golden prompts ─▶ flip
//! ```
//!
//! * A request is answered by the generation that served when it was admitted, all of it.
//! * tokio parses, waits and forwards; whatever binds a processor runs on named threads.
//! * An answer's record is durable before its end is sent, unless the log is slower than the bounded wait. Whether the client still
//!   listens makes no difference: the relay task, not the connection, owns the rest of a request.

mod api;
mod decode;
mod engine;
#[cfg(test)]
mod fixture;
mod follow;
mod generations;
mod journal;
mod metrics;
mod sampler;
mod seed;
mod serve;
mod session;
mod settings;
mod threads;

pub use follow::begin::BeginError;
pub use generations::{GenerationStatus, InFlight, Refused};
pub use seed::{SeedError, Seeded, seed};
pub use serve::{Running, ServeError, serve};
pub use settings::{BadSetting, InferenceSettings};
pub use threads::ThreadError;
