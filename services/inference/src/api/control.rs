//! Models, health, metrics and administration.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    http::{StatusCode, header},
    response::IntoResponse,
};
use serde_json::{Value, json};

use super::{App, error::ApiError, shape::fingerprint};
use crate::{engine::Engine, generations::GenerationStatus, metrics::CONTENT_TYPE};

fn served<E: Engine>(app: &App<E>) -> Value {
    let generation = &app.generations.current().name;
    json!({
        "id": app.settings.model,
        "object": "model",
        "created": app.started.as_second(),
        "owned_by": "nocturne",
        "generation": generation.number(),
        "system_fingerprint": fingerprint(generation),
        "max_context_tokens": app.engine.max_context(),
    })
}

/// `GET /v1/models`
pub(super) async fn models<E: Engine>(State(app): State<Arc<App<E>>>) -> Json<Value> {
    Json(json!({"object": "list", "data": [served(&app)]}))
}

/// `GET /v1/models/{id}`
pub(super) async fn model<E: Engine>(State(app): State<Arc<App<E>>>, Path(id): Path<String>) -> Result<Json<Value>, ApiError> {
    if id == app.settings.model { Ok(Json(served(&app))) } else { Err(ApiError::unknown_model(&id, &app.settings.model)) }
}

/// `GET /healthz`: the process answers.
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// `GET /readyz`: requests are admitted and decoded.
pub(super) async fn readyz<E: Engine>(State(app): State<Arc<App<E>>>) -> (StatusCode, &'static str) {
    if app.is_draining() {
        (StatusCode::SERVICE_UNAVAILABLE, "shutting down\n")
    } else if app.decoding.is_alive() {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "a decoding thread has ended\n")
    }
}

/// `GET /metrics`
pub(super) async fn metrics<E: Engine>(State(app): State<Arc<App<E>>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], app.metrics.render(&app.gauges()))
}

/// `GET /admin/generation`
pub(super) async fn generation<E: Engine>(State(app): State<Arc<App<E>>>) -> Json<GenerationStatus> {
    Json(app.generations.status())
}

/// `POST /admin/nudge`: reads the ledger now and answers when what it says is served or refused.
pub(super) async fn nudge<E: Engine>(State(app): State<Arc<App<E>>>) -> Result<Json<GenerationStatus>, ApiError> {
    app.nudge.nudge().await.map(Json).map_err(|_| ApiError::shutting_down())
}
