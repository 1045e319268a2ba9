//! A demonstration day: who says what to the served model, what it should have learned, and how that is measured.
//!
//! All names are measuring names. Questions by day come from the same distribution of base wordings as in training; the wordings used
//! for each lesson are listed, and its exam avoids them.

mod build;
mod examine;
mod script;

use serde::{Deserialize, Serialize};

use crate::{
    conversation::TurnKind,
    exam::Exam,
    fact::Fact,
    judge::{Expected, judge},
};

/// How large a day is. The defaults meet every bound that the demonstration states, for any seed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DayConfig {
    /// Subjects who speak.
    pub subjects: usize,
    /// Facts that are taught.
    pub lessons: usize,
    /// Interactions in sessions that may be stored, at least.
    pub min_stored_interactions: usize,
    /// Share of lessons that another subject tells again in a session of their own.
    pub retold_share: f64,
    /// Sessions that must not be stored.
    pub opt_out_sessions: usize,
    /// Exact and as many near duplicates of messages.
    pub duplicates: usize,
    /// Questions a lesson, at each level.
    pub questions_a_lesson: usize,
    /// Questions in each group that shows what was kept, at least.
    pub kept_questions: usize,
    /// Questions about facts told in statements that the base never saw, at least.
    pub unseen_statement_questions: usize,
}

impl Default for DayConfig {
    fn default() -> Self {
        Self {
            subjects: 48,
            lessons: 120,
            min_stored_interactions: 420,
            retold_share: 0.25,
            opt_out_sessions: 8,
            duplicates: 10,
            questions_a_lesson: 2,
            kept_questions: 400,
            unseen_statement_questions: 100,
        }
    }
}

/// When a subject gives its verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// Whatever the answer is.
    Always,
    /// When the answer is right.
    AnswerRight,
    /// When the answer is not right.
    AnswerWrong,
}

/// A verdict on the answer to the turn that it stands at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FeedbackSpec {
    /// From -1 (wrong) to 1 (right).
    pub score: f32,
    /// A sentence that states the truth.
    pub correction: Option<String>,
    /// When it is given.
    pub condition: Condition,
}

/// One message of a subject.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UserTurn {
    /// The message.
    pub text: String,
    /// What it does: `Statement`, `Question` or `SmallTalk`.
    pub kind: TurnKind,
    /// What a right answer to a question does.
    pub expected: Option<Expected>,
    /// The subject's verdict on the answer.
    pub feedback: Option<FeedbackSpec>,
}

impl UserTurn {
    /// The verdict that the subject gives on this answer, if any.
    pub fn feedback_on(&self, answer: &str) -> Option<&FeedbackSpec> {
        let feedback = self.feedback.as_ref()?;
        let right = || self.expected.as_ref().is_some_and(|expected| judge(answer, expected));
        let given = match feedback.condition {
            Condition::Always => true,
            Condition::AnswerRight => right(),
            Condition::AnswerWrong => !right(),
        };
        given.then_some(feedback)
    }
}

/// One conversation of a subject with the served model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// Its id, unique over days of different seeds.
    pub id: String,
    /// Who speaks.
    pub subject: String,
    /// Whether it may be stored and learned from.
    pub store: bool,
    /// What the subject sends, in order.
    pub turns: Vec<UserTurn>,
}

/// How a lesson was taught.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Taught {
    /// Told once in its session.
    Told,
    /// Told twice in its session, in two wordings.
    ToldTwice,
    /// Told wrongly first and corrected later in the session.
    CorrectedInSession,
    /// Told wrongly; feedback on an answer states the truth.
    CorrectedByFeedback,
    /// Never told, only asked for; feedback on the answer states it.
    TaughtByFeedback,
}

/// Where the truth was told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Telling {
    /// Index of the session.
    pub session: usize,
    /// Index of the turn, whose message or feedback tells it.
    pub turn: usize,
    /// Who told it.
    pub subject: String,
}

/// One fact that the day teaches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lesson {
    /// The truth.
    pub fact: Fact,
    /// How it was taught in its first session.
    pub taught: Taught,
    /// Where its truth was told.
    pub told: Vec<Telling>,
    /// Wordings (templates with `{n}`) in which it was asked for by day.
    pub day_wordings: Vec<String>,
}

/// A day with its measurement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Day {
    /// Who speaks.
    pub subjects: Vec<String>,
    /// What is said; the order of sessions does not matter.
    pub sessions: Vec<Session>,
    /// What it teaches; empty for a day that was read from a file.
    pub lessons: Vec<Lesson>,
    /// Facts told in sessions that must not be stored.
    pub opted_out_facts: Vec<Fact>,
    /// What is asked before and after the night.
    pub exam: Exam,
}

impl Day {
    /// Draws the day of this seed.
    pub fn draw(seed: u64, config: &DayConfig) -> Self {
        let mut day = build::build(seed, config);
        day.exam = examine::examine(seed, config, &day);
        day
    }

    /// The exam that goes with a day of one's own: everything that does not depend on its lessons.
    pub(crate) fn exam_without_lessons(seed: u64, config: &DayConfig) -> Exam {
        let empty = Self {
            subjects: Vec::new(),
            sessions: Vec::new(),
            lessons: Vec::new(),
            opted_out_facts: Vec::new(),
            exam: Exam::default(),
        };
        examine::examine(seed, config, &empty)
    }

    /// Messages that are sent.
    pub fn interactions(&self) -> usize {
        self.sessions.iter().map(|session| session.turns.len()).sum()
    }

    /// Messages that are sent in sessions that may be stored.
    pub fn stored_interactions(&self) -> usize {
        self.sessions.iter().filter(|session| session.store).map(|session| session.turns.len()).sum()
    }
}

#[cfg(test)]
mod tests;
