//! The rehearsal set that lies with the base: conversations that must stay as they are.

use nocturne_model::{Tokenizer, train::Row, train::Said};
use nocturne_wire::record::Role;
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

    fn role(turn: &RehearsalTurn) -> Role {
        if turn.speaker == "user" { Role::User } else { Role::Assistant }
    }

    /// The conversation as a row, without targets.
    pub(crate) fn row(&self, tokenizer: &Tokenizer) -> Row {
        let said: Vec<Said<'_>> =
            self.turns.iter().map(|t| Said { role: Self::role(t), text: &t.text, weight: 1.0, counted: false }).collect();
        Row::said(tokenizer, &said)
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
