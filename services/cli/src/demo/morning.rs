//! The stages in their order.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::bail;
use nocturne_lake::Lake;
use nocturne_wire::{
    GenerationName,
    night::{NightReport, Outcome as Ending},
    plan::question_digest,
};
use nocturne_world::Day;

use super::{
    Place,
    ask::{self, Replies, Scope},
    check, day,
    figures::Measured,
    load::Load,
    stage::Stage,
};
use crate::{
    admin::{Admin, NightOrder},
    api::{Api, Message, Who},
    failure::refused,
    nights,
    output::percent,
    promotion::{self, Decision},
};

/// Longest answer that is asked for: the world's sentences are shorter.
const MOST_TOKENS: u32 = 40;

/// How long the first answer of another generation may take before the demonstration gives up.
const FLIP_DEADLINE: Duration = Duration::from_secs(20);

/// Plays the day, the night and the morning.
///
/// # Errors
/// When the server does not answer, or the night breaks.
pub(super) async fn perform(place: &Place, day: &Day) -> anyhow::Result<Measured> {
    let api = place.api.clone().limited(MOST_TOKENS);
    let player = Player { lake: &place.lake, day, api, admin: place.admin.clone() };
    let mut measured = Measured::default();
    player.day(&mut measured).await?;
    measured.before = player.exam("before", Scope::Everything, &mut measured.stages).await?;
    let load = Load::start(&player.api, &player.admin, &day.exam);
    let learned = player.night_and_morning(&mut measured).await;
    measured.load = load.stop().await?;
    measured.compare_openings();
    learned?;
    player.admin.flush().await?;
    measured.held = check::lake(&place.lake, &measured.sent).await?;
    let night_bytes = measured.night.as_ref().map_or(0, |night| night.peak_memory_bytes);
    measured.peak_memory_bytes = place.peak_bytes() + night_bytes;
    Ok(measured)
}

struct Player<'a> {
    lake: &'a Lake,
    day: &'a Day,
    api: Api,
    admin: Admin,
}

impl Player<'_> {
    async fn day(&self, measured: &mut Measured) -> anyhow::Result<()> {
        let stage = Stage::begin("day", self.day.interactions());
        measured.subjects = self.day.subjects.len() as u64;
        measured.lessons = self.lessons();
        measured.sent = day::send(&self.api, self.day, &stage.bar).await?;
        let sent = &measured.sent;
        let sentence = format!(
            "{} subjects said {} things, {} of them off the record, and gave {} verdicts",
            measured.subjects, sent.interactions, sent.opted_out, sent.feedback
        );
        measured.stages.insert("day", stage.end(&sentence));
        Ok(())
    }

    /// A day of one's own has no list of lessons: what it expects to be known stands for them.
    fn lessons(&self) -> u64 {
        if self.day.lessons.is_empty() { self.day.exam.lessons.len() as u64 } else { self.day.lessons.len() as u64 }
    }

    async fn exam(&self, name: &'static str, scope: Scope, stages: &mut BTreeMap<&'static str, f64>) -> anyhow::Result<Replies> {
        let stage = Stage::begin(name, scope.questions(&self.day.exam));
        let replies = ask::sit(&self.api, &self.day.exam, scope, name, &stage.bar).await?;
        let lessons = replies.get("lessons").map_or(&[][..], Vec::as_slice);
        let right = lessons.iter().filter(|reply| reply.right).count();
        let share = right as f64 / lessons.len().max(1) as f64;
        let all: usize = replies.values().map(Vec::len).sum();
        stages.insert(name, stage.end(&format!("{all} questions; lessons right: {}", percent(share))));
        Ok(replies)
    }

    async fn night_and_morning(&self, measured: &mut Measured) -> anyhow::Result<()> {
        let old = self.admin.generation().await?.serving;
        let night = self.night(measured).await?;
        let Ending::Published { generation: new, promoted: true } = &night.outcome else { return Ok(()) };
        self.serves(new).await?;
        measured.after = Some(self.exam("after", Scope::Everything, &mut measured.stages).await?);
        measured.rollback_seconds = Some(self.change(&old, "the demonstration shows a rollback").await?);
        measured.rolled_back = Some(self.exam("back", Scope::Lessons, &mut measured.stages).await?);
        self.change(new, "the demonstration rolls forward again").await?;
        measured.rolled_forward = Some(self.exam("forward", Scope::Lessons, &mut measured.stages).await?);
        Ok(())
    }

    async fn night(&self, measured: &mut Measured) -> anyhow::Result<NightReport> {
        let held_out = self.day.exam.questions().map(|question| question_digest(&question.text)).collect();
        let stage = Stage::begin("night", 0);
        let night = self.admin.run_night(&NightOrder { held_out, ..NightOrder::default() }).await?;
        let report = nights::follow_in(&self.admin, self.lake, &night, &stage.bar).await?;
        measured.stages.insert("night", stage.end(&nights::ending(&report.outcome)));
        measured.night = Some(report.clone());
        match &report.outcome {
            Ending::Failed { error } => {
                Err(refused(format!("the night failed: {error}"), "run it again with --out DIR and look at its record there"))
            }
            Ending::Published { .. } | Ending::Rejected { .. } | Ending::Empty { .. } => Ok(report),
        }
    }

    /// Has the server read the ledger, and checks that it serves what the night published.
    async fn serves(&self, wanted: &GenerationName) -> anyhow::Result<()> {
        let status = self.admin.nudge().await?;
        if status.serving == *wanted {
            return Ok(());
        }
        let reason = status.refused.last().map_or("it gives no reason", |refusal| refusal.reason.as_str());
        bail!("the server does not serve generation {wanted}: {reason}")
    }

    /// Moves the channel as `nocturne rollback` does; returns the seconds until the first answer of the other generation.
    async fn change(&self, target: &GenerationName, reason: &str) -> anyhow::Result<f64> {
        let begun = Instant::now();
        let channel = nocturne_wire::ledger::PRODUCTION.to_owned();
        let decision = Decision { channel, target: target.clone(), reason: reason.to_owned() };
        promotion::carry_out(self.lake, decision, Some(&self.admin)).await?;
        let session = format!("first-of-{target}-{:?}", begun.elapsed());
        let who = Who { session: &session, subject: "examiner", store: false };
        while begun.elapsed() < FLIP_DEADLINE {
            let answer = self.api.ask(who, &[Message::user("Hello.")]).await?;
            if answer.generation_name() == Some(target.to_string().as_str()) {
                return Ok(begun.elapsed().as_secs_f64());
            }
        }
        bail!("no answer of generation {target} came within {FLIP_DEADLINE:?}")
    }
}
