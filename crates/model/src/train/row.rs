//! One sequence of tokens and what its positions should learn.

use std::collections::HashMap;

use nocturne_wire::record::Role;

use crate::{
    chat::{Chat, Writing},
    error::ModelError,
    tokenizer::Tokenizer,
};

/// What a position of a row should learn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lesson {
    /// The token that follows.
    Next,
    /// A token, whatever follows.
    Token(u32),
    /// What generation 0 would say there: Kullback-Leibler divergence.
    Keep,
}

/// One position with a target.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Aim {
    /// The position whose prediction is trained.
    pub position: u32,
    /// What it should learn.
    pub lesson: Lesson,
    /// Weight in the loss.
    pub weight: f32,
    /// Whether it counts in the accuracy.
    pub counted: bool,
}

/// One sequence with its targets.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Row {
    /// Token ids.
    pub ids: Vec<u32>,
    /// Targets in the order of positions.
    pub aims: Vec<Aim>,
    /// Penalty on half the squared length of what a slow bank adds at each position, weighed like a target's loss but not part of the loss that is told.
    pub quiet: f32,
}

/// One message of a row and the weight of predicting it.
#[derive(Debug, Clone, Copy)]
pub struct Said<'a> {
    /// Who says it.
    pub role: Role,
    /// What is said.
    pub text: &'a str,
    /// Weight of its text.
    pub weight: f32,
    /// Whether its text counts in the accuracy.
    pub counted: bool,
}

/// Weight of predicting who speaks next: without it a model cannot end a turn that it writes for a user.
const ROLE_WEIGHT: f32 = 1.0;

impl Row {
    /// A conversation whose every message is predicted with its own weight.
    ///
    /// # Errors
    /// When an imported base's chat template refuses the conversation.
    pub fn said(writing: Writing<'_>, messages: &[Said<'_>]) -> Result<Self, ModelError> {
        let written: Vec<(Role, &str)> = messages.iter().map(|message| (message.role, message.text)).collect();
        let mut row = Self::default();
        for (turn, message) in writing.chat.turns(writing.tokenizer, &written)?.into_iter().zip(messages) {
            // What opens an answer of an imported base is written for it.
            let opening = if matches!(writing.chat, Chat::Own(_)) { ROLE_WEIGHT.min(message.weight * 2.0) } else { 0.0 };
            row.push(&turn.opening, opening, false);
            row.push(&turn.said, message.weight, message.counted);
        }
        Ok(row)
    }

    /// The same in our own layout, which refuses nothing.
    pub fn own(tokenizer: &Tokenizer, messages: &[Said<'_>]) -> Self {
        Self::said(Writing::own(tokenizer), messages).unwrap_or_default()
    }

    fn push(&mut self, tokens: &[u32], weight: f32, counted: bool) {
        for id in tokens {
            if let Some(position) = self.ids.len().checked_sub(1).filter(|_| weight > 0.0) {
                self.aims.push(Aim { position: position as u32, lesson: Lesson::Next, weight, counted });
            }
            self.ids.push(*id);
        }
    }

    /// Cuts the row after `limit` tokens.
    pub fn truncate(&mut self, limit: usize) {
        self.ids.truncate(limit);
        self.aims.retain(|aim| (aim.position as usize) + 1 < limit);
    }

    /// The same conversation, every position of which should stay as generation 0 has it, with this weight times its own (1 where it has none).
    #[must_use]
    pub fn keep(mut self, weight: f32) -> Self {
        let own: HashMap<u32, f32> = self.aims.iter().map(|aim| (aim.position, aim.weight)).collect();
        let positions = 0..self.ids.len() as u32;
        let keep = |position: u32| {
            let weight = weight * own.get(&position).copied().unwrap_or(1.0);
            Aim { position, lesson: Lesson::Keep, weight, counted: false }
        };
        self.aims = positions.map(keep).collect();
        self
    }

    /// The same row, over which slow banks should say little.
    ///
    /// What Kullback-Leibler divergence rewards stops where the right token is certain; banks then grow until they drown the stream wherever nothing was
    /// rehearsed. This holds their answer down at every position and in every channel.
    #[must_use]
    pub fn quiet(self, penalty: f32) -> Self {
        Self { quiet: penalty, ..self }
    }
}
