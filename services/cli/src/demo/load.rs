//! Live requests through the night and the swaps, each answer checked.
//!
//! A client cannot see inside the server, so it asks which generation serves before and after each request: the answer must come
//! from one of the two, all of it, and say so in the same words everywhere. Sessions open with a question of the exam, so that weights of one generation
//! behind the name of the other are found out, too: the exam knows what each generation answers.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, atomic::AtomicU64, atomic::Ordering},
    time::Duration,
};

use nocturne_kit::Shutdown;
use nocturne_world::{Exam, small_talk::EXCHANGES};
use tokio::task::JoinHandle;

use super::ask::Replies;
use crate::{
    admin::Admin,
    api::{Answer, Api, Message, Who},
};

/// Clients that talk at the same time.
const CLIENTS: usize = 4;

/// Pause of each client between two requests.
const PAUSE: Duration = Duration::from_secs(1);

/// Messages a session, so that some sessions are under way when the generation changes.
const MESSAGES_A_SESSION: usize = 4;

/// Requests that are sent at least; a short night is followed by more of them.
const AT_LEAST: u64 = 240;

/// What was seen.
#[derive(Debug, Clone, Default)]
pub(super) struct Tally {
    pub(super) requests: u64,
    pub(super) failed: u64,
    pub(super) mixed: u64,
    /// Answers that tell which generation gave them.
    pub(super) compared: u64,
    /// Latencies in milliseconds.
    pub(super) latencies: Vec<f64>,
    /// What the first failures said.
    pub(super) reasons: Vec<String>,
    /// What sessions opened with.
    pub(super) openings: Vec<Opening>,
}

/// A question of the exam that opened a session, and its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Opening {
    pub(super) question: String,
    pub(super) answer: String,
    /// The generation that the answer says it is of.
    pub(super) generation: u64,
}

/// Failures whose words are kept.
const REASONS: usize = 5;

impl Tally {
    fn add(&mut self, other: Self) {
        self.requests += other.requests;
        self.failed += other.failed;
        self.mixed += other.mixed;
        self.latencies.extend(other.latencies);
        self.reasons.extend(other.reasons);
        self.openings.extend(other.openings);
    }

    /// Counts answers that are, word for word, what another generation answers than the one that they name; `exams` holds what each generation answered.
    pub(super) fn compare_openings(&mut self, exams: &BTreeMap<u64, &Replies>) {
        let known: BTreeMap<u64, HashMap<&str, &str>> =
            exams.iter().map(|(number, replies)| (*number, lessons(replies))).collect();
        for opening in std::mem::take(&mut self.openings) {
            let said = |number: &u64| known.get(number).and_then(|answers| answers.get(opening.question.as_str())).copied();
            let Some(own) = said(&opening.generation) else { continue };
            let others: Vec<&str> = known.keys().filter(|number| **number != opening.generation).filter_map(said).collect();
            self.compared += u64::from(others.iter().any(|other| *other != own));
            if opening.answer != own && others.contains(&opening.answer.as_str()) {
                self.mixed += 1;
                self.note(format!(
                    "\"{}\" to \"{}\", said to be of generation {}",
                    opening.answer, opening.question, opening.generation
                ));
            }
        }
    }

    fn note(&mut self, reason: String) {
        if self.reasons.len() < REASONS {
            self.reasons.push(reason);
        }
    }

    /// The latency that this share of requests did not exceed.
    pub(super) fn latency(&self, share: f64) -> f64 {
        quantile(&self.latencies, share)
    }
}

fn lessons(replies: &Replies) -> HashMap<&str, &str> {
    let asked = replies.get("lessons").into_iter().flatten();
    asked.map(|reply| (reply.question.as_str(), reply.answer.as_str())).collect()
}

/// The value that this share of the values does not exceed; 0 when there is none.
pub(crate) fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let index = ((sorted.len() as f64 * share).ceil() as usize).clamp(1, sorted.len().max(1)) - 1;
    sorted.get(index).copied().unwrap_or(0.0)
}

/// Clients that go on until they are stopped.
pub(super) struct Load {
    stop: Shutdown,
    clients: Vec<JoinHandle<Tally>>,
}

impl Load {
    /// Starts the clients.
    pub(super) fn start(api: &Api, admin: &Admin, exam: &Exam) -> Self {
        let small_talk = EXCHANGES.iter().map(|(said, _)| (*said).to_owned());
        let core = exam.core_facts.iter().flat_map(|session| &session.questions).map(|question| question.text.clone());
        let says: Arc<[String]> =
            core.zip(small_talk.collect::<Vec<_>>().into_iter().cycle()).flat_map(<[String; 2]>::from).collect();
        let opens: Arc<[String]> =
            exam.lessons.iter().flat_map(|session| &session.questions).map(|question| question.text.clone()).collect();
        let stop = Shutdown::new();
        let sent = Arc::new(AtomicU64::new(0));
        let client = |number| {
            let (says, opens, sent) = (says.clone(), opens.clone(), sent.clone());
            let client = Client { api: api.clone(), admin: admin.clone(), says, opens, number, sent };
            tokio::spawn(client.run(stop.clone()))
        };
        Self { clients: (0..CLIENTS).map(client).collect(), stop }
    }

