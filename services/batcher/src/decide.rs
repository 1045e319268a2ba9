//! When to seal: a pure decision.

use std::time::Duration;

use crate::SealSettings;

/// What a worker has read since its last batch. Times count from any fixed moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Accumulated {
    /// Offsets that the next batch would cover.
    pub records: u64,
    /// Bytes of their records.
    pub bytes: u64,
    /// When the first was read.
    pub first_at: Duration,
    /// When the newest was read.
    pub newest_at: Duration,
    /// How far the records' own times go on from the first one's. One that is older than the first does not count: late records must not
    /// make small batches.
    pub span: Duration,
}

/// What else a decision depends on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Now {
    /// The time.
    pub time: Duration,
    /// Somebody waits until everything that was read is sealed.
    pub flush: bool,
    /// All partitions together hold so much that this one is to seal.
    pub must_seal: bool,
}

/// Why a batch is sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Somebody waits for it.
    Flush,
    /// It is large enough in bytes.
    Bytes,
    /// It is large enough in records.
    Records,
    /// All partitions together hold much, and it is the largest.
    Budget,
    /// Its records' own times are far apart.
    RecordTime,
    /// Its first record is old.
    Age,
    /// Nothing more came for a while.
    Idle,
}

impl Reason {
    /// The reason as a word for logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Flush => "flush",
            Self::Bytes => "bytes",
            Self::Records => "records",
            Self::Budget => "budget",
            Self::RecordTime => "record_time",
            Self::Age => "age",
            Self::Idle => "idle",
        }
    }
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Nothing was read: wait for a record.
    WaitForRecord,
    /// Wait for more records until this time, then decide again.
    WaitUntil(Duration),
    /// Seal what was read.
    Seal(Reason),
}

/// A batch is ended for its records' times only when it is at least this part of a full one.
const WORTH: u64 = 16;

/// Decides whether to seal.
pub fn decide(accumulated: &Accumulated, now: &Now, settings: &SealSettings) -> Decision {
    if accumulated.records == 0 {
        return Decision::WaitForRecord;
    }
    let old_at = accumulated.first_at + settings.age();
    let idle_at = accumulated.newest_at + settings.idle();
    // A clock that jumps makes one batch end early, not every one: a batch that is split by time is worth having.
    let worth = accumulated.records >= settings.records / WORTH || accumulated.bytes >= settings.bytes / WORTH;
    let reasons = [
        (accumulated.bytes >= settings.bytes, Reason::Bytes),
        (accumulated.records >= settings.records, Reason::Records),
        (now.flush, Reason::Flush),
        (now.must_seal, Reason::Budget),
        (worth && settings.span_seconds > 0 && accumulated.span >= settings.span(), Reason::RecordTime),
        (now.time >= old_at, Reason::Age),
        (now.time >= idle_at, Reason::Idle),
    ];
    match reasons.into_iter().find(|(holds, _)| *holds) {
        Some((_, reason)) => Decision::Seal(reason),
        None => Decision::WaitUntil(old_at.min(idle_at)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn settings() -> SealSettings {
        SealSettings { bytes: 1000, records: 10, age_seconds: 30, idle_seconds: 2, span_seconds: 3600 }
    }

    fn read(records: u64, bytes: u64) -> Accumulated {
        let (first_at, newest_at) = (Duration::from_secs(100), Duration::from_secs(110));
        Accumulated { records, bytes, first_at, newest_at, span: Duration::ZERO }
    }

    fn at(seconds: u64) -> Now {
        Now { time: Duration::from_secs(seconds), ..Now::default() }
    }

    #[test]
    fn each_limit_seals_for_its_own_reason() {
        let flush = Now { flush: true, ..at(110) };
        let must_seal = Now { must_seal: true, ..at(110) };
        let busy = Accumulated { newest_at: Duration::from_secs(129), ..read(1, 1) };
        let cases = [
            (read(1, 1000), at(110), Reason::Bytes),
            (read(10, 1), at(110), Reason::Records),
            (read(1, 1), flush, Reason::Flush),
            (read(1, 1), must_seal, Reason::Budget),
            (read(1, 1), at(112), Reason::Idle),
            (busy, at(130), Reason::Age),
        ];
        for (accumulated, now, reason) in cases {
            assert_eq!(decide(&accumulated, &now, &settings()), Decision::Seal(reason));
        }
    }

    #[test]
    fn times_of_records_end_a_batch_that_is_worth_it() {
        let far = |records| Accumulated { span: Duration::from_hours(1), ..read(records, 1) };
        assert_eq!(decide(&far(2), &at(110), &settings()), Decision::Seal(Reason::RecordTime));
        let large = SealSettings { records: 1000, bytes: 1 << 20, ..settings() };
        assert_eq!(decide(&far(10), &at(110), &large), Decision::WaitUntil(Duration::from_secs(112)));
        assert_eq!(decide(&far(63), &at(110), &large), Decision::Seal(Reason::RecordTime));
        assert!(matches!(decide(&far(63), &at(110), &SealSettings { span_seconds: 0, ..large }), Decision::WaitUntil(_)));
    }

    #[test]
    fn nothing_read_is_never_sealed_even_for_a_flush() {
        let now = Now { flush: true, must_seal: true, ..at(1000) };
        assert_eq!(decide(&Accumulated::default(), &now, &settings()), Decision::WaitForRecord);
    }

    #[test]
    fn waiting_ends_when_the_first_of_age_and_idle_comes() {
        assert_eq!(decide(&read(1, 1), &at(111), &settings()), Decision::WaitUntil(Duration::from_secs(112)));
        let busy = Accumulated { newest_at: Duration::from_secs(129), ..read(1, 1) };
        assert_eq!(decide(&busy, &at(129), &settings()), Decision::WaitUntil(Duration::from_secs(130)));
    }

    proptest! {
        #[test]
        fn a_wait_ends_in_the_future_and_what_waits_then_is_sealed(
            records in 1_u64..10, bytes in 0_u64..1000, first in 0_u64..100, more in 0_u64..40, later in 0_u64..40,
        ) {
            let first_at = Duration::from_secs(first);
            let newest_at = first_at + Duration::from_secs(more);
            let accumulated = Accumulated { records, bytes, first_at, newest_at, span: Duration::ZERO };
            let time = newest_at + Duration::from_secs(later);
            match decide(&accumulated, &Now { time, ..Now::default() }, &settings()) {
                Decision::WaitUntil(end) => {
                    prop_assert!(end > time);
                    let then = decide(&accumulated, &Now { time: end, ..Now::default() }, &settings());
                    prop_assert!(matches!(then, Decision::Seal(_)));
                }
                Decision::Seal(reason) => prop_assert!(matches!(reason, Reason::Age | Reason::Idle)),
                Decision::WaitForRecord => prop_assert!(false, "there are records"),
            }
        }
    }
}
