//! The start: a replica serves what the ledger says.
//!
//! When the newest entry's generation is damaged, the newest one that verifies serves, and the refusal is reported: replicas that
//! were up when the entry was written do the same, and an outage would help nobody. A lake that does not answer is an error; what
//! the ledger says is then unknown, and anything served would be a guess.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use jiff::Timestamp;
use nocturne_kit::telemetry::chain;
use nocturne_lake::{Lake, LakeError};
use nocturne_wire::{generation::GenerationName, hash::Sha256Hex, ledger::LedgerEntry};

use super::prepare::{PrepareError, prepare};
use crate::{
    engine::{Engine, LoadError},
    generations::{Generations, Live, Refused},
    threads::{self, ThreadError},
};

/// Why nothing can be served.
#[derive(Debug, thiserror::Error)]
pub enum BeginError {
    /// The channel has no entry.
    #[error("the ledger of channel `{channel}` is empty; run `nocturne up`, which seeds a new lake with generation 0")]
    NotSeeded {
        /// The channel.
        channel: String,
    },
    /// The ledger, or what it names, cannot be read.
    #[error("read what the ledger of channel `{channel}` names")]
    Ledger {
        /// The channel.
        channel: String,
        /// Why.
        #[source]
        source: LakeError,
    },
    /// No generation of the ledger verifies.
    #[error("no generation in the ledger of channel `{channel}` can be served; the newest: {reason}")]
    NothingVerifies {
        /// The channel.
        channel: String,
        /// Why the newest was refused, with all causes.
        reason: String,
    },
    /// The base cannot be read.
    #[error("fetch base {base}")]
    FetchBase {
        /// The base.
        base: Sha256Hex,
        /// Why.
        #[source]
        source: LakeError,
    },
    /// The model does not take the base.
    #[error("load base {base}")]
    LoadBase {
        /// The base.
        base: Sha256Hex,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Loading broke.
    #[error("load base {base}")]
    Thread {
        /// The base.
        base: Sha256Hex,
        /// Why.
        #[source]
        source: ThreadError,
    },
}

/// What a replica starts with.
pub(crate) struct Beginning<E: Engine> {
    pub(crate) base: Sha256Hex,
    pub(crate) engine: Arc<E>,
    pub(crate) generations: Generations<E>,
}

/// What is to be begun.
pub(crate) struct Beginner<'a> {
    pub(crate) lake: &'a Lake,
    pub(crate) channel: &'a str,
    pub(crate) golden: &'a Arc<[String]>,
    pub(crate) most_resident: usize,
}

impl Beginner<'_> {
    /// Loads the base and the generation that serves.
    pub(crate) async fn begin<E: Engine>(
        &self,
        load: impl FnOnce(&BTreeMap<String, Bytes>) -> Result<E, LoadError> + Send + 'static,
    ) -> Result<Beginning<E>, BeginError> {
        let ledger = |source| BeginError::Ledger { channel: self.channel.to_owned(), source };
        let entries = self.lake.ledger(self.channel).read().await.map_err(ledger)?;
        let newest = entries.last().ok_or_else(|| BeginError::NotSeeded { channel: self.channel.to_owned() })?;
        let candidates = newest_first(&entries);
        let base = self.base(&candidates).await?;
        let engine = Arc::new(self.engine(&base, load).await?);
        let mut refused = Vec::new();
        for name in candidates {
            match prepare(self.lake, &base, &engine, name, self.golden).await {
                Ok(live) => {
                    let generations = self.generations(live, newest.sequence, refused);
                    return Ok(Beginning { base, engine, generations });
                }
                // Whether it is damaged is not known: serving an older one would be a guess.
                Err(PrepareError::Fetch(source @ LakeError::Unavailable { .. })) => {
                    return Err(BeginError::Ledger { channel: self.channel.to_owned(), source });
                }
                Err(error) => {
                    let reason = chain(&error);
                    tracing::error!(generation = %name, reason, "generation refused; an older one is tried");
                    let sequence = newest.sequence;
                    refused.push(Refused { generation: name.clone(), sequence, time: Timestamp::now(), reason });
                }
            }
        }
        let reason = refused.into_iter().next().map(|refused| refused.reason).unwrap_or_default();
        Err(BeginError::NothingVerifies { channel: self.channel.to_owned(), reason })
    }

    fn generations<E: Engine>(&self, live: Live<E>, sequence: u64, refused: Vec<Refused>) -> Generations<E> {
        let generations = Generations::new(live, sequence, self.channel.to_owned(), self.most_resident);
        for refused in refused {
            generations.refuse(refused);
        }
        generations
    }

    /// The base of the newest generation whose manifest can be read.
    async fn base(&self, candidates: &[&GenerationName]) -> Result<Sha256Hex, BeginError> {
        let mut first = None;
        for name in candidates {
            match self.lake.generations().manifest(name).await {
                Ok(manifest) => return Ok(manifest.base),
                Err(source @ LakeError::Unavailable { .. }) => {
                    return Err(BeginError::Ledger { channel: self.channel.to_owned(), source });
                }
                Err(error) => first = first.or_else(|| Some(chain(&error))),
            }
        }
        Err(BeginError::NothingVerifies { channel: self.channel.to_owned(), reason: first.unwrap_or_default() })
    }

    async fn engine<E: Engine>(
        &self,
        base: &Sha256Hex,
        load: impl FnOnce(&BTreeMap<String, Bytes>) -> Result<E, LoadError> + Send + 'static,
    ) -> Result<E, BeginError> {
        let fetched = self.lake.bases().fetch(base).await;
        let files = fetched.map_err(|source| BeginError::FetchBase { base: base.clone(), source })?;
        let loaded = threads::run("load-base", move || load(&files)).await;
        loaded
            .map_err(|source| BeginError::Thread { base: base.clone(), source })?
            .map_err(|LoadError(source)| BeginError::LoadBase { base: base.clone(), source })
    }
}

/// Every generation that the ledger names, once, the one named last first.
fn newest_first(entries: &[LedgerEntry]) -> Vec<&GenerationName> {
    let mut names: Vec<&GenerationName> = Vec::new();
    for entry in entries.iter().rev() {
        if !names.contains(&&entry.generation) {
            names.push(&entry.generation);
        }
    }
    names
}