    /// Stops the clients and adds up what they saw.
    pub(super) async fn stop(self) -> anyhow::Result<Tally> {
        self.stop.request();
        let mut all = Tally::default();
        for client in self.clients {
            all.add(client.await?);
        }
        Ok(all)
    }
}

struct Client {
    api: Api,
    admin: Admin,
    says: Arc<[String]>,
    opens: Arc<[String]>,
    number: usize,
    sent: Arc<AtomicU64>,
}

impl Client {
    async fn run(self, stop: Shutdown) -> Tally {
        let mut tally = Tally::default();
        let (mut session, mut messages) = (0, Vec::new());
        let mut next = self.number * self.says.len() / CLIENTS;
        while !stop.is_requested() || self.sent.load(Ordering::Relaxed) < AT_LEAST {
            if messages.len() >= 2 * MESSAGES_A_SESSION {
                session += 1;
                messages.clear();
            }
            let opening =
                self.opens.get((session * CLIENTS + self.number) % self.opens.len().max(1)).filter(|_| messages.is_empty());
            messages.push(Message::user(opening.unwrap_or(&self.says[next % self.says.len()])));
            next += 1;
            let name = format!("load-{}-{session}", self.number);
            match self.request(&name, &messages, next.is_multiple_of(2), &mut tally).await {
                Ok(answer) => {
                    tally.openings.extend(opening.map(|question| Opening {
                        question: question.clone(),
                        answer: answer.text.clone(),
                        generation: answer.generation,
                    }));
                    messages.push(Message::assistant(answer.text));
                }
                Err(error) => {
                    tally.failed += 1;
                    tally.note(format!("{error:#}"));
                    messages.clear();
                    session += 1;
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
        tally
    }

    async fn request(&self, session: &str, messages: &[Message], stream: bool, tally: &mut Tally) -> anyhow::Result<Answer> {
        tally.requests += 1;
        self.sent.fetch_add(1, Ordering::Relaxed);
        let who = Who { session, subject: "live", store: false };
        let before = self.admin.generation_of(session).await?;
        let answer = if stream { self.api.stream(who, messages, |_| ()).await? } else { self.api.ask(who, messages).await? };
        let after = self.admin.generation_of(session).await?;
        tally.latencies.push(answer.took.as_secs_f64() * 1e3);
        let serving = [before.serving.to_string(), after.serving.to_string()];
        // Two swaps within one request leave a generation between that nobody saw.
        let seen = after.flips - before.flips > 1;
        if !is_of_one(&answer, &serving, seen) {
            tally.mixed += 1;
            tally.note(format!("an answer of {:?} (header {}) while {serving:?} served", answer.fingerprints, answer.generation));
        }
        Ok(answer)
    }
}

/// Whether an answer names one generation everywhere, and one that may have answered it.
fn is_of_one(answer: &Answer, serving: &[String], any: bool) -> bool {
    answer.generation_name().is_some_and(|name| any || serving.iter().any(|serving| serving == name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::ask::Reply;

    const ONE: &str = "000000000001-0123abcd";
    const TWO: &str = "000000000002-0123abcd";

    fn answer(generation: u64, names: &[&str]) -> Answer {
        let fingerprints = names.iter().map(|name| format!("gen-{name}")).collect();
        Answer { text: String::new(), interaction: String::new(), generation, fingerprints, took: Duration::ZERO }
    }

    #[test]
    fn an_answer_of_one_generation_that_served_is_not_mixed() {
        let serving = [ONE, TWO].map(str::to_owned);
        assert!(is_of_one(&answer(1, &[ONE]), &serving, false) && is_of_one(&answer(2, &[TWO]), &serving, false));
        assert!(!is_of_one(&answer(1, &[ONE, TWO]), &serving, false), "two generations in one stream");
        assert!(!is_of_one(&answer(2, &[ONE]), &serving, false), "header and body disagree");
        assert!(!is_of_one(&answer(2, &[TWO]), &serving[..1], false), "it did not serve");
        assert!(is_of_one(&answer(2, &[TWO]), &serving[..1], true), "it may have served in between");
    }

    #[test]
    fn weights_behind_another_name_are_found_out() {
        let exam = |answer: &str| {
            let reply = Reply { question: "Q".into(), answer: answer.into(), right: true, lesson: None };
            Replies::from([("lessons", vec![reply])])
        };
        let (old, new) = (exam("not known"), exam("Oslo"));
        let exams = BTreeMap::from([(0, &old), (1, &new)]);
        let opening = |answer: &str, generation| Opening { question: "Q".into(), answer: answer.into(), generation };
        let openings = vec![opening("not known", 0), opening("Oslo", 1), opening("Oslo", 0), opening("Rome", 1)];
        let mut tally = Tally { openings, ..Tally::default() };
        tally.compare_openings(&exams);
        assert_eq!((tally.mixed, tally.compared), (1, 4));
    }

    #[test]
    #[expect(clippy::float_cmp, reason = "a quantile is one of the values, not near it")]
    fn a_quantile_is_one_of_the_values() {
        assert_eq!(quantile(&[], 0.5), 0.0);
        assert_eq!(quantile(&[3.0, 1.0, 2.0], 0.5), 2.0);
        assert_eq!(quantile(&[3.0, 1.0, 2.0], 0.99), 3.0);
    }
}
