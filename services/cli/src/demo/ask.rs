//! Asks the exam: each session is fresh, none may be stored, many are under way at once.

use std::collections::BTreeMap;

use anyhow::Context;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use indicatif::ProgressBar;
use nocturne_world::{Exam, ExamSession, exam::asked, judge};
use serde::Serialize;

use crate::api::{Api, Message, Who};

/// Sessions that are asked at the same time: about what the server decodes together.
const AT_ONCE: usize = 24;

/// Who asks; nothing of it is stored.
const EXAMINER: &str = "examiner";

/// One answered question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Reply {
    pub(super) question: String,
    pub(super) answer: String,
    pub(super) right: bool,
    pub(super) lesson: Option<usize>,
}

/// Replies by group, in the order of the exam's questions.
pub(super) type Replies = BTreeMap<&'static str, Vec<Reply>>;

/// Which groups are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// All of them.
    Everything,
    /// Only the day's lessons, level a.
    Lessons,
}

impl Scope {
    fn groups(self, exam: &Exam) -> Vec<(&'static str, &[ExamSession])> {
        exam.groups().into_iter().filter(|(group, _)| self == Self::Everything || *group == "lessons").collect()
    }

    /// How many questions that are.
    pub(super) fn questions(self, exam: &Exam) -> usize {
        self.groups(exam).iter().map(|(_, sessions)| asked(sessions)).sum()
    }
}

/// Asks an exam; `tag` makes its sessions fresh.
///
/// # Errors
/// When the server does not answer.
pub(super) async fn sit(api: &Api, exam: &Exam, scope: Scope, tag: &str, bar: &ProgressBar) -> anyhow::Result<Replies> {
    let mut sessions = Vec::new();
    for (group, all) in scope.groups(exam) {
        sessions.extend(all.iter().enumerate().map(|(index, session)| (group, index, session)));
    }
    let asking = stream::iter(sessions).map(|(group, index, session)| async move {
        let name = format!("exam-{tag}-{group}-{index}");
        let replies = ask(api, &name, session, bar).await.with_context(|| format!("asking exam session {name}"))?;
        anyhow::Ok((group, index, replies))
    });
    let mut answered: Vec<_> = asking.buffer_unordered(AT_ONCE).try_collect().await?;
    answered.sort_by_key(|(group, index, _)| (*group, *index));
    let mut replies = Replies::new();
    for (group, _, more) in answered {
        replies.entry(group).or_default().extend(more);
    }
    Ok(replies)
}

async fn ask(api: &Api, name: &str, session: &ExamSession, bar: &ProgressBar) -> anyhow::Result<Vec<Reply>> {
    let who = Who { session: name, subject: EXAMINER, store: false };
    let mut messages = Vec::new();
    for told in &session.context {
        messages.push(Message::user(told));
        let answer = api.ask(who, &messages).await?;
        messages.push(Message::assistant(answer.text));
    }
    let mut replies = Vec::with_capacity(session.questions.len());
    for question in &session.questions {
        messages.push(Message::user(&question.text));
        let answer = api.ask(who, &messages).await?;
        messages.push(Message::assistant(&answer.text));
        bar.inc(1);
        replies.push(Reply {
            question: question.text.clone(),
            right: judge(&answer.text, &question.expected),
            answer: answer.text,
            lesson: question.lesson,
        });
    }
    Ok(replies)
}
