//! A client of the OpenAI-compatible API, as any application would be one.

use std::{
    collections::BTreeSet,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context, anyhow, bail};
use reqwest::{RequestBuilder, Response, header::HeaderMap};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{address::url, failure::Advise};

const GENERATION: &str = "x-nocturne-generation";
const INTERACTION: &str = "x-nocturne-interaction";
const SESSION: &str = "x-nocturne-session";

/// Longer than any answer takes, even while a night uses every core.
const PATIENCE: Duration = Duration::from_mins(1);

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Message {
    role: &'static str,
    content: String,
}

impl Message {
    pub(crate) fn user(content: impl Into<String>) -> Self {
        Self { role: "user", content: content.into() }
    }

    pub(crate) fn assistant(content: impl Into<String>) -> Self {
        Self { role: "assistant", content: content.into() }
    }
}

/// Who asks, in which session.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Who<'a> {
    pub(crate) session: &'a str,
    pub(crate) subject: &'a str,
    /// Whether the exchange may be logged.
    pub(crate) store: bool,
}

/// An answer with everything that names its generation.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) text: String,
    /// What feedback refers to.
    pub(crate) interaction: String,
    /// The generation's number in the response's header.
    pub(crate) generation: u64,
    /// Every distinct `system_fingerprint` in the body; one, unless something is wrong.
    pub(crate) fingerprints: BTreeSet<String>,
    /// From the request to the end of the answer.
    pub(crate) took: Duration,
}

impl Answer {
    /// The name of the generation, when body and header agree on one.
    pub(crate) fn generation_name(&self) -> Option<&str> {
        let mut names = self.fingerprints.iter().filter_map(|print| print.strip_prefix("gen-"));
        let name = names.next().filter(|_| self.fingerprints.len() == 1)?;
        let number: u64 = name.split_once('-')?.0.parse().ok()?;
        (number == self.generation).then_some(name)
    }
}

#[derive(Deserialize)]
struct Models {
    data: Vec<Model>,
}

#[derive(Deserialize)]
struct Model {
    id: String,
}

/// Which of so many replicas a session goes to: always the same one, which keeps its memory.
pub(crate) fn replica(session: &str, replicas: usize) -> usize {
    let mut hasher = DefaultHasher::new();
    session.hash(&mut hasher);
    (hasher.finish() % replicas.max(1) as u64) as usize
}

/// A client of one server, or of its replicas.
#[derive(Debug, Clone)]
pub(crate) struct Api {
    http: reqwest::Client,
    addresses: Vec<SocketAddr>,
    model: String,
    max_tokens: Option<u32>,
}

impl Api {
    /// Asks for answers of at most this many tokens.
    #[must_use]
    pub(crate) fn limited(self, max_tokens: u32) -> Self {
        Self { max_tokens: Some(max_tokens), ..self }
    }

    /// Connects and asks which model is served.
    pub(crate) async fn connect(addresses: &[SocketAddr]) -> anyhow::Result<Self> {
        let address = *addresses.first().context("connecting to no server")?;
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(PATIENCE)
            .tcp_nodelay(true)
            .build()
            .context("setting up the HTTP client")?;
        let doing = format!("asking the server at {address} for its models");
        let response =
            http.get(url(address, "/v1/models")).send().await.advise(&doing, "is it running? `nocturne up` starts it")?;
        let models: Models = checked(response).await?.json().await.context(doing.clone())?;
        let model = models.data.into_iter().next().with_context(|| format!("{doing}: it serves none"))?.id;
        Ok(Self { http, addresses: addresses.to_vec(), model, max_tokens: None })
    }

    fn request(&self, who: Who<'_>, messages: &[Message], stream: bool) -> RequestBuilder {
        let body = json!({
            "model": self.model,
            "messages": messages,
            "user": who.subject,
            "store": who.store,
            "stream": stream,
            "max_tokens": self.max_tokens,
        });
        self.http
            .post(url(self.addresses[replica(who.session, self.addresses.len())], "/v1/chat/completions"))
            .header(SESSION, who.session)
            .json(&body)
    }

    /// Asks for a whole answer.
    pub(crate) async fn ask(&self, who: Who<'_>, messages: &[Message]) -> anyhow::Result<Answer> {
        let begun = Instant::now();
        let response = checked(self.request(who, messages, false).send().await?).await?;
        let (interaction, generation) = named(response.headers())?;
        let mut body: Value = response.json().await?;
        let mut parts = Parts::default();
        let text = body["choices"][0]["message"]["content"].take();
        parts.text = text.as_str().map(str::to_owned).ok_or_else(|| anyhow!("the answer holds no text"))?;
        parts.take_names(&body);
        parts.into_answer(interaction, generation, begun.elapsed())
    }

