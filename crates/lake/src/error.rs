//! What can go wrong, told apart by what the caller does next.

use std::{error::Error, io};

type Source = Box<dyn Error + Send + Sync>;

/// Why the lake could not do something.
#[derive(Debug, thiserror::Error)]
pub enum LakeError {
    /// There is no such object.
    #[error("there is no `{path}` in the lake")]
    NotFound {
        /// The object.
        path: String,
    },
    /// Somebody else created the object first; re-read and go on after it.
    #[error("`{path}` exists already; another writer was first")]
    AlreadyExists {
        /// The object.
        path: String,
    },
    /// An object is not what its name or its manifest says.
    #[error("`{path}` is damaged: {reason}; hint: {hint}")]
    Damaged {
        /// The object.
        path: String,
        /// What was found.
        reason: String,
        /// What a person can do.
        hint: &'static str,
    },
    /// The disk or the quota is full; nothing was committed.
    #[error("the lake's storage is full while writing `{path}`; nothing was committed, free space and try again")]
    Full {
        /// The object that was being written.
        path: String,
        /// The store's own words.
        #[source]
        source: Source,
    },
    /// The store did not do it; trying again may help.
    #[error("the lake's storage failed while {action} `{path}`")]
    Unavailable {
        /// What was being done.
        action: &'static str,
        /// The object or folder.
        path: String,
        /// The store's own words.
        #[source]
        source: Source,
    },
    /// What was asked for makes no sense; trying again does not help.
    #[error("{what} was refused: {reason}")]
    Refused {
        /// What was given.
        what: String,
        /// Why it is refused.
        reason: String,
    },
}

impl LakeError {
    /// Whether the object is absent.
    pub const fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }

    /// Whether an object is there and is not what was written.
    pub const fn is_damage(&self) -> bool {
        matches!(self, Self::Damaged { .. })
    }

    /// Whether somebody else created the object first.
    pub const fn is_already_exists(&self) -> bool {
        matches!(self, Self::AlreadyExists { .. })
    }

    pub(crate) fn damaged(path: impl Into<String>, reason: impl Into<String>, hint: &'static str) -> Self {
        Self::Damaged { path: path.into(), reason: reason.into(), hint }
    }

    pub(crate) fn refused(what: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Refused { what: what.into(), reason: reason.into() }
    }

    pub(crate) fn of_store(action: &'static str, path: &str, error: object_store::Error) -> Self {
        let path = path.to_owned();
        match error {
            object_store::Error::NotFound { .. } => Self::NotFound { path },
            object_store::Error::AlreadyExists { .. } => Self::AlreadyExists { path },
            error => Self::of_source(action, path, Box::new(error)),
        }
    }

    pub(crate) fn of_io(action: &'static str, path: &str, error: io::Error) -> Self {
        let path = path.to_owned();
        match error.kind() {
            io::ErrorKind::NotFound => Self::NotFound { path },
            io::ErrorKind::AlreadyExists => Self::AlreadyExists { path },
            _ => Self::of_source(action, path, Box::new(error)),
        }
    }

    fn of_source(action: &'static str, path: String, source: Source) -> Self {
        if is_full(source.as_ref()) { Self::Full { path, source } } else { Self::Unavailable { action, path, source } }
    }
}

/// Whether a full disk or quota is anywhere in the chain of causes.
fn is_full(error: &(dyn Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| (*error).source())
        .filter_map(|error| error.downcast_ref::<io::Error>())
        .any(|error| matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
}
