//! One request from its admission to its record in the log.
//!
//! A task of its own, the relay, owns what happens after admission: it forwards text, logs the answer, then tells the connection
//! that the answer is complete. When the connection goes away the relay cancels decoding and logs what there is. Leaving this to
//! the handler would lose the record of every client that hangs up, because its future is dropped with the connection.

use std::{
    sync::{Arc, PoisonError},
    time::Instant,
};

use jiff::Timestamp;
use nocturne_kit::telemetry::chain;
use nocturne_wire::{
    generation::GenerationName,
    id::InteractionId,
    record::{FinishReason, Interaction, Message, Role},
};
use tokio::sync::mpsc;

use super::{
    App,
    error::ApiError,
    identity::Identity,
    request::{Input, Request},
    shape::{Endpoint, finish_word},
};
use crate::{
    decode::{Answer, Cancel, Event, Job, NotAdmitted},
    engine::Engine,
    journal::cut,
    session::{Plan, SessionKey, Unplannable, plan},
};

/// Events for the connection beside the pieces of text: the end.
const EVENTS_BESIDE_TEXT: usize = 2;

/// What the connection is told.
pub(super) enum Outgoing {
    /// More of the answer's text.
    Text(String),
    /// The answer is complete and, unless the log is slow, durable.
    Done(Box<Answer>),
    /// Decoding broke.
    Broken,
}

/// An admitted request, as the connection sees it.
pub(super) struct Exchange {
    pub(super) id: InteractionId,
    pub(super) generation: GenerationName,
    pub(super) created: Timestamp,
    pub(super) prompt_tokens: u32,
    pub(super) events: mpsc::Receiver<Outgoing>,
}

/// Admits a request and starts its relay.
pub(super) async fn open<E: Engine>(app: &Arc<App<E>>, endpoint: Endpoint, request: Request) -> Result<Exchange, ApiError> {
    if app.is_draining() {
        return Err(ApiError::shutting_down());
    }
    let admission = app.decoding.admit().map_err(|refused| match refused {
        NotAdmitted::Full => ApiError::queue_full(app.settings.queue_capacity),
        NotAdmitted::Closed => ApiError::shutting_down(),
    })?;
    let admitted = Instant::now();
    let pin = app.generations.pin();
    let generation = pin.name.clone();
    let Request { input, identity, mut sampling, limited, store, .. } = request;
    let (plan, input) = read(app, &generation, &identity, input).await?;
    let prompt_tokens = plan.prompt.len();
    sampling.max_tokens = answer_limit(app.engine.max_context(), prompt_tokens, sampling.max_tokens, limited)?;
    let id = if store { app.ids.next() } else { app.ids.unlogged() }.map_err(|_| ApiError::internal())?;
    app.metrics.sessions.add(&[plan.reuse.as_str()], 1);
    let (to_client, events) = mpsc::channel(sampling.max_tokens as usize + EVENTS_BESIDE_TEXT);
    let cancel = Cancel::default();
    let draft = Draft {
        id: id.clone(),
        identity,
        turn: plan.turn,
        messages: new_messages(input, plan.first_new),
        prompt_tokens: prompt_tokens as u32,
        store,
        endpoint,
    };
    let (job, decoded) = Job::new(pin, plan, sampling, cancel.clone(), admitted);
    let relay = Relay { app: Arc::clone(app), draft, decoded, to_client, cancel };
    app.tasks.spawn(relay.run());
    admission.send(job);
    Ok(Exchange { id, generation, created: Timestamp::now(), prompt_tokens: prompt_tokens as u32, events })
}

/// Turns the input into tokens and finds out how much of it the session has read.
async fn read<E: Engine>(
    app: &Arc<App<E>>,
    generation: &GenerationName,
    identity: &Identity,
    input: Input,
) -> Result<(Plan<E::State>, Input), ApiError> {
    let (app, generation) = (Arc::clone(app), generation.clone());
    let key =
        SessionKey { tenant: identity.tenant.clone(), subject: identity.subject.clone(), session: identity.session.clone() };
    let form = identity.form;
    // A large body takes long to cut into tokens; tokio must not wait for it.
    let read = tokio::task::spawn_blocking(move || {
        let plan = match &input {
            Input::Text(text) => Plan::text(app.engine.encode(text)),
            Input::Chat(messages) => {
                let known = app.sessions.lock().unwrap_or_else(PoisonError::into_inner).get(&key);
                let session = key.session.clone();
                plan(&*app.engine, &app.digests, known, &generation, (key, messages, form)).map_err(|unplannable| {
                    match unplannable {
                        Unplannable::Expired => ApiError::session_expired(session.as_str()),
                        Unplannable::Unwritable(why) => ApiError::unwritable(&why),
                    }
                })?
            }
        };
        if plan.prompt.is_empty() {
            return Err(ApiError::invalid("prompt", "There is nothing to read: the text has no tokens."));
        }
        Ok((plan, input))
    });
    read.await.unwrap_or_else(|_| Err(ApiError::internal()))
}

