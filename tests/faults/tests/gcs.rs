//! The lake in an emulator of Google Cloud Storage.

mod common;

use nocturne_support::{Gcs, or_skip};

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_of_google_is_a_lake() {
    let server = or_skip!(Gcs::start());
    common::bucket::is_a_lake(&server.url("lake"), server.options()).await;
}
