//! Talks to the administration of a running server.

use std::net::SocketAddr;

use anyhow::Context;
use nocturne_inference::GenerationStatus;
use nocturne_wire::{NightId, Sha256Hex};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    address::{Address, url},
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

/// A client of one server.
#[derive(Debug, Clone)]
pub(crate) struct Admin {
    http: reqwest::Client,
    admin: SocketAddr,
    control: SocketAddr,
}

impl Admin {
    pub(crate) fn new(address: &Address) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder().no_proxy().build().context("setting up the HTTP client")?;
        Ok(Self { http, admin: address.admin, control: address.control })
    }

    /// Which generation serves.
    pub(crate) async fn generation(&self) -> anyhow::Result<GenerationStatus> {
        read(self.http.get(url(self.admin, "/admin/generation")), "asking the server which generation serves").await
    }

    /// Has the ledger read now; answers when what it says is served or refused.
    pub(crate) async fn nudge(&self) -> anyhow::Result<GenerationStatus> {
        read(self.http.post(url(self.admin, "/admin/nudge")), "asking the server to read the ledger").await
    }

    /// Starts a night.
    pub(crate) async fn run_night(&self, order: &NightOrder) -> anyhow::Result<NightId> {
        let request = self.http.post(url(self.control, "/admin/nights/run")).json(order);
        let started: NightStarted = read(request, "asking the server to run a night").await?;
        Ok(started.night)
    }

    /// The night that runs, if one does.
    pub(crate) async fn current_night(&self) -> anyhow::Result<Option<NightId>> {
        let request = self.http.get(url(self.control, "/admin/nights/current"));
        let started: Option<NightStarted> = read(request, "asking the server which night runs").await?;
        Ok(started.map(|started| started.night))
    }

    /// Seals everything that was logged so far.
    pub(crate) async fn flush(&self) -> anyhow::Result<()> {
        read(self.http.post(url(self.control, "/admin/flush")), "asking the server to seal the day").await
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
