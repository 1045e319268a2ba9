//! One night's job: started, followed, ended, reported.

use std::{
    io::{self, Write},
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use nocturne_kit::{Clock, Shutdown, telemetry::chain};
use nocturne_lake::{Lake, LakeError};
use nocturne_wire::{
    NightId,
    night::{CurationCounts, NightReport, Outcome},
    plan::NightPlan,
};
use tokio::{
    io::AsyncReadExt,
    process::{Child, ChildStderr, Command},
    sync::watch,
    time::MissedTickBehavior,
};

use crate::{JobCommand, Progress};

/// How often the job's events are looked for: often enough for a progress bar, and a listing of one folder is cheap.
const FOLLOW_EVERY: Duration = Duration::from_millis(250);

/// How much of the end of the job's error output is kept for the report of a failure.
const TAIL_BYTES: usize = 4096;

/// How long the rest of the error output is waited for when the job has ended.
const TAIL_WAIT: Duration = Duration::from_secs(1);

/// The exit code of a job whose candidate was rejected.
const REJECTED: i32 = 3;

/// One night's job.
pub(crate) struct Job {
    pub(crate) lake: Lake,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) command: JobCommand,
    pub(crate) plan: NightPlan,
    pub(crate) grace: SignedDuration,
    pub(crate) progress: watch::Sender<Progress>,
}

/// How the process ended.
enum End {
    Exited(ExitStatus),
    PastDeadline,
    ShutDown,
}

impl Job {
    /// Runs the job to its end. There is a report in the lake afterwards, unless the lake cannot be written.
    pub(crate) async fn run(self, shutdown: Shutdown) -> NightReport {
        let night = self.plan.night.clone();
        let problem = match self.spawn() {
            Err(error) => format!("starting the sleep job `{}`: {error}", self.command.program.display()),
            Ok(child) => match self.follow(child, &shutdown).await {
                Ok(problem) => problem,
                Err(error) => format!("waiting for the sleep job: {error}"),
            },
        };
        match self.lake.nights().report(&night).await {
            Ok(Some(report)) => report,
            Ok(None) => self.report_in_its_place(problem).await,
            Err(error) => self.report_in_its_place(format!("{problem}; reading its report: {}", chain(&error))).await,
        }
    }

    fn spawn(&self) -> io::Result<Child> {
        let mut command = Command::new(&self.command.program);
        command
            .args(&self.command.args)
            .envs(self.command.environment.iter().cloned())
            .arg(self.lake.nights().plan_location(&self.plan.night))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        // A Ctrl-C at the terminal is for the server, which decides what becomes of the night.
        #[cfg(unix)]
        command.process_group(0);
        command.spawn()
    }

