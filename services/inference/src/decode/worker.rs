//! The loop of one decoding thread.

use std::{
    ops::ControlFlow,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, PoisonError, TryLockError, atomic::Ordering},
};

use nocturne_wire::record::FinishReason;
use tokio::sync::mpsc::error::TryRecvError;

use super::{
    Job, Shared,
    reading::Reading,
    slot::{self, Next, Slot},
};
use crate::engine::{Engine, Step};

/// Requests that are taken between two steps: a burst of them must not hold back the answers under way.
const MAX_JOINS_PER_STEP: usize = 4;

/// Whether more jobs can come.
enum Arrivals<E: Engine> {
    Job(Box<Job<E>>),
    NoneNow,
    Closed,
}

/// What one thread has under way.
struct Desk<'e, E: Engine> {
    /// Prompts, in the order of arrival.
    prompts: Vec<Reading<E>>,
    answers: Vec<Slot<'e, E>>,
}

impl<E: Engine> Desk<'_, E> {
    fn new(max_batch: usize) -> Self {
        Self { prompts: Vec::new(), answers: Vec::with_capacity(max_batch) }
    }

    fn len(&self) -> usize {
        self.prompts.len() + self.answers.len()
    }
}

/// Decodes until the queue is closed and the last answer is complete.
pub(super) fn run<E: Engine>(shared: &Shared<E>) {
    let mut scratch = shared.engine.scratch();
    let mut desk = Desk::new(shared.max_batch);
    loop {
        // A panic in the model ends the answers under way, not the service. Their readers see the channel close.
        let before = desk.len();
        let turn = catch_unwind(AssertUnwindSafe(|| turn(shared, &mut scratch, &mut desk)));
        match turn {
            Ok(true) => {}
            Ok(false) => return,
            Err(_) => {
                // Whoever was being read or stepped has left the desk already.
                let lost = desk.len().max(before).max(1);
                tracing::error!(answers = lost, "decoding panicked; its answers are lost");
                shared.metrics.decode_failures.add(lost as u64);
                desk = Desk::new(shared.max_batch);
                scratch = shared.engine.scratch();
            }
        }
    }
}

/// Lets requests join, makes one step for each generation and lets finished ones leave. `false` ends the thread.
fn turn<'e, E: Engine>(shared: &'e Shared<E>, scratch: &mut E::Scratch, desk: &mut Desk<'e, E>) -> bool {
    if !join(shared, desk) && desk.len() == 0 {
        return false;
    }
    let stopped = shared.stop.load(Ordering::Relaxed);
    desk.prompts.extract_if(.., |prompt| stopped || prompt.is_cancelled()).for_each(Reading::finish);
    read(shared, scratch, desk);
    let slots = &mut desk.answers;
    for gone in slots.extract_if(.., |slot| stopped || slot.is_cancelled()) {
        gone.finish(shared, FinishReason::Cancelled);
    }
    // Slots of one generation lie together, so that each group is a slice.
    slots.sort_by(|a, b| a.pin().name.cmp(&b.pin().name));
    let mut start = 0;
    while start < slots.len() {
        let name = slots[start].pin().name.clone();
        let group = slots[start..].iter().take_while(|slot| slot.pin().name == name).count();
        start += step(shared, scratch, slots, start, group);
    }
    true
}

/// Steps one group; gives the number of its slots that go on.
fn step<'e, E: Engine>(
    shared: &'e Shared<E>,
    scratch: &mut E::Scratch,
    slots: &mut Vec<Slot<'e, E>>,
    start: usize,
    group: usize,
) -> usize {
    let engine = &*shared.engine;
    shared.metrics.steps.add(1);
    shared.metrics.stepped_answers.add(group as u64);
    let members = &mut slots[start..start + group];
    // One set of weights serves the group: same name, same banks.
    let live = Arc::clone(members[0].pin().live());
    let mut batch: Vec<_> = members.iter_mut().map(|slot| Step { token: slot.token, state: &mut slot.state }).collect();
    let logits = engine.step(scratch, &live.weights, &mut batch);
    let rows = logits.chunks_exact(logits.len() / group);
    let next: Vec<_> = members.iter_mut().zip(rows).map(|(slot, row)| slot.take(engine, row)).collect();
    for (index, next) in next.into_iter().enumerate().rev() {
        match next {
            Ok(Next::Step) => {}
            Ok(Next::Finish(reason)) => slots.remove(start + index).finish(shared, reason),
            Err(error) => {
                let slot = slots.remove(start + index);
                tracing::error!(generation = %slot.pin().name, %error, "answer dropped");
                shared.metrics.decode_failures.add(1);
            }
        }
    }
    slots.iter().skip(start).take_while(|slot| slot.pin().name == live.name).count()
}

