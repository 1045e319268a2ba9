//! Whether a store can do what the lake protocol needs, tried on objects that are removed again.

use std::sync::atomic::{AtomicU64, Ordering};

use futures::future::join_all;
use jiff::Timestamp;
use object_store::{ObjectStoreExt as _, path::Path as StorePath};

use crate::{Lake, LakeError, Result};

/// Writers that race for one name.
const RACERS: usize = 8;

/// Tells the probes of one process apart.
static PROBES: AtomicU64 = AtomicU64::new(0);

impl Lake {
    /// Tries what the protocol needs: to list, to create, to create only once however many try, to read and to remove. Stops at the first failure.
    pub async fn probe(&self) -> Vec<(&'static str, Result<()>)> {
        // In containers every process has the same id; the time tells them apart, and from one that died half-way.
        let now = Timestamp::now().as_microsecond();
        let folder = format!("doctor/{now}-{}-{}", std::process::id(), PROBES.fetch_add(1, Ordering::Relaxed));
        let (one, race) = (format!("{folder}/one"), format!("{folder}/race"));
        let mut steps = vec![("listing", self.list("ledger").await.map(drop))];
        if steps[0].1.is_ok() {
            steps.push(("creating an object", self.create(&one, "a").await));
        }
        if steps.last().is_some_and(|step| step.1.is_ok()) {
            steps.push(("reading it", self.reads(&one).await));
            steps.push(("creating a name only once", self.refuses_twice(&one).await));
            steps.push(("creating a name only once in a race", self.one_wins(&race).await));
            let removed = async {
                self.remove(&one).await?;
                self.remove(&race).await
            };
            steps.push(("removing objects", removed.await));
        }
        steps
    }

    async fn reads(&self, path: &str) -> Result<()> {
        if self.get(path).await? == "a" {
            Ok(())
        } else {
            Err(LakeError::damaged(path, "it holds something else", "use another store"))
        }
    }

    async fn refuses_twice(&self, path: &str) -> Result<()> {
        match self.create(path, "b").await {
            Err(error) if error.is_already_exists() => self.reads(path).await,
            Err(error) => Err(error),
            Ok(()) => Err(LakeError::refused("the store", "it created a name that was taken")),
        }
    }

    async fn one_wins(&self, path: &str) -> Result<()> {
        let attempts = (0..RACERS).map(|racer| self.create(path, format!("racer {racer}")));
        let mut winners = 0;
        for outcome in join_all(attempts).await {
            match outcome {
                Ok(()) => winners += 1,
                Err(error) if error.is_already_exists() => {}
                Err(error) => return Err(error),
            }
        }
        if winners == 1 {
            Ok(())
        } else {
            Err(LakeError::refused("the store", format!("{winners} of {RACERS} writers of one name won")))
        }
    }

    /// Removes an object; one that is gone is removed. What the protocol removes is removed by its own commands only.
    pub(crate) async fn remove(&self, path: &str) -> Result<()> {
        let name =
            StorePath::parse(path).map_err(|error| LakeError::refused(format!("object name `{path}`"), error.to_string()))?;
        match self.store.delete(&name).await.map_err(|error| LakeError::of_store("removing", path, error)) {
            Err(error) if error.is_not_found() => Ok(()),
            outcome => outcome,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_sound_store_passes_and_keeps_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        for lake in [Lake::memory(), Lake::open(&folder.path().to_string_lossy()).expect("opens")] {
            let steps = lake.probe().await;
            assert_eq!(steps.len(), 6);
            assert!(steps.iter().all(|(_, outcome)| outcome.is_ok()), "{steps:?}");
            assert_eq!(lake.list("").await.expect("listed"), []);
        }
    }
}
