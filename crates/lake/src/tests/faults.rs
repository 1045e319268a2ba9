//! Stores that fail.

use std::{fmt, io, ops::Range, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions,
    PutPayload, PutResult, Result, memory::InMemory, path::Path,
};

use crate::{Lake, LakeError};

/// Every write fails with one kind of I/O error.
#[derive(Debug)]
struct FailingWrites {
    inner: InMemory,
    kind: io::ErrorKind,
}

impl fmt::Display for FailingWrites {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("failing writes")
    }
}

#[async_trait]
impl ObjectStore for FailingWrites {
    async fn put_opts(&self, _: &Path, _: PutPayload, _: PutOptions) -> Result<PutResult> {
        Err(object_store::Error::Generic { store: "test", source: Box::new(io::Error::from(self.kind)) })
    }
    async fn put_multipart_opts(&self, location: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
    }
    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }
    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.inner.get_ranges(location, ranges).await
    }
    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }
    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }
    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }
    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

fn failing(kind: io::ErrorKind) -> Lake {
    Lake::over(Arc::new(FailingWrites { inner: InMemory::new(), kind }), "failing")
}

#[tokio::test]
async fn a_full_disk_is_told_apart_from_other_failures() {
    for kind in [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded] {
        let full = failing(kind).create("a", "x").await.expect_err("full");
        assert!(matches!(full, LakeError::Full { .. }), "{full}");
        assert!(full.to_string().contains("full"), "{full}");
    }
    let broken = failing(io::ErrorKind::TimedOut).create("a", "x").await.expect_err("broken");
    assert!(matches!(broken, LakeError::Unavailable { action: "creating", .. }), "{broken}");
}

#[test]
fn a_full_local_disk_is_recognized_from_the_systems_error() {
    let error = LakeError::of_io("creating", "a", io::Error::from_raw_os_error(28));
    assert!(matches!(error, LakeError::Full { .. }), "{error}");
}
