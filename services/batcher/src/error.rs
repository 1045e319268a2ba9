//! What can go wrong, told apart by what a person does next.

use nocturne_bus::{KafkaError, ReadError, RegistryError};
use nocturne_columns::ColumnsError;
use nocturne_lake::LakeError;
use nocturne_wire::{BatchName, Offset, Partition, Topic, path};

/// Why a partition cannot be sealed, now or at all.
#[derive(Debug, thiserror::Error)]
pub enum BatcherError {
    /// The lake failed; trying again may help.
    #[error("{doing} {topic} partition {partition}")]
    Lake {
        /// `finding the position of`, `sealing`.
        doing: &'static str,
        /// The topic.
        topic: Topic,
        /// The partition.
        partition: Partition,
        /// Why it failed.
        #[source]
        source: LakeError,
    },
    /// The schema registry failed; trying again may help. What it says about a record is no error.
    #[error(
        "finding out what the records of {topic} partition {partition} were written with; `nocturne doctor kafka` finds out what is wrong"
    )]
    Registry {
        /// The topic.
        topic: Topic,
        /// The partition.
        partition: Partition,
        /// Why it failed.
        #[source]
        source: RegistryError,
    },
    /// A batch in the lake cannot be read, and where the partition continues is in it.
    #[error("reading the batch {} to continue after it; restore it from a copy of the lake", path::batch(name))]
    Batch {
        /// The batch.
        name: BatchName,
        /// What is wrong with it.
        #[source]
        source: ColumnsError,
    },
    /// Records could not be turned into a batch.
    #[error("encoding the batch {}", path::batch(name))]
    Encode {
        /// The batch that was to be sealed.
        name: BatchName,
        /// Why it failed.
        #[source]
        source: ColumnsError,
    },
    /// Records were read in another order than that of their offsets, or others than those that the batch is to hold.
    #[error(
        "the records for the batch {} are not those of its offsets: {offset} came where {least} or a later one had to; reading them again",
        path::batch(name)
    )]
    Disorder {
        /// The batch that was to be sealed.
        name: BatchName,
        /// The offset that came.
        offset: Offset,
        /// The lowest that may have come.
        least: Offset,
    },
    /// The log is not the one that the batches came from.
    #[error(
        "the lake's batches of {topic} partition {partition} come from topic {lake}, the log is topic {log}: the log was made anew; \
         bring back the log that belongs to the lake, or accept the new one with `nocturne lake epoch`"
    )]
    TopicRecreated {
        /// The topic.
        topic: Topic,
        /// The partition.
        partition: Partition,
        /// Topic id in the lake.
        lake: String,
        /// Topic id of the log.
        log: String,
    },
    /// The log was trimmed further than the lake has sealed.
    #[error(
        "the lake's batches of {topic} partition {partition} end before offset {position}, and the log starts at offset {start}: \
         what is in between is in neither; restore the lake, or accept the loss with `nocturne lake epoch`"
    )]
    LakeBehind {
        /// The topic.
        topic: Topic,
        /// The partition.
        partition: Partition,
        /// Where the lake ends.
        position: Offset,
        /// Where the log starts.
        start: Offset,
    },
    /// The log had lost a sealed tail when it was opened, which could not be seen because the newest batch could not be read.
    #[error(
        "the log of {topic} partition {partition} ended at offset {end} when this process started, before offset {position} where the lake's batches \
         end: records that came since then have offsets of sealed ones; stop the server, keep a copy of the log's directory, and remove it to begin anew"
    )]
    LogBehind {
        /// The topic.
        topic: Topic,
        /// The partition.
        partition: Partition,
        /// Where the lake ends.
        position: Offset,
        /// Where the log ended.
        end: Offset,
    },
    /// The log or Kafka cannot be read.
    #[error("reading records")]
    Read(#[from] ReadError),
    /// A worker or its encoder panicked; a defect.
    #[error("the sealing of {what} ended unexpectedly: {why}")]
    Panicked {
        /// What was being sealed.
        what: String,
        /// What the panic said.
        why: String,
    },
    /// Nobody hands out partitions any more, and nobody asked for that.
    #[error("this process reads no partition any more; start it again")]
    Group(#[source] KafkaError),
    /// The system did not start threads.
    #[error("starting threads that encode")]
    Threads(#[source] std::io::Error),
}

impl BatcherError {
    /// Whether the lake could not be read or written.
    pub(crate) const fn is_about_lake(&self) -> bool {
        matches!(self, Self::Lake { .. })
    }

    /// Whether what was read must not be used again: it is what failed, or the log holds other records by now. A lake that failed says nothing
    /// against the records, and while it is away they may be the only copy of what the log had to let go of.
    pub(crate) const fn is_about_records(&self) -> bool {
        match self {
            Self::Encode { .. } | Self::Disorder { .. } | Self::Panicked { .. } | Self::Read(ReadError::Truncated { .. }) => true,
            Self::Lake { .. }
            | Self::Registry { .. }
            | Self::Batch { .. }
            | Self::TopicRecreated { .. }
            | Self::LakeBehind { .. }
            | Self::LogBehind { .. }
            | Self::Read(_)
            | Self::Group(_)
            | Self::Threads(_) => false,
        }
    }
}
