//! Routes for other commands on this machine: run a night, which one runs, seal the day.
//!
//! They listen on a loopback port of their own, beside the inference service's admin routes: that service knows nothing of nights.

use std::{net::SocketAddr, sync::Arc};

use anyhow::Context;
use axum::{
    Json, Router,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use nocturne_batcher::BatcherHandle;
use nocturne_kit::Shutdown;
use nocturne_scheduler::{NightRequest, RunError, SchedulerHandle};
use nocturne_wire::NightId;
use tokio::{net::TcpListener, task::JoinHandle};

use crate::{
    admin::{ControlError, NightOrder, NightStarted},
    failure::Advise,
};

struct Parts {
    scheduler: SchedulerHandle,
    batcher: BatcherHandle,
}

/// Starts the routes on a free loopback port.
///
/// # Errors
/// When there is none.
pub(super) async fn serve(
    scheduler: SchedulerHandle,
    batcher: BatcherHandle,
    shutdown: Shutdown,
) -> anyhow::Result<(JoinHandle<()>, SocketAddr)> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.context("listening for other commands")?;
    let address = listener.local_addr().context("listening for other commands")?;
    let routes = Router::new()
        .route("/healthz", get(healthz))
        .route("/admin/nights/run", post(run))
        .route("/admin/nights/current", get(current))
        .route("/admin/flush", post(flush))
        .with_state(Arc::new(Parts { scheduler, batcher }));
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

async fn run(State(parts): State<Arc<Parts>>, Json(order): Json<NightOrder>) -> Response {
    match run_night(&parts.scheduler, order).await {
        Ok(night) => Json(NightStarted { night }).into_response(),
        Err(error) => refuse(&error),
    }
}

async fn current(State(parts): State<Arc<Parts>>) -> Json<Option<NightStarted>> {
    let progress = parts.scheduler.progress();
    let night = progress.borrow().running.as_ref().map(|running| NightStarted { night: running.night.clone() });
    Json(night)
}

async fn flush(State(parts): State<Arc<Parts>>) -> Response {
    match parts.batcher.flush().await {
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
