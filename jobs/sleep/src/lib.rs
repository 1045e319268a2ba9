//! The nightly sleep job: curate, distill, train slow banks, gate, publish.
//!
//! It runs as a process of its own and is given only its plan's location; what it knows is in the lake: the planned batches, the base with its
//! rehearsal set, generation 0 (teacher and anchor) and the parent generation (where the banks start from).

mod batches;
mod distill;
mod error;
#[cfg(test)]
mod fixture;
mod gates;
mod history;
mod inputs;
mod kinds;
mod memory;
mod names;
mod night;
mod publish;
mod record;
mod rehearsal;
mod sessions;
mod settings;
mod study;

pub use error::SleepError;
pub use night::{Ended, run};
pub use settings::SleepSettings;
pub use study::SampleNight;
