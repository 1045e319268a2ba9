//! How other commands find the server that runs on a state directory.

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context;
use nocturne_kit::StateDir;
use serde::{Deserialize, Serialize};

const FILE: &str = "address.json";

/// A server on this machine that does not answer within this is not there.
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Address {
    /// Its process.
    pub(crate) pid: u32,
    /// The OpenAI-compatible API, where the process has one.
    pub(crate) api: Option<SocketAddr>,
    /// Generations: what serves, and the nudge to read the ledger.
    pub(crate) admin: Option<SocketAddr>,
    /// Nights and the batcher.
    pub(crate) control: SocketAddr,
}

/// The file that names a running server; removed when dropped.
pub(crate) struct Published(PathBuf);

impl Published {
    /// Writes the file: whole, or not at all.
    pub(crate) fn write(state: &StateDir, address: &Address) -> anyhow::Result<Self> {
        let (path, draft) = (state.join(FILE), state.join("address.json.draft"));
        fs::write(&draft, serde_json::to_vec_pretty(address)?)
            .and_then(|()| fs::rename(&draft, &path))
            .with_context(|| format!("writing {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Published {
    fn drop(&mut self) {
        // A file that stays is recognized as stale: nobody answers under it with its process id.
        fs::remove_file(&self.0).ok();
    }
}

/// The server that runs on a state directory, if one does.
///
/// # Errors
/// When the file cannot be read.
pub(crate) async fn running(state: &Path) -> anyhow::Result<Option<Address>> {
    let path = state.join(FILE);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("reading {}", path.display())),
    };
    // A file of another release, or half a file of a full disk, names nobody that we could talk to.
    let Ok(address) = serde_json::from_slice::<Address>(&bytes) else { return Ok(None) };
    Ok(answers(&address).await.then_some(address))
}

async fn answers(address: &Address) -> bool {
    // Who runs here is never behind a proxy.
    let Ok(http) = reqwest::Client::builder().no_proxy().build() else { return false };
    let request = http.get(url(address.control, "/healthz")).timeout(ANSWERS_WITHIN);
    let Ok(response) = request.send().await else { return false };
    // Another process may listen on the port by now.
    response.json::<u32>().await.is_ok_and(|pid| pid == address.pid)
}

/// A URL on a server of this machine.
pub(crate) fn url(address: SocketAddr, path: &str) -> String {
    let ip = if address.ip().is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { address.ip() };
    format!("http://{}{path}", SocketAddr::new(ip, address.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_that_nobody_answers_for_is_stale() {
        let folder = tempfile::tempdir().expect("a folder");
        let state = StateDir::take(folder.path()).expect("free");
        assert_eq!(running(folder.path()).await.expect("readable"), None);
        let closed = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("an address");
        let address = Address { pid: 1, api: Some(closed), admin: Some(closed), control: closed };
        let published = Published::write(&state, &address).expect("written");
        assert_eq!(running(folder.path()).await.expect("readable"), None);
        drop(published);
        assert!(!folder.path().join(FILE).exists());
    }

    #[test]
    fn a_server_on_every_address_is_reached_on_loopback() {
        let any = SocketAddr::from(([0, 0, 0, 0], 80));
        assert_eq!(url(any, "/v1"), "http://127.0.0.1:80/v1");
    }
}
