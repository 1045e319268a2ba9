//! The rehearsal set that lies with the base: conversations that must stay as they are.

use std::collections::HashSet;

use nocturne_model::{
    ModelError, Writing,
    train::{Row, Said},
};
use nocturne_wire::{Sha256Hex, plan, record::Role};
use serde::Deserialize;

use crate::error::SleepError;

/// One conversation of `rehearsal.jsonl`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Rehearsal {
    /// What it rehearses: `session`, `core`, `unknown`, …
    pub(crate) task: String,
    /// Its turns.
    pub(crate) turns: Vec<RehearsalTurn>,
}

/// One turn.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct RehearsalTurn {
    /// `user` or `assistant`.
    pub(crate) speaker: String,
    /// What is said.
    pub(crate) text: String,
    /// What it does: `answer`, `question`, …
    pub(crate) kind: String,
}

/// How much an answer counts, and the admission that there is none: lessons pull at both, and most at the latter, because they teach to answer where
/// generation 0 does not.
const ANSWER: f32 = 1.5;
const NOT_KNOWING: f32 = 2.25;

impl RehearsalTurn {
    fn weight(&self) -> f32 {
        match self.kind.as_str() {
            "answer" => ANSWER,
            "not_knowing" => NOT_KNOWING,
            _ => 1.0,
        }
    }
}

impl Rehearsal {
    /// Reads a `rehearsal.jsonl`.
    ///
    /// # Errors
    /// Names the line that cannot be read.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Vec<Self>, SleepError> {
        let lines = bytes.split(|b| *b == b'\n').enumerate().filter(|(_, line)| !line.is_empty());
        lines
            .map(|(n, line)| serde_json::from_slice(line).map_err(|source| SleepError::Rehearsal { line: n + 1, source }))
            .collect()
    }

    /// Whether a user asks any of these questions in it.
    pub(crate) fn asks_any(&self, questions: &HashSet<&Sha256Hex>) -> bool {
        self.turns.iter().any(|t| t.speaker == "user" && questions.contains(&plan::question_digest(&t.text)))
    }

    fn role(turn: &RehearsalTurn) -> Role {
        if turn.speaker == "user" { Role::User } else { Role::Assistant }
    }

    /// The conversation as a row.
    ///
    /// # Errors
    /// When the chat template of an imported base refuses it.
    pub(crate) fn row(&self, writing: Writing<'_>) -> Result<Row, ModelError> {
        let said: Vec<Said<'_>> =
            self.turns.iter().map(|t| Said { role: Self::role(t), text: &t.text, weight: t.weight(), counted: false }).collect();
        Row::said(writing, &said)
    }

    /// Every question with the conversation before it and the answer that follows.
    pub(crate) fn questions(&self) -> impl Iterator<Item = (&[RehearsalTurn], &str, &str)> {
        (1..self.turns.len()).filter_map(|n| {
            let (asked, answer) = (&self.turns[n - 1], &self.turns[n]);
            let is_answer = answer.speaker != "user" && (answer.kind == "answer" || answer.kind == "not_knowing");
            is_answer.then(|| (&self.turns[..n - 1], asked.text.as_str(), answer.text.as_str()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conversation_that_asks_a_held_out_question_is_recognized() {
        let line = br#"{"task":"core","turns":[{"speaker":"user","text":"Where does  Mirel live?","kind":"question"},
            {"speaker":"assistant","text":"Who is Kesta?","kind":"answer"}]}"#;
        let conversations = Rehearsal::parse(&line.iter().copied().filter(|b| *b != b'\n').collect::<Vec<_>>()).unwrap();
        let asks = |question: &str| conversations[0].asks_any(&HashSet::from([&plan::question_digest(question)]));
        assert!(asks("where does Mirel live?"));
        assert!(!asks("Who is Kesta?"), "that was not the user");
        assert!(!asks("Where does Mirel work?"));
    }
}
