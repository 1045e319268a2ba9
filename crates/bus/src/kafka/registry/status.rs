//! How a registry has answered, for people and metrics.

use super::RegistryError;

/// How a registry has answered since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RegistryStatus {
    /// Requests that it answered; that it knows none of an id is an answer, too.
    pub answered: u64,
    /// Requests that it denied to this user, or to anybody without a name.
    pub denied: u64,
    /// Requests that it, or something on the way, answered with anything else, or that could not be made.
    pub failed: u64,
    /// Requests without an answer.
    pub unreachable: u64,
    /// Whether the ids of this release's schemas are known, without which nothing is sent; `None` where nothing is written.
    pub ids_known: Option<bool>,
}

impl RegistryStatus {
    /// Counts a request by how it ended.
    pub(super) fn note<T>(&mut self, asked: &Result<T, RegistryError>) {
        let count = match asked {
            Ok(_) => &mut self.answered,
            Err(error) if error.is_denied() => &mut self.denied,
            // A password that cannot be read is a request that failed, too.
            Err(RegistryError::Refused { .. } | RegistryError::Incompatible { .. } | RegistryError::File { .. }) => {
                &mut self.failed
            }
            Err(RegistryError::Unreachable { .. }) => &mut self.unreachable,
            // Nothing was asked.
            Err(RegistryError::Settings(_) | RegistryError::Client { .. }) => return,
        };
        *count += 1;
    }
}
