//! What can go wrong, told apart by what the caller does next.

use std::{error::Error, io};

use nocturne_lake::LakeError;
use nocturne_wire::NightId;

use crate::{NothingToDo, ScheduleError};

/// Why a night was not started.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Nights do not overlap.
    #[error("night {} is still running; wait for it to end", night.as_ref().map_or("(being planned)", |night| night.as_str()))]
    Busy {
        /// The night that runs.
        night: Option<NightId>,
    },
    /// There is nothing to do.
    #[error(transparent)]
    NothingToDo(#[from] NothingToDo),
    /// The day could not be sealed.
    #[error("sealing the day before the night")]
    Flush(#[source] Box<dyn Error + Send + Sync>),
    /// The lake failed.
    #[error("{doing}")]
    Lake {
        /// `reading what the night is planned from`, `writing the night's plan`.
        doing: &'static str,
        /// Why it failed.
        #[source]
        source: LakeError,
    },
    /// Another scheduler has planned the night of this second.
    #[error("night {night} was planned by another scheduler")]
    Taken {
        /// The night.
        night: NightId,
    },
    /// The scheduler has stopped.
    #[error("the scheduler has stopped")]
    Stopped,
}

/// Why a scheduler cannot work.
#[derive(Debug, thiserror::Error)]
pub enum SchedulerError {
    /// The schedule in the settings makes no sense.
    #[error("the schedule of nights")]
    Schedule(#[from] ScheduleError),
    /// What earlier nights left cannot be read.
    #[error("reading earlier nights")]
    Lake(#[from] LakeError),
    /// The job's program cannot be found.
    #[error("finding the program of the sleep job")]
    Program(#[source] io::Error),
}