/// Takes waiting requests; `false` when no more can come.
fn join<E: Engine>(shared: &Shared<E>, desk: &mut Desk<'_, E>) -> bool {
    for _ in 0..MAX_JOINS_PER_STEP {
        if desk.len() >= shared.max_batch {
            return true;
        }
        let job = match arrival(shared, desk.len() == 0) {
            Arrivals::Job(job) => *job,
            Arrivals::NoneNow => return true,
            Arrivals::Closed => return false,
        };
        if job.cancel.is_cancelled() || shared.stop.load(Ordering::Relaxed) {
            slot::never_started(job);
            continue;
        }
        desk.prompts.push(Reading::begin(shared, job));
    }
    true
}

/// Reads prompts as far as one step allows.
fn read<'e, E: Engine>(shared: &'e Shared<E>, scratch: &mut E::Scratch, desk: &mut Desk<'e, E>) {
    let unread: Vec<usize> = desk.prompts.iter().map(Reading::unread).collect();
    let pieces = pieces(&unread, shared.prompt_tokens);
    // From the last one on, so that what is taken out moves none of those to come.
    for (at, piece) in pieces.into_iter().enumerate().rev().filter(|(_, piece)| *piece > 0) {
        let prompt = desk.prompts.remove(at);
        let generation = prompt.generation().clone();
        match prompt.go_on(shared, scratch, piece) {
            Ok(ControlFlow::Continue(prompt)) => desk.prompts.insert(at, prompt),
            Ok(ControlFlow::Break((slot, Next::Step))) => desk.answers.push(slot),
            Ok(ControlFlow::Break((slot, Next::Finish(reason)))) => slot.finish(shared, reason),
            Err(error) => tracing::error!(%generation, %error, "answer dropped"),
        }
    }
}

/// Tokens of each prompt that one step reads, `unread` being in the order of arrival: a quarter for the one that waits longest, so that it comes to its end, the
/// rest for the shortest, which are soon out of the way.
fn pieces(unread: &[usize], budget: usize) -> Vec<usize> {
    let mut pieces = vec![0; unread.len()];
    let mut left = budget;
    let mut give = |at: usize, most: usize| {
        let more = (unread[at] - pieces[at]).min(most).min(left);
        pieces[at] += more;
        left -= more;
    };
    if !unread.is_empty() {
        give(0, budget.div_ceil(4));
    }
    let mut shortest: Vec<usize> = (0..unread.len()).collect();
    shortest.sort_by_key(|at| unread[*at]);
    shortest.into_iter().for_each(|at| give(at, budget));
    pieces
}

/// The next job. A thread without work waits for one; a thread with work only looks.
fn arrival<E: Engine>(shared: &Shared<E>, idle: bool) -> Arrivals<E> {
    if idle {
        let mut queue = shared.queue.lock().unwrap_or_else(PoisonError::into_inner);
        return queue.blocking_recv().map_or(Arrivals::Closed, |job| Arrivals::Job(Box::new(job)));
    }
    let mut queue = match shared.queue.try_lock() {
        Ok(queue) => queue,
        Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
        // Somebody idle holds it and takes the next job.
        Err(TryLockError::WouldBlock) => return Arrivals::NoneNow,
    };
    match queue.try_recv() {
        Ok(job) => Arrivals::Job(Box::new(job)),
        Err(TryRecvError::Empty) => Arrivals::NoneNow,
        Err(TryRecvError::Disconnected) => Arrivals::Closed,
    }
}

#[cfg(test)]
mod tests {
    use super::pieces;

    #[test]
    fn a_short_prompt_is_read_at_once_and_the_oldest_goes_on() {
        assert_eq!(pieces(&[8000, 8000, 8000, 5], 512), [507, 0, 0, 5]);
        assert_eq!(pieces(&[8000, 700, 100], 512), [128, 284, 100]);
        assert_eq!(pieces(&[8000, 600, 600], 512), [128, 384, 0]);
        assert_eq!(pieces(&[3, 4], 512), [3, 4]);
        assert_eq!(pieces(&[9, 9], 1), [1, 0]);
        assert!(pieces(&[], 512).is_empty());
    }
}
