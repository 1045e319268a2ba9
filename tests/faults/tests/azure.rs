//! The lake in Azure's own emulator.

mod common;

use nocturne_support::{Azure, or_skip};

#[tokio::test(flavor = "multi_thread")]
async fn a_container_of_azure_is_a_lake() {
    let server = or_skip!(Azure::start());
    common::bucket::is_a_lake(&server.url("lake"), server.options()).await;
}
