//! Who asks, in which session, and what may be done with it: from headers, `metadata`, and `user`. A header wins.

use axum::http::HeaderMap;
use nocturne_wire::{
    id::{IdError, SessionId, SubjectId, TenantId},
    record::{Consent, Origin},
};
use serde_json::Value;

use super::{
    error::ApiError,
    params::{Params, wrong_type},
};
use crate::session::Form;

pub(super) const SESSION_HEADER: &str = "x-nocturne-session";
const SUBJECT_HEADER: &str = "x-nocturne-subject";
const TENANT_HEADER: &str = "x-nocturne-tenant";
const CONSENT_HEADER: &str = "x-nocturne-consent";
const ORIGIN_HEADER: &str = "x-nocturne-origin";

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) tenant: TenantId,
    pub(super) subject: SubjectId,
    pub(super) session: SessionId,
    pub(super) consent: Consent,
    pub(super) origin: Origin,
    pub(super) form: Form,
}

/// A text and the name under which it was given.
type Named<'a> = (&'static str, &'a str);

struct Sources<'a> {
    headers: &'a HeaderMap,
    params: &'a Params,
}

impl<'a> Sources<'a> {
    fn header(&self, name: &'static str) -> Result<Option<Named<'a>>, ApiError> {
        let Some(value) = self.headers.get(name) else { return Ok(None) };
        let text = value.to_str().map_err(|_| ApiError::invalid(name, format!("The header `{name}` must be plain text.")))?;
        Ok(Some((name, text)))
    }

    fn metadata(&self, key: &str, name: &'static str) -> Result<Option<Named<'a>>, ApiError> {
        let Some(value) = self.params.object("metadata")?.and_then(|map| map.get(key)) else { return Ok(None) };
        match value {
            Value::Null => Ok(None),
            Value::String(text) => Ok(Some((name, text))),
            Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => Err(wrong_type(name, "a string", value)),
        }
    }

    fn find(&self, header: &'static str, key: &str, name: &'static str) -> Result<Option<Named<'a>>, ApiError> {
        let from_header = self.header(header)?;
        let from_metadata = self.metadata(key, name)?;
        Ok(from_header.or(from_metadata))
    }
}

fn id<T>((name, text): Named<'_>, parse: fn(String) -> Result<T, IdError>) -> Result<T, ApiError> {
    parse(text.to_owned()).map_err(|error| ApiError::invalid(name, format!("`{name}` is not accepted: {error}.")))
}

/// One of a few words.
fn word<T: Copy>((name, text): Named<'_>, words: &[(&str, T)]) -> Result<T, ApiError> {
    let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
    found.ok_or_else(|| {
        let allowed: Vec<_> = words.iter().map(|(word, _)| format!("`{word}`")).collect();
        ApiError::invalid(name, format!("`{name}` must be one of {}, not `{text}`.", allowed.join(", ")))
    })
}

/// Reads who asks; `fallback` names tenant and subject when nobody else does.
pub(super) fn identity(headers: &HeaderMap, params: &Params, fallback: (&TenantId, &SubjectId)) -> Result<Identity, ApiError> {
    let sources = Sources { headers, params };
    let tenant = sources.find(TENANT_HEADER, "tenant", "metadata.tenant")?.map(|named| id(named, TenantId::parse));
    let user = params.string("user")?.map(|user| ("user", user));
    let subject = sources.find(SUBJECT_HEADER, "subject", "metadata.subject")?.or(user);
    let session = sources.find(SESSION_HEADER, "session", "metadata.session")?.map(|named| id(named, SessionId::parse));
    let consent = sources.find(CONSENT_HEADER, "consent", "metadata.consent")?;
    let consent = consent.map(|named| word(named, &[("train", Consent::Train), ("log-only", Consent::LogOnly)]));
    let origin = sources.find(ORIGIN_HEADER, "origin", "metadata.origin")?;
    let origins = [("human", Origin::Human), ("model", Origin::Model), ("tool", Origin::Tool)];
    let form = sources.metadata("continue", "metadata.continue")?;
    let form = form.map(|named| word(named, &[("true", Form::Continue), ("false", Form::Whole)])).transpose()?;
    let form = form.unwrap_or(Form::Whole);
    if form == Form::Continue && session.is_none() {
        let message = format!("`metadata.continue` needs a session: send the header `{SESSION_HEADER}` or `metadata.session`.");
        return Err(ApiError::invalid("metadata.continue", message));
    }
    Ok(Identity {
        tenant: tenant.transpose()?.unwrap_or_else(|| fallback.0.clone()),
        subject: subject.map(|named| id(named, SubjectId::parse)).transpose()?.unwrap_or_else(|| fallback.1.clone()),
        session: session.transpose()?.map_or_else(fresh_session, Ok)?,
        consent: consent.transpose()?.unwrap_or(Consent::Train),
        origin: origin.map(|named| word(named, &origins)).transpose()?.unwrap_or(Origin::Human),
        form,
    })
}

fn fresh_session() -> Result<SessionId, ApiError> {
    SessionId::parse(uuid::Uuid::now_v7().to_string()).map_err(|_| ApiError::internal())
}
