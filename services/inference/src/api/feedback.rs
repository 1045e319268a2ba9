//! `POST /v1/feedback`: a later verdict on one interaction.
//!
//! The interaction is not looked up: it may have been answered by another replica or be in the lake already. Verdict and
//! interaction are joined at night; an id that nobody issued joins nothing.

use std::sync::Arc;

use axum::{
    Json,
    body::Bytes,
    extract::{State, rejection::BytesRejection},
    http::HeaderMap,
};
use jiff::Timestamp;
use nocturne_kit::telemetry::chain;
use nocturne_wire::Feedback;
use serde_json::{Value, json};

use super::{App, error::ApiError, identity, params::Params, shape::bare_id};
use crate::{
    engine::Engine,
    journal::{is_unlogged, parse_interaction_id},
};

/// `POST /v1/feedback`
pub(super) async fn give<E: Engine>(
    State(app): State<Arc<App<E>>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Value>, ApiError> {
    let body = body.map_err(|rejection| ApiError::body(&rejection, app.settings.max_body_bytes))?;
    if app.is_draining() {
        return Err(ApiError::shutting_down());
    }
    let record = parse(&app, &headers, &body)?;
    if let Err(error) = app.journal.feedback(&record).await {
        tracing::error!(feedback = %record.id, reason = chain(&error), "feedback not acknowledged by the log");
        return Err(ApiError::not_logged());
    }
    Ok(Json(json!({"object": "feedback", "id": record.id, "interaction": record.interaction})))
}

fn parse<E: Engine>(app: &App<E>, headers: &HeaderMap, body: &[u8]) -> Result<Feedback, ApiError> {
    let params = Params::parse(body)?;
    let text = params.string("interaction")?.ok_or_else(|| ApiError::missing("interaction"))?;
    if is_unlogged(bare_id(text)) {
        let message =
            "Nothing of this exchange was stored, so that there is nothing to judge, and the verdict is not stored either.";
        return Err(ApiError::invalid("interaction", message));
    }
    let interaction = parse_interaction_id(bare_id(text)).ok_or_else(|| {
        let message = "`interaction` is not an interaction id; take it from the header `x-nocturne-interaction` of the answer.";
        ApiError::invalid("interaction", message)
    })?;
    let score = params.number("score", -1.0..=1.0)?.ok_or_else(|| ApiError::missing("score"))?;
    // A form sends its empty field too; that takes back nothing.
    let correction = params.string("correction")?.filter(|text| !text.trim().is_empty());
    if let Some(text) = correction.filter(|text| text.len() > app.settings.logged_text_bytes) {
        let (has, most) = (text.len(), app.settings.logged_text_bytes);
        let message = format!("`correction` has {has} bytes, at most {most} are kept; half a correction would be learned.");
        return Err(ApiError::invalid("correction", message));
    }
    let identity = identity::identity(headers, &params, (&app.tenant, &app.subject))?;
    Ok(Feedback {
        id: app.ids.next().map_err(|_| ApiError::internal())?,
        time: Timestamp::now(),
        tenant: identity.tenant,
        subject: identity.subject,
        interaction,
        score: score as f32,
        correction: correction.map(str::to_owned),
    })
}
