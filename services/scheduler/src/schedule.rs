//! When the next night is due: a pure function of the schedule, the last night and the time.

use jiff::{SignedDuration, Timestamp, ToSpan, Zoned, civil::Time, tz::TimeZone};
use nocturne_wire::plan::Trigger;

use crate::ScheduleSettings;

/// A slot that is met this late is still met by the schedule: a process may have been busy with another night.
const PUNCTUAL: SignedDuration = SignedDuration::from_mins(10);

/// Why a schedule was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// The time of day cannot be read.
    #[error("`{0}` is not a time of day such as 03:00")]
    Time(String),
    /// There is no such time zone on this machine.
    #[error("`{0}` is not the name of a time zone on this machine, such as UTC or Europe/Berlin")]
    TimeZone(String),
}

/// A schedule that was understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    enabled: bool,
    time: Time,
    zone: TimeZone,
    catch_up: bool,
}

impl Schedule {
    /// Reads a schedule.
    ///
    /// # Errors
    /// When the time of day or the time zone cannot be read, also when the schedule is not enabled: a mistake shows at once.
    pub fn parse(settings: &ScheduleSettings) -> Result<Self, ScheduleError> {
        let refused = || ScheduleError::Time(settings.time.clone());
        let (hour, minute) = settings.time.split_once(':').ok_or_else(refused)?;
        let number = |text: &str| text.parse::<i8>().map_err(|_| refused());
        let time = Time::new(number(hour)?, number(minute)?, 0, 0).map_err(|_| refused())?;
        let zone = TimeZone::get(&settings.time_zone).map_err(|_| ScheduleError::TimeZone(settings.time_zone.clone()))?;
        Ok(Self { enabled: settings.enabled, time, zone, catch_up: settings.catch_up })
    }

    /// The slot of the day that is `days` away from the one that holds `now`.
    fn slot(&self, now: &Zoned, days: i32) -> Option<Timestamp> {
        // A time of day that a day skips is moved forward by the gap; one that comes twice is met the first time.
        let date = now.date().checked_add(days.days()).ok()?;
        date.to_datetime(self.time).to_zoned(self.zone.clone()).ok().map(|slot| slot.timestamp())
    }
}

/// A night that is due, or will be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// When; in the past when it is due now.
    pub at: Timestamp,
    /// Why.
    pub trigger: Trigger,
}

/// The next slot: the one that passed since `last` (once, however many did), or the next one to come; `None` when nights do not
/// run by themselves. `last` is when a night was last tried, or when the schedule began.
pub fn next_run(schedule: &Schedule, last: Timestamp, now: Timestamp) -> Option<Slot> {
    if !schedule.enabled {
        return None;
    }
    let local = now.to_zoned(schedule.zone.clone());
    let slots: Vec<_> = (-1..=2).filter_map(|days| schedule.slot(&local, days)).collect();
    let previous = slots.iter().copied().rfind(|slot| *slot <= now);
    let next = slots.iter().copied().find(|slot| *slot > now);
    let missed = previous.filter(|slot| *slot > last);
    match missed {
        Some(at) if now.duration_since(at) <= PUNCTUAL => Some(Slot { at, trigger: Trigger::Schedule }),
        Some(at) if schedule.catch_up => Some(Slot { at, trigger: Trigger::CatchUp }),
        Some(_) | None => next.map(|at| Slot { at, trigger: Trigger::Schedule }),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn schedule(time: &str, zone: &str) -> Schedule {
        Schedule::parse(&ScheduleSettings { time: time.to_owned(), time_zone: zone.to_owned(), ..ScheduleSettings::default() })
            .expect("valid")
    }

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    fn due(schedule: &Schedule, last: &str, now: &str) -> (String, Trigger) {
        let slot = next_run(schedule, at(last), at(now)).expect("enabled");
        (slot.at.to_string(), slot.trigger)
    }

    #[test]
    fn the_next_slot_is_today_or_tomorrow() {
        let daily = schedule("03:00", "UTC");
        let last = "2026-03-01T10:00:00Z";
        assert_eq!(due(&daily, last, "2026-03-01T12:00:00Z"), ("2026-03-02T03:00:00Z".into(), Trigger::Schedule));
        assert_eq!(due(&daily, last, "2026-03-02T02:00:00Z"), ("2026-03-02T03:00:00Z".into(), Trigger::Schedule));
    }

    #[test]
    fn a_slot_that_came_is_due_and_one_that_passed_is_caught_up_with_once() {
        let daily = schedule("03:00", "UTC");
        let last = "2026-03-01T10:00:00Z";
        assert_eq!(due(&daily, last, "2026-03-02T03:00:01Z"), ("2026-03-02T03:00:00Z".into(), Trigger::Schedule));
        assert_eq!(due(&daily, last, "2026-03-05T09:00:00Z"), ("2026-03-05T03:00:00Z".into(), Trigger::CatchUp));
        let tried = "2026-03-05T09:00:00Z";
        assert_eq!(due(&daily, tried, tried), ("2026-03-06T03:00:00Z".into(), Trigger::Schedule));
    }

    #[test]
    fn without_catching_up_a_passed_slot_is_gone() {
        let daily = Schedule { catch_up: false, ..schedule("03:00", "UTC") };
        let expected = ("2026-03-06T03:00:00Z".into(), Trigger::Schedule);
        assert_eq!(due(&daily, "2026-03-01T10:00:00Z", "2026-03-05T09:00:00Z"), expected);
    }

    #[test]
    fn a_schedule_that_is_off_is_never_due() {
        let off = Schedule { enabled: false, ..schedule("03:00", "UTC") };
        assert_eq!(next_run(&off, Timestamp::UNIX_EPOCH, at("2026-03-05T09:00:00Z")), None);
    }

    #[test]
    fn a_time_of_day_that_a_day_skips_or_repeats_is_met_once() {
        // Berlin skips 02:30 on 29 March 2026 and has it twice on 25 October 2026.
        let daily = schedule("02:30", "Europe/Berlin");
        assert_eq!(due(&daily, "2026-03-28T12:00:00Z", "2026-03-28T12:00:00Z").0, "2026-03-29T01:30:00Z");
        assert_eq!(due(&daily, "2026-10-24T12:00:00Z", "2026-10-24T12:00:00Z").0, "2026-10-25T00:30:00Z");
        assert_eq!(due(&daily, "2026-10-25T00:31:00Z", "2026-10-25T01:31:00Z").0, "2026-10-26T01:30:00Z");
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let bad = |time: &str, zone: &str| {
            let settings = ScheduleSettings { time: time.to_owned(), time_zone: zone.to_owned(), ..Default::default() };
            Schedule::parse(&settings).expect_err("refused").to_string()
        };
        assert!(bad("25:00", "UTC").contains("`25:00` is not a time of day"));
        assert!(bad("soon", "UTC").contains("`soon` is not a time of day"));
        assert!(bad("03:00", "Moon/Base").contains("`Moon/Base` is not the name of a time zone"));
    }

    proptest! {
        #[test]
        fn trying_when_due_always_moves_the_next_slot_into_the_future(last in 0_i64..2_000_000_000, later in 0_i64..10_000_000) {
            let daily = schedule("02:30", "UTC");
            let now = Timestamp::from_second(last + later).expect("in range");
            let slot = next_run(&daily, Timestamp::from_second(last).expect("in range"), now).expect("enabled");
            let after = next_run(&daily, now, now).expect("enabled");
            prop_assert!(after.at > now);
            prop_assert!(slot.at <= after.at);
        }
    }
}
