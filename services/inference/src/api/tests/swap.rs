use nocturne_wire::{Sha256Hex, ledger::LedgerAction};
use serde_json::Value;

use crate::{
    InferenceSettings,
    fixture::{Bench, TestLake, chat, content, eventually},
};

/// A server without golden prompts: they would wait at the gate that a test holds closed.
async fn without_golden() -> Bench {
    Bench::start_with(|settings| InferenceSettings { golden_prompts: Vec::new(), ..settings }).await
}

#[tokio::test]
async fn a_request_finishes_on_the_generation_it_started_with() {
    let bench = without_golden().await;
    let one = bench.lake.publish(1, b"1").await;
    bench.engine.gate.close();
    let old = tokio::spawn(bench.asking(&chat("say 60")).send());
    bench.held_back().await;
    bench.lake.promote(&one).await;
    let status = bench.running.nudge().await.unwrap();
    assert_eq!(status.serving, one);
    let new = tokio::spawn(bench.asking(&chat("say 60")).send());
    bench.in_flight(2).await;
    let requests: Vec<_> = bench.running.status().in_flight.iter().map(|f| (f.generation.number().0, f.requests)).collect();
    assert_eq!(requests, [(0, 1), (1, 1)]);
    bench.engine.gate.open();
    for (answer, digit, number) in [(old, "0", "0"), (new, "1", "1")] {
        let response = answer.await.unwrap().unwrap();
        assert_eq!(response.headers()["x-nocturne-generation"], number);
        let answer: Value = response.json().await.unwrap();
        assert_eq!(content(&answer), digit.repeat(60));
    }
    let mut logged: Vec<_> = bench.logged().await.into_iter().map(|record| (record.generation.0, record.answer)).collect();
    logged.sort();
    assert_eq!(logged, [(0, "0".repeat(60)), (1, "1".repeat(60))]);
}

#[tokio::test]
async fn a_rollback_is_a_flip_to_what_is_resident() {
    let bench = Bench::start().await;
    let zero = bench.running.status().serving;
    let one = bench.lake.publish(1, b"1").await;
    bench.lake.promote(&one).await;
    let promoted: Value = bench.client.post(bench.url("/admin/nudge")).send().await.unwrap().json().await.unwrap();
    assert_eq!(promoted["serving"], one.to_string());
    assert_eq!(content(&bench.ask("say 2").await), "11");
    let loaded = bench.engine.prefills.lock().unwrap().len();
    bench.lake.append(LedgerAction::Rollback, &zero).await;
    bench.running.nudge().await.unwrap();
    // No golden prompt was read: the old generation had stayed.
    assert_eq!(bench.engine.prefills.lock().unwrap().len(), loaded);
    assert_eq!(content(&bench.ask("say 2").await), "00");
    let status: Value = bench.get("/admin/generation").await.json().await.unwrap();
    assert_eq!((&status["previous"], &status["flips"]), (&Value::from(one.to_string()), &Value::from(2)));
}

#[tokio::test]
async fn a_new_head_is_found_without_a_nudge() {
    let bench = Bench::start_with(|settings| InferenceSettings { poll_milliseconds: 5, ..settings }).await;
    let one = bench.lake.publish(1, b"1").await;
    bench.lake.promote(&one).await;
    eventually(async || bench.running.status().serving, |serving| *serving == one).await;
}

#[tokio::test]
async fn refused_generations_are_reported_and_never_served() {
    let bench = Bench::start().await;
    let cases: [(u64, &'static [u8], &str); 3] =
        [(1, b"?", "the bank is not a digit"), (2, b"n", "not finite"), (3, b"x", "panicked")];
    for (number, bank, reason) in cases {
        let name = bench.lake.publish(number, bank).await;
        bench.lake.promote(&name).await;
        let status = bench.running.nudge().await.unwrap();
        let refused = status.refused.last().unwrap();
        assert_eq!((status.serving.number().0, &refused.generation), (0, &name));
        assert!(refused.reason.contains(reason), "{}", refused.reason);
        assert_eq!(content(&bench.ask("say 2").await), "00");
    }
    assert!(bench.metrics().await.contains("generation_changes_total{result=\"refused\"} 3"));
    let good = bench.lake.publish(4, b"4").await;
    bench.lake.promote(&good).await;
    assert_eq!(bench.running.nudge().await.unwrap().serving, good);
}

#[tokio::test]
async fn a_generation_of_another_base_is_refused() {
    let bench = Bench::start().await;
    let manifest = TestLake::manifest(1, b"1", Sha256Hex::of(b"another base"));
    let files = [(nocturne_wire::path::SLOW_FILE.to_owned(), bytes::Bytes::from_static(b"1"))];
    let name = bench.lake.lake.generations().publish(&manifest, &files).await.unwrap();
    bench.lake.promote(&name).await;
    let status = bench.running.nudge().await.unwrap();
    assert_eq!(status.serving.number().0, 0);
    assert!(status.refused[0].reason.contains("base"), "{}", status.refused[0].reason);
}

#[tokio::test]
async fn admin_routes_can_have_a_listener_of_their_own() {
    let admin = Some(([127, 0, 0, 1], 0).into());
    let bench = Bench::start_with(|settings| InferenceSettings { admin_listen: admin, ..settings }).await;
    assert_eq!(bench.get("/admin/generation").await.status(), 404);
    let url = format!("http://{}/admin/generation", bench.running.admin_address().unwrap());
    let status: Value = bench.client.get(url).send().await.unwrap().json().await.unwrap();
    assert_eq!(status["channel"], "production");
}
