//! Checking a record without building it: what a batcher does with every record before it goes into columns.

use super::{
    DecodeError,
    binary::Reader,
    interaction::{CONSENTS, FINISHES, ORIGINS, ROLES},
    open, symbol, time,
};
use crate::{
    batch::Topic,
    id::{self, IdError},
};

/// What a batcher needs of a record beyond its columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checked<'a> {
    /// Its id.
    pub id: &'a str,
    /// Its time, microseconds since 1970 in UTC.
    pub time_micros: i64,
    /// Where it belongs.
    pub place: Place<'a>,
}

/// Where a record belongs among others: records of one conversation follow each other in the order of its turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place<'a> {
    /// Whose it is.
    pub tenant: &'a str,
    /// Who spoke.
    pub subject: &'a str,
    /// Its session; of feedback, the interaction.
    pub session: &'a str,
    /// Its turn; of feedback, 0.
    pub turn: u32,
}

/// Checks that the bytes are exactly one valid record of a topic, as [`super::decode_interaction`] and [`super::decode_feedback`] do, and
/// allocates nothing.
///
/// # Errors
/// The error that decoding gives.
pub fn check(topic: Topic, bytes: &[u8]) -> Result<Checked<'_>, DecodeError> {
    let mut from = open(topic, bytes)?;
    let checked = match topic {
        Topic::Interactions => interaction(&mut from)?,
        Topic::Feedback => feedback(&mut from)?,
    };
    from.finish()?;
    Ok(checked)
}

/// The time of a record in microseconds since 1970, without looking at the rest of it. `None` when its beginning is not one, or is of a schema whose fields
/// may be in another order.
pub fn peek_time(bytes: &[u8]) -> Option<i64> {
    peek_time_of(super::peek_fingerprint(bytes)?, super::datum(bytes)?)
}

/// [`peek_time`] of a datum that was written with the schema of this fingerprint.
pub fn peek_time_of(fingerprint: u64, datum: &[u8]) -> Option<i64> {
    Topic::ALL.into_iter().find(|topic| super::known(*topic).any(|(known, _)| known == fingerprint))?;
    let mut from = Reader::new(datum);
    let length = from.count::<usize>("id").ok()?;
    from.take("id", length).ok()?;
    from.long("time").ok()
}

fn text_id<'a>(
    from: &mut Reader<'a>,
    field: &'static str,
    check: fn(&str) -> Result<(), IdError>,
) -> Result<&'a str, DecodeError> {
    let text = from.text(field)?;
    check(text).map_err(|error| DecodeError::Invalid { field, reason: error.to_string() })?;
    Ok(text)
}

fn interaction<'a>(from: &mut Reader<'a>) -> Result<Checked<'a>, DecodeError> {
    let id = text_id(from, "id", id::InteractionId::check)?;
    let time_micros = time(from)?.as_microsecond();
    let tenant = text_id(from, "tenant", id::TenantId::check)?;
    let subject = text_id(from, "subject", id::SubjectId::check)?;
    let session = text_id(from, "session", id::SessionId::check)?;
    let turn = from.count::<u32>("turn")?;
    from.text("model")?;
    from.count::<u64>("generation")?;
    from.array("messages", |from| {
        symbol(from, "role", &ROLES)?;
        from.text("content").map(drop)
    })?;
    from.text("answer")?;
    from.count::<u32>("prompt_tokens")?;
    from.count::<u32>("answer_tokens")?;
    for field in ["prompt_surprise", "answer_surprise"] {
        from.float(field)?;
        from.float(field)?;
    }
    symbol(from, "finish", &FINISHES)?;
    from.float("latency_ms")?;
    symbol(from, "consent", &CONSENTS)?;
    from.count::<u32>("redactions")?;
    symbol(from, "origin", &ORIGINS)?;
    from.boolean("truncated")?;
    from.text("channel")?;
    Ok(Checked { id, time_micros, place: Place { tenant, subject, session, turn } })
}

fn feedback<'a>(from: &mut Reader<'a>) -> Result<Checked<'a>, DecodeError> {
    let id = text_id(from, "id", id::InteractionId::check)?;
    let time_micros = time(from)?.as_microsecond();
    let tenant = text_id(from, "tenant", id::TenantId::check)?;
    let subject = text_id(from, "subject", id::SubjectId::check)?;
    let session = text_id(from, "interaction", id::InteractionId::check)?;
    let score = from.float("score")?;
    super::feedback::correction(from)?;
    super::feedback::in_range(score)?;
    Ok(Checked { id, time_micros, place: Place { tenant, subject, session, turn: 0 } })
}
