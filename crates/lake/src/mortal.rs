//! A store that dies: for tests that kill a writer at every step.

use std::{
    fmt, io,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions,
    PutPayload, PutResult, Result, path::Path,
};

use crate::Lake;

impl Lake {
    /// The same lake for a process that dies after so many operations: from then on every one fails, and nothing more is written. Each operation also lets
    /// other tasks run before it, so that writers meet at every step.
    ///
    /// For tests of writers that may be killed at any point. A lake in a folder is then written without the care that makes it durable.
    #[must_use]
    pub fn mortal(&self, operations: u64) -> Self {
        let store = Mortal { inner: self.store.clone(), left: Arc::new(AtomicU64::new(operations)) };
        Self::over(Arc::new(store), self.location())
    }

    /// Loses an object, as a damaged disk or a careless hand does. For tests.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub async fn lose(&self, path: &str) -> crate::Result<()> {
        self.remove(path).await
    }
}

#[derive(Debug)]
struct Mortal {
    inner: Arc<dyn ObjectStore>,
    left: Arc<AtomicU64>,
}

impl Mortal {
    async fn live(&self) -> Result<()> {
        tokio::task::yield_now().await;
        spend(&self.left)
    }
}

fn spend(left: &AtomicU64) -> Result<()> {
    let died = || object_store::Error::Generic { store: "mortal", source: Box::new(io::Error::other("the process died")) };
    left.try_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).map(drop).map_err(|_| died())
}

impl fmt::Display for Mortal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mortal {}", self.inner)
    }
}

#[async_trait]
impl ObjectStore for Mortal {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.live().await?;
        self.inner.put_opts(location, payload, options).await
    }
    async fn put_multipart_opts(&self, location: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.live().await?;
        self.inner.put_multipart_opts(location, options).await
    }
    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.live().await?;
        self.inner.get_opts(location, options).await
    }
    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.live().await?;
        self.inner.get_ranges(location, ranges).await
    }
    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let left = self.left.clone();
        // Each object is an operation of its own: a process dies between two.
        let locations = locations.then(move |location| {
            let left = left.clone();
            async move {
                tokio::task::yield_now().await;
                spend(&left).and(location)
            }
        });
        self.inner.delete_stream(locations.boxed())
    }
    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match spend(&self.left) {
            Ok(()) => self.inner.list(prefix),
            Err(error) => stream::iter([Err(error)]).boxed(),
        }
    }
    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.live().await?;
        self.inner.list_with_delimiter(prefix).await
    }
    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.live().await?;
        self.inner.copy_opts(from, to, options).await
    }
}