    /// Asks for an answer as a stream; `on_text` gets its pieces as they come.
    pub(crate) async fn stream(
        &self,
        who: Who<'_>,
        messages: &[Message],
        mut on_text: impl FnMut(&str),
    ) -> anyhow::Result<Answer> {
        let begun = Instant::now();
        let mut response = checked(self.request(who, messages, true).send().await?).await?;
        let (interaction, generation) = named(response.headers())?;
        let mut parts = Parts::default();
        let mut pending = Vec::new();
        while let Some(bytes) = response.chunk().await? {
            pending.extend_from_slice(&bytes);
            for data in take_events(&mut pending) {
                if data == "[DONE]" {
                    parts.done = true;
                    continue;
                }
                let chunk: Value = serde_json::from_str(&data).context("reading a chunk of the stream")?;
                if let Some(message) = chunk["error"]["message"].as_str() {
                    bail!("the stream broke off: {message}");
                }
                if let Some(piece) = chunk["choices"][0]["delta"]["content"].as_str() {
                    on_text(piece);
                    parts.text.push_str(piece);
                }
                parts.take_names(&chunk);
            }
        }
        if !parts.done {
            bail!("the stream ended without its end mark");
        }
        parts.into_answer(interaction, generation, begun.elapsed())
    }

    /// Gives a verdict on an answer.
    pub(crate) async fn feedback(
        &self,
        subject: &str,
        interaction: &str,
        score: f32,
        correction: Option<&str>,
    ) -> anyhow::Result<()> {
        let body = json!({"interaction": interaction, "score": score, "correction": correction, "user": subject});
        let response = self.http.post(url(self.addresses[0], "/v1/feedback")).json(&body).send().await?;
        checked(response).await.map(drop)
    }
}

/// What the body of an answer says, whole or in chunks.
#[derive(Default)]
struct Parts {
    text: String,
    fingerprints: BTreeSet<String>,
    finish: Option<String>,
    done: bool,
}

impl Parts {
    fn take_names(&mut self, value: &Value) {
        self.fingerprints.extend(value["system_fingerprint"].as_str().map(str::to_owned));
        if let Some(finish) = value["choices"][0]["finish_reason"].as_str() {
            self.finish = Some(finish.to_owned());
        }
    }

    fn into_answer(self, interaction: String, generation: u64, took: Duration) -> anyhow::Result<Answer> {
        if self.finish.is_none() {
            bail!("the answer does not say why it ended");
        }
        Ok(Answer { text: self.text, interaction, generation, fingerprints: self.fingerprints, took })
    }
}

/// Takes the complete server-sent events out of what was received.
fn take_events(pending: &mut Vec<u8>) -> Vec<String> {
    let mut events = Vec::new();
    while let Some(end) = pending.windows(2).position(|pair| pair == b"\n\n") {
        let event: Vec<u8> = pending.drain(..end + 2).collect();
        let text = String::from_utf8_lossy(&event);
        events.extend(text.lines().filter_map(|line| line.strip_prefix("data:")).map(|data| data.trim().to_owned()));
    }
    events
}

fn named(headers: &HeaderMap) -> anyhow::Result<(String, u64)> {
    let header = |name: &str| {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        value.with_context(|| format!("the response has no header `{name}`"))
    };
    Ok((header(INTERACTION)?.to_owned(), header(GENERATION)?.parse().context("reading the generation's number")?))
}

/// An error response as an error with the server's own words.
async fn checked(response: Response) -> anyhow::Result<Response> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let body: Value = response.json().await.unwrap_or_default();
    let message = body["error"]["message"].as_str().unwrap_or("the server gave no reason");
    Err(anyhow!("HTTP {status}: {message}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_taken_when_they_are_complete() {
        let mut pending = b"data: {\"a\":1}\n\ndata: [DO".to_vec();
        assert_eq!(take_events(&mut pending), ["{\"a\":1}"]);
        pending.extend_from_slice(b"NE]\n\n");
        assert_eq!(take_events(&mut pending), ["[DONE]"]);
        assert!(pending.is_empty());
    }

    fn answer(generation: u64, fingerprints: &[&str]) -> Answer {
        let fingerprints = fingerprints.iter().map(|print| (*print).to_owned()).collect();
        Answer { text: String::new(), interaction: String::new(), generation, fingerprints, took: Duration::ZERO }
    }

    #[test]
    fn an_answer_has_a_generation_when_header_and_every_chunk_agree() {
        assert_eq!(answer(3, &["gen-000000000003-0123abcd"]).generation_name(), Some("000000000003-0123abcd"));
        assert_eq!(answer(2, &["gen-000000000003-0123abcd"]).generation_name(), None);
        assert_eq!(answer(3, &["gen-000000000003-0123abcd", "gen-000000000002-0123abcd"]).generation_name(), None);
        assert_eq!(answer(3, &[]).generation_name(), None);
    }
}
