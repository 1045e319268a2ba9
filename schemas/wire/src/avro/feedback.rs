//! [`Feedback`] as Avro.

use super::{DecodeError, begin, binary::Reader, id, open, time};
use crate::{
    batch::Topic,
    id::{InteractionId, SubjectId, TenantId},
    record::Feedback,
};

/// Encodes feedback; its time is cut to microseconds.
pub fn encode_feedback(record: &Feedback) -> Vec<u8> {
    let mut to = begin(Topic::Feedback, 128 + record.correction.as_ref().map_or(0, String::len));
    to.text(record.id.as_str());
    to.long(record.time.as_microsecond());
    to.text(record.tenant.as_str());
    to.text(record.subject.as_str());
    to.text(record.interaction.as_str());
    to.float(record.score);
    match &record.correction {
        None => to.long(0),
        Some(text) => {
            to.long(1);
            to.text(text);
        }
    }
    to.finish()
}

/// Decodes feedback.
///
/// # Errors
/// When the bytes are not exactly one valid feedback record of the known schema.
pub fn decode_feedback(bytes: &[u8]) -> Result<Feedback, DecodeError> {
    let mut from = open(Topic::Feedback, bytes)?;
    let record = Feedback {
        id: id(&mut from, "id", InteractionId::parse)?,
        time: time(&mut from)?,
        tenant: id(&mut from, "tenant", TenantId::parse)?,
        subject: id(&mut from, "subject", SubjectId::parse)?,
        interaction: id(&mut from, "interaction", InteractionId::parse)?,
        score: from.float("score")?,
        correction: correction(&mut from)?.map(str::to_owned),
    };
    in_range(record.score)?;
    from.finish()?;
    Ok(record)
}

pub(super) fn correction<'a>(from: &mut Reader<'a>) -> Result<Option<&'a str>, DecodeError> {
    match from.long("correction")? {
        0 => Ok(None),
        1 => from.text("correction").map(Some),
        other => Err(DecodeError::Invalid { field: "correction", reason: format!("{other} is not a branch of its union") }),
    }
}

pub(super) fn in_range(score: f32) -> Result<(), DecodeError> {
    if (-1.0..=1.0).contains(&score) {
        return Ok(());
    }
    Err(DecodeError::Invalid { field: "score", reason: format!("{score} is outside -1 to 1") })
}
