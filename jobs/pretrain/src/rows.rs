//! Conversations of the world as training rows.

use nocturne_model::{
    Tokenizer,
    train::{Row, Said},
};
use nocturne_wire::record::Role;
use nocturne_world::{Conversation, Speaker, Turn, TurnKind};

use crate::recipe::Weights;

impl Weights {
    fn of(self, turn: &Turn) -> f32 {
        if turn.speaker == Speaker::User {
            return self.user;
        }
        match turn.kind {
            TurnKind::Answer | TurnKind::NotKnowing => self.answer,
            TurnKind::SelfQuestion | TurnKind::Paraphrase | TurnKind::Transfer => self.skill,
            TurnKind::Acknowledgement => self.acknowledgement,
            TurnKind::SmallTalk | TurnKind::Question | TurnKind::Statement | TurnKind::Instruction => self.small_talk,
        }
    }
}

/// One conversation as a row.
pub(crate) fn row(tokenizer: &Tokenizer, conversation: &Conversation, weights: Weights) -> Row {
    let said: Vec<Said<'_>> = conversation
        .turns
        .iter()
        .map(|turn| Said {
            role: if turn.speaker == Speaker::User { Role::User } else { Role::Assistant },
            text: &turn.text,
            weight: weights.of(turn),
            counted: turn.speaker == Speaker::Assistant && matches!(turn.kind, TurnKind::Answer | TurnKind::NotKnowing),
        })
        .collect();
    Row::own(tokenizer, &said)
}
