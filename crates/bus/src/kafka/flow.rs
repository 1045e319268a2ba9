//! How much is read ahead: pure decisions.
//!
//! What waits over all partitions is held back by not polling, which costs least. That serves readers that are busy; one that does not get on
//! at all would hold up the others for ever. So after a while the partitions that hold more than their share are paused, each alone, and cut
//! down to it, and there is room for the others again. Pausing throws away what librdkafka has fetched: it waits long before it begins, and
//! ends only when half of the share is gone.

use std::time::{Duration, Instant};

/// A share below this would be paused and resumed for a handful of records.
const LEAST_SHARE: u64 = 256 << 10;

/// How long polling stands still for busy readers.
const HOLD: Duration = Duration::from_secs(5);

/// A partition's part of what may wait.
pub(super) fn share(prefetch: u64, partitions: usize) -> u64 {
    (prefetch / partitions.max(1) as u64).max(LEAST_SHARE)
}

/// How much may wait over all partitions. Never less than all shares: when more waits, some partition has more than its share.
pub(super) fn most(prefetch: u64, partitions: usize) -> u64 {
    prefetch.max(share(prefetch, partitions) * partitions as u64)
}

/// Whether a partition has so much more than it takes that it is paused when somebody must be.
pub(super) const fn is_overfull(waiting: u64, share: u64) -> bool {
    waiting > share
}

/// Whether a paused partition has taken enough to go on.
pub(super) const fn is_drained(waiting: u64, share: u64) -> bool {
    waiting <= share / 2
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// Poll.
    Poll,
    /// Wait for readers.
    Hold,
    /// Pause whoever has more than its share, then poll.
    Pause,
}

/// Since when polling stands still.
#[derive(Debug, Default)]
pub(super) struct Hold(Option<Instant>);

impl Hold {
    /// Decides. `enough` is whether as much waits as may.
    pub(super) fn turn(&mut self, enough: bool, now: impl FnOnce() -> Instant) -> Turn {
        if !enough {
            self.0 = None;
            return Turn::Poll;
        }
        let now = now();
        if now.duration_since(*self.0.get_or_insert(now)) < HOLD {
            return Turn::Hold;
        }
        self.0 = None;
        Turn::Pause
    }
}

/// How long seeking may fail over and over: by then it is no partition on its way from broker to broker any more.
const FAILING_MOST: Duration = Duration::from_mins(1);
/// What lies further apart has nothing to do with each other.
const FAILING_APART: Duration = Duration::from_secs(15);

/// A row of seeks that failed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Failing {
    since: Instant,
    last: Instant,
}

impl Failing {
    /// One more failed.
    pub(super) fn again(before: Option<Self>, now: Instant) -> Self {
        let before = before.filter(|before| now.duration_since(before.last) < FAILING_APART);
        Self { since: before.map_or(now, |before| before.since), last: now }
    }

    /// Whether it will not come right by itself.
    pub(super) fn is_endless(self) -> bool {
        self.last.duration_since(self.since) >= FAILING_MOST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whenever_too_much_waits_somebody_has_more_than_its_share() {
        for prefetch in [1, 1 << 20, 8 << 20, 100 << 20] {
            for partitions in [1, 2, 3, 9, 64, 500] {
                let share = share(prefetch, partitions);
                let all_have_their_share = share * partitions as u64;
                assert!(all_have_their_share <= most(prefetch, partitions), "{prefetch} {partitions}");
                assert!(is_overfull(share + 1, share) && !is_overfull(share, share));
            }
        }
        assert_eq!((share(8 << 20, 8), most(8 << 20, 8)), (1 << 20, 8 << 20));
        assert_eq!((share(1 << 20, 64), share(8 << 20, 0)), (LEAST_SHARE, 8 << 20));
    }

    #[test]
    fn a_partition_that_nobody_reads_leaves_the_others_their_shares() {
        let (prefetch, partitions) = (8 << 20, 8);
        let share = share(prefetch, partitions);
        let mut stuck = most(prefetch, partitions) + 1;
        if is_overfull(stuck, share) {
            stuck = stuck.min(share);
        }
        assert!(most(prefetch, partitions) - stuck >= share * (partitions as u64 - 1));
        assert!(!is_drained(share, share) && is_drained(share / 2, share), "it does not flap");
    }

    #[test]
    fn polling_stands_still_before_anybody_is_paused() {
        let (begun, mut hold) = (Instant::now(), Hold::default());
        let mut turn = |enough, seconds| hold.turn(enough, || begun + Duration::from_secs(seconds));
        assert_eq!(
            [turn(true, 0), turn(true, 4), turn(false, 4), turn(true, 6)],
            [Turn::Hold, Turn::Hold, Turn::Poll, Turn::Hold]
        );
        assert_eq!([turn(true, 10), turn(true, 11), turn(true, 11)], [Turn::Hold, Turn::Pause, Turn::Hold]);
    }

    #[test]
    fn seeks_that_fail_for_a_minute_without_a_pause_do_so_for_ever() {
        let begun = Instant::now();
        let failing = |seconds: &[u64]| {
            let each = seconds.iter().map(|second| begun + Duration::from_secs(*second));
            each.fold(None, |before, now| Some(Failing::again(before, now))).is_some_and(Failing::is_endless)
        };
        assert!(!failing(&[0]) && !failing(&[0, 10, 20, 30, 40, 50]) && failing(&[0, 10, 20, 30, 40, 50, 60]));
        assert!(!failing(&[0, 600]), "an outage lies between");
    }
}
