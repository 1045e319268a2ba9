//! Schemas of other releases, found in the lake when a record of theirs comes.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use nocturne_columns::{ColumnsError, Schemas};
use nocturne_lake::LakeError;
use nocturne_wire::Topic;

use crate::store::Store;

/// How long a schema that was not there is not looked for again: its writer may publish it later, and its records are dead letters until then.
const LOOK_AGAIN: Duration = Duration::from_mins(1);

/// Schemas that are looked for before one batch.
const MOST_LOOKUPS: usize = 8;

/// Schemas that are remembered as absent.
const MOST_ABSENT: usize = 4096;

/// The schemas that this process has found, for all partitions.
#[derive(Debug, Clone, Default)]
pub(crate) struct FoundSchemas {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    schemas: Arc<Schemas>,
    /// When schemas were looked for in vain.
    absent: BTreeMap<u64, Instant>,
}

impl FoundSchemas {
    /// Takes in a schema that was found elsewhere; its fingerprint.
    pub(crate) fn learn(&self, text: &str) -> Result<u64, ColumnsError> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::make_mut(&mut inner.schemas).learn(text)
    }

    /// The schemas that these records need, as far as the lake holds them.
    pub(crate) async fn of<'a, S: Store>(
        &self,
        store: &S,
        topic: Topic,
        records: impl Iterator<Item = &'a [u8]>,
    ) -> Result<Arc<Schemas>, LakeError> {
        let (known, missing) = {
            let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
            let lately = |print: &u64| inner.absent.get(print).is_some_and(|looked| looked.elapsed() < LOOK_AGAIN);
            let mut missing = inner.schemas.missing(topic, records);
            missing.retain(|print| !lately(print));
            // Poison may begin like records of ever so many schemas: a few are looked for at a time.
            let mut missing: Vec<u64> = missing.into_iter().collect();
            missing.truncate(MOST_LOOKUPS);
            (inner.schemas.clone(), missing)
        };
        let mut schemas = known;
        for print in missing {
            let found = store.schema(print).await?;
            let text = found.as_ref().and_then(|bytes| std::str::from_utf8(bytes).ok());
            // Into what is there by now: another partition's worker may have found one meanwhile.
            let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
            let added = text.map(|text| Arc::make_mut(&mut inner.schemas).add(print, text));
            match added {
                Some(Ok(())) => {
                    tracing::info!(
                        fingerprint = format!("{print:016x}"),
                        "records of another release are read by the schema in the lake"
                    );
                    schemas = inner.schemas.clone();
                }
                outcome => {
                    let reason =
                        outcome.and_then(Result::err).map_or_else(|| "the lake has none".to_owned(), |error| error.to_string());
                    tracing::error!(
                        fingerprint = format!("{print:016x}"),
                        reason,
                        "records of an unknown schema become dead letters"
                    );
                    if inner.absent.len() >= MOST_ABSENT {
                        inner.absent.clear();
                    }
                    inner.absent.insert(print, Instant::now());
                }
            }
        }
        Ok(schemas)
    }
}
