//! Retry with exponential backoff and jitter.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    ops::ControlFlow,
    time::Duration,
};

use crate::Shutdown;

/// How long to wait between attempts, and how often to try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The longest wait after the first failure; it doubles with each further one.
    pub first: Duration,
    /// The longest wait ever.
    pub max: Duration,
    /// Attempts in all; `None` tries until it works or the process stops.
    pub attempts: Option<u32>,
}

impl Backoff {
    /// A few quick attempts at something local.
    pub const BRIEF: Self = Self { first: Duration::from_millis(20), max: Duration::from_millis(500), attempts: Some(5) };

    /// Attempts without end at something that comes back by itself.
    pub const ENDLESS: Self = Self { first: Duration::from_millis(100), max: Duration::from_secs(10), attempts: None };

    /// The longest wait after `failures` failures; `None` when no attempt is left.
    pub fn ceiling(&self, failures: u32) -> Option<Duration> {
        if self.attempts.is_some_and(|attempts| failures >= attempts) {
            return None;
        }
        let doubled = self.first.saturating_mul(1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX));
        Some(doubled.min(self.max))
    }

    /// A wait after `failures` failures: between half of the ceiling and the ceiling, so that processes that failed together do
    /// not come back together.
    pub fn delay(&self, failures: u32) -> Option<Duration> {
        // The standard library's hash keys are the only randomness needed here; quality does not matter for jitter.
        let random = RandomState::new().build_hasher().finish();
        let share = 0.5 + (random >> 11) as f64 / (1_u64 << 53) as f64 / 2.0;
        self.ceiling(failures).map(|ceiling| ceiling.mul_f64(share))
    }
}

/// Runs `attempt` until it succeeds, breaks with an error that no repetition can cure, runs out of attempts or is shut down.
/// `attempt` gets the number of failures so far.
///
/// # Errors
/// The last attempt's error.
pub async fn retry<T, E, F>(backoff: Backoff, shutdown: &Shutdown, mut attempt: F) -> Result<T, E>
where
    F: AsyncFnMut(u32) -> Result<T, ControlFlow<E, E>>,
{
    let mut failures = 0;
    loop {
        let error = match attempt(failures).await {
            Ok(value) => return Ok(value),
            Err(ControlFlow::Break(error)) => return Err(error),
            Err(ControlFlow::Continue(error)) => error,
        };
        failures += 1;
        let Some(delay) = backoff.delay(failures) else { return Err(error) };
        tokio::select! {
            biased;
            () = shutdown.requested() => return Err(error),
            () = tokio::time::sleep(delay) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUICK: Backoff = Backoff { first: Duration::from_micros(1), max: Duration::from_micros(4), attempts: Some(3) };

    #[test]
    fn the_wait_doubles_up_to_its_maximum_and_ends_with_the_attempts() {
        let backoff = Backoff { first: Duration::from_secs(1), max: Duration::from_secs(5), attempts: Some(5) };
        let waits: Vec<_> = (1..=5).map(|n| backoff.ceiling(n).map(|wait| wait.as_secs())).collect();
        assert_eq!(waits, [Some(1), Some(2), Some(4), Some(5), None]);
        assert_eq!(Backoff::ENDLESS.ceiling(u32::MAX), Some(Backoff::ENDLESS.max));
    }

    #[test]
    fn jitter_stays_between_half_of_the_ceiling_and_the_ceiling() {
        let backoff = Backoff { first: Duration::from_secs(2), max: Duration::from_secs(2), attempts: None };
        for _ in 0..100 {
            let wait = backoff.delay(1).expect("endless");
            assert!(wait >= Duration::from_secs(1) && wait <= Duration::from_secs(2), "waited {wait:?}");
        }
    }

    #[tokio::test]
    async fn an_attempt_that_succeeds_late_succeeds() {
        let result: Result<u32, &str> =
            retry(QUICK, &Shutdown::new(), async |n| if n == 2 { Ok(n) } else { Err(ControlFlow::Continue("not yet")) }).await;
        assert_eq!(result, Ok(2));
    }

    #[tokio::test]
    async fn attempts_end_with_the_last_error_and_a_break_ends_them_at_once() {
        let mut calls = 0;
        let result: Result<(), u32> = retry(QUICK, &Shutdown::new(), async |n| {
            calls += 1;
            Err(ControlFlow::Continue(n))
        })
        .await;
        assert_eq!((result, calls), (Err(2), 3));
        let result: Result<(), u32> = retry(QUICK, &Shutdown::new(), async |n| Err(ControlFlow::Break(n))).await;
        assert_eq!(result, Err(0));
    }

    #[tokio::test]
    async fn a_shutdown_ends_the_wait() {
        let shutdown = Shutdown::new();
        shutdown.request();
        let result: Result<(), &str> = retry(Backoff::ENDLESS, &shutdown, async |_| Err(ControlFlow::Continue("down"))).await;
        assert_eq!(result, Err("down"));
    }
}
