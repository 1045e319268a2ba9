//! Routes for other commands on this machine: run a night, which one runs, seal the day.
//!
//! They listen on a loopback port of their own, beside the inference service's admin routes: that service knows nothing of nights.

use std::{net::SocketAddr, sync::Arc};

use anyhow::Context;
use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use nocturne_batcher::BatcherHandle;
use nocturne_bus::{RegistryStatus, SpoolStatus};
use nocturne_kit::Shutdown;
use nocturne_scheduler::{NightRequest, RunError, SchedulerHandle};
use nocturne_wire::NightId;
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

use crate::{
    admin::{ControlError, NightOrder, NightStarted},
    failure::Advise,
};

/// How the schema registry has answered to a part of this process, which has the name that the doctor gives it.
pub(crate) type Asked = (&'static str, watch::Receiver<RegistryStatus>);

/// What the process has of the parts that learn.
#[derive(Default)]
pub(crate) struct Parts {
    /// Nights.
    pub(crate) scheduler: Option<SchedulerHandle>,
    /// Sealing.
    pub(crate) batcher: Option<BatcherHandle>,
    /// Sending.
    pub(crate) spool: Option<watch::Receiver<SpoolStatus>>,
    /// Who asks a schema registry.
    pub(crate) registries: Vec<Asked>,
}

/// Starts the routes.
///
/// # Errors
/// When the address is taken or not this machine's.
pub(crate) async fn serve(parts: Parts, listen: SocketAddr, shutdown: Shutdown) -> anyhow::Result<(JoinHandle<()>, SocketAddr)> {
    let listener = TcpListener::bind(listen).await.with_context(|| format!("listening for other commands on {listen}"))?;
    let address = listener.local_addr().context("listening for other commands")?;
    let mut routes = Router::new().route("/healthz", get(healthz)).route("/metrics", get(metrics));
    if parts.scheduler.is_some() {
        routes = routes.route("/admin/nights/run", post(run)).route("/admin/nights/current", get(current));
    }
    if parts.batcher.is_some() {
        routes = routes.route("/admin/flush", post(flush));
    }
    let routes = routes.with_state(Arc::new(parts));
    let task = tokio::spawn(async move {
        let served = axum::serve(listener, routes).with_graceful_shutdown(async move { shutdown.requested().await });
        if let Err(error) = served.await {
            tracing::error!(%error, "control listener broke");
        }
    });
    Ok((task, address))
}

/// The process id: whoever reads a stale address file finds out that this is another process.
async fn healthz() -> Json<u32> {
    Json(std::process::id())
}

async fn metrics(State(parts): State<Arc<Parts>>) -> Response {
    let batcher = parts.batcher.as_ref().map(|batcher| batcher.status().borrow().clone());
    let spool = parts.spool.as_ref().map(|spool| spool.borrow().clone());
    let registries: Vec<_> = parts.registries.iter().map(|(part, registry)| (*part, *registry.borrow())).collect();
    let page = super::metrics::render(batcher.as_ref(), spool.as_ref(), &registries);
    ([(CONTENT_TYPE, super::metrics::CONTENT_TYPE)], page).into_response()
}

async fn run(State(parts): State<Arc<Parts>>, Json(order): Json<NightOrder>) -> Response {
    let Some(scheduler) = &parts.scheduler else { return StatusCode::NOT_FOUND.into_response() };
    match run_night(scheduler, order).await {
        Ok(night) => Json(NightStarted { night }).into_response(),
        Err(error) => refuse(&error),
    }
}

async fn current(State(parts): State<Arc<Parts>>) -> Json<Option<NightStarted>> {
    let running =
        |scheduler: &SchedulerHandle| scheduler.progress().borrow().running.as_ref().map(|running| running.night.clone());
    Json(parts.scheduler.as_ref().and_then(running).map(|night| NightStarted { night }))
}

async fn flush(State(parts): State<Arc<Parts>>) -> Response {
    let Some(batcher) = &parts.batcher else { return StatusCode::NOT_FOUND.into_response() };
    match batcher.flush().await {
        Ok(_) => Json(()).into_response(),
        Err(error) => refuse(&anyhow::Error::new(error)),
    }
}

fn refuse(error: &anyhow::Error) -> Response {
    let (told, hint) = crate::failure::parts(error);
    (StatusCode::CONFLICT, Json(ControlError { error: told, hint })).into_response()
}

/// Starts a night; an error says what to do about it.
pub(crate) async fn run_night(scheduler: &SchedulerHandle, order: NightOrder) -> anyhow::Result<NightId> {
    let NightOrder { held_out, seed, promote } = order;
    let started = scheduler.run_now(NightRequest { held_out, seed, promote }).await;
    let hint = match &started {
        Ok(_) => "",
        Err(RunError::Busy { .. }) => "follow it with `nocturne nights show`",
        Err(RunError::NothingToDo(_)) => "talk to the model first: `nocturne chat`, or any OpenAI client",
        Err(RunError::Flush(_)) => "`nocturne lake audit` says what is wrong with the batches",
        Err(RunError::Lake { .. }) => "the error names the object; restore it from a copy of the lake",
        Err(RunError::Taken { .. }) => "try again in a second",
        Err(RunError::Stopped) => "start the server again",
    };
    started.advise("starting a night", hint)
}
