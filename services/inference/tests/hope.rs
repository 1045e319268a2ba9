//! The service with the real model: a tiny one with random weights, seeded, served, swapped and rolled back.
#![allow(clippy::unwrap_used, reason = "a test that panics says what it found")]

use std::collections::BTreeMap;

use bytes::Bytes;
use jiff::Timestamp;
use nocturne_bus::{LocalLog, LogSettings};
use nocturne_inference::{BeginError, InferenceSettings, Running, ServeError, seed, serve};
use nocturne_kit::Shutdown;
use nocturne_lake::{Expect, Lake, LedgerDraft};
use nocturne_model::{
    ModelConfig, Tokenizer, params,
    tensors::{self, SLOW, Tensors, Values},
};
use nocturne_wire::{
    Generation, GenerationName, Offset, Sha256Hex, Topic, avro,
    ledger::{LedgerAction, PRODUCTION},
    manifest::{FileEntry, MANIFEST_VERSION, Manifest},
};
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};
use serde_json::{Value, json};

const BANK: &str = "banks/slow.safetensors";

/// Values of every parameter whose name `wanted` accepts: gains are 1, the rest is small noise.
fn random(config: &ModelConfig, seed: u64, wanted: impl Fn(&str) -> bool) -> Tensors {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut noise = move || (rng.next_u64() >> 40) as f32 / (1 << 24) as f32 - 0.5;
    let layout = params::layout(config).into_iter().filter(|(name, _)| wanted(name));
    let values = layout.map(|(name, shape)| {
        let gain = name.contains("norm");
        let data = (0..shape.iter().product()).map(|_| if gain { 1.0 } else { noise() }).collect();
        (name, Values { shape, data })
    });
    values.collect()
}

struct TinyBase {
    config: ModelConfig,
    files: BTreeMap<String, Bytes>,
}

fn tiny_base() -> TinyBase {
    let texts =
        ["Where is the blue door? The blue door is in the old town.", "Who sells lamps? Mara sells lamps and small clocks."];
    let tokenizer = Tokenizer::train(texts.into_iter().cycle().take(20), 320).unwrap();
    let perceptron = |name: &str, period: &str, hidden: usize| json!({"name": name, "period": period, "shape": {"perceptron": {"hidden": hidden, "activation": "silu"}}});
    let banks = [perceptron("slow", "night", 24), perceptron("frozen", "never", 32)];
    let fast = json!({"name": "fast", "period": {"tokens": 4}, "shape": {"memory": {"width": 8}}});
    let config: ModelConfig = serde_json::from_value(json!({
        "name": "tiny", "vocab": 320, "width": 16, "max_context": 128,
        "blocks": [
            {"mixer": {"kind": "gated_delta", "heads": 2, "key_width": 8, "value_width": 8, "conv_taps": 3},
             "cms": {"banks": [&fast, &banks[0], &banks[1]]}},
            {"mixer": {"kind": "attention", "heads": 2, "kv_heads": 2, "head_width": 8, "rope": {"theta": 1e4}, "conv_taps": 3},
             "cms": {"banks": banks}},
        ],
    }))
    .unwrap();
    let weights = random(&config, 1, |name| !name.contains(SLOW));
    let files = BTreeMap::from([
        ("config.json".to_owned(), serde_json::to_vec(&config).unwrap().into()),
        ("tokenizer.json".to_owned(), tokenizer.to_json().unwrap().into()),
        ("model.safetensors".to_owned(), tensors::write("model", &weights).unwrap().into()),
        ("rehearsal.jsonl".to_owned(), Bytes::new()),
    ]);
    TinyBase { config, files }
}

struct Rig {
    lake: Lake,
    log: LocalLog,
    running: Running,
    client: reqwest::Client,
    base: TinyBase,
    _dir: tempfile::TempDir,
}

async fn rig() -> Rig {
    let dir = tempfile::tempdir().unwrap();
    let log = LocalLog::open(&dir.path().join("log"), &LogSettings::default()).unwrap();
    let lake = Lake::open(&dir.path().join("lake").to_string_lossy()).unwrap();
    let base = tiny_base();
    let settings =
        || InferenceSettings { listen: ([127, 0, 0, 1], 0).into(), poll_milliseconds: 3_600_000, ..InferenceSettings::default() };
    let refused = serve(settings(), lake.clone(), log.publisher(), Shutdown::new()).await.err();
    assert!(matches!(refused, Some(ServeError::Begin(BeginError::NotSeeded { .. }))), "{refused:?}");
    let first = seed(&lake, base.files.clone(), PRODUCTION, Timestamp::UNIX_EPOCH).await.unwrap();
    let again = seed(&lake, base.files.clone(), PRODUCTION, Timestamp::UNIX_EPOCH).await.unwrap();
    assert!(first.begun && !again.begun);
    assert_eq!(first.serving, again.serving);
    let running = serve(settings(), lake.clone(), log.publisher(), Shutdown::new()).await.unwrap();
    Rig { lake, log, running, client: reqwest::Client::new(), base, _dir: dir }
}

