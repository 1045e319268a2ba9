//! A folder of a bucket.

use std::{fmt, ops::Range};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions,
    PutPayload, PutResult, Result, path::Path, prefix::PrefixStore,
};

/// [`PrefixStore`] names an object by its path in the bucket when it is opened, and by its path in the folder when it is listed. Whoever compares the
/// two, as DataFusion does, takes it for another object and reads nothing. Here both are the path in the folder.
#[derive(Debug)]
pub(crate) struct Folder<T: ObjectStore>(PrefixStore<T>);

impl<T: ObjectStore> Folder<T> {
    pub(crate) fn new(bucket: T, folder: Path) -> Self {
        Self(PrefixStore::new(bucket, folder))
    }
}

impl<T: ObjectStore> fmt::Display for Folder<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[async_trait]
impl<T: ObjectStore> ObjectStore for Folder<T> {
    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let mut result = self.0.get_opts(location, options).await?;
        result.meta.location = location.clone();
        Ok(result)
    }
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.0.put_opts(location, payload, options).await
    }
    async fn put_multipart_opts(&self, location: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.0.put_multipart_opts(location, options).await
    }
    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.0.get_ranges(location, ranges).await
    }
    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.0.delete_stream(locations)
    }
    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.0.list(prefix)
    }
    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.0.list_with_offset(prefix, offset)
    }
    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.0.list_with_delimiter(prefix).await
    }
    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.0.copy_opts(from, to, options).await
    }
}

#[cfg(test)]
mod tests {
    use object_store::{ObjectStoreExt as _, memory::InMemory};

    use super::*;

    #[tokio::test]
    async fn an_object_has_one_path_however_it_is_found() {
        let folder = Folder::new(InMemory::new(), Path::from("deep/folder"));
        let path = Path::from("a/b");
        folder.put(&path, "x".into()).await.expect("put");
        assert_eq!(folder.head(&path).await.expect("there").location, path);
        assert_eq!(folder.get(&path).await.expect("there").meta.location, path);
        let listed = folder.list_with_delimiter(Some(&Path::from("a"))).await.expect("listed");
        assert_eq!(listed.objects[0].location, path);
    }
}
