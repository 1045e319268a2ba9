//! What the executor does.

use nocturne_wire::plan::Trigger;

use super::*;
use crate::{NightRequest, NothingToDo, RunError, ScheduleSettings};

fn published() -> Outcome {
    Outcome::Published { generation: GenerationName::new(Generation(1), &Manifest::content_of(&[])), promoted: true }
}

fn off() -> NightSettings {
    let schedule = ScheduleSettings { enabled: false, ..ScheduleSettings::default() };
    NightSettings { schedule, ..NightSettings::default() }
}

fn failed(report: &NightReport) -> &str {
    match &report.outcome {
        Outcome::Failed { error } => error,
        other => panic!("the night did not fail: {other:?}"),
    }
}

#[tokio::test]
async fn a_night_is_planned_run_followed_and_reported_and_the_next_one_reads_what_came_since() {
    let world = World::new().await;
    world.seal(0).await;
    world.seal(10).await;
    let night = night_at("20261120T120000Z");
    world.leave(&night, published());
    let script = world.script(&format!("{LEAVE}\nwhile [ ! -e \"$1/go\" ]; do sleep 0.02; done"));
    let running = world.start(off(), script, 25).await;
    let request = NightRequest { held_out: vec![Sha256Hex::of(b"question")], ..NightRequest::default() };
    assert_eq!(in_time(running.handle.run_now(request)).await.expect("started"), night);
    let plan = world.lake.nights().plan(&night).await.expect("written");
    assert_eq!(plan.batches.iter().map(|b| (b.name.first.0, b.last.0)).collect::<Vec<_>>(), [(0, 9), (10, 24)]);
    assert_eq!((plan.trigger, plan.held_out.len()), (Trigger::Manual, 1));

    let mut progress = running.handle.progress();
    let training = |progress: &crate::Progress| progress.running.as_ref().is_some_and(|r| r.event.is_some());
    let event = in_time(progress.wait_for(training)).await.expect("alive").running.clone().and_then(|r| r.event);
    assert_eq!(event.map(|event| (event.done, event.total)), Some((3, 9)));
    std::fs::write(world.file("go"), "").expect("written");
    let report = in_time(running.handle.wait(&night)).await.expect("reported");
    assert_eq!(report.outcome, published());
    assert_eq!(running.handle.progress().borrow().last.as_ref().map(|last| &last.report), Some(&report));

    world.publish_and_promote(&night).await;
    let refused = in_time(running.handle.run_now(NightRequest::default())).await.expect_err("nothing new");
    assert!(matches!(refused, RunError::NothingToDo(NothingToDo::NothingNew)), "{refused}");
    running.stop().await;
}

#[tokio::test]
async fn what_never_served_is_learned_again_and_what_was_rolled_back_stays_undone() {
    let world = World::new().await;
    world.seal(0).await;
    let night = night_at("20261120T120000Z");
    world.leave(&night, published());
    let running = world.start(off(), world.script(LEAVE), 5).await;
    in_time(running.handle.run_now(NightRequest::default())).await.expect("started");
    in_time(running.handle.wait(&night)).await.expect("reported");
    let generation = world.publish(&night).await;
    world.clock.set(noon() + jiff::SignedDuration::from_secs(1));
    let again = in_time(running.handle.run_now(NightRequest::default())).await.expect("generation 1 never served");
    assert_eq!(world.lake.nights().plan(&again).await.expect("written").batches.len(), 1);
    in_time(running.handle.wait(&again)).await.expect("reported");

    world.move_to(generation, LedgerAction::Promote).await;
    let zero = world.lake.generations().find(Generation::ZERO).await.expect("listed").expect("seeded");
    world.move_to(zero, LedgerAction::Rollback).await;
    world.clock.set(noon() + jiff::SignedDuration::from_secs(2));
    let refused = in_time(running.handle.run_now(NightRequest::default())).await.expect_err("a person rolled it back");
    assert!(matches!(refused, RunError::NothingToDo(NothingToDo::NothingNew)), "{refused}");
    running.stop().await;
}

