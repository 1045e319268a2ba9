//! Synthetic tasks that architectures are compared on; nothing is downloaded, everything is a pure function of settings and a seed.
//!
//! A [`Task`] turns [`TaskSettings`] into [`Example`]s: token ids, and [`Aim`]s that say what has to be predicted where. The crate knows nothing about
//! models: it says what is asked and ([`Tally`]) what was right.
//!
//! * [`mqar`]: multi-query associative recall, and the variant in which keys are assigned anew (Zoology, arXiv 2312.04927).
//! * [`mad`]: the six tasks of mechanistic architecture design (MAD, arXiv 2403.17844).
//! * [`language`]: formal languages with test strings longer than those of training (arXiv 2009.11264, arXiv 2310.16076).
//! * [`needle`]: a needle in a haystack of noise or of needles (RULER, arXiv 2404.06654), over an integer vocabulary.
//! * [`catalog`]: all of them by name, in the sizes of their papers and in sizes for two cores and minutes.
//!
//! # How training and test are kept apart
//!
//! What is drawn for one [`Part`] is drawn from a stream of the random generator that no other part uses. Chance could still draw one sequence twice; so
//! a hash of its ids says which side a sequence belongs to ([`side_of`]), and what falls on another side is drawn again. Training, validation and test
//! therefore share no sequence, whatever the seeds. Where a language has only one string a length the sides cannot be told apart that way, and
//! [`Separation::ByLength`] says so: only its bins of longer strings then measure anything but fit.

pub mod catalog;
mod draw;
mod example;
pub mod language;
pub mod mad;
pub mod mqar;
pub mod needle;
mod part;
mod recipe;
mod task;

pub use example::{Aim, Example, Readout, Scored, Tally};
pub use part::{Part, Side, side_of};
pub use recipe::{Axis, Separation, SettingsError, TestSet};
pub use task::{Feed, Setup, Task, TaskSettings};