impl Rig {
    async fn ask(&self, text: &str) -> (String, String) {
        let body = json!({"model": "nocturne", "max_tokens": 24, "messages": [{"role": "user", "content": text}]});
        let url = format!("http://{}/v1/chat/completions", self.running.address());
        let response = self.client.post(url).json(&body).send().await.unwrap();
        assert_eq!(response.status(), 200);
        let generation = response.headers()["x-nocturne-generation"].to_str().unwrap().to_owned();
        let answer: Value = response.json().await.unwrap();
        (generation, answer["choices"][0]["message"]["content"].as_str().unwrap().to_owned())
    }

    async fn publish(&self, number: u64, bank: Vec<u8>) -> GenerationName {
        let tensors = tensors::entries(&bank, "slow").unwrap();
        let zero = self.lake.generations().find(Generation::ZERO).await.unwrap().unwrap();
        let manifest = Manifest {
            version: MANIFEST_VERSION,
            number: Generation(number),
            content: Manifest::content_of(&tensors),
            base: self.lake.generations().manifest(&zero).await.unwrap().base,
            parent: Some(zero),
            night: None,
            created: Timestamp::UNIX_EPOCH,
            tensors,
            files: vec![FileEntry { path: BANK.to_owned(), bytes: bank.len() as u64, sha256: Sha256Hex::of(&bank) }],
            batches: Vec::new(),
            optimizer: None,
        };
        self.lake.generations().publish(&manifest, &[(BANK.to_owned(), bank.into())]).await.unwrap()
    }

    async fn enter(&self, action: LedgerAction, generation: &GenerationName) {
        let draft = LedgerDraft {
            action,
            generation: generation.clone(),
            time: Timestamp::UNIX_EPOCH,
            actor: "test".to_owned(),
            reason: "test".to_owned(),
            night: None,
        };
        self.lake.ledger(PRODUCTION).append(&draft, Expect::Any).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tiny_model_is_seeded_served_swapped_and_rolled_back() {
    let rig = rig().await;
    let zero = rig.running.status().serving;
    let before = rig.ask("Where is the blue door?").await;
    assert_eq!(before.0, "0");
    let trained = tensors::write("slow", &random(&rig.base.config, 2, |name| name.contains(SLOW))).unwrap();
    let one = rig.publish(1, trained).await;
    rig.enter(LedgerAction::Promote, &one).await;
    assert_eq!(rig.running.nudge().await.unwrap().serving, one);
    let after = rig.ask("Where is the blue door?").await;
    assert_eq!(after.0, "1");
    assert_ne!(after.1, before.1, "banks that do nothing prove nothing");
    rig.enter(LedgerAction::Rollback, &zero).await;
    assert_eq!(rig.running.nudge().await.unwrap().serving, zero);
    assert_eq!(rig.ask("Where is the blue door?").await, before);
    rig.enter(LedgerAction::Promote, &one).await;
    rig.running.nudge().await.unwrap();
    assert_eq!(rig.ask("Where is the blue door?").await, after);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_does_not_depend_on_who_shares_its_batch() {
    let rig = rig().await;
    let questions =
        ["Where is the blue door?", "Who sells lamps?", "Mara?", "The old town and small clocks.", "door", "Who is in town?"];
    let mut alone = Vec::new();
    for question in questions {
        alone.push(rig.ask(question).await);
    }
    let together = futures::future::join_all(questions.iter().map(|question| rig.ask(question))).await;
    assert_eq!(together, alone);
    let mut logged = Vec::new();
    for (topic, partition) in rig.log.partitions().filter(|(topic, _)| *topic == Topic::Interactions) {
        let mut intake = rig.log.intake(topic, partition, Offset(0)).unwrap();
        logged.extend(intake.poll(100, u64::MAX).await.unwrap());
    }
    assert_eq!(logged.len(), 2 * questions.len());
    for record in logged {
        let record = avro::decode_interaction(&record.payload).unwrap();
        // A model with random weights finds everything surprising.
        assert!(record.prompt_surprise.mean_nats > 1.0 && record.prompt_surprise.max_nats.is_finite(), "{record:?}");
        assert!(record.answer_tokens > 0 && record.answer_surprise.mean_nats > 0.0, "{record:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn banks_of_another_shape_are_refused_and_serving_goes_on() {
    let rig = rig().await;
    let mut foreign = random(&rig.base.config, 2, |name| name.contains(SLOW));
    let (name, _) = foreign.pop_first().unwrap();
    let bad = rig.publish(1, tensors::write("slow", &foreign).unwrap()).await;
    rig.enter(LedgerAction::Promote, &bad).await;
    let status = rig.running.nudge().await.unwrap();
    assert_eq!(status.serving.number(), Generation::ZERO);
    assert!(status.refused[0].reason.contains(&name), "{}", status.refused[0].reason);
    assert_eq!(rig.ask("Mara?").await.0, "0");
}
