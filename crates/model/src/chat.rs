//! How a conversation becomes tokens: our own layout, `<|user|> text <|end|> <|assistant|> text <|end|> …`, or an imported base's chat template.
//!
//! In our own layout a message's tokens are the same wherever it stands. A template writes whole conversations: it may put a system message into the user's first
//! one, write one that nobody sent, leave out what was thought in earlier answers, and refuse what it does not know. [`Chat`] therefore offers what both can do:
//! the tokens of a whole conversation, and for training which of them each message added.

use std::sync::Arc;

use jiff::civil::DateTime;
use nocturne_wire::record::Role;

use crate::{error::ModelError, tokenizer::Tokenizer};

mod imported;
#[cfg(test)]
mod tests;

pub use imported::{ChatLayout, ImportedChat};

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

/// What one message adds to the tokens of a conversation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Turn {
    /// What would stand there before anything of it is said. Templates say so of answers only; of other messages it is empty then.
    pub opening: Vec<u32>,
    /// The rest, with what ends it.
    pub said: Vec<u32>,
}

/// How a base writes conversations. A copy is cheap.
#[derive(Debug, Clone)]
pub enum Chat {
    /// Our own layout.
    Own(ChatTokens),
    /// By the chat template of an imported base.
    Imported(Arc<ImportedChat>),
}

impl Default for Chat {
    fn default() -> Self {
        Self::Own(ChatTokens)
    }
}

impl Chat {
    /// The same at a time that stands still, for templates that tell the date.
    pub(crate) fn at(self, now: DateTime) -> Self {
        match self {
            Self::Own(tokens) => Self::Own(tokens),
            Self::Imported(chat) => Self::Imported(Arc::new(Arc::unwrap_or_clone(chat).at(now))),
        }
    }
}

/// What turns texts into tokens: a layout with its tokenizer.
#[derive(Debug, Clone, Copy)]
pub struct Writing<'a> {
    /// How conversations are laid out.
    pub chat: &'a Chat,
    /// How texts are cut.
    pub tokenizer: &'a Tokenizer,
}

impl<'a> Writing<'a> {
    /// In our own layout.
    pub fn own(tokenizer: &'a Tokenizer) -> Self {
        Self { chat: const { &Chat::Own(ChatTokens) }, tokenizer }
    }
}

impl Chat {
    /// The layout of an imported base, whose tokenizer this is.
    ///
    /// # Errors
    /// When its template is not Jinja, or refuses a question with an answer.
    pub fn imported(layout: ChatLayout, tokenizer: &Tokenizer) -> Result<Self, ModelError> {
        Ok(Self::Imported(Arc::new(ImportedChat::new(layout, tokenizer)?)))
    }

    /// Tokens of a whole conversation; `open` adds what precedes an answer.
    ///
    /// # Errors
    /// When an imported template refuses the conversation; ours takes any.
    pub fn conversation(&self, tokenizer: &Tokenizer, messages: &[(Role, &str)], open: bool) -> Result<Vec<u32>, ModelError> {
        match self {
            Self::Own(own) => {
                let said = messages.iter().flat_map(|(role, text)| own.message(tokenizer, *role, text));
                Ok(said.chain(open.then(|| own.open_answer()).into_iter().flatten()).collect())
            }
            Self::Imported(imported) => imported.conversation(tokenizer, messages, open),
        }
    }

    /// What each message adds to the tokens of the whole conversation: one after the other, they are [`Chat::conversation`]'s without an opened answer.
    /// A template that puts two messages into one adds nothing for the first of them; an answer that it writes in a way of its own counts for the next message.
    /// Takes time in the square of the number of messages.
    ///
    /// # Errors
    /// See [`Chat::conversation`].
    pub fn turns(&self, tokenizer: &Tokenizer, messages: &[(Role, &str)]) -> Result<Vec<Turn>, ModelError> {
        match self {
            Self::Own(own) => {
                let turn = |(role, text): &(Role, &str)| {
                    let mut said = own.message(tokenizer, *role, text);
                    Turn { opening: said.drain(..1).collect(), said }
                };
                Ok(messages.iter().map(turn).collect())
            }
            Self::Imported(imported) => imported.turns(tokenizer, messages),
        }
    }

    /// A user's message and what opens the answer to it: at the beginning, or after an answer. Takes any text; templates were tried when they were loaded.
    pub fn asked(&self, tokenizer: &Tokenizer, first: bool, text: &str) -> Vec<u32> {
        let before = [(Role::User, "a"), (Role::Assistant, "b")];
        let after = |earlier: &[(Role, &str)]| {
            let whole = self.conversation(tokenizer, &[earlier, &[(Role::User, text)]].concat(), true).ok()?;
            let known = if earlier.is_empty() { Vec::new() } else { self.conversation(tokenizer, earlier, false).ok()? };
            whole.strip_prefix(&known[..]).map(<[u32]>::to_vec)
        };
        let written = match self {
            Self::Imported(_) if !first => after(&before).or_else(|| after(&[])),
            _ => after(&[]),
        };
        written.unwrap_or_else(|| [tokenizer.encode(text), self.open_answer()].concat())
    }

    /// What precedes an answer to a user's message.
    pub fn open_answer(&self) -> Vec<u32> {
        match self {
            Self::Own(own) => own.open_answer(),
            Self::Imported(imported) => imported.open().to_vec(),
        }
    }

    /// What ends an answer where one is written.
    pub fn end(&self) -> u32 {
        match self {
            Self::Own(own) => own.end(),
            Self::Imported(imported) => imported.end(),
        }
    }

    /// Every token with which a model may end an answer; [`Chat::end`] is one of them.
    pub fn ends(&self) -> &[u32] {
        match self {
            Self::Own(_) => &[END],
            Self::Imported(imported) => imported.ends(),
        }
    }
}
