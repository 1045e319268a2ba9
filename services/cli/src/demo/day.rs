//! Sends the day: every subject talks in its sessions, a few sessions at a time.

use std::collections::BTreeSet;

use anyhow::Context;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use indicatif::ProgressBar;
use nocturne_world::{Day, day::Session};

use crate::api::{Api, Message, Who};

/// Sessions that talk at the same time.
const AT_ONCE: usize = 8;

/// What was sent and acknowledged.
#[derive(Debug, Clone, Default)]
pub(super) struct Sent {
    /// Interactions, stored or not.
    pub(super) interactions: u64,
    /// Interactions that must not be stored.
    pub(super) opted_out: u64,
    /// Ids of the others.
    pub(super) stored: BTreeSet<String>,
    /// Verdicts given.
    pub(super) feedback: u64,
}

impl Sent {
    fn add(mut self, other: Self) -> Self {
        self.interactions += other.interactions;
        self.opted_out += other.opted_out;
        self.stored.extend(other.stored);
        self.feedback += other.feedback;
        self
    }
}

/// Sends a day.
///
/// # Errors
/// When the server does not answer.
pub(super) async fn send(api: &Api, day: &Day, bar: &ProgressBar) -> anyhow::Result<Sent> {
    let sessions = stream::iter(&day.sessions).map(|session| talk(api, session, bar));
    sessions.buffer_unordered(AT_ONCE).try_fold(Sent::default(), async |all, one| Ok(all.add(one))).await
}

async fn talk(api: &Api, session: &Session, bar: &ProgressBar) -> anyhow::Result<Sent> {
    let who = Who { session: &session.id, subject: &session.subject, store: session.store };
    let mut sent = Sent::default();
    let mut messages = Vec::new();
    for turn in &session.turns {
        messages.push(Message::user(&turn.text));
        let answer = api.ask(who, &messages).await.with_context(|| format!("sending session {}", session.id))?;
        sent.interactions += 1;
        if session.store {
            sent.stored.insert(answer.interaction.clone());
        } else {
            sent.opted_out += 1;
        }
        if let Some(verdict) = turn.feedback_on(&answer.text).filter(|_| session.store) {
            let given = api.feedback(&session.subject, &answer.interaction, verdict.score, verdict.correction.as_deref());
            given.await.with_context(|| format!("giving feedback in session {}", session.id))?;
            sent.feedback += 1;
        }
        messages.push(Message::assistant(answer.text));
        bar.inc(1);
    }
    Ok(sent)
}