/// How long the answer may become: a limit that the client set must fit, the default is lowered until it does.
fn answer_limit(max_context: usize, prompt: usize, wanted: u32, limited: bool) -> Result<u32, ApiError> {
    let room = max_context.saturating_sub(prompt);
    if room == 0 || (limited && wanted as usize > room) {
        return Err(ApiError::context_length(max_context, prompt, wanted as usize));
    }
    Ok(wanted.min(room as u32))
}

fn new_messages(input: Input, first_new: usize) -> Vec<Message> {
    match input {
        Input::Chat(mut messages) => messages.split_off(first_new),
        Input::Text(content) => vec![Message { role: Role::User, content }],
    }
}

/// What is known of an interaction before its answer.
struct Draft {
    id: InteractionId,
    identity: Identity,
    turn: u32,
    messages: Vec<Message>,
    prompt_tokens: u32,
    store: bool,
    endpoint: Endpoint,
}

struct Relay<E: Engine> {
    app: Arc<App<E>>,
    draft: Draft,
    decoded: mpsc::Receiver<Event<E>>,
    to_client: mpsc::Sender<Outgoing>,
    cancel: Cancel,
}

impl<E: Engine> Relay<E> {
    async fn run(mut self) {
        let mut listening = true;
        loop {
            tokio::select! {
                biased;
                event = self.decoded.recv() => match event {
                    Some(Event::Text(text)) => self.tell(Outgoing::Text(text)),
                    Some(Event::Done(answer, pin)) => {
                        self.count(&answer, &pin.name);
                        self.log(&answer, &pin.name).await;
                        drop(pin);
                        self.tell(Outgoing::Done(answer));
                        return;
                    }
                    None => {
                        self.tell(Outgoing::Broken);
                        return;
                    }
                },
                () = self.to_client.closed(), if listening => {
                    listening = false;
                    self.cancel.cancel();
                }
            }
        }
    }

    /// The channel has room for every piece; an error means that nobody listens, which the loop notices by itself.
    fn tell(&self, outgoing: Outgoing) {
        let _ = self.to_client.try_send(outgoing);
    }

    fn count(&self, answer: &Answer, generation: &GenerationName) {
        let metrics = &self.app.metrics;
        let number = generation.number().to_string();
        metrics.requests.add(&[self.draft.endpoint.as_str(), &number, finish_word(answer.finish)], 1);
        metrics.tokens.add(&["prompt"], u64::from(self.draft.prompt_tokens));
        metrics.tokens.add(&["cached"], u64::from(answer.cached_tokens));
        metrics.tokens.add(&["answer"], u64::from(answer.tokens));
        metrics.request_seconds.observe(answer.latency);
        answer.first_token.into_iter().for_each(|took| metrics.first_token_seconds.observe(took));
    }

    /// Logs the interaction; the request goes on whatever comes of it.
    async fn log(&mut self, answer: &Answer, generation: &GenerationName) {
        if !self.draft.store {
            self.app.metrics.logged.add(&["interactions", "opted-out"], 1);
            return;
        }
        let record = self.record(answer, generation);
        if let Err(error) = self.app.journal.interaction(&record).await {
            tracing::error!(interaction = %record.id, reason = chain(&error), "interaction not acknowledged by the log");
        }
    }

    fn record(&mut self, answer: &Answer, generation: &GenerationName) -> Interaction {
        let limit = self.app.settings.logged_text_bytes;
        let Identity { tenant, subject, session, consent, origin, .. } = self.draft.identity.clone();
        let (text, mut truncated) = cut(&answer.text, limit);
        let mut messages = std::mem::take(&mut self.draft.messages);
        for message in &mut messages {
            if message.content.len() > limit {
                message.content = cut(&message.content, limit).0;
                truncated = true;
            }
        }
        Interaction {
            id: self.draft.id.clone(),
            time: Timestamp::now(),
            tenant,
            subject,
            session,
            turn: self.draft.turn,
            model: self.app.settings.model.clone(),
            generation: generation.number(),
            messages,
            answer: text,
            prompt_tokens: self.draft.prompt_tokens,
            answer_tokens: answer.tokens,
            prompt_surprise: answer.prompt_surprise,
            answer_surprise: answer.text_surprise,
            finish: answer.finish,
            latency_ms: answer.latency.as_secs_f32() * 1e3,
            consent,
            redactions: 0,
            origin,
            truncated,
            channel: self.app.settings.channel.clone(),
        }
    }
}

/// Whether an answer was ended by the server while its client still listens.
pub(super) fn was_stopped(answer: &Answer) -> bool {
    answer.finish == FinishReason::Cancelled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_default_limit_is_lowered_and_a_given_one_is_refused() {
        assert_eq!(answer_limit(100, 60, 96, false), Ok(40));
        assert_eq!(answer_limit(100, 60, 40, true), Ok(40));
        let refused = answer_limit(100, 60, 41, true).unwrap_err();
        assert!(refused.message.contains("101 tokens (60 in the messages, 41"), "{}", refused.message);
        assert!(answer_limit(100, 100, 96, false).is_err());
    }
}
