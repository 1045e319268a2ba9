//! The loop of one decoding thread.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, PoisonError, TryLockError, atomic::Ordering},
};

use nocturne_wire::record::FinishReason;
use tokio::sync::mpsc::error::TryRecvError;

use super::{
    Job, Shared,
    slot::{self, Next, Slot},
};
use crate::engine::{Engine, Step};

/// Prompts that are read between two steps: a burst of new requests must not hold back the answers under way.
const MAX_JOINS_PER_STEP: usize = 4;

/// Whether more jobs can come.
enum Arrivals<E: Engine> {
    Job(Box<Job<E>>),
    NoneNow,
    Closed,
}

/// Decodes until the queue is closed and the last answer is complete.
pub(super) fn run<E: Engine>(shared: &Shared<E>) {
    let mut scratch = shared.engine.scratch();
    let mut slots: Vec<Slot<'_, E>> = Vec::with_capacity(shared.max_batch);
    loop {
        // A panic in the model ends the answers under way, not the service. Their readers see the channel close.
        let turn = catch_unwind(AssertUnwindSafe(|| turn(shared, &mut scratch, &mut slots)));
        match turn {
            Ok(true) => {}
            Ok(false) => return,
            Err(_) => {
                tracing::error!(answers = slots.len(), "decoding panicked; its answers are lost");
                shared.metrics.decode_failures.add(slots.len().max(1) as u64);
                slots = Vec::with_capacity(shared.max_batch);
                scratch = shared.engine.scratch();
            }
        }
    }
}

/// Lets requests join, makes one step for each generation and lets finished ones leave. `false` ends the thread.
fn turn<'e, E: Engine>(shared: &'e Shared<E>, scratch: &mut E::Scratch, slots: &mut Vec<Slot<'e, E>>) -> bool {
    if !join(shared, scratch, slots) && slots.is_empty() {
        return false;
    }
    let stopped = shared.stop.load(Ordering::Relaxed);
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

/// Reads the prompts of waiting requests; `false` when no more can come.
fn join<'e, E: Engine>(shared: &'e Shared<E>, scratch: &mut E::Scratch, slots: &mut Vec<Slot<'e, E>>) -> bool {
    for _ in 0..MAX_JOINS_PER_STEP {
        if slots.len() >= shared.max_batch {
            return true;
        }
        let job = match arrival(shared, slots.is_empty()) {
            Arrivals::Job(job) => *job,
            Arrivals::NoneNow => return true,
            Arrivals::Closed => return false,
        };
        if job.cancel.is_cancelled() || shared.stop.load(Ordering::Relaxed) {
            slot::never_started(job);
            continue;
        }
        let generation = job.pin.name.clone();
        match Slot::join(shared, scratch, job) {
            Ok((slot, Next::Step)) => slots.push(slot),
            Ok((slot, Next::Finish(reason))) => slot.finish(shared, reason),
            Err(error) => tracing::error!(%generation, %error, "answer dropped"),
        }
    }
    true
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
