//! The log's side of a request: a record is published and its acknowledgement awaited, for a bounded time.
//!
//! Logging may never fail a request. An answer waits for its record to be durable, so that what a client has seen is learned from;
//! but when the log is slow the answer is sent all the same and the event is counted. Feedback is different: the record is all
//! there is to it, so its request fails when the record is not taken.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use jiff::Timestamp;
use nocturne_bus::Publisher;
use nocturne_wire::{Feedback, Interaction, InteractionId, Topic, avro, id::IdError};

use crate::metrics::Metrics;

/// How long feedback waits at least, and interactions that wait at all.
const LEAST_WAIT: Duration = Duration::from_millis(100);

/// What a cut text ends with.
const CUT_MARK: &str = " […]";

/// Issues interaction ids: `<process uid>-<boot>-<sequence>`.
#[derive(Debug)]
pub(crate) struct Ids {
    prefix: String,
    next: AtomicU64,
}

impl Ids {
    /// `boot` tells the runs of one process uid apart; the time of the start does, for no two runs start in one microsecond.
    pub(crate) fn new(process_uid: &str, boot: Timestamp) -> Self {
        Self { prefix: format!("{process_uid}-{}", boot.as_microsecond()), next: AtomicU64::new(0) }
    }

    pub(crate) fn next(&self) -> Result<InteractionId, IdError> {
        InteractionId::parse(format!("{}-{}", self.prefix, self.next.fetch_add(1, Ordering::Relaxed)))
    }

    /// The id of an exchange that is not logged. It says so itself, for whoever is asked for a verdict on it may be another replica or a later process.
    pub(crate) fn unlogged(&self) -> Result<InteractionId, IdError> {
        InteractionId::parse(format!("{}{UNLOGGED}", self.next()?))
    }
}

/// How ids end of exchanges that are not logged.
const UNLOGGED: &str = "-unstored";

/// Whether an id is one of [`Ids::unlogged`].
pub(crate) fn is_unlogged(id: &str) -> bool {
    id.ends_with(UNLOGGED)
}

/// Parses an interaction id that a client sends back, which must have the three parts.
pub(crate) fn parse_interaction_id(text: &str) -> Option<InteractionId> {
    let mut parts = text.rsplitn(3, '-');
    let number = |part: Option<&str>| part.is_some_and(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()));
    if !number(parts.next()) || !number(parts.next()) || parts.next().is_none_or(str::is_empty) {
        return None;
    }
    InteractionId::parse(text).ok()
}

/// Cuts a text at the limit, at a whole character, and marks it.
pub(crate) fn cut(text: &str, limit: usize) -> (String, bool) {
    if text.len() <= limit {
        return (text.to_owned(), false);
    }
    let end = text.floor_char_boundary(limit.saturating_sub(CUT_MARK.len()));
    (format!("{}{CUT_MARK}", &text[..end]), true)
}

/// A record that is not known to be durable.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotLogged {
    #[error("publish the record")]
    Publish(#[source] nocturne_bus::PublishError),
    #[error("append the record to the log")]
    Append(#[source] nocturne_bus::AppendError),
    #[error("the log did not acknowledge the record within {0:?}")]
    Late(Duration),
}

/// Publishes records.
pub(crate) struct Journal {
    publisher: Publisher,
    wait: Duration,
    metrics: Arc<Metrics>,
}

impl Journal {
    pub(crate) fn new(publisher: Publisher, wait: Duration, metrics: Arc<Metrics>) -> Self {
        Self { publisher, wait, metrics }
    }

    /// Logs an interaction. Records of one session keep their order.
    pub(crate) async fn interaction(&self, record: &Interaction) -> Result<(), NotLogged> {
        let payload = avro::encode_interaction(record).into();
        self.log(Topic::Interactions, record.session.as_str(), payload).await
    }

    /// Logs feedback. Verdicts on one interaction keep their order.
    pub(crate) async fn feedback(&self, record: &Feedback) -> Result<(), NotLogged> {
        let payload = avro::encode_feedback(record).into();
        self.log(Topic::Feedback, record.interaction.as_str(), payload).await
    }

    async fn log(&self, topic: Topic, key: &str, payload: Bytes) -> Result<(), NotLogged> {
        let started = Instant::now();
        if topic == Topic::Interactions && self.wait.is_zero() {
            // Nobody waits: what is refused is counted, here and by the log.
            let outcome = self.publisher.publish(topic, key.as_bytes(), payload).map_err(NotLogged::Publish);
            let result = if outcome.is_ok() { "queued" } else { "failed" };
            self.metrics.logged.add(&[topic.as_str(), result], 1);
            return outcome;
        }
        let outcome = match self.publisher.publish_acked(topic, key.as_bytes(), payload) {
            // The record is all there is to feedback: its request waits for it in any case.
            Ok(ack) => await_ack(ack, self.wait.max(LEAST_WAIT)).await,
            Err(error) => Err(NotLogged::Publish(error)),
        };
        let result = match outcome {
            Ok(()) => "acknowledged",
            Err(NotLogged::Late(_)) => "late",
            Err(NotLogged::Publish(_) | NotLogged::Append(_)) => "failed",
        };
        self.metrics.log_seconds.observe(started.elapsed());
        self.metrics.logged.add(&[topic.as_str(), result], 1);
        outcome
    }
}

async fn await_ack<T>(ack: impl Future<Output = Result<T, nocturne_bus::AppendError>>, wait: Duration) -> Result<(), NotLogged> {
    match tokio::time::timeout(wait, ack).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(NotLogged::Append(error)),
        Err(_) => Err(NotLogged::Late(wait)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn issued_ids_are_accepted_back() {
        let ids = Ids::new("pod-7f", Timestamp::UNIX_EPOCH);
        let (first, second) = (ids.next().unwrap(), ids.next().unwrap());
        assert_ne!(first, second);
        assert_eq!(parse_interaction_id(second.as_str()), Some(second));
    }

    #[test]
    fn ids_without_the_three_parts_are_refused() {
        for text in ["", "x", "a-1", "-1-2", "a-1-", "a-b-2", "a-1-2\n"] {
            assert_eq!(parse_interaction_id(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_long_text_is_cut_at_a_whole_character_and_marked() {
        assert_eq!(cut("short", 64), ("short".to_owned(), false));
        let (text, marked) = cut(&"é".repeat(40), 21);
        assert!(marked && text.len() <= 21 && text.ends_with(CUT_MARK), "{text}");
    }

    #[tokio::test]
    async fn a_log_that_never_answers_is_given_up_on() {
        let silent = std::future::pending::<Result<(), _>>();
        assert!(matches!(await_ack(silent, Duration::from_millis(1)).await, Err(NotLogged::Late(_))));
    }
}
