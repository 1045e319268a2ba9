//! The records that the day produces: interactions and feedback.

use jiff::Timestamp;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    generation::Generation,
    id::{InteractionId, SessionId, SubjectId, TenantId},
};

/// A type of few named values, to which later releases may add.
pub trait Symbol: DeserializeOwned {
    /// What a name is read as that this release does not know: the default of the Avro schema.
    const UNKNOWN: Self;
}

impl Symbol for Role {
    const UNKNOWN: Self = Self::Tool;
}

impl Symbol for FinishReason {
    const UNKNOWN: Self = Self::Stop;
}

impl Symbol for Consent {
    const UNKNOWN: Self = Self::LogOnly;
}

impl Symbol for Origin {
    const UNKNOWN: Self = Self::Model;
}

/// Who wrote a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Instructions of the operator.
    System,
    /// The person or program that uses the model.
    User,
    /// The model.
    Assistant,
    /// The result of a tool call.
    Tool,
}

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Who wrote it.
    pub role: Role,
    /// Its text, UTF-8, possibly truncated (see [`Interaction::truncated`]).
    pub content: String,
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// The model ended its turn.
    Stop,
    /// The token limit was reached.
    Length,
    /// The client went away or the server was stopped.
    Cancelled,
}

/// What the subject allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Consent {
    /// The interaction may be logged and learned from.
    Train,
    /// The interaction may be logged, for audit, but not learned from.
    LogOnly,
}

/// Where the newest user message came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// A person.
    Human,
    /// Another model.
    Model,
    /// A program.
    Tool,
}

/// Negative log-likelihood of a span of tokens under the model that served it, in nats.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Surprise {
    /// Mean over the span's tokens; 0 when the span is empty.
    pub mean_nats: f32,
    /// Largest over the span's tokens; 0 when the span is empty.
    pub max_nats: f32,
}

/// One request with its answer, as logged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Interaction {
    /// Identity of the record, not of its content.
    pub id: InteractionId,
    /// When the answer was complete.
    pub time: Timestamp,
    /// The customer.
    pub tenant: TenantId,
    /// Who spoke.
    pub subject: SubjectId,
    /// The conversation.
    pub session: SessionId,
    /// Number of this interaction within the session, from 0.
    pub turn: u32,
    /// Name of the served model.
    pub model: String,
    /// Generation that answered, all of it.
    pub generation: Generation,
    /// The messages that were new in this request (the session's earlier ones are in earlier interactions).
    pub messages: Vec<Message>,
    /// The model's answer.
    pub answer: String,
    /// Tokens read for this request.
    pub prompt_tokens: u32,
    /// Tokens written.
    pub answer_tokens: u32,
    /// Surprise of the new prompt tokens.
    pub prompt_surprise: Surprise,
    /// Surprise of the answer's tokens.
    pub answer_surprise: Surprise,
    /// Why the answer ended.
    pub finish: FinishReason,
    /// From admission to the last token, in milliseconds.
    pub latency_ms: f32,
    /// What the subject allowed.
    pub consent: Consent,
    /// Passages that were redacted before logging.
    pub redactions: u32,
    /// Where the user message came from.
    pub origin: Origin,
    /// Whether a text was cut at the payload limit.
    pub truncated: bool,
    /// The channel whose generation answered; since version 2 of the schema.
    #[serde(default = "production")]
    pub channel: String,
}

fn production() -> String {
    crate::ledger::PRODUCTION.to_owned()
}

/// A later verdict on one interaction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Feedback {
    /// Identity of this record.
    pub id: InteractionId,
    /// When the verdict was given.
    pub time: Timestamp,
    /// The customer.
    pub tenant: TenantId,
    /// Who gave it.
    pub subject: SubjectId,
    /// The interaction that is judged.
    pub interaction: InteractionId,
    /// From -1 (wrong) to 1 (right).
    pub score: f32,
    /// What the answer should have said, or the statement that is true.
    pub correction: Option<String>,
}
