//! Talks to the administration of a running server.

use std::net::SocketAddr;

use anyhow::Context;
use nocturne_inference::GenerationStatus;
use nocturne_wire::{NightId, Sha256Hex};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    address::{Address, url},
    api::replica,
    failure::{Advise, refused},
};

/// What is asked of a night.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct NightOrder {
    /// Questions that must never be trained on.
    pub(crate) held_out: Vec<Sha256Hex>,
    /// Another seed than the settings'.
    pub(crate) seed: Option<u64>,
    /// Whether a candidate that passes serves at once, when not as in the settings.
    pub(crate) promote: Option<bool>,
}

/// A night that was started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NightStarted {
    /// The night.
    pub(crate) night: NightId,
}

/// What went wrong, as the control routes tell it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ControlError {
    /// What was being done and why it failed.
    pub(crate) error: String,
    /// What to do next; may be empty.
    pub(crate) hint: String,
}

/// A client of one server, or of the processes that make up one.
#[derive(Debug, Clone)]
pub(crate) struct Admin {
    http: reqwest::Client,
    /// Those that serve.
    replicas: Vec<SocketAddr>,
    /// The one that runs nights.
    nights: SocketAddr,
    /// Those that seal.
    batchers: Vec<SocketAddr>,
}

impl Admin {
    pub(crate) fn new(address: &Address) -> anyhow::Result<Self> {
        Self::of(address.admin.into_iter().collect(), address.control, vec![address.control])
    }

    /// A client of several processes.
    pub(crate) fn of(replicas: Vec<SocketAddr>, nights: SocketAddr, batchers: Vec<SocketAddr>) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder().no_proxy().build().context("setting up the HTTP client")?;
        Ok(Self { http, replicas, nights, batchers })
    }

    /// Which generation serves a session.
    pub(crate) async fn generation_of(&self, session: &str) -> anyhow::Result<GenerationStatus> {
        let replica = self.replicas.get(replica(session, self.replicas.len()));
        let replica = replica.ok_or_else(|| refused("asking which generation serves", "no process that serves runs here"))?;
        read(self.http.get(url(*replica, "/admin/generation")), "asking the server which generation serves").await
    }

    /// Which generation serves.
    pub(crate) async fn generation(&self) -> anyhow::Result<GenerationStatus> {
        self.generation_of("").await
    }

    /// Has every replica read the ledger now; answers when what it says is served or refused, with the status of one that refused, if one did.
    pub(crate) async fn nudge(&self) -> anyhow::Result<GenerationStatus> {
        let mut told: Option<GenerationStatus> = None;
        for replica in &self.replicas {
            let request = self.http.post(url(*replica, "/admin/nudge"));
            let status: GenerationStatus = read(request, "asking the server to read the ledger").await?;
            if told.as_ref().is_none_or(|before| status.serving.number() < before.serving.number()) {
                told = Some(status);
            }
        }
        told.ok_or_else(|| refused("asking the server to read the ledger", "no process that serves runs here"))
    }

    /// Starts a night.
    pub(crate) async fn run_night(&self, order: &NightOrder) -> anyhow::Result<NightId> {
        let request = self.http.post(url(self.nights, "/admin/nights/run")).json(order);
        let started: NightStarted = read(request, "asking the server to run a night").await?;
        Ok(started.night)
    }

    /// The night that runs, if one does.
    pub(crate) async fn current_night(&self) -> anyhow::Result<Option<NightId>> {
        let request = self.http.get(url(self.nights, "/admin/nights/current"));
        let started: Option<NightStarted> = read(request, "asking the server which night runs").await?;
        Ok(started.map(|started| started.night))
    }

    /// Seals everything that was logged so far.
    pub(crate) async fn flush(&self) -> anyhow::Result<()> {
        for batcher in &self.batchers {
            read::<()>(self.http.post(url(*batcher, "/admin/flush")), "asking the server to seal the day").await?;
        }
        Ok(())
    }
}

async fn read<T: DeserializeOwned>(request: reqwest::RequestBuilder, doing: &str) -> anyhow::Result<T> {
    let hint = "is the server still running? `nocturne up` starts it";
    let response = request.send().await.advise(doing, hint)?;
    if response.status().is_success() {
        return response.json().await.advise(doing, "server and command must be of the same release");
    }
    let (status, body) = (response.status(), response.text().await.unwrap_or_default());
    Err(match serde_json::from_str::<ControlError>(&body) {
        Ok(told) => refused(format!("{doing}: {}", told.error), told.hint),
        Err(_) => refused(format!("{doing}: HTTP {status}: {}", body.trim()), hint),
    })
}
