//! Decoding: a bounded queue in front of threads that step many answers together.
//!
//! Continuous batching: a request joins the batch between two steps, after its prompt was read piece by piece, and leaves it at its last token.
//! Answers of one generation are stepped together; while a swap is under way a thread steps two groups in turn. The queue is a
//! tokio channel whose permit is taken before any work is done for a request, so that a full queue costs a refused request nothing.

use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use nocturne_wire::record::{FinishReason, Surprise};
use tokio::sync::mpsc;

use crate::{
    engine::Engine,
    generations::Pin,
    metrics::Metrics,
    session::{Digests, Plan, SessionStore},
};

mod reading;
mod slot;
mod stops;
#[cfg(test)]
mod tests;
mod worker;

/// Events of one request beside its pieces of text: the start and the end.
const EVENTS_BESIDE_TEXT: usize = 2;

/// How an answer is drawn.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sampling {
    pub(crate) temperature: f32,
    pub(crate) top_p: f32,
    pub(crate) seed: u64,
    pub(crate) max_tokens: u32,
    pub(crate) stop: Vec<String>,
}

/// Stops one request: its client went away, or the process ends.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cancel(Arc<AtomicBool>);

impl Cancel {
    pub(crate) fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// One request for the decoding threads.
pub(crate) struct Job<E: Engine> {
    pub(crate) pin: Pin<E>,
    pub(crate) plan: Plan<E::State>,
    pub(crate) sampling: Sampling,
    pub(crate) cancel: Cancel,
    pub(crate) admitted: Instant,
    events: mpsc::Sender<Event<E>>,
}

impl<E: Engine> Job<E> {
    /// A job and the events that it will send. Their channel has room for all of them, so that a slow reader never holds the batch.
    pub(crate) fn new(
        pin: Pin<E>,
        plan: Plan<E::State>,
        sampling: Sampling,
        cancel: Cancel,
        admitted: Instant,
    ) -> (Self, mpsc::Receiver<Event<E>>) {
        let (events, receiver) = mpsc::channel(sampling.max_tokens as usize + EVENTS_BESIDE_TEXT);
        (Self { pin, plan, sampling, cancel, admitted, events }, receiver)
    }
}

/// What a job reports. When the channel closes without [`Event::Done`], decoding broke.
pub(crate) enum Event<E: Engine> {
    /// More of the answer's text.
    Text(String),
    /// The answer is complete. The pin comes back, so that the request counts as in flight until it is logged.
    Done(Box<Answer>, Pin<E>),
}

/// A complete answer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Answer {
    pub(crate) text: String,
    pub(crate) tokens: u32,
    pub(crate) cached_tokens: u32,
    pub(crate) finish: FinishReason,
    pub(crate) prompt_surprise: Surprise,
    pub(crate) text_surprise: Surprise,
    pub(crate) first_token: Option<Duration>,
    pub(crate) latency: Duration,
}

/// The queue is full or closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotAdmitted {
    Full,
    Closed,
}

/// A place in the queue.
pub(crate) struct Admission<E: Engine>(mpsc::OwnedPermit<Job<E>>);

impl<E: Engine> Admission<E> {
    pub(crate) fn send(self, job: Job<E>) {
        self.0.send(job);
    }
}

/// What decoding threads share.
struct Shared<E: Engine> {
    engine: Arc<E>,
    sessions: Arc<Mutex<SessionStore<E::State>>>,
    digests: Digests,
    metrics: Arc<Metrics>,
    max_batch: usize,
    /// Tokens of prompts that a thread reads between two steps of its answers.
    prompt_tokens: usize,
    /// Idle threads wait inside the lock; a thread with work only tries it, for then somebody idle takes the next job.
    queue: Mutex<mpsc::Receiver<Job<E>>>,
    stop: AtomicBool,
}

/// The decoding threads.
pub(crate) struct Decoding<E: Engine> {
    queue: Mutex<Option<mpsc::Sender<Job<E>>>>,
    shared: Arc<Shared<E>>,
    threads: Mutex<Vec<thread::JoinHandle<()>>>,
}

/// Sizes of the queue, of the batch and of what is read at a time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Capacity {
    pub(crate) queue: usize,
    pub(crate) max_batch: usize,
    pub(crate) prompt_tokens: usize,
    pub(crate) threads: usize,
}

impl<E: Engine> Decoding<E> {
    pub(crate) fn start(
        engine: Arc<E>,
        sessions: Arc<Mutex<SessionStore<E::State>>>,
        digests: Digests,
        metrics: Arc<Metrics>,
        capacity: Capacity,
    ) -> io::Result<Self> {
        let (sender, receiver) = mpsc::channel(capacity.queue);
        let stop = AtomicBool::new(false);
        let queue = Mutex::new(receiver);
        let Capacity { max_batch, prompt_tokens, .. } = capacity;
        let shared = Arc::new(Shared { engine, sessions, digests, metrics, max_batch, prompt_tokens, queue, stop });
        let threads = (0..capacity.threads)
            .map(|index| {
                let shared = Arc::clone(&shared);
                thread::Builder::new().name(format!("decode-{index}")).spawn(move || worker::run(&shared))
            })
            .collect::<io::Result<_>>()?;
        Ok(Self { queue: Mutex::new(Some(sender)), shared, threads: Mutex::new(threads) })
    }

    /// Takes a place in the queue, without waiting.
    pub(crate) fn admit(&self) -> Result<Admission<E>, NotAdmitted> {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner).clone().ok_or(NotAdmitted::Closed)?;
        match queue.try_reserve_owned() {
            Ok(permit) => Ok(Admission(permit)),
            Err(mpsc::error::TrySendError::Full(_)) => Err(NotAdmitted::Full),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(NotAdmitted::Closed),
        }
    }

    /// Requests that wait in the queue.
    pub(crate) fn queued(&self) -> usize {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.as_ref().map_or(0, |queue| queue.max_capacity() - queue.capacity())
    }

    /// Whether every thread still runs.
    pub(crate) fn is_alive(&self) -> bool {
        !self.lock_threads().iter().any(thread::JoinHandle::is_finished)
    }

    /// Takes no more requests; threads end when the last admitted one is answered.
    pub(crate) fn close(&self) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Ends what is in flight as cancelled.
    pub(crate) fn cancel_all(&self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }

    /// Waits until the threads have ended; blocks.
    pub(crate) fn join(&self) {
        let threads = std::mem::take(&mut *self.lock_threads());
        for thread in threads {
            let name = thread.thread().name().unwrap_or("decode").to_owned();
            if thread.join().is_err() {
                tracing::error!(thread = name, "decoding thread had panicked");
            }
        }
    }

    fn lock_threads(&self) -> std::sync::MutexGuard<'_, Vec<thread::JoinHandle<()>>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
