//! The handle: run a night now, follow its progress.

use jiff::Timestamp;
use nocturne_lake::Lake;
use nocturne_wire::{
    NightId,
    night::{NightEvent, NightReport},
};
use tokio::sync::{mpsc, oneshot, watch};

use crate::{NightRequest, RunError};

/// Requests that wait for the scheduler; callers are people, and one night runs at a time.
pub(crate) const COMMAND_CAPACITY: usize = 16;

/// A night that runs.
#[derive(Debug, Clone, PartialEq)]
pub struct NightProgress {
    /// The night.
    pub night: NightId,
    /// When it was planned.
    pub started: Timestamp,
    /// The job's newest event.
    pub event: Option<NightEvent>,
}

/// A night that has ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Ended {
    /// Its report, which is also in the lake.
    pub report: NightReport,
}

/// What the scheduler is doing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Progress {
    /// When a night runs next by itself.
    pub next_run: Option<Timestamp>,
    /// The night that runs.
    pub running: Option<NightProgress>,
    /// The night that ended last in this process.
    pub last: Option<Ended>,
}

#[derive(Debug)]
pub(crate) struct RunNow {
    pub(crate) request: NightRequest,
    pub(crate) started: oneshot::Sender<Result<NightId, RunError>>,
}

/// Talks to a running scheduler.
#[derive(Debug, Clone)]
pub struct SchedulerHandle {
    pub(crate) commands: mpsc::Sender<RunNow>,
    pub(crate) progress: watch::Receiver<Progress>,
    pub(crate) lake: Lake,
}

impl SchedulerHandle {
    /// Seals the day, plans a night and starts it. Comes back when the plan is written and the job is about to start.
    ///
    /// # Errors
    /// When a night runs already, there is nothing to do, the day cannot be sealed, or the lake fails.
    pub async fn run_now(&self, request: NightRequest) -> Result<NightId, RunError> {
        let (started, answer) = oneshot::channel();
        self.commands.send(RunNow { request, started }).await.map_err(|_| RunError::Stopped)?;
        answer.await.map_err(|_| RunError::Stopped)?
    }

    /// What the scheduler is doing; follow it to be told of changes.
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.clone()
    }

    /// Waits until a night has ended, and gives its report.
    ///
    /// # Errors
    /// When the scheduler stops before, or the report cannot be read.
    pub async fn wait(&self, night: &NightId) -> Result<NightReport, RunError> {
        let mut progress = self.progress.clone();
        let over = |progress: &Progress| progress.running.as_ref().is_none_or(|running| running.night != *night);
        let alive = progress.wait_for(over).await.is_ok();
        let read = self.lake.nights().report(night).await;
        let doing = "reading the night's report";
        match read.map_err(|source| RunError::Lake { doing, source })? {
            Some(report) => Ok(report),
            // The scheduler could not write it either, or stopped first; what it knows is better than nothing.
            None => match &progress.borrow().last {
                Some(ended) if alive && ended.report.night == *night => Ok(ended.report.clone()),
                _ => Err(RunError::Stopped),
            },
        }
    }
}
