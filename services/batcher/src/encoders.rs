//! The threads that decode and encode: as many as there are cores, and always the same ones.
//!
//! A batch takes megabytes of short-lived memory. A runtime's blocking pool spreads batches over as many threads as it has, and the allocator
//! keeps a heap for each; on few threads the same memory serves batch after batch.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
};

use tokio::sync::oneshot;

type Job = Box<dyn FnOnce() + Send>;

/// Hands work to the threads. They end when the last clone is gone.
#[derive(Debug, Clone)]
pub(crate) struct Encoders {
    jobs: mpsc::Sender<Job>,
    threads: usize,
    /// Jobs that wait or run.
    busy: Arc<AtomicUsize>,
}

impl Encoders {
    /// Starts a thread for each core.
    pub(crate) fn start() -> std::io::Result<Self> {
        let (sender, receiver) = mpsc::channel::<Job>();
        let receiver = Arc::new(Mutex::new(receiver));
        let threads = thread::available_parallelism().map_or(1, usize::from);
        for n in 0..threads {
            let receiver = receiver.clone();
            thread::Builder::new().name(format!("encoder-{n}")).spawn(move || {
                loop {
                    // The lock is held while waiting, and by one thread only; the others wait for the lock.
                    let next = receiver.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok(job) = next else { return };
                    job();
                }
            })?;
        }
        Ok(Self { jobs: sender, threads, busy: Arc::default() })
    }

    /// Runs work on one of the threads; a panic is an error with its message.
    pub(crate) async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
        self.run_on_several(move |_| work()).await
    }

    /// Runs work that may start threads of its own, and is told how many cores are its share when it begins: a single partition must not leave the others
    /// idle, and many must not get in each other's way.
    pub(crate) async fn run_on_several<T: Send + 'static>(
        &self,
        work: impl FnOnce(usize) -> T + Send + 'static,
    ) -> Result<T, String> {
        let (done, result) = oneshot::channel();
        let (threads, busy) = (self.threads, self.busy.clone());
        busy.fetch_add(1, Ordering::Relaxed);
        let job = move || {
            let share = (threads / busy.load(Ordering::Relaxed).max(1)).max(1);
            let outcome = catch_unwind(AssertUnwindSafe(|| work(share))).map_err(|panic| message(&*panic));
            busy.fetch_sub(1, Ordering::Relaxed);
            // Whoever asked may have been told to stop.
            done.send(outcome).ok();
        };
        self.jobs.send(Box::new(job)).map_err(|_| "the encoder threads have ended".to_owned())?;
        result.await.unwrap_or_else(|_| Err("the encoder threads have ended".to_owned()))
    }
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "it panicked".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_error_and_the_threads_go_on() {
        let encoders = Encoders::start().expect("threads");
        for _ in 0..20 {
            assert_eq!(encoders.run(|| -> u32 { panic!("a defect") }).await, Err("a defect".to_owned()));
        }
        assert_eq!(encoders.run(|| 7).await, Ok(7));
    }
}
