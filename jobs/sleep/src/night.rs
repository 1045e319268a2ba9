//! One night from its plan to its report.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use jiff::Timestamp;
use nocturne_columns::{CuratedRow, write_metrics};
use nocturne_kit::telemetry::chain;
use nocturne_lake::Lake;
use nocturne_model::{
    Banks, SessionState, Weights,
    device::Device,
    voice::{Choice, Voice},
};
use nocturne_wire::{
    GenerationName,
    night::{GateResult, LESSONS, Lesson, NightReport, Outcome, Phase},
    plan::NightPlan,
};

use crate::{
    distill::{DistillSettings, Distilled, Distiller},
    error::SleepError,
    gates::{self, Compared},
    history::{self, History},
    inputs::{self, Models},
    memory::Kept,
    publish,
    record::Recorder,
    rehearsal::Rehearsal,
    sessions::{self, Session},
    settings::SleepSettings,
    study::{Curriculum, KeptAnswers, Studied, StudySettings, study},
};

/// How a night ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// A generation was published.
    Published,
    /// There was nothing to learn from.
    Empty,
    /// A gate failed.
    Rejected,
    /// The night broke.
    Failed,
}

/// Runs the night of a plan and writes its report. Options are those of the store that holds the lake, beyond what the environment says.
///
/// # Errors
/// When the plan cannot be read or the report cannot be written; everything else is told in the report.
pub async fn run(
    plan_location: &str,
    store_options: &BTreeMap<String, String>,
    settings: SleepSettings,
) -> Result<Ended, SleepError> {
    let (lake, plan) = Lake::open_plan(plan_location, store_options)
        .await
        .map_err(|source| SleepError::Lake { doing: "read the night's plan", source })?;
    let started = Timestamp::now();
    let (recorder, events) = Recorder::start(lake.clone(), plan.night.clone());
    let mut report = blank(&plan, started);
    let phases = match sleep(&lake, &plan, settings, recorder, &mut report).await {
        Ok(phases) => phases,
        Err(error) => {
            tracing::error!(error = chain(&error), night = %plan.night, "the night broke");
            report.outcome = Outcome::Failed { error: chain(&error) };
            Vec::new()
        }
    };
    events.await.ok();
    report.phases = phases;
    report.ended = Timestamp::now();
    report.peak_memory_bytes = nocturne_kit::memory::peak_bytes().unwrap_or(0);
    let failed = |source| SleepError::Lake { doing: "write the night's report", source };
    lake.nights().write_report(&report).await.map_err(failed)?;
    Ok(match report.outcome {
        Outcome::Published { .. } => Ended::Published,
        Outcome::Rejected { .. } => Ended::Rejected,
        Outcome::Empty { .. } => Ended::Empty,
        Outcome::Failed { .. } => Ended::Failed,
    })
}