#[tokio::test]
async fn a_job_that_dies_without_a_report_gets_one_and_its_batches_are_read_again() {
    let world = World::new().await;
    world.seal(0).await;
    let running = world.start(off(), world.script("echo 'out of memory' >&2\nexit 9"), 5).await;
    let night = in_time(running.handle.run_now(NightRequest::default())).await.expect("started");
    let report = in_time(running.handle.wait(&night)).await.expect("reported");
    assert_eq!(failed(&report), "the sleep job failed with exit code 9: out of memory");
    assert_eq!(world.lake.nights().report(&night).await.expect("readable"), Some(report));
    world.clock.set(noon() + jiff::SignedDuration::from_secs(1));
    let again = in_time(running.handle.run_now(NightRequest::default())).await.expect("started again");
    assert_eq!(world.lake.nights().plan(&again).await.expect("written").batches.len(), 1);
    in_time(running.handle.wait(&again)).await.expect("reported");
    running.stop().await;
}

#[tokio::test]
async fn a_rejected_night_counts_as_read_unless_the_settings_say_otherwise() {
    for reread_rejected in [false, true] {
        let world = World::new().await;
        world.seal(0).await;
        world.leave(&night_at("20261120T120000Z"), Outcome::Rejected { gates: vec!["kept".to_owned()] });
        let settings = NightSettings { reread_rejected, ..off() };
        let running = world.start(settings, world.script(&format!("{LEAVE}\nexit 3")), 5).await;
        let night = in_time(running.handle.run_now(NightRequest::default())).await.expect("started");
        in_time(running.handle.wait(&night)).await.expect("reported");
        world.clock.set(noon() + jiff::SignedDuration::from_secs(1));
        let again = in_time(running.handle.run_now(NightRequest::default())).await;
        assert_eq!(again.is_ok(), reread_rejected);
        running.stop().await;
    }
}

#[tokio::test]
async fn a_rejected_night_of_few_lessons_is_read_again_with_the_next_day() {
    for (count, read_again) in [(9, true), (10, false)] {
        let world = World::new().await;
        world.seal(0).await;
        let learned = GateResult {
            gate: "learned".to_owned(),
            metric: "recalled".to_owned(),
            count,
            baseline: 0.0,
            candidate: 0.0,
            threshold: 0.6,
            passed: false,
        };
        let outcome = Outcome::Rejected { gates: vec!["learned".to_owned()] };
        world.leave_with(&night_at("20261120T120000Z"), outcome, vec![learned]);
        let running = world.start(off(), world.script(&format!("{LEAVE}\nexit 3")), 5).await;
        let night = in_time(running.handle.run_now(NightRequest::default())).await.expect("started");
        in_time(running.handle.wait(&night)).await.expect("reported");
        world.clock.set(noon() + jiff::SignedDuration::from_secs(1));
        let again = in_time(running.handle.run_now(NightRequest::default())).await;
        assert_eq!(again.is_ok(), read_again, "{count} lessons");
        running.stop().await;
    }
}

#[tokio::test]
async fn nights_do_not_overlap() {
    let world = World::new().await;
    world.seal(0).await;
    let night = night_at("20261120T120000Z");
    world.leave(&night, published());
    let script = world.script(&format!("while [ ! -e \"$1/go\" ]; do sleep 0.02; done\n{LEAVE}"));
    let running = world.start(off(), script, 5).await;
    in_time(running.handle.run_now(NightRequest::default())).await.expect("started");
    let refused = in_time(running.handle.run_now(NightRequest::default())).await.expect_err("busy");
    assert_eq!(refused.to_string(), format!("night {night} is still running; wait for it to end"));
    std::fs::write(world.file("go"), "").expect("written");
    in_time(running.handle.wait(&night)).await.expect("reported");
    running.stop().await;
}

#[tokio::test]
async fn a_night_past_its_deadline_is_ended() {
    let world = World::new().await;
    world.seal(0).await;
    let settings = NightSettings { deadline_minutes: 60, deadline_grace_seconds: 30, ..off() };
    let running = world.start(settings, world.script("exec sleep 600"), 5).await;
    let night = in_time(running.handle.run_now(NightRequest::default())).await.expect("started");
    world.clock.set(noon() + jiff::SignedDuration::from_secs(3631));
    let report = in_time(running.handle.wait(&night)).await.expect("reported");
    assert!(failed(&report).contains("past its deadline"), "{}", failed(&report));
    running.stop().await;
}

