//! Training slow banks, on rows as a night has them: short exchanges to learn, short ones and sessions to keep.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::Context;
use bytes::Bytes;
use nocturne_model::{
    hope::SlowBank,
    optim, tensors,
    train::{Row, Trainer},
};
use nocturne_pretrain::Weights;
use nocturne_sleep::StudySettings;
use nocturne_world::{Conversation, Task};
use serde::Serialize;

use crate::bases;

/// Turns of a row that is no session: a question and its answer.
const EXCHANGE: usize = 2;

/// How long is measured, after two steps of warming up.
const MEASURE: Duration = Duration::from_secs(10);
const WARM_UP: usize = 2;

const WEIGHTS: Weights = Weights { answer: 1.0, skill: 0.0, small_talk: 1.0, acknowledgement: 0.0, user: 0.0 };

/// Training speed.
#[derive(Debug, Serialize)]
pub(super) struct Figures {
    tokens_per_second: f64,
    steps: u64,
    tokens_a_step: f64,
}

impl Figures {
    pub(super) fn row(&self) -> [String; 3] {
        let how = format!("{} steps of {:.0} tokens", self.steps, self.tokens_a_step);
        ["training slow banks".to_owned(), format!("{:.0} tokens/s", self.tokens_per_second), how]
    }
}

pub(super) fn measure(files: &BTreeMap<String, Bytes>) -> anyhow::Result<Figures> {
    let base = bases::load(files)?;
    let rehearsal = files.get("rehearsal.jsonl").context("the base has no rehearsal set")?;
    let conversations = rehearsal.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let conversations: Vec<Conversation> =
        conversations.map(serde_json::from_slice).collect::<Result<_, _>>().context("reading the rehearsal set")?;
    let rows = |wanted: &[Task], turns: usize| -> Vec<Row> {
        let wanted = conversations.iter().filter(|conversation| wanted.contains(&conversation.task)).cloned();
        let cut = wanted.map(|mut conversation| {
            conversation.turns.truncate(turns);
            conversation
        });
        cut.map(|conversation| nocturne_pretrain::row(base.tokenizer(), &conversation, WEIGHTS)).collect()
    };
    let (short, sessions) = (rows(&[Task::Core, Task::Unknown], EXCHANGE), rows(&[Task::Session], usize::MAX));
    let night = StudySettings::default();
    let mut tensors = base.tensors().clone();
    tensors.extend(tensors::read("the untrained banks", &base.untrained_banks()?)?);
    let mut trainer = Trainer::night(base.config(), &tensors, optim::for_night(night.muon)).context("setting up the trainer")?;
    let (mut steps, mut tokens, mut begun) = (0, 0, Instant::now());
    for step in 0.. {
        if step == WARM_UP {
            (steps, tokens, begun) = (0, 0, Instant::now());
        }
        if step > WARM_UP && begun.elapsed() >= MEASURE {
            break;
        }
        // The rate does not matter for the speed; a small one keeps the values small.
        tokens += trainer.step(&draw(&night, &short, &sessions, step), 0.01, SlowBank::On).tokens;
        steps += 1;
    }
    let seconds = begun.elapsed().as_secs_f64();
    Ok(Figures { tokens_per_second: tokens as f64 / seconds, steps, tokens_a_step: tokens as f64 / steps as f64 })
}

/// Rows of one step as a night without history draws them: its lessons; core knowledge, strangers and what is untaught; sessions.
fn draw(night: &StudySettings, short: &[Row], sessions: &[Row], step: usize) -> Vec<Row> {
    let take = |from: &[Row], start: usize, count: usize| -> Vec<Row> {
        from.iter().cycle().skip(start % from.len().max(1)).take(if from.is_empty() { 0 } else { count }).cloned().collect()
    };
    let kept = night.core + night.unknown + night.untaught;
    let at = step * (night.lessons + kept);
    let mut rows = take(short, at, night.lessons);
    rows.extend(take(short, at + night.lessons, kept).into_iter().map(|row| row.keep(night.keep_weight)));
    let sessions = take(sessions, step * night.sessions, night.sessions);
    rows.extend(sessions.into_iter().map(|row| row.keep(night.keep_weight).quiet(night.quiet_sessions)));
    rows
}
