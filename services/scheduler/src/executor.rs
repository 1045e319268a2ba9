//! The executor: waits for a slot or a person, plans, starts the job; one night at a time.

use std::{error::Error, pin::Pin, sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use nocturne_kit::{Clock, Shutdown, telemetry::chain};
use nocturne_lake::{Lake, LakeError};
use nocturne_wire::{
    NightId,
    night::NightReport,
    plan::{NightPlan, Trigger},
};
use tokio::{
    sync::{mpsc, watch},
    task::{JoinError, JoinHandle},
};

use crate::{
    EndPositions, JobCommand, NightRequest, NightSettings, RunError, Schedule, SchedulerError, SchedulerHandle,
    handle::{COMMAND_CAPACITY, Ended, NightProgress, Progress, RunNow},
    inputs::read_inputs,
    job::{self, Job},
    plan::plan_night,
    schedule::next_run,
};

/// How often the clock is looked at: timers stand still while a laptop is suspended, the clock does not.
const LOOK_EVERY: Duration = Duration::from_secs(20);

type Flushed = Result<EndPositions, Box<dyn Error + Send + Sync>>;

/// Seals the day and says where the batches end: the batcher's flush, or a reading of the last footers where none runs.
pub type Flush = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Flushed> + Send>> + Send + Sync>;

/// Makes a [`Flush`] of an async closure's parts.
pub fn flush_with<F, E>(flush: impl Fn() -> F + Send + Sync + 'static) -> Flush
where
    F: Future<Output = Result<EndPositions, E>> + Send + 'static,
    E: Error + Send + Sync + 'static,
{
    Arc::new(move || {
        let flushing = flush();
        Box::pin(async move { flushing.await.map_err(Into::into) })
    })
}

/// A scheduler that has not begun.
pub struct Scheduler {
    settings: NightSettings,
    schedule: Schedule,
    lake: Lake,
    clock: Arc<dyn Clock>,
    command: JobCommand,
    flush: Flush,
    commands: mpsc::Receiver<RunNow>,
    progress: watch::Sender<Progress>,
    handle: SchedulerHandle,
    /// When a night was last tried, or the schedule began.
    last: Timestamp,
    running: Option<JoinHandle<NightReport>>,
}

impl Scheduler {
    /// Reads the schedule, ends what an earlier process left unfinished, and finds out when the last night was.
    ///
    /// # Errors
    /// When the schedule makes no sense or the lake cannot be read.
    pub async fn open(
        settings: NightSettings,
        lake: Lake,
        clock: Arc<dyn Clock>,
        command: JobCommand,
        flush: Flush,
    ) -> Result<Self, SchedulerError> {
        let schedule = Schedule::parse(&settings.schedule)?;
        let now = clock.now();
        for night in job::end_interrupted(&lake, now).await? {
            tracing::warn!(%night, "a night was interrupted; its batches are read by the next one");
        }
        let last = last_night(&lake, &settings.channel).await?.unwrap_or(now);
        let (sender, commands) = mpsc::channel(COMMAND_CAPACITY);
        let progress = watch::Sender::new(Progress::default());
        let handle = SchedulerHandle { commands: sender, progress: progress.subscribe(), lake: lake.clone() };
        Ok(Self { settings, schedule, lake, clock, command, flush, commands, progress, handle, last, running: None })
    }

    /// A handle that runs nights and follows them.
    pub fn handle(&self) -> SchedulerHandle {
        self.handle.clone()
    }

    /// Runs nights until it is told to stop; a night that runs then is ended and reported as failed.
    pub async fn run(mut self, shutdown: Shutdown) {
        loop {
            let wait = self.wait_for_slot();
            tokio::select! {
                biased;
                ended = finished(&mut self.running) => self.ended(ended),
                () = shutdown.requested() => break,
                Some(RunNow { request, started }) = self.commands.recv() => {
                    let result = self.start(request, Trigger::Manual, &shutdown).await;
                    // Whoever asked may have gone; the night runs all the same.
                    started.send(result).ok();
                }
                () = tokio::time::sleep(wait) => self.look(&shutdown).await,
            }
        }
        if self.running.is_some() {
            let ended = finished(&mut self.running).await;
            self.ended(ended);
        }
    }

    /// How long to wait before the clock is looked at again.
    fn wait_for_slot(&self) -> Duration {
        let now = self.clock.now();
        let slot = next_run(&self.schedule, self.last, now);
        self.progress.send_if_modified(|progress| {
            let next = slot.map(|slot| slot.at);
            let changed = progress.next_run != next;
            progress.next_run = next;
            changed
        });
        let until = slot.map_or(SignedDuration::MAX, |slot| slot.at.duration_since(now));
        Duration::try_from(until).unwrap_or(Duration::ZERO).min(LOOK_EVERY)
    }

    /// Starts a night if one is due.
    async fn look(&mut self, shutdown: &Shutdown) {
        let now = self.clock.now();
        let Some(slot) = next_run(&self.schedule, self.last, now).filter(|slot| slot.at <= now) else { return };
        self.last = now;
        match self.start(NightRequest::default(), slot.trigger, shutdown).await {
            Ok(_) => {}
            Err(RunError::NothingToDo(nothing)) => tracing::info!(reason = %nothing, "no night"),
            Err(RunError::Busy { night }) => tracing::info!(?night, "no second night while one runs"),
            Err(error) => tracing::error!(error = chain(&error), "the night could not be started"),
        }
    }

    /// Flushes, plans, claims the night and starts its job.
    async fn start(&mut self, request: NightRequest, trigger: Trigger, shutdown: &Shutdown) -> Result<NightId, RunError> {
        if self.running.is_some() {
            let night = self.progress.borrow().running.as_ref().map(|running| running.night.clone());
            return Err(RunError::Busy { night });
        }
        let sealed_to = (self.flush)().await.map_err(RunError::Flush)?;
        let now = self.clock.now();
        let read = read_inputs(&self.lake, &self.settings, sealed_to, request, trigger, now).await;
        let inputs = read.map_err(|source| RunError::Lake { doing: "reading what the night is planned from", source })?;
        let plan = plan_night(&inputs)?;
        let night = plan.night.clone();
        self.lake.nights().write_plan(&plan).await.map_err(|source| match source {
            LakeError::AlreadyExists { .. } => RunError::Taken { night: night.clone() },
            source => RunError::Lake { doing: "writing the night's plan", source },
        })?;
        tracing::info!(%night, ?trigger, parent = %plan.parent, batches = plan.batches.len(), "night planned");
        self.last = now;
        self.launch(plan, shutdown);
        Ok(night)
    }

    fn launch(&mut self, plan: NightPlan, shutdown: &Shutdown) {
        let running = NightProgress { night: plan.night.clone(), started: plan.created, event: None };
        self.progress.send_modify(|progress| progress.running = Some(running));
        let job = Job {
            lake: self.lake.clone(),
            clock: self.clock.clone(),
            command: self.command.clone(),
            plan,
            grace: SignedDuration::from_secs(self.settings.deadline_grace_seconds.into()),
            progress: self.progress.clone(),
        };
        self.running = Some(tokio::spawn(job.run(shutdown.clone())));
    }

    fn ended(&mut self, ended: Result<NightReport, JoinError>) {
        self.running = None;
        let last = match ended {
            Ok(report) => {
                tracing::info!(night = %report.night, outcome = ?report.outcome, "night ended");
                Some(Ended { report })
            }
            Err(error) => {
                tracing::error!(%error, "following the night ended unexpectedly");
                None
            }
        };
        self.progress.send_modify(|progress| {
            progress.running = None;
            progress.last = last.or(progress.last.take());
        });
    }
}

/// Waits for the running night; forever when none runs.
async fn finished(running: &mut Option<JoinHandle<NightReport>>) -> Result<NightReport, JoinError> {
    match running {
        Some(running) => running.await,
        None => std::future::pending().await,
    }
}

/// When the newest night was planned; before the first one, when the channel began: a machine that is off whenever a night is due catches up with it.
async fn last_night(lake: &Lake, channel: &str) -> Result<Option<Timestamp>, LakeError> {
    let Some(night) = lake.nights().list().await?.pop() else {
        return Ok(lake.ledger(channel).read().await?.first().map(|entry| entry.time));
    };
    match lake.nights().plan(&night).await {
        Ok(plan) => Ok(Some(plan.created)),
        Err(error) if error.is_not_found() || error.is_damage() => Ok(None),
        Err(error) => Err(error),
    }
}
