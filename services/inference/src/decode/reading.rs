//! One prompt under way: read in pieces, so that a long one never holds back the answers beside it.

use std::ops::ControlFlow;

use nocturne_wire::GenerationName;

use super::{
    Job, Shared,
    slot::{self, Next, Slot},
};
use crate::{
    engine::{Engine, Prefilled},
    sampler::NotFinite,
};

/// A request whose prompt is being read.
pub(super) struct Reading<E: Engine> {
    job: Job<E>,
    state: E::State,
    /// Tokens of the prompt that the state holds.
    read: usize,
    /// What each of those that were read here cost, nats.
    nll: Vec<f32>,
}

impl<E: Engine> Reading<E> {
    pub(super) fn begin(shared: &Shared<E>, job: Job<E>) -> Self {
        // The kept state is shared with other requests of the session, so each works on its own copy.
        let state = job.plan.held.as_ref().map_or_else(|| shared.engine.state(), |held| held.state.clone());
        let reading = Self { read: job.plan.cached(), state, nll: Vec::new(), job };
        debug_assert!(
            reading.unread() > 0,
            "a plan leaves at least the opening of the answer to read: without a last piece nothing is drawn"
        );
        reading
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.job.cancel.is_cancelled()
    }

    /// Tokens that are left to read.
    pub(super) fn unread(&self) -> usize {
        self.job.plan.prompt.len() - self.read
    }

    /// The generation that it is read by.
    pub(super) fn generation(&self) -> &GenerationName {
        &self.job.pin.name
    }

    /// Reads at most so many tokens; after the last one the first token of the answer is drawn.
    pub(super) fn go_on<'e>(
        mut self,
        shared: &'e Shared<E>,
        scratch: &mut E::Scratch,
        at_most: usize,
    ) -> Result<ControlFlow<(Slot<'e, E>, Next), Self>, NotFinite> {
        let piece = &self.job.plan.prompt[self.read..][..self.unread().min(at_most)];
        let Prefilled { logits, nll } = shared.engine.prefill(scratch, &self.job.pin.weights, &mut self.state, piece);
        self.read += piece.len();
        self.nll.extend(nll);
        if self.unread() > 0 {
            return Ok(ControlFlow::Continue(self));
        }
        Slot::begin(shared, self.job, self.state, &self.nll, &logits).map(ControlFlow::Break)
    }

    /// Ends a request that nobody waits for any more: nothing was answered.
    pub(super) fn finish(self) {
        slot::never_started(self.job);
    }
}
