//! Nights with a shell script in the place of the sleep job.

mod nights;

use std::{path::PathBuf, sync::Arc, time::Duration};

use jiff::Timestamp;
use nocturne_kit::{FixedClock, Shutdown};
use nocturne_lake::{Expect, Lake, LedgerDraft};
use nocturne_wire::{
    BatchName, Generation, GenerationName, NightId, Offset, Partition, Sha256Hex, Topic,
    ledger::{LedgerAction, PRODUCTION},
    manifest::{MANIFEST_VERSION, Manifest},
    night::{GateResult, NightEvent, NightReport, Outcome, Phase},
    path,
    plan::{CurationSettings, GateSettings, TrainingSettings},
};
use tempfile::TempDir;
use tokio::task::JoinHandle;

use crate::{EndPositions, JobCommand, NightSettings, Scheduler, SchedulerHandle, flush_with};

/// Long enough for any machine; a test that waits this long has failed.
const DEADLINE: Duration = Duration::from_secs(30);

const P0: (Topic, Partition) = (Topic::Interactions, Partition(0));

fn noon() -> Timestamp {
    "2026-11-20T12:00:00Z".parse().expect("a time")
}

/// A lake in a folder with generation 0 in production, a clock, and a folder for the job's files.
struct World {
    folder: TempDir,
    lake: Lake,
    clock: FixedClock,
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let lake = Lake::open(&folder.path().join("lake").to_string_lossy()).expect("opens");
        let manifest = Manifest {
            version: MANIFEST_VERSION,
            number: Generation::ZERO,
            content: Manifest::content_of(&[]),
            base: Sha256Hex::of(b"base"),
            parent: None,
            night: None,
            created: noon(),
            tensors: Vec::new(),
            files: Vec::new(),
            batches: Vec::new(),
            optimizer: None,
        };
        let generation = lake.generations().publish(&manifest, &[]).await.expect("published");
        let draft = LedgerDraft {
            action: LedgerAction::Begin,
            generation,
            time: noon(),
            actor: "test".to_owned(),
            reason: "a test".to_owned(),
            night: None,
        };
        lake.ledger(PRODUCTION).append(&draft, Expect::Empty).await.expect("begun");
        Self { folder, lake, clock: FixedClock::new(noon()) }
    }

    /// Seals a batch, whose bytes the scheduler never opens.
    async fn seal(&self, first: u64) {
        let (topic, partition) = P0;
        let name = BatchName::new(topic, partition, Offset(first));
        self.lake.create(&path::batch(&name), "rows").await.expect("sealed");
    }

    /// Publishes generation 1 as what this night trained.
    async fn publish(&self, night: &NightId) -> GenerationName {
        let zero = self.lake.generations().find(Generation::ZERO).await.expect("listed").expect("seeded");
        let zero = self.lake.generations().manifest(&zero).await.expect("read");
        let manifest = Manifest { number: Generation(1), night: Some(night.clone()), parent: Some(zero.name()), ..zero };
        self.lake.generations().publish(&manifest, &[]).await.expect("published")
    }

    async fn publish_and_promote(&self, night: &NightId) {
        let generation = self.publish(night).await;
        self.move_to(generation, LedgerAction::Promote).await;
    }

    async fn move_to(&self, generation: GenerationName, action: LedgerAction) {
        let ledger = self.lake.ledger(PRODUCTION);
        let head = ledger.head().await.expect("read").expect("begun");
        let (actor, reason) = ("test".to_owned(), "a test".to_owned());
        let draft = LedgerDraft { action, generation, time: noon(), actor, reason, night: None };
        ledger.append(&draft, Expect::Head(head.sequence)).await.expect("moved");
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A shell script as the job; `$1` is the folder for its files, `$2` the plan's location, `$night` the night's folder.
    fn script(&self, text: &str) -> JobCommand {
        let script = self.file("job.sh");
        std::fs::write(&script, format!("night=$(dirname \"$2\")\n{text}\n")).expect("written");
        let folder = self.folder.path().to_string_lossy().into_owned();
        JobCommand {
            program: "/bin/sh".into(),
            args: vec![script.to_string_lossy().into_owned(), folder],
            environment: Vec::new(),
        }
    }

    /// The report and the event that a script moves into the night's folder.
    fn leave(&self, night: &NightId, outcome: Outcome) {
        self.leave_with(night, outcome, Vec::new());
    }

    fn leave_with(&self, night: &NightId, outcome: Outcome, gates: Vec<GateResult>) {
        let report = NightReport { gates, ..crate::job::report_of(&plan_of(night), noon(), outcome) };
        let event =
            NightEvent { sequence: 0, time: noon(), phase: Phase::Train, done: 3, total: 9, message: "training".to_owned() };
        std::fs::write(self.file("report.json"), serde_json::to_vec(&report).expect("JSON")).expect("written");
        std::fs::write(self.file("event.json"), serde_json::to_vec(&event).expect("JSON")).expect("written");
    }

    async fn start(&self, settings: NightSettings, command: JobCommand, sealed_to: u64) -> Running {
        let clock = Arc::new(self.clock.clone());
        let flush = flush_with(move || async move { Ok::<_, std::io::Error>(EndPositions::from([(P0, Offset(sealed_to))])) });
        let scheduler = Scheduler::open(settings, self.lake.clone(), clock, command, flush).await.expect("opens");
        let (handle, shutdown) = (scheduler.handle(), Shutdown::new());
        let task = tokio::spawn(scheduler.run(shutdown.clone()));
        Running { handle, shutdown, task }
    }
}

struct Running {
    handle: SchedulerHandle,
    shutdown: Shutdown,
    task: JoinHandle<()>,
}

impl Running {
    async fn stop(self) {
        self.shutdown.request();
        in_time(self.task).await.expect("no panic");
    }
}

fn plan_of(night: &NightId) -> nocturne_wire::plan::NightPlan {
    nocturne_wire::plan::NightPlan {
        version: nocturne_wire::plan::PLAN_VERSION,
        night: night.clone(),
        channel: PRODUCTION.to_owned(),
        created: noon(),
        trigger: nocturne_wire::plan::Trigger::Manual,
        deadline: None,
        base: Sha256Hex::of(b"base"),
        zero: GenerationName::new(Generation::ZERO, &Sha256Hex::of(b"0")),
        parent: GenerationName::new(Generation::ZERO, &Sha256Hex::of(b"0")),
        lineage: Vec::new(),
        batches: Vec::new(),
        earlier: Vec::new(),
        held_out: Vec::new(),
        seed: 1,
        curation: CurationSettings::default(),
        training: TrainingSettings::default(),
        gates: GateSettings::default(),
        promote: true,
    }
}

fn night_at(time: &str) -> NightId {
    NightId::parse(format!("{time}-{PRODUCTION}")).expect("valid")
}

/// Moves the report and the event into the night's folder, each whole.
const LEAVE: &str = "mkdir -p \"$night/events\"\nmv \"$1/event.json\" \"$night/events/000000000000.json\"\nmv \"$1/report.json\" \"$night/report.json\"";

async fn in_time<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, work).await.expect("done in time")
}
