//! Rows that a training draws from.

use nocturne_model::{
    ModelError, Writing,
    train::{Row, Said},
};
use nocturne_wire::{night::Lesson, record::Role};

use super::{KeptAnswers, StudySettings};
use crate::{distill::Distilled, history::History, rehearsal::Rehearsal};

/// Rows to draw from.
#[derive(Debug)]
pub(super) struct Material {
    pub(super) lessons: Vec<Study>,
    pub(super) history: Vec<Study>,
    pub(super) unknown: Vec<Row>,
    pub(super) untaught: Vec<Row>,
    pub(super) core: Vec<Row>,
    pub(super) sessions: Vec<Row>,
}

/// A lesson's name and its questions with their answers.
pub(super) type Study = (String, Vec<(String, String)>);

/// Tasks of the rehearsal set that are asked without a session.
const WITHOUT_SESSION: [&str; 3] = ["core", "unknown", "small_talk"];

impl Material {
    pub(super) fn of(
        distilled: &Distilled,
        history: &History,
        answers: &KeptAnswers,
        rehearsal: &[Rehearsal],
        writing: Writing<'_>,
        settings: &StudySettings,
    ) -> Result<Self, ModelError> {
        let keep = |row: Row| row.keep(settings.keep_weight);
        let pair = |(q, a): &(String, String)| exchange(writing, q, a, 0.0).map(keep);
        let rows = |tasks: fn(&str) -> bool| -> Result<Vec<Row>, ModelError> {
            rehearsal.iter().filter(|r| tasks(&r.task)).map(|r| r.row(writing).map(keep)).collect()
        };
        let studies = |lessons: &[Lesson]| -> Vec<Study> {
            let asked = |l: &Lesson| l.wordings.iter().map(|w| (w.question.clone(), w.answer.clone())).collect();
            lessons.iter().map(|l| (l.name.clone(), asked(l))).collect()
        };
        Ok(Self {
            lessons: studies(&distilled.lessons),
            history: studies(&history.lessons),
            unknown: answers.unknown.iter().map(pair).collect::<Result<_, _>>()?,
            untaught: answers.untaught.iter().map(pair).collect::<Result<_, _>>()?,
            core: rows(|t| WITHOUT_SESSION.contains(&t))?,
            sessions: rows(|t| !WITHOUT_SESSION.contains(&t))?
                .into_iter()
                .map(|row| row.quiet(settings.quiet_sessions))
                .collect(),
        })
    }
}

pub(super) fn exchange(writing: Writing<'_>, question: &str, answer: &str, user_weight: f32) -> Result<Row, ModelError> {
    Row::said(
        writing,
        &[
            Said { role: Role::User, text: question, weight: user_weight, counted: false },
            Said { role: Role::Assistant, text: answer, weight: 1.0, counted: true },
        ],
    )
}
