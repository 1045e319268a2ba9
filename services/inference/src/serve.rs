//! The service as a whole: start, serve, drain.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, atomic::AtomicBool, atomic::Ordering},
    time::Duration,
};

use axum::{Router, serve::ListenerExt};
use jiff::Timestamp;
use nocturne_bus::Publisher;
use nocturne_kit::Shutdown;
use nocturne_lake::Lake;
use nocturne_wire::id::{IdError, SubjectId, TenantId};
use tokio::{net::TcpListener, task::JoinHandle, time::timeout};
use tokio_util::task::TaskTracker;

use crate::{
    api::{self, App},
    decode::{Capacity, Decoding},
    engine::{Engine, hope::HopeEngine},
    follow::{
        Follower, Nudge,
        begin::{BeginError, Beginner, Beginning},
    },
    generations::{GenerationStatus, Generations},
    journal::{Ids, Journal},
    metrics::Metrics,
    session::{Digests, SessionStore},
    settings::{BadSetting, InferenceSettings},
};

/// How long cancelled requests may take to be logged and answered.
const CANCEL_GRACE: Duration = Duration::from_secs(5);

/// Why the service did not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A setting cannot work.
    #[error("check the settings")]
    Setting(#[source] BadSetting),
    /// A name in the settings is not an identifier.
    #[error("check the settings")]
    Name(#[source] IdError),
    /// There is nothing to serve.
    #[error("load what the ledger says")]
    Begin(#[source] BeginError),
    /// The address is taken or not ours.
    #[error("listen on {address} for {purpose}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What for.
        purpose: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The system did not start a thread.
    #[error("start the decoding threads")]
    Threads(#[source] std::io::Error),
}

/// A running service.
pub struct Running {
    address: SocketAddr,
    admin: Option<SocketAddr>,
    nudge: Nudge,
    status: Box<dyn Fn() -> GenerationStatus + Send + Sync>,
    done: JoinHandle<()>,
}

impl Running {
    /// Where the API listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where the admin routes are, if anywhere.
    pub const fn admin_address(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// Which generation serves.
    pub fn status(&self) -> GenerationStatus {
        (self.status)()
    }

    /// Reads the ledger now; `None` when the service is stopping.
    pub async fn nudge(&self) -> Option<GenerationStatus> {
        self.nudge.nudge().await.ok()
    }

    /// Waits until the service has drained; it begins to when its shutdown is requested.
    pub async fn finished(self) {
        if let Err(error) = self.done.await {
            tracing::error!(%error, "inference service broke while draining");
        }
    }
}

/// Starts the inference service on what the channel's ledger says.
///
/// # Errors
/// When a setting cannot work, nothing in the ledger can be served, or an address is taken.
pub async fn serve(
    settings: InferenceSettings,
    lake: Lake,
    publisher: Publisher,
    shutdown: Shutdown,
) -> Result<Running, ServeError> {
    serve_with(settings, lake, publisher, shutdown, HopeEngine::load).await
}

/// [`serve`] with any engine.
pub(crate) async fn serve_with<E, L>(
    settings: InferenceSettings,
    lake: Lake,
    publisher: Publisher,
    shutdown: Shutdown,
    load: L,
) -> Result<Running, ServeError>
where
    E: Engine,
    L: FnOnce(&std::collections::BTreeMap<String, bytes::Bytes>) -> Result<E, crate::engine::LoadError> + Send + 'static,
{
    settings.validate().map_err(ServeError::Setting)?;
    let golden: Arc<[String]> = settings.golden_prompts.clone().into();
    let most_resident = settings.resident_generations;
    let beginner = Beginner { lake: &lake, channel: &settings.channel, golden: &golden, most_resident };
    let Beginning { base, engine, generations } = beginner.begin(load).await.map_err(ServeError::Begin)?;
    let generations = Arc::new(generations);
    let metrics = Arc::new(Metrics::default());
    let (listener, address) = listen(settings.listen, "the API").await?;
    let second = match settings.admin_listen {
        Some(address) => Some(listen(address, "administration").await?),
        None => None,
    };
    let follower = Follower {
        lake,
        channel: settings.channel.clone(),
        base,
        engine: Arc::clone(&engine),
        generations: Arc::clone(&generations),
        metrics: Arc::clone(&metrics),
        golden,
        poll: settings.poll(),
    };
    let (nudge, follower) = follower.spawn(shutdown.clone());
    let app = app(settings, engine, Arc::clone(&generations), publisher, metrics, nudge.clone())?;
    let shared_admin = second.is_none() && address.ip().is_loopback();
    let admin = second.as_ref().map(|(_, address)| *address).or(shared_admin.then_some(address));
    if admin.is_none() {
        tracing::warn!(%address, "no admin routes: set `admin_listen` to a private address to have them");
    }
    let mut servers = vec![start(listener, api::router(&app, shared_admin), &shutdown)];
    servers.extend(second.map(|(listener, _)| start(listener, api::admin_router(&app), &shutdown)));
    tracing::info!(%address, generation = %app.generations.current().name, "inference serves");
    let done = tokio::spawn(drain(app, servers, follower, shutdown));
    Ok(Running { address, admin, nudge, status: Box::new(move || Generations::status(&generations)), done })
}

fn app<E: Engine>(
    settings: InferenceSettings,
    engine: Arc<E>,
    generations: Arc<Generations<E>>,
    publisher: Publisher,
    metrics: Arc<Metrics>,
    nudge: Nudge,
) -> Result<Arc<App<E>>, ServeError> {
    let sessions = SessionStore::new(settings.session_store_bytes, settings.session_store_count);
    let sessions = Arc::new(Mutex::new(sessions));
    let digests = Digests::default();
    let capacity = Capacity {
        queue: settings.queue_capacity,
        max_batch: settings.max_batch,
        prompt_tokens: settings.prompt_tokens_a_step,
        threads: settings.decode_threads,
    };
    let shared = (Arc::clone(&engine), Arc::clone(&sessions), digests.clone(), Arc::clone(&metrics));
    let decoding = Decoding::start(shared.0, shared.1, shared.2, shared.3, capacity).map_err(ServeError::Threads)?;
    let started = Timestamp::now();
    Ok(Arc::new(App {
        tenant: TenantId::parse(settings.default_tenant.clone()).map_err(ServeError::Name)?,
        subject: SubjectId::parse(settings.default_subject.clone()).map_err(ServeError::Name)?,
        started,
        engine,
        generations,
        sessions,
        digests,
        decoding,
        journal: Journal::new(publisher, settings.log_wait(), Arc::clone(&metrics)),
        ids: Ids::new(&settings.process_uid, started),
        metrics,
        nudge,
        tasks: TaskTracker::new(),
        draining: AtomicBool::new(false),
        settings,
    }))
}

async fn listen(address: SocketAddr, purpose: &'static str) -> Result<(TcpListener, SocketAddr), ServeError> {
    let failed = |source| ServeError::Listen { address, purpose, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

fn start(listener: TcpListener, router: Router, shutdown: &Shutdown) -> JoinHandle<()> {
    let shutdown = shutdown.clone();
    // A stream's pieces are smaller than a packet and must not wait for each other.
    let listener = listener.tap_io(|connection| {
        if let Err(error) = connection.set_nodelay(true) {
            tracing::debug!(%error, "connection without TCP_NODELAY");
        }
    });
    tokio::spawn(async move {
        let served = axum::serve(listener, router).with_graceful_shutdown(async move { shutdown.requested().await });
        if let Err(error) = served.await {
            tracing::error!(%error, "listener broke");
        }
    })
}

/// Stops admitting, lets requests in flight finish for a bounded time, cancels and logs the rest.
async fn drain<E: Engine>(app: Arc<App<E>>, mut servers: Vec<JoinHandle<()>>, follower: JoinHandle<()>, shutdown: Shutdown) {
    shutdown.requested().await;
    app.draining.store(true, Ordering::Relaxed);
    app.tasks.close();
    if timeout(app.settings.drain(), idle(&app, &mut servers)).await.is_err() {
        tracing::warn!("requests in flight are cancelled: they took longer than `drain_seconds`");
        app.decoding.cancel_all();
        if timeout(CANCEL_GRACE, idle(&app, &mut servers)).await.is_err() {
            tracing::error!("connections are cut: their answers could not be ended");
        }
    }
    servers.iter().for_each(JoinHandle::abort);
    app.decoding.close();
    let joining = Arc::clone(&app);
    let joined = tokio::task::spawn_blocking(move || joining.decoding.join());
    if timeout(CANCEL_GRACE, joined).await.is_err() {
        tracing::error!("a decoding thread does not end");
    }
    if follower.await.is_err() {
        tracing::error!("the follower had panicked");
    }
    tracing::info!("inference drained");
}

/// Every connection is closed and every answer logged.
async fn idle<E: Engine>(app: &App<E>, servers: &mut [JoinHandle<()>]) {
    for server in servers {
        if !server.is_finished() {
            // How a server ended was logged where it ended.
            let _ = server.await;
        }
    }
    app.tasks.wait().await;
}
