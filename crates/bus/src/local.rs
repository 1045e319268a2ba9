//! The durable, partitioned log in a directory.

pub(crate) mod disk;
pub(crate) mod frame;
pub(crate) mod intake;
pub(crate) mod log;
pub(crate) mod partition;
pub(crate) mod publisher;
pub(crate) mod recovery;
pub(crate) mod segment;
pub(crate) mod settings;
pub(crate) mod stats;
pub(crate) mod topic;
pub(crate) mod writer;

#[cfg(test)]
mod tests;
