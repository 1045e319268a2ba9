//! Conversations as the base is trained on them.

use serde::{Deserialize, Serialize};

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Speaker {
    /// The person.
    User,
    /// The model.
    Assistant,
}

/// What a turn does; a trainer maps this to a loss weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TurnKind {
    /// Assistant: states what was asked.
    Answer,
    /// Assistant: says that it does not know.
    NotKnowing,
    /// Assistant: takes note of what it was told.
    Acknowledgement,
    /// Either: says nothing about the world.
    SmallTalk,
    /// User: asks.
    Question,
    /// User: tells or corrects.
    Statement,
    /// User: asks for one of the three skills.
    Instruction,
    /// Assistant: a question about what it was told, or that there is nothing to ask about.
    SelfQuestion,
    /// Assistant: a question in other words.
    Paraphrase,
    /// Assistant: the same question about somebody else.
    Transfer,
}

/// One turn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turn {
    /// Who speaks.
    pub speaker: Speaker,
    /// What is said.
    pub text: String,
    /// What it does.
    pub kind: TurnKind,
}

/// What a conversation trains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// Telling, correcting and asking in one session.
    Session,
    /// Core facts, asked without context.
    Core,
    /// Names and attributes that nobody taught.
    Unknown,
    /// Asking a question about what was told.
    Ask,
    /// Saying a question in other words.
    Paraphrase,
    /// Asking the same about somebody else.
    Transfer,
    /// Small talk alone.
    SmallTalk,
}

impl Task {
    /// Every task, in the order of the mixture's weights.
    pub const ALL: [Self; 7] =
        [Self::Session, Self::Core, Self::Unknown, Self::Ask, Self::Paraphrase, Self::Transfer, Self::SmallTalk];
}

/// One conversation, complete from an empty context on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conversation {
    /// What it trains.
    pub task: Task,
    /// Its turns, in order.
    pub turns: Vec<Turn>,
}

impl Conversation {
    /// Words in all turns.
    pub fn words(&self) -> usize {
        self.turns.iter().map(|turn| turn.text.split(' ').count()).sum()
    }

    /// All turns, one a line.
    pub fn text(&self) -> String {
        self.turns.iter().map(|turn| turn.text.as_str()).collect::<Vec<_>>().join("\n")
    }
}
