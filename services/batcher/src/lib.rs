//! Seals the interaction stream, exactly once, into Parquet batches.
//!
//! Every topic partition has a worker: it reads the log from where the lake's last batch ended, collects records until
//! [`decide()`] says to seal, and creates the batch under the name of its first offset. There is no cursor file: where a partition
//! stands is what its newest batch says in its footer, so that a crash between any two steps costs work and never a record.
//!
//! | crash | after the restart |
//! |---|---|
//! | before the batch was created | the same range is read and sealed again; dead letters of that range are there already |
//! | after it was created, before the log was trimmed | the batch is found, the log is trimmed later |
//! | another writer created it first | the lake is listed, and the worker goes on after what covers the offset now |
//!
//! A record that cannot be decoded becomes a dead letter, an offset whose record the log lost to damage, or that has none on Kafka, becomes a
//! dead letter without bytes, and a record whose id was sealed recently is counted and dropped: the three and the rows together account for
//! every offset of a batch.
//!
//! Rejected: a cursor beside the batches (two truths that can disagree), and sealing on shutdown (the log keeps what is not sealed,
//! and a stop must not wait for object storage).

mod batcher;
mod budget;
mod decide;
mod encoders;
mod error;
mod framed;
mod handle;
mod position;
mod prepare;
mod read;
mod recent;
mod schemas;
mod settings;
mod status;
mod store;
mod worker;
mod writers;

pub use batcher::Batcher;
pub use decide::{Accumulated, Decision, Now, Reason, decide};
pub use error::BatcherError;
pub use handle::{BatcherHandle, FlushError, SealedTo};
pub use settings::{BatcherSettings, SealSettings};
pub use status::{BatcherStatus, PartitionStatus, Spent};

#[cfg(test)]
mod tests;
