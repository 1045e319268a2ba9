//! Work that binds a processor, away from tokio.

use std::{io, thread};

use tokio::sync::oneshot;

/// Why work on a thread gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum ThreadError {
    /// The system did not start it.
    #[error("start the thread `{name}`")]
    Start {
        /// The thread.
        name: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It panicked.
    #[error("the thread `{name}` panicked")]
    Panicked {
        /// The thread.
        name: &'static str,
    },
}

/// Runs `work` on a named thread of its own and waits for what it gives.
pub(crate) async fn run<T: Send + 'static>(
    name: &'static str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ThreadError> {
    let (done, result) = oneshot::channel();
    let spawned = thread::Builder::new().name(name.to_owned()).spawn(move || {
        // Nobody waits any more when the service was stopped meanwhile.
        let _ = done.send(work());
    });
    drop(spawned.map_err(|source| ThreadError::Start { name, source })?);
    result.await.map_err(|_| ThreadError::Panicked { name })
}
