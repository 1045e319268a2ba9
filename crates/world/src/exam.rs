//! The exam: what is asked before and after a night, in fresh sessions.

use serde::{Deserialize, Serialize};

use crate::judge::Expected;

/// One question with what a right answer does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExamQuestion {
    /// The question.
    pub text: String,
    /// What a right answer does.
    pub expected: Expected,
    /// The lesson that is asked for, an index into `Day::lessons`.
    pub lesson: Option<usize>,
}

/// Questions that are asked in one fresh session, in order, after its context was sent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExamSession {
    /// User messages to send first, each answered by the model.
    pub context: Vec<String>,
    /// Questions to ask then.
    pub questions: Vec<ExamQuestion>,
}

/// Everything that is asked about a day.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exam {
    /// Level a: base wordings that were not used for this lesson by day.
    pub lessons: Vec<ExamSession>,
    /// Level b: wordings that the base never saw; in turn one written by hand and one new combination of seen parts.
    pub lessons_unseen_wording: Vec<ExamSession>,
    /// Core facts.
    pub core_facts: Vec<ExamSession>,
    /// Sessions of at most two facts.
    pub in_session: Vec<ExamSession>,
    /// Sessions of three to five facts about two or three entities, some corrected.
    pub in_session_long: Vec<ExamSession>,
    /// Sessions of at most two facts, told in statements that the base never saw.
    pub in_session_unseen_statement: Vec<ExamSession>,
    /// Names that nobody ever taught.
    pub unknown: Vec<ExamSession>,
    /// Entities of the day's lessons, attributes that nobody taught.
    pub untaught: Vec<ExamSession>,
    /// Inside a session, something that it did not say.
    pub not_told: Vec<ExamSession>,
    /// Facts that were told in sessions that must not be stored: still not known afterwards.
    pub opted_out: Vec<ExamSession>,
}

impl Exam {
    /// Every group with the name that it has in reports.
    pub fn groups(&self) -> [(&'static str, &[ExamSession]); 10] {
        [
            ("lessons", &self.lessons),
            ("lessons_unseen_wording", &self.lessons_unseen_wording),
            ("core_facts", &self.core_facts),
            ("in_session", &self.in_session),
            ("in_session_long", &self.in_session_long),
            ("in_session_unseen_statement", &self.in_session_unseen_statement),
            ("unknown", &self.unknown),
            ("untaught", &self.untaught),
            ("not_told", &self.not_told),
            ("opted_out", &self.opted_out),
        ]
    }

    /// Every question of every group: what a night must never train on.
    pub fn questions(&self) -> impl Iterator<Item = &ExamQuestion> {
        self.groups().into_iter().flat_map(|(_, sessions)| sessions).flat_map(|session| &session.questions)
    }
}

/// Questions in these sessions.
pub fn asked(sessions: &[ExamSession]) -> usize {
    sessions.iter().map(|session| session.questions.len()).sum()
}