    /// Follows the job until it ends or must end; says what is wrong if it left no report.
    async fn follow(&self, mut child: Child, shutdown: &Shutdown) -> io::Result<String> {
        // Held open, not written to: it closes when this process ends, however it ends, and the job stops then.
        let input = child.stdin.take();
        let kept = Arc::new(Mutex::new(Vec::new()));
        let mut passing = tokio::spawn(pass_on(child.stderr.take(), kept.clone()));
        let mut tick = tokio::time::interval(FOLLOW_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut seen = 0;
        let end = loop {
            tokio::select! {
                biased;
                status = child.wait() => break End::Exited(status?),
                () = shutdown.requested() => break End::ShutDown,
                _ = tick.tick() => {}
            }
            self.read_events(&mut seen).await;
            if self.is_past_deadline() {
                break End::PastDeadline;
            }
        };
        if !matches!(end, End::Exited(_)) {
            child.kill().await?;
        }
        drop(input);
        self.read_events(&mut seen).await;
        // A process that the job left behind may hold the pipe open for as long as it likes.
        if tokio::time::timeout(TAIL_WAIT, &mut passing).await.is_err() {
            passing.abort();
        }
        Ok(describe(&end, &tail_of(&kept)))
    }

    fn is_past_deadline(&self) -> bool {
        let end = self.plan.deadline.and_then(|deadline| deadline.checked_add(self.grace).ok());
        end.is_some_and(|end| self.clock.now() > end)
    }

    async fn read_events(&self, seen: &mut u64) {
        match self.lake.nights().events_from(&self.plan.night, *seen).await {
            Ok(events) => {
                let Some(newest) = events.into_iter().next_back() else { return };
                *seen = newest.sequence + 1;
                self.progress.send_modify(|progress| {
                    if let Some(running) = &mut progress.running {
                        running.event = Some(newest);
                    }
                });
            }
            // Progress is a courtesy; the report is what counts.
            Err(error) => tracing::debug!(error = chain(&error), "the night's events cannot be read"),
        }
    }

    async fn report_in_its_place(&self, error: String) -> NightReport {
        tracing::error!(night = %self.plan.night, error, "the night left no report");
        let report = unreported(&self.lake, &self.plan, self.clock.now(), error.clone()).await.unwrap_or_else(|reading| {
            tracing::error!(night = %self.plan.night, error = chain(&reading), "what the night left cannot be read");
            report_of(&self.plan, self.clock.now(), Outcome::Failed { error })
        });
        if let Err(error) = self.lake.nights().write_report(&report).await {
            tracing::error!(night = %self.plan.night, error = chain(&error), "the night's report cannot be written");
        }
        report
    }
}

fn describe(end: &End, tail: &str) -> String {
    let what = match end {
        End::ShutDown => return "the server was stopped while the night ran; run it again".to_owned(),
        End::PastDeadline => "the sleep job was ended because it was past its deadline".to_owned(),
        End::Exited(status) => match status.code() {
            Some(0 | REJECTED) => "the sleep job ended without leaving a report".to_owned(),
            Some(code) => format!("the sleep job failed with exit code {code}"),
            None => format!("the sleep job was killed ({status})"),
        },
    };
    if tail.is_empty() { what } else { format!("{what}: {tail}") }
}

/// Passes the job's error output on and keeps its end.
async fn pass_on(stderr: Option<ChildStderr>, kept: Arc<Mutex<Vec<u8>>>) {
    let Some(mut stderr) = stderr else { return };
    let mut buffer = [0; 2048];
    while let Ok(read @ 1..) = stderr.read(&mut buffer).await {
        {
            let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.extend_from_slice(&buffer[..read]);
            let excess = kept.len().saturating_sub(TAIL_BYTES);
            kept.drain(..excess);
        }
        // As the process's own log does. A closed terminal must not end the night.
        io::stderr().write_all(&buffer[..read]).ok();
    }
}

fn tail_of(kept: &Mutex<Vec<u8>>) -> String {
    let kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
    String::from_utf8_lossy(&kept).trim().to_owned()
}

/// The report of a night that left none. What it published it has published, and its batches are learned: a night may be killed between its manifest and its
/// report.
async fn unreported(lake: &Lake, plan: &NightPlan, now: Timestamp, error: String) -> Result<NightReport, LakeError> {
    let outcome = published(lake, plan).await?.unwrap_or(Outcome::Failed { error });
    let gates = match lake.nights().gates(&plan.night).await {
        Err(error) if error.is_damage() => {
            tracing::error!(night = %plan.night, error = chain(&error), "a night's gates are damaged");
            Vec::new()
        }
        gates => gates?.unwrap_or_default(),
    };
    Ok(NightReport { gates, ..report_of(plan, now, outcome) })
}

/// What a night published, and whether it got to promote it.
async fn published(lake: &Lake, plan: &NightPlan) -> Result<Option<Outcome>, LakeError> {
    for generation in lake.generations().list().await?.into_iter().rev() {
        let manifest = match lake.generations().manifest(&generation).await {
            Err(error) if error.is_damage() => continue,
            manifest => manifest?,
        };
        if manifest.night.as_ref() == Some(&plan.night) {
            let entries = lake.ledger(&plan.channel).read().await?;
            let promoted = entries.iter().any(|entry| entry.night.as_ref() == Some(&plan.night));
            return Ok(Some(Outcome::Published { generation, promoted }));
        }
    }
    Ok(None)
}

pub(crate) fn report_of(plan: &NightPlan, now: Timestamp, outcome: Outcome) -> NightReport {
    NightReport {
        night: plan.night.clone(),
        started: plan.created,
        ended: now,
        outcome,
        phases: Vec::new(),
        curation: CurationCounts::default(),
        sessions: 0,
        questions: 0,
        held_out_dropped: 0,
        steps: 0,
        tokens: 0,
        tokens_per_second: 0.0,
        loss_first: 0.0,
        loss_last: 0.0,
        gates: Vec::new(),
        tensors_changed_in_slow_banks: 0,
        tensors_changed_outside_slow_banks: 0,
        peak_memory_bytes: 0,
        seed: plan.seed,
    }
}

/// Ends the nights that an earlier process planned and did not end, so that their batches are read by the next one.
pub(crate) async fn end_interrupted(lake: &Lake, now: Timestamp) -> Result<Vec<NightId>, LakeError> {
    let mut ended = Vec::new();
    for night in lake.nights().list().await? {
        match lake.nights().report(&night).await {
            Ok(None) => {}
            Ok(Some(_)) => continue,
            Err(error) if error.is_damage() => {
                tracing::error!(%night, error = &error as &dyn std::error::Error, "a night's report is damaged");
                continue;
            }
            Err(error) => return Err(error),
        }
        let plan = match lake.nights().plan(&night).await {
            // A folder without a plan is not a night that anybody began.
            Err(error) if error.is_not_found() => continue,
            Err(error) if error.is_damage() => {
                tracing::error!(%night, error = chain(&error), "a night's plan is damaged");
                continue;
            }
            plan => plan?,
        };
        let error = "the process that ran the night stopped before it ended; run it again".to_owned();
        let report = unreported(lake, &plan, now, error).await?;
        match lake.nights().write_report(&report).await {
            Err(error) if !error.is_already_exists() => return Err(error),
            _ => ended.push(night),
        }
    }
    Ok(ended)
}
