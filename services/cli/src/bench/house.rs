//! The real server on a temporary state directory.

use std::path::Path;

use anyhow::Context;
use nocturne_kit::Shutdown;
use tempfile::TempDir;

use crate::{
    admin::Admin,
    api::Api,
    server::{Config, Server},
};

/// A server with its clients.
pub(super) struct House {
    pub(super) api: Api,
    pub(super) admin: Admin,
    pub(super) server: Server,
    folder: TempDir,
}

impl House {
    pub(super) async fn open(base: Option<&Path>) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("making a temporary directory")?;
        let mut config = Config::default();
        config.inference.listen.set_port(0);
        config.nights.schedule.enabled = false;
        let server = Server::start(folder.path(), config, base, Shutdown::new()).await?;
        let (api, admin) = (Api::connect(&[server.api]).await?, Admin::new(&server.address)?);
        Ok(Self { api, admin, server, folder })
    }

    pub(super) async fn close(self) -> anyhow::Result<()> {
        self.server.stop();
        self.server.finished().await?;
        self.folder.close().context("removing the temporary directory")
    }
}