#[tokio::test]
async fn stopping_ends_the_running_night_and_says_so_in_its_report() {
    let world = World::new().await;
    world.seal(0).await;
    let running = world.start(off(), world.script("exec sleep 600"), 5).await;
    let night = in_time(running.handle.run_now(NightRequest::default())).await.expect("started");
    let handle = running.handle.clone();
    running.stop().await;
    let report = world.lake.nights().report(&night).await.expect("readable").expect("written");
    assert!(failed(&report).contains("the server was stopped"), "{}", failed(&report));
    let refused = handle.run_now(NightRequest::default()).await.expect_err("stopped");
    assert!(matches!(refused, RunError::Stopped));
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_jobs_input_is_a_pipe_that_closes_with_the_scheduler() {
    let world = World::new().await;
    world.seal(0).await;
    let running = world.start(off(), world.script("[ -p /dev/stdin ] && echo 'a pipe' >&2\nexit 5"), 5).await;
    let night = in_time(running.handle.run_now(NightRequest::default())).await.expect("started");
    let report = in_time(running.handle.wait(&night)).await.expect("reported");
    assert!(failed(&report).ends_with("exit code 5: a pipe"), "{}", failed(&report));
    running.stop().await;
}

#[tokio::test]
async fn a_program_that_cannot_be_started_is_named_in_the_report() {
    let world = World::new().await;
    world.seal(0).await;
    let command = JobCommand { program: world.file("absent"), args: Vec::new(), environment: Vec::new() };
    let running = world.start(off(), command, 5).await;
    let night = in_time(running.handle.run_now(NightRequest::default())).await.expect("planned");
    let report = in_time(running.handle.wait(&night)).await.expect("reported");
    assert!(failed(&report).starts_with("starting the sleep job `"), "{}", failed(&report));
    running.stop().await;
}

#[tokio::test]
async fn a_night_that_an_earlier_process_left_is_ended_at_the_start() {
    let world = World::new().await;
    let night = night_at("20261119T030000Z");
    world.lake.nights().write_plan(&plan_of(&night)).await.expect("written");
    let running = world.start(off(), world.script("exit 1"), 5).await;
    let report = world.lake.nights().report(&night).await.expect("readable").expect("written");
    assert!(failed(&report).contains("stopped before it ended"), "{}", failed(&report));
    running.stop().await;
}

#[tokio::test]
async fn a_night_that_published_and_left_no_report_has_published() {
    let world = World::new().await;
    let night = night_at("20261119T030000Z");
    world.lake.nights().write_plan(&plan_of(&night)).await.expect("written");
    let generation = world.publish(&night).await;
    let running = world.start(off(), world.script("exit 1"), 5).await;
    let report = world.lake.nights().report(&night).await.expect("readable").expect("written");
    assert_eq!(report.outcome, Outcome::Published { generation, promoted: false });
    running.stop().await;
}

#[tokio::test]
async fn the_slot_of_the_schedule_runs_a_night_once() {
    let world = World::new().await;
    world.seal(0).await;
    let night = night_at("20261121T030000Z");
    world.leave(&night, published());
    let clock = Arc::new(world.clock.clone());
    let flush = flush_with(|| async { Ok::<_, std::io::Error>(EndPositions::from([(P0, Offset(5))])) });
    let script = world.script(LEAVE);
    let scheduler = Scheduler::open(NightSettings::default(), world.lake.clone(), clock, script, flush).await.expect("opens");
    world.clock.set("2026-11-21T03:00:00Z".parse().expect("a time"));
    let (handle, shutdown) = (scheduler.handle(), Shutdown::new());
    let task = tokio::spawn(scheduler.run(shutdown.clone()));
    let mut progress = handle.progress();
    let next_day: Timestamp = "2026-11-22T03:00:00Z".parse().expect("a time");
    in_time(progress.wait_for(|p| p.last.is_some() && p.next_run == Some(next_day))).await.expect("alive");
    let nights = world.lake.nights().list().await.expect("listed");
    assert_eq!(nights, std::slice::from_ref(&night));
    assert_eq!(world.lake.nights().plan(&night).await.expect("written").trigger, Trigger::Schedule);
    Running { handle, shutdown, task }.stop().await;
}
