//! Trains the base model that ships with the project, from a recipe in a file.
//!
//! Conversation `i` of the corpus is a function of the seed and `i` alone, so that a run that was interrupted goes on where its last checkpoint
//! ends and gives the same base.

mod error;
mod recipe;
mod rows;
mod run;

pub use error::PretrainError;
pub use recipe::{Recipe, Weights};
pub use run::{Begin, Progress, Summary, train};
