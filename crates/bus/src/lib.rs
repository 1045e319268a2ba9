//! Publisher and intake of the interaction stream over a durable local log.
//!
//! The log is a directory: `<topic>/topic.json` names the topic, `<topic>/<partition>/<first offset, 20 digits>.log` are its
//! segments. A record has an offset that is never used again, and a checksum over all of it.
//!
//! * One named thread writes. Requests reach it over a bounded channel and never wait for it; it writes whatever is queued, makes
//!   it durable with one `fdatasync` a touched partition, and only then acknowledges (group commit).
//! * What an [`Intake`] can see is durable. A record that was acknowledged survives `kill -9`; one that failed was cut away.
//! * A torn tail is cut and counted when the log is opened. Damage before the tail is set aside in a `*.corrupt` file, counted and
//!   reported, and offsets go on after the highest one known: an offset that was given to a record never names another one.
//!
//! Rejected: one file for all partitions (one `fdatasync` a group, but trimming by partition then needs compaction), and
//! memory-mapped segments (a full disk becomes a SIGBUS instead of an error that can be answered).

mod disk;
mod frame;
mod intake;
mod log;
mod partition;
mod publisher;
mod recovery;
mod segment;
mod settings;
mod stats;
mod topic;
mod writer;

pub use frame::{MAX_PAYLOAD_BYTES, frame, intact_records};
pub use intake::{Intake, IntakeError, Record};
pub use log::{CommandError, LocalLog, OpenError};
pub use publisher::{Ack, AppendError, Position, PublishError, PublishResult, Publisher};
pub use recovery::Recovered;
pub use settings::{Durability, LogSettings, Partitions};
pub use stats::Stats;

#[cfg(test)]
mod tests;
