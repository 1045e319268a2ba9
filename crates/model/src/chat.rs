//! The token layout of a conversation: `<|user|> text <|end|> <|assistant|> text <|end|> …`.

use nocturne_wire::record::Role;

use crate::tokenizer::Tokenizer;

/// Padding after a conversation's end.
pub const PAD: u32 = 0;
const SYSTEM: u32 = 1;
const USER: u32 = 2;
const ASSISTANT: u32 = 3;
const END: u32 = 4;

/// Writes conversations as tokens.
#[derive(Debug, Clone, Copy, Default)]
pub struct ChatTokens;

impl ChatTokens {
    /// The token that opens a role's message.
    pub const fn role(self, role: Role) -> u32 {
        match role {
            Role::System | Role::Tool => SYSTEM,
            Role::User => USER,
            Role::Assistant => ASSISTANT,
        }
    }

    /// A whole message with its marks.
    pub fn message(self, tokenizer: &Tokenizer, role: Role, text: &str) -> Vec<u32> {
        let mut ids = vec![self.role(role)];
        ids.extend(tokenizer.encode(text));
        ids.push(END);
        ids
    }

    /// What precedes an answer.
    pub fn open_answer(self) -> Vec<u32> {
        vec![ASSISTANT]
    }

    /// What ends a message.
    pub const fn end(self) -> u32 {
        END
    }
}
