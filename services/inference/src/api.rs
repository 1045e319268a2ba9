//! The HTTP API: OpenAI's routes and shapes, a feedback route, health, metrics and administration.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use axum::{
    Router,
    extract::{DefaultBodyLimit, State},
    http::{Method, Uri},
    middleware,
    response::Response,
    routing::{get, post},
};
use jiff::Timestamp;
use nocturne_wire::id::{SubjectId, TenantId};
use tokio_util::task::TaskTracker;

use crate::{
    decode::Decoding,
    engine::Engine,
    follow::Nudge,
    generations::Generations,
    journal::{Ids, Journal},
    metrics::{Gauges, Metrics},
    session::{Digests, SessionStore},
    settings::InferenceSettings,
};

mod completions;
mod control;
mod error;
mod exchange;
mod feedback;
mod identity;
mod params;
mod request;
mod shape;
#[cfg(test)]
mod tests;

use error::{ApiError, ErrorCode};

/// What all handlers share.
pub(crate) struct App<E: Engine> {
    pub(crate) settings: InferenceSettings,
    pub(crate) tenant: TenantId,
    pub(crate) subject: SubjectId,
    pub(crate) started: Timestamp,
    pub(crate) engine: Arc<E>,
    pub(crate) generations: Arc<Generations<E>>,
    pub(crate) sessions: Arc<Mutex<SessionStore<E::State>>>,
    pub(crate) digests: Digests,
    pub(crate) decoding: Decoding<E>,
    pub(crate) journal: Journal,
    pub(crate) ids: Ids,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) nudge: Nudge,
    pub(crate) tasks: TaskTracker,
    pub(crate) draining: AtomicBool,
}

impl<E: Engine> App<E> {
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    fn gauges(&self) -> Gauges {
        let fill = self.sessions.lock().unwrap_or_else(PoisonError::into_inner).fill();
        let status = self.generations.status();
        Gauges {
            queued: self.decoding.queued() as u64,
            queue_capacity: self.settings.queue_capacity as u64,
            sessions: fill.sessions as u64,
            session_bytes: fill.bytes as u64,
            sessions_evicted: fill.evicted,
            generation: status.serving.number().to_string(),
            channel: status.channel,
            ledger_sequence: status.sequence,
            flips: status.flips,
            last_flip_seconds: status.last_flip_milliseconds.map(|ms| ms as f64 / 1e3),
            in_flight: status.in_flight.into_iter().map(|f| (f.generation.number().to_string(), f.requests)).collect(),
        }
    }
}

/// The routes for users, with the admin routes when they share the listener.
pub(crate) fn router<E: Engine>(app: &Arc<App<E>>, with_admin: bool) -> Router {
    let routes = Router::new()
        .route("/v1/chat/completions", post(completions::chat::<E>))
        .route("/v1/completions", post(completions::text::<E>))
        .route("/v1/models", get(control::models::<E>))
        .route("/v1/models/{id}", get(control::model::<E>))
        .route("/v1/feedback", post(feedback::give::<E>))
        .merge(health());
    finish(if with_admin { routes.merge(admin_routes()) } else { routes }, app)
}

/// The routes for operators.
pub(crate) fn admin_router<E: Engine>(app: &Arc<App<E>>) -> Router {
    finish(admin_routes().merge(health()), app)
}

fn health<E: Engine>() -> Router<Arc<App<E>>> {
    Router::new()
        .route("/healthz", get(control::healthz))
        .route("/readyz", get(control::readyz::<E>))
        .route("/metrics", get(control::metrics::<E>))
}

fn admin_routes<E: Engine>() -> Router<Arc<App<E>>> {
    Router::new().route("/admin/generation", get(control::generation::<E>)).route("/admin/nudge", post(control::nudge::<E>))
}

fn finish<E: Engine>(routes: Router<Arc<App<E>>>, app: &Arc<App<E>>) -> Router {
    routes
        .fallback(unknown_url)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(app.settings.max_body_bytes))
        .layer(middleware::map_response_with_state(Arc::clone(app), count_errors::<E>))
        .with_state(Arc::clone(app))
}

async fn unknown_url(method: Method, uri: Uri) -> ApiError {
    ApiError::unknown_url(&method, uri.path())
}

async fn wrong_method(method: Method, uri: Uri) -> ApiError {
    ApiError::wrong_method(&method, uri.path())
}

async fn count_errors<E: Engine>(State(app): State<Arc<App<E>>>, response: Response) -> Response {
    if let Some(ErrorCode(code)) = response.extensions().get() {
        app.metrics.errors.add(&[code], 1);
    }
    response
}
