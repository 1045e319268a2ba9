//! Stopping: a clonable token that is requested once, by a signal or by the process itself.

use std::io;

use tokio_util::sync::CancellationToken;

/// Exit code of a process that a second signal ends: 128 + SIGINT, what shells expect.
const INTERRUPTED: i32 = 130;

/// A request to stop, shared by everything that runs in a process. Work drains when it is requested; nothing is torn down.
#[derive(Debug, Clone, Default)]
pub struct Shutdown(CancellationToken);

impl Shutdown {
    /// A request that nobody has made yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A part that can be stopped alone and stops with the whole.
    #[must_use]
    pub fn child(&self) -> Self {
        Self(self.0.child_token())
    }

    /// Asks everything to stop; again does nothing.
    pub fn request(&self) {
        self.0.cancel();
    }

    /// Whether stopping was asked for.
    pub fn is_requested(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Waits until stopping is asked for.
    pub async fn requested(&self) {
        self.0.cancelled().await;
    }

    /// Requests a shutdown on SIGINT or SIGTERM; a second signal ends the process at once with code 130. Spawns one task on the
    /// current runtime. `on_first` is told which signal came, so that a person at a terminal sees that the process drains.
    ///
    /// # Errors
    /// When the system refuses the signal handlers.
    pub fn on_signals(&self, on_first: impl FnOnce(&'static str) + Send + 'static) -> io::Result<()> {
        let mut signals = Signals::new()?;
        let shutdown = self.clone();
        tokio::spawn(async move {
            let name = signals.next().await;
            // First of all: whatever is told may have nobody left who reads it.
            shutdown.request();
            tracing::info!(signal = name, "draining");
            on_first(name);
            let name = signals.next().await;
            tracing::error!(signal = name, "stopped before draining ended");
            std::process::exit(INTERRUPTED);
        });
        Ok(())
    }
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) -> &'static str {
        // Without a handler there is nothing to wait for, and a shutdown nobody asked for would be worse than none.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        "Ctrl-C"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_child_stops_with_the_whole_and_alone() {
        let whole = Shutdown::new();
        let (one, other) = (whole.child(), whole.child());
        one.request();
        one.requested().await;
        assert!(!whole.is_requested() && !other.is_requested());
        whole.request();
        other.requested().await;
        assert!(other.is_requested());
    }
}
