//! [`Interaction`] as Avro.

use super::{
    DecodeError, begin,
    binary::{Reader, Writer},
    id, open, put_symbol, symbol, time,
};
use crate::{
    batch::Topic,
    generation::Generation,
    id::{InteractionId, SessionId, SubjectId, TenantId},
    record::{Consent, FinishReason, Interaction, Message, Origin, Role, Surprise},
};

// In the order of the schema's symbols.
pub(super) const ROLES: [Role; 4] = [Role::System, Role::User, Role::Assistant, Role::Tool];
pub(super) const FINISHES: [FinishReason; 3] = [FinishReason::Stop, FinishReason::Length, FinishReason::Cancelled];
pub(super) const CONSENTS: [Consent; 2] = [Consent::Train, Consent::LogOnly];
pub(super) const ORIGINS: [Origin; 3] = [Origin::Human, Origin::Model, Origin::Tool];

/// Encodes an interaction; its time is cut to microseconds.
pub fn encode_interaction(record: &Interaction) -> Vec<u8> {
    let texts = record.answer.len() + record.messages.iter().map(|message| message.content.len() + 4).sum::<usize>();
    let mut to = begin(Topic::Interactions, 256 + texts);
    to.text(record.id.as_str());
    to.long(record.time.as_microsecond());
    to.text(record.tenant.as_str());
    to.text(record.subject.as_str());
    to.text(record.session.as_str());
    to.count(record.turn.into());
    to.text(&record.model);
    to.count(record.generation.0);
    put_messages(&mut to, &record.messages);
    to.text(&record.answer);
    to.count(record.prompt_tokens.into());
    to.count(record.answer_tokens.into());
    put_surprise(&mut to, record.prompt_surprise);
    put_surprise(&mut to, record.answer_surprise);
    put_symbol(&mut to, &FINISHES, &record.finish);
    to.float(record.latency_ms);
    put_symbol(&mut to, &CONSENTS, &record.consent);
    to.count(record.redactions.into());
    put_symbol(&mut to, &ORIGINS, &record.origin);
    to.boolean(record.truncated);
    to.text(&record.channel);
    to.finish()
}

fn put_messages(to: &mut Writer, messages: &[Message]) {
    if !messages.is_empty() {
        to.count(messages.len() as u64);
        for message in messages {
            put_symbol(to, &ROLES, &message.role);
            to.text(&message.content);
        }
    }
    to.long(0);
}

fn put_surprise(to: &mut Writer, surprise: Surprise) {
    to.float(surprise.mean_nats);
    to.float(surprise.max_nats);
}

/// Decodes an interaction.
///
/// # Errors
/// When the bytes are not exactly one valid interaction of the known schema.
pub fn decode_interaction(bytes: &[u8]) -> Result<Interaction, DecodeError> {
    let mut from = open(Topic::Interactions, bytes)?;
    let record = Interaction {
        id: id(&mut from, "id", InteractionId::parse)?,
        time: time(&mut from)?,
        tenant: id(&mut from, "tenant", TenantId::parse)?,
        subject: id(&mut from, "subject", SubjectId::parse)?,
        session: id(&mut from, "session", SessionId::parse)?,
        turn: from.count("turn")?,
        model: from.text("model")?.to_owned(),
        generation: Generation(from.count("generation")?),
        messages: messages(&mut from)?,
        answer: from.text("answer")?.to_owned(),
        prompt_tokens: from.count("prompt_tokens")?,
        answer_tokens: from.count("answer_tokens")?,
        prompt_surprise: surprise(&mut from, "prompt_surprise")?,
        answer_surprise: surprise(&mut from, "answer_surprise")?,
        finish: symbol(&mut from, "finish", &FINISHES)?,
        latency_ms: from.float("latency_ms")?,
        consent: symbol(&mut from, "consent", &CONSENTS)?,
        redactions: from.count("redactions")?,
        origin: symbol(&mut from, "origin", &ORIGINS)?,
        truncated: from.boolean("truncated")?,
        channel: from.text("channel")?.to_owned(),
    };
    from.finish()?;
    Ok(record)
}

fn messages(from: &mut Reader<'_>) -> Result<Vec<Message>, DecodeError> {
    let mut messages = Vec::new();
    from.array("messages", |from| {
        let role = symbol(from, "role", &ROLES)?;
        messages.push(Message { role, content: from.text("content")?.to_owned() });
        Ok(())
    })?;
    Ok(messages)
}

fn surprise(from: &mut Reader<'_>, field: &'static str) -> Result<Surprise, DecodeError> {
    Ok(Surprise { mean_nats: from.float(field)?, max_nats: from.float(field)? })
}
