//! The small world that the base model talks about: corpus, demonstration days, measurement and judge.
//!
//! Everything is a pure function of a seed. The crate knows nothing about models: it says what could be told and asked, and what a
//! right answer does.
//!
//! * [`kind`], [`name`], [`wording`], [`fact`]: what the world consists of, and which part of it is for training and which for
//!   measuring. Names are split by a hash of their text ([`name::split_of`]), wordings by [`wording::Wordings`].
//! * [`corpus`]: conversations that the base is trained on, and the rehearsal set that lies with it.
//! * [`day`]: a demonstration day, its lessons and its exam. [`conversations`] reads one's own day.
//! * [`judge`]: whether an answer is right.

pub mod conversation;
pub mod conversations;
pub mod corpus;
pub mod day;
pub mod draw;
pub mod exam;
pub mod fact;
pub mod judge;
pub mod kind;
mod lexicon;
pub mod name;
pub mod skills;
pub mod small_talk;
mod speech;
mod syllables;
pub mod wording;

pub use conversation::{Conversation, Speaker, Task, Turn, TurnKind};
pub use corpus::{BadCorpus, Corpus, CorpusConfig, rehearsal};
pub use day::{Day, DayConfig};
pub use exam::{Exam, ExamQuestion, ExamSession};
pub use fact::{Fact, core_facts};
pub use judge::{Expected, judge, says_not_known};
pub use kind::{Attribute, Kind};