fn blank(plan: &NightPlan, started: Timestamp) -> NightReport {
    NightReport {
        night: plan.night.clone(),
        started,
        ended: started,
        outcome: Outcome::Failed { error: "the night did not come to its end".into() },
        phases: Vec::new(),
        curation: nocturne_wire::night::CurationCounts::default(),
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

type Phases = Vec<nocturne_wire::night::PhaseTime>;

async fn sleep(
    lake: &Lake,
    plan: &NightPlan,
    settings: SleepSettings,
    mut recorder: Recorder,
    report: &mut NightReport,
) -> Result<Phases, SleepError> {
    let device = settings.device.open().map_err(SleepError::Device)?;
    recorder.phase(Phase::Curate, "reading the planned batches");
    let models = inputs::models(lake, plan).await?;
    let history = History::read(lake, plan).await?;
    let day = inputs::rows(lake, plan).await?;
    report.curation = day.counts;
    let (recorder, thought) = think(models, history, day.rows, plan.clone(), device, recorder).await?;
    let Some(thought) = thought? else {
        report.outcome = Outcome::Empty { reason: "no kept session taught anything".into() };
        return Ok(recorder.finish());
    };
    thought.tell(report);
    write_record(lake, plan, &thought).await?;
    if report.tensors_changed_outside_slow_banks > 0 {
        return Err(SleepError::Leaked(report.tensors_changed_outside_slow_banks));
    }
    let failed: Vec<String> = thought.gates.iter().filter(|g| !g.passed).map(|g| g.gate.clone()).collect();
    if !failed.is_empty() {
        report.outcome = Outcome::Rejected { gates: failed };
        return Ok(recorder.finish());
    }
    let mut recorder = recorder;
    recorder.phase(Phase::Publish, "publishing the new generation");
    let generation = publish::publish(lake, plan, day.batches, (thought.file, thought.memory), Timestamp::now()).await?;
    let promoted = plan.promote && promoted(lake, plan, &generation).await;
    report.outcome = Outcome::Published { generation, promoted };
    Ok(recorder.finish())
}

/// Promotes the generation. It is published by now, whatever becomes of that: whoever moved the channel meanwhile has decided otherwise, and a ledger that
/// cannot be written leaves the decision to a person.
async fn promoted(lake: &Lake, plan: &NightPlan, generation: &GenerationName) -> bool {
    match publish::promote(lake, plan, generation, Timestamp::now()).await {
        Ok(()) => true,
        Err(SleepError::Promote(error)) if error.is_conflict() => {
            tracing::warn!(%generation, "the channel was moved during the night; the generation is published and not promoted");
            false
        }
        Err(error) => {
            tracing::error!(%generation, error = chain(&error), "the generation is published and could not be promoted; `nocturne promote` does it");
            false
        }
    }
}

async fn write_record(lake: &Lake, plan: &NightPlan, thought: &Thought) -> Result<(), SleepError> {
    let metrics = write_metrics(&thought.studied.metrics)
        .map_err(|source| SleepError::Columns { doing: "encode the night's metrics", source })?;
    let failed = |source| SleepError::Lake { doing: "write the night's record", source };
    lake.nights().put(&plan.night, "metrics.parquet", metrics).await.map_err(failed)?;
    lake.nights().put(&plan.night, LESSONS, Lesson::write(&thought.distilled.lessons)).await.map_err(failed)?;
    let untaught = serde_json::to_vec(&thought.distilled.untaught).unwrap_or_default();
    lake.nights().put(&plan.night, history::UNTAUGHT, untaught).await.map_err(failed)?;
    lake.nights().write_gates(&plan.night, &thought.gates).await.map_err(failed)
}

/// Questions that earlier nights found untaught, at most: a training draws about as many.
const MOST_UNTAUGHT: usize = 1000;
/// Of so many conversations of the rehearsal set, one is kept out of training, for the gates.
const KEPT_OUT_ONE_IN: usize = 5;

/// What the thinking part of a night gives.
struct Thought {
    sessions: usize,
    distilled: Distilled,
    studied: Studied,
    changed: (u64, u64),
    gates: Vec<GateResult>,
    file: Vec<u8>,
    memory: Option<Kept>,
}

impl Thought {
    fn tell(&self, report: &mut NightReport) {
        report.sessions = self.sessions as u64;
        report.questions = self.distilled.questions;
        report.held_out_dropped = self.distilled.held_out_dropped;
        report.steps = self.studied.steps;
        report.tokens = self.studied.tokens;
        report.tokens_per_second = self.studied.tokens as f64 / self.studied.seconds.max(1e-9);
        let losses: Vec<f64> = self.studied.metrics.iter().filter(|m| m.name == "loss").map(|m| m.value).collect();
        let tenth = (losses.len() / 10).max(1);
        let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len().max(1) as f64;
        report.loss_first = mean(&losses[..tenth.min(losses.len())]);
        report.loss_last = mean(&losses[losses.len().saturating_sub(tenth)..]);
        (report.tensors_changed_in_slow_banks, report.tensors_changed_outside_slow_banks) = self.changed;
        report.gates.clone_from(&self.gates);
    }
}

/// Runs everything that computes on a thread of its own.
async fn think(
    models: Models,
    history: History,
    rows: Vec<CuratedRow>,
    plan: NightPlan,
    device: Device,
    recorder: Recorder,
) -> Result<(Recorder, Result<Option<Thought>, SleepError>), SleepError> {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    std::thread::Builder::new()
        .name("sleep".into())
        .spawn(move || {
            let mut recorder = recorder;
            let thought = think_here(&models, history, &rows, &plan, &device, &mut recorder);
            sender.send((recorder, thought)).ok();
        })
        .map_err(SleepError::Thread)?;
    receiver.await.map_err(|_| SleepError::Panicked)
}

fn think_here(
    models: &Models,
    mut history: History,
    rows: &[CuratedRow],
    plan: &NightPlan,
    device: &Device,
    recorder: &mut Recorder,
) -> Result<Option<Thought>, SleepError> {
    recorder.phase(Phase::Distill, "reading the kept sessions");
    let sessions: Vec<Session> = sessions::sessions(rows);
    let mut voice = Voice::new(&models.base);
    let distiller = Distiller::new(&mut voice, &models.zero, DistillSettings::default(), &plan.held_out, plan.seed);
    let mut distilled = distiller.run(&sessions, &mut |done, total, what| recorder.progress(done, total, what));
    if distilled.lessons.is_empty() {
        return Ok(None);
    }
    history.settle(&mut distilled);
    // The seed is the same every night, and so would the choice be.
    history.bound_untaught(MOST_UNTAUGHT, plan.seed.wrapping_add(plan.lineage.len() as u64));
    distilled.held_out_dropped += history.hold_out(&plan.held_out);
    let answers = kept_answers(&mut voice, &models.zero, &distilled, &history);

    recorder.phase(Phase::Train, "training the slow banks");
    let config = models.base.config();
    let (rehearsed, kept_out) = models.rehearsal.split_at(models.rehearsal.len() - models.rehearsal.len() / KEPT_OUT_ONE_IN);
    // What somebody measures with is rehearsed no more than it is learned.
    let held_out: HashSet<_> = plan.held_out.iter().collect();
    let rehearsed: Vec<Rehearsal> = rehearsed.iter().filter(|conversation| !conversation.asks_any(&held_out)).cloned().collect();
    distilled.held_out_dropped += (models.rehearsal.len() - kept_out.len() - rehearsed.len()) as u64;
    let curriculum = Curriculum {
        config,
        device,
        parent: &models.parent_tensors,
        memory: models.memory.as_ref(),
        writing: models.base.writing(),
        stacked: models.base.stacked(),
        distilled: &distilled,
        history: &history,
        answers: &answers,
        rehearsal: &rehearsed,
        held_out: &plan.held_out,
        seed: plan.seed,
        deadline: plan.deadline,
    };
    let studied = study(&curriculum, &StudySettings::of(plan.training), &mut |done, total, stats| {
        recorder.progress(done, total, &format!("loss {:.3}, answer tokens right {:.1} %", stats.loss, stats.accuracy * 100.0));
    })?;
    let changed = publish::changed(&models.parent_tensors, &studied.tensors);
    let file = publish::slow_file(&studied.tensors, models.base.bank_precision())?;
    let memory = studied.memory.as_ref().map(|memory| Kept::of(plan.training.optimizer, memory)).transpose()?;

    recorder.phase(Phase::Gate, "measuring the candidate");
    let candidate = candidate(models, &file)?;
    let compared = Compared { zero: &models.zero, parent: &models.parent, candidate: &candidate };
    let gates = gates::measure(&mut voice, &compared, &distilled, &history, kept_out, &plan.gates);
    Ok(Some(Thought { sessions: sessions.len(), distilled, studied, changed, gates, file, memory }))
}

/// The candidate as it would be served: from the bytes that would be published.
fn candidate(models: &Models, file: &[u8]) -> Result<Weights, SleepError> {
    let failed = |source| SleepError::Model { doing: "load the candidate", source };
    let banks = Banks::load(&models.base, file).map_err(failed)?;
    Ok(Weights::new(Arc::clone(&models.base), banks))
}

/// What generation 0 says to questions that nobody answered.
fn kept_answers(voice: &mut Voice, zero: &Weights, distilled: &Distilled, history: &History) -> KeptAnswers {
    let fresh = SessionState::new(voice.base());
    let mut say = |questions: &[String]| -> Vec<(String, String)> {
        let asked: Vec<(&SessionState, &str)> = questions.iter().map(|q| (&fresh, q.as_str())).collect();
        let answers = voice.answer(zero, &asked, Choice::Greedy, 40);
        questions.iter().cloned().zip(answers.into_iter().map(|s| s.text)).collect()
    };
    let untaught = [distilled.untaught.as_slice(), &history.untaught].concat();
    KeptAnswers { unknown: say(&distilled.unknown), untaught: say(&untaught) }
}
