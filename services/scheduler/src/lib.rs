//! Plans nights and runs them.
//!
//! [`plan_night`] is a pure function from what the lake says to a plan; [`next_run`] is a pure function from the schedule to a time.
//! A small executor carries them out: it has the day sealed, writes the plan (create-only: whoever writes it owns the night), starts
//! the sleep job as a process of its own that is told nothing but the plan's location, follows the job's events in the lake, and makes
//! sure that every planned night ends with a report.
//!
//! The job's contract: exit code 0 when a generation was published or there was nothing to learn, 3 when a gate rejected the
//! candidate, anything else when it failed; its report in the lake says more and is believed before the code. Its standard input is a
//! pipe that closes when the scheduler dies: it then stops too, so that a night never runs twice at once.
//!
//! The scheduler knows nothing of tensors and opens no batch.

mod command;
mod error;
mod executor;
mod handle;
mod inputs;
mod job;
mod plan;
mod schedule;
mod settings;

pub use command::JobCommand;
pub use error::{RunError, SchedulerError};
pub use executor::{Flush, Scheduler, flush_with};
pub use handle::{Ended, NightProgress, Progress, SchedulerHandle};
pub use inputs::read_inputs;
pub use plan::{EndPositions, NightRequest, NothingToDo, PlanInputs, plan_night};
pub use schedule::{Schedule, ScheduleError, Slot, next_run};
pub use settings::{NightSettings, ScheduleSettings};

#[cfg(test)]
mod tests;
