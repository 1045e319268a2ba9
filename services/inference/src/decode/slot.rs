//! One answer under way.

use std::time::Duration;

use nocturne_wire::record::{FinishReason, Surprise};

use super::{Answer, Event, Job, Sampling, Shared, stops::Stops};
use crate::{
    engine::{Engine, TextStream},
    generations::Pin,
    sampler::{NotFinite, Sampler},
    session::{self, Said},
};

/// Mean and maximum, gathered token by token.
#[derive(Debug, Clone, Copy, Default)]
struct Gathered {
    sum: f64,
    max: f32,
    count: u32,
}

impl Gathered {
    fn add(&mut self, nats: f32) {
        self.sum += f64::from(nats);
        self.max = self.max.max(nats);
        self.count += 1;
    }

    fn summary(self) -> Surprise {
        Surprise { mean_nats: (self.sum / f64::from(self.count.max(1))) as f32, max_nats: self.max }
    }
}

/// Whether a slot goes on.
pub(super) enum Next {
    Step,
    Finish(FinishReason),
}

/// A request in the batch.
pub(super) struct Slot<'e, E: Engine> {
    job: Job<E>,
    pub(super) state: E::State,
    /// The token that the state reads next.
    pub(super) token: u32,
    tokens: Vec<u32>,
    text: String,
    stream: TextStream<'e>,
    stops: Stops,
    cut: bool,
    sampler: Sampler,
    prompt_surprise: Surprise,
    answer_surprise: Gathered,
    first_token: Option<Duration>,
}

impl<'e, E: Engine> Slot<'e, E> {
    /// Draws the first token of a request whose prompt was read: `nll` is what its tokens cost, `logits` the scores after the last one.
    pub(super) fn begin(
        shared: &'e Shared<E>,
        job: Job<E>,
        state: E::State,
        nll: &[f32],
        logits: &[f32],
    ) -> Result<(Self, Next), NotFinite> {
        let engine = &*shared.engine;
        let end = nll.len().saturating_sub(job.plan.opening);
        let mut surprise = Gathered::default();
        nll[end.saturating_sub(job.plan.fresh)..end].iter().for_each(|nats| surprise.add(*nats));
        let Sampling { temperature, top_p, seed, .. } = &job.sampling;
        let mut slot = Self {
            state,
            token: 0,
            tokens: Vec::new(),
            text: String::new(),
            stream: engine.text(),
            stops: Stops::new(job.sampling.stop.clone()),
            cut: false,
            sampler: Sampler::new(*temperature, *top_p, *seed),
            prompt_surprise: surprise.summary(),
            answer_surprise: Gathered::default(),
            first_token: None,
            job,
        };
        // Counted before the slot, and with it the reader's channel, goes away.
        let next = slot.take(engine, logits).inspect_err(|_| shared.metrics.decode_failures.add(1))?;
        slot.first_token = Some(slot.job.admitted.elapsed());
        Ok((slot, next))
    }

    pub(super) fn pin(&self) -> &Pin<E> {
        &self.job.pin
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.job.cancel.is_cancelled()
    }

    /// Draws a token from scores and says what it leads to.
    pub(super) fn take(&mut self, engine: &E, logits: &[f32]) -> Result<Next, NotFinite> {
        let drawn = self.sampler.draw(logits)?;
        if engine.ends().contains(&drawn.token) {
            return Ok(Next::Finish(FinishReason::Stop));
        }
        self.token = drawn.token;
        self.tokens.push(drawn.token);
        self.answer_surprise.add(drawn.nll);
        if let Some(piece) = (self.stream)(Some(drawn.token)) {
            let scanned = self.stops.push(&piece);
            self.show(scanned.show);
            if scanned.hit {
                self.cut = true;
                return Ok(Next::Finish(FinishReason::Stop));
            }
        }
        let full = self.job.plan.prompt.len() + self.tokens.len() >= engine.max_context();
        if full || self.tokens.len() >= self.job.sampling.max_tokens as usize {
            return Ok(Next::Finish(FinishReason::Length));
        }
        Ok(Next::Step)
    }

    fn show(&mut self, piece: String) {
        if piece.is_empty() {
            return;
        }
        self.text.push_str(&piece);
        // The channel has room for every token; an error means that nobody reads any more, which the cancel flag reports.
        let _ = self.job.events.try_send(Event::Text(piece));
    }

    /// Ends the answer: the session is kept, the reader is told.
    pub(super) fn finish(mut self, shared: &Shared<E>, reason: FinishReason) {
        if !self.cut {
            if let Some(piece) = (self.stream)(None) {
                let scanned = self.stops.push(&piece);
                self.show(scanned.show);
                self.cut = scanned.hit;
            }
            if !self.cut {
                let rest = self.stops.rest();
                self.show(rest);
            }
        }
        let answer = Answer {
            tokens: self.tokens.len() as u32,
            cached_tokens: self.job.plan.cached() as u32,
            finish: reason,
            prompt_surprise: self.prompt_surprise,
            text_surprise: self.answer_surprise.summary(),
            first_token: self.first_token,
            latency: self.job.admitted.elapsed(),
            text: self.text,
        };
        // The last token of an answer that ran into its limit was drawn but not read.
        let unread = usize::from(reason == FinishReason::Length);
        let consumed = self.job.plan.prompt.len() + self.tokens.len() - unread;
        if let Some((key, history)) = self.job.plan.keep.take()
            && reason != FinishReason::Cancelled
        {
            let said = Said { text: &answer.text, tokens: &self.tokens, cut: self.cut };
            let bytes = shared.engine.state_bytes(&self.state);
            let at = (&self.job.pin.name, consumed, self.state);
            let kept = session::after(&*shared.engine, &shared.digests, history, &said, at);
            let gone = shared.sessions.lock().unwrap_or_else(std::sync::PoisonError::into_inner).put(key, kept, bytes);
            drop(gone);
        }
        let Job { pin, events, .. } = self.job;
        let _ = events.try_send(Event::Done(Box::new(answer), pin));
    }
}

/// Ends a request that was cancelled before anything was answered.
pub(super) fn never_started<E: Engine>(job: Job<E>) {
    let answer = Answer {
        text: String::new(),
        tokens: 0,
        cached_tokens: 0,
        finish: FinishReason::Cancelled,
        prompt_surprise: Surprise::default(),
        text_surprise: Surprise::default(),
        first_token: None,
        latency: job.admitted.elapsed(),
    };
    let _ = job.events.try_send(Event::Done(Box::new(answer), job.pin));
}
