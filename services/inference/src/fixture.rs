//! A whole server in a test: a lake in memory, a log in a temporary directory, the fake engine, real sockets.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use jiff::Timestamp;
use nocturne_bus::{LocalLog, LogSettings};
use nocturne_kit::Shutdown;
use nocturne_lake::{Expect, Lake, LedgerDraft};
use nocturne_wire::{
    Feedback, Generation, GenerationName, Interaction, Offset, Sha256Hex, Topic, avro,
    ledger::{LedgerAction, LedgerEntry, PRODUCTION},
    manifest::{FileEntry, MANIFEST_VERSION, Manifest},
    path::SLOW_FILE,
};
use serde_json::{Value, json};

use crate::{
    engine::{Engine, fake::Fake},
    follow::prepare::SLOW_BANK,
    serve::{Running, serve_with},
    settings::InferenceSettings,
};

/// How long a condition may take to become true.
const DEADLINE: Duration = Duration::from_secs(20);

/// Waits for a condition; panics with what was last seen.
pub(crate) async fn eventually<T: std::fmt::Debug>(mut look: impl AsyncFnMut() -> T, holds: impl Fn(&T) -> bool) -> T {
    let started = Instant::now();
    loop {
        let seen = look().await;
        if holds(&seen) {
            return seen;
        }
        assert!(started.elapsed() < DEADLINE, "still {seen:?} after {DEADLINE:?}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// A lake with one base and generation 0, whose digit is `0`.
#[derive(Clone)]
pub(crate) struct TestLake {
    pub(crate) lake: Lake,
    pub(crate) base: Sha256Hex,
}

impl TestLake {
    pub(crate) async fn new() -> Self {
        let lake = Lake::memory();
        let base = lake.bases().put(&[("config.json".to_owned(), Bytes::from_static(b"{}"))]).await.unwrap();
        let this = Self { lake, base };
        let zero = this.publish(0, b"0").await;
        this.append(LedgerAction::Begin, &zero).await;
        this
    }

    /// Publishes a generation whose bank holds `bank`.
    pub(crate) async fn publish(&self, number: u64, bank: &'static [u8]) -> GenerationName {
        let manifest = Self::manifest(number, bank, self.base.clone());
        let files = [(SLOW_FILE.to_owned(), Bytes::from_static(bank))];
        self.lake.generations().publish(&manifest, &files).await.unwrap()
    }

    pub(crate) fn manifest(number: u64, bank: &[u8], base: Sha256Hex) -> Manifest {
        let tensors = Fake::default().tensors(bank, SLOW_BANK).unwrap();
        let file = FileEntry { path: SLOW_FILE.to_owned(), bytes: bank.len() as u64, sha256: Sha256Hex::of(bank) };
        Manifest {
            version: MANIFEST_VERSION,
            number: Generation(number),
            content: Manifest::content_of(&tensors),
            base,
            parent: None,
            night: None,
            created: Timestamp::UNIX_EPOCH,
            tensors,
            files: vec![file],
            batches: Vec::new(),
            optimizer: None,
        }
    }

    pub(crate) async fn append(&self, action: LedgerAction, generation: &GenerationName) -> LedgerEntry {
        let draft = LedgerDraft {
            action,
            generation: generation.clone(),
            time: Timestamp::UNIX_EPOCH,
            actor: "test".to_owned(),
            reason: "test".to_owned(),
            night: None,
        };
        self.lake.ledger(PRODUCTION).append(&draft, Expect::Any).await.unwrap()
    }

    pub(crate) async fn promote(&self, generation: &GenerationName) -> LedgerEntry {
        self.append(LedgerAction::Promote, generation).await
    }
}

/// A running server.
pub(crate) struct Bench {
    pub(crate) lake: TestLake,
    pub(crate) log: LocalLog,
    pub(crate) engine: Fake,
    pub(crate) running: Running,
    pub(crate) shutdown: Shutdown,
    pub(crate) client: reqwest::Client,
    _dir: tempfile::TempDir,
}

impl Bench {
    pub(crate) async fn start() -> Self {
        Self::start_with(|settings| settings).await
    }

    /// Nothing is polled unless the test asks for it: flips happen at nudges.
    pub(crate) async fn start_with(change: impl FnOnce(InferenceSettings) -> InferenceSettings) -> Self {
        Self::start_over(LogSettings::default(), change).await
    }

    /// Starts over a log with these settings.
    pub(crate) async fn start_over(log: LogSettings, change: impl FnOnce(InferenceSettings) -> InferenceSettings) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let log = LocalLog::open(dir.path(), &log).unwrap();
        let lake = TestLake::new().await;
        let engine = Fake::default();
        let settings = change(InferenceSettings {
            listen: ([127, 0, 0, 1], 0).into(),
            poll_milliseconds: 3_600_000,
            golden_prompts: vec!["say 2".to_owned()],
            ..InferenceSettings::default()
        });
        let shutdown = Shutdown::new();
        let loaded = engine.clone();
        let load = move |_: &BTreeMap<String, Bytes>| Ok(loaded);
        let running = serve_with(settings, lake.lake.clone(), log.publisher(), shutdown.clone(), load).await.unwrap();
        Self { lake, log, engine, running, shutdown, client: reqwest::Client::new(), _dir: dir }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.running.address())
    }

    pub(crate) async fn get(&self, path: &str) -> reqwest::Response {
        self.client.get(self.url(path)).send().await.unwrap()
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> reqwest::Response {
        self.client.post(self.url(path)).json(body).send().await.unwrap()
    }

    /// A chat request that has not been sent.
    pub(crate) fn asking(&self, body: &Value) -> reqwest::RequestBuilder {
        self.client.post(self.url("/v1/chat/completions")).json(body)
    }

    /// Asks one thing in a fresh session.
    pub(crate) async fn ask(&self, text: &str) -> Value {
        let response = self.asking(&chat(text)).send().await.unwrap();
        assert_eq!(response.status(), 200);
        response.json().await.unwrap()
    }

    /// Waits until `count` requests are in flight.
    pub(crate) async fn in_flight(&self, count: u64) {
        let requests = async || self.running.status().in_flight.iter().map(|f| f.requests).sum::<u64>();
        eventually(requests, |seen| *seen == count).await;
    }

    /// Waits until the decoding thread is held back by the gate.
    pub(crate) async fn held_back(&self) {
        eventually(async || self.engine.gate.waiting(), |seen| *seen > 0).await;
    }

    pub(crate) async fn logged(&self) -> Vec<Interaction> {
        self.records(Topic::Interactions, avro::decode_interaction).await
    }

    pub(crate) async fn feedback(&self) -> Vec<Feedback> {
        self.records(Topic::Feedback, avro::decode_feedback).await
    }

    async fn records<T>(&self, topic: Topic, decode: fn(&[u8]) -> Result<T, avro::DecodeError>) -> Vec<T> {
        let mut records = Vec::new();
        for (_, partition) in self.log.partitions().filter(|(of, _)| *of == topic) {
            let mut intake = self.log.intake(topic, partition, Offset(0)).unwrap();
            let read = intake.poll(1000, u64::MAX).await.unwrap();
            records.extend(read.iter().map(|record| decode(&record.payload).unwrap()));
        }
        records
    }

    pub(crate) async fn metrics(&self) -> String {
        self.get("/metrics").await.text().await.unwrap()
    }
}

pub(crate) fn chat(text: &str) -> Value {
    json!({"model": "nocturne", "messages": [{"role": "user", "content": text}]})
}

/// The text of a whole answer.
pub(crate) fn content(answer: &Value) -> &str {
    answer["choices"][0]["message"]["content"].as_str().unwrap()
}

/// The values of a stream's events; the last must be `[DONE]`.
pub(crate) fn events(body: &str) -> Vec<Value> {
    let mut lines: Vec<_> = body.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    assert_eq!(lines.pop(), Some("[DONE]"), "{body}");
    lines.into_iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A golden list for [`crate::follow::prepare::prepare`].
pub(crate) fn golden(prompts: &[&str]) -> Arc<[String]> {
    prompts.iter().map(|prompt| (*prompt).to_owned()).collect()
}
