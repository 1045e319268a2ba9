//! Over real sockets, with the fake engine.

use std::time::Duration;

use serde_json::{Value, json};

use crate::fixture::{Bench, chat, content, events};

mod errors;
mod logging;
mod sessions;
mod swap;

#[tokio::test]
async fn a_chat_completion_has_openais_shape_and_names_its_generation() {
    let bench = Bench::start().await;
    let response = bench.asking(&chat("say 3")).send().await.unwrap();
    assert_eq!(response.status(), 200);
    let headers = response.headers().clone();
    let answer: Value = response.json().await.unwrap();
    let id = headers["x-nocturne-interaction"].to_str().unwrap();
    assert_eq!(headers["x-nocturne-generation"], "0");
    assert_eq!(headers["x-nocturne-session"].len(), 36);
    assert_eq!(answer["id"], format!("chatcmpl-{id}"));
    assert_eq!(answer["object"], "chat.completion");
    assert_eq!(answer["model"], "nocturne");
    assert_eq!(answer["system_fingerprint"], format!("gen-{}", bench.running.status().serving));
    let choice = &answer["choices"][0];
    assert_eq!(choice["message"], json!({"role": "assistant", "content": "000", "refusal": null}));
    assert_eq!((&choice["finish_reason"], &choice["index"]), (&json!("stop"), &json!(0)));
    // Marker, five bytes, end, opening.
    let usage =
        json!({"prompt_tokens": 8, "completion_tokens": 3, "total_tokens": 11, "prompt_tokens_details": {"cached_tokens": 0}});
    assert_eq!(answer["usage"], usage);
}

#[tokio::test]
async fn a_stream_gives_the_same_text_in_pieces_and_its_usage_when_asked() {
    let bench = Bench::start().await;
    let mut body = chat("text héllo");
    body["stream"] = true.into();
    body["stream_options"] = json!({"include_usage": true});
    let response = bench.asking(&body).send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    assert_eq!(response.headers()["x-nocturne-generation"], "0");
    let chunks = events(&response.text().await.unwrap());
    assert_eq!(chunks[0]["choices"][0]["delta"], json!({"role": "assistant", "content": ""}));
    let pieces: Vec<&str> = chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(pieces, ["", "h", "é", "l", "l", "o"]);
    let [.., closing, usage] = &chunks[..] else { unreachable!() };
    assert_eq!(closing["choices"][0]["finish_reason"], "stop");
    assert_eq!((&usage["choices"], &usage["usage"]["completion_tokens"]), (&json!([]), &json!(6)));
    assert!(chunks.iter().all(|chunk| chunk["id"] == chunks[0]["id"] && chunk["object"] == "chat.completion.chunk"));
    assert!(chunks[..chunks.len() - 1].iter().all(|chunk| chunk["usage"].is_null()));
}

#[tokio::test]
async fn a_text_completion_reads_bare_text() {
    let bench = Bench::start().await;
    let response = bench.post("/v1/completions", &json!({"model": "nocturne", "prompt": "say 4", "max_tokens": 2})).await;
    let answer: Value = response.json().await.unwrap();
    assert_eq!(answer["object"], "text_completion");
    assert_eq!((&answer["choices"][0]["text"], &answer["choices"][0]["finish_reason"]), (&json!("00"), &json!("length")));
    assert_eq!(answer["usage"]["prompt_tokens"], 5);
    let streamed = json!({"model": "nocturne", "prompt": ["say 2"], "stream": true});
    let chunks = events(&bench.post("/v1/completions", &streamed).await.text().await.unwrap());
    let text: String = chunks.iter().filter_map(|chunk| chunk["choices"][0]["text"].as_str()).collect();
    assert_eq!(text, "00");
}

#[tokio::test]
async fn content_parts_stop_strings_and_limits_are_honored() {
    let bench = Bench::start().await;
    let parts = json!([{"type": "text", "text": "text one "}, {"type": "text", "text": "two three"}]);
    let mut body = json!({"model": "nocturne", "messages": [{"role": "user", "content": parts}], "stop": ["zz", " thr"]});
    let answer: Value = bench.asking(&body).send().await.unwrap().json().await.unwrap();
    assert_eq!((content(&answer), &answer["choices"][0]["finish_reason"]), ("one two", &json!("stop")));
    body["max_completion_tokens"] = 5.into();
    let answer: Value = bench.asking(&body).send().await.unwrap().json().await.unwrap();
    assert_eq!((content(&answer), &answer["choices"][0]["finish_reason"]), ("one t", &json!("length")));
}

#[tokio::test]
async fn many_requests_are_stepped_together() {
    let bench = Bench::start().await;
    bench.engine.gate.close();
    let answers: Vec<_> = (0..6).map(|_| tokio::spawn(bench.asking(&chat("say 80")).send())).collect();
    bench.in_flight(6).await;
    // A request in flight may not have reached the decoder yet: steps are let through one by one until all have.
    let widest = || bench.engine.steps.lock().unwrap().iter().max().copied();
    for _ in 0..100 {
        if widest() == Some(6) {
            break;
        }
        bench.engine.gate.allow(1);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    bench.engine.gate.open();
    for answer in answers {
        let answer: Value = answer.await.unwrap().unwrap().json().await.unwrap();
        assert_eq!(content(&answer), "0".repeat(80));
    }
    assert_eq!(widest(), Some(6));
}

#[tokio::test]
async fn models_health_and_metrics_answer() {
    let bench = Bench::start().await;
    let models: Value = bench.get("/v1/models").await.json().await.unwrap();
    assert_eq!((&models["object"], &models["data"][0]["id"]), (&json!("list"), &json!("nocturne")));
    let model: Value = bench.get("/v1/models/nocturne").await.json().await.unwrap();
    assert_eq!(model, models["data"][0]);
    assert_eq!(bench.get("/v1/models/other").await.status(), 404);
    assert_eq!(bench.get("/healthz").await.status(), 200);
    assert_eq!(bench.get("/readyz").await.status(), 200);
    bench.ask("say 2").await;
    let metrics = bench.metrics().await;
    for line in [
        "nocturne_inference_requests_total{endpoint=\"chat\",generation=\"0\",finish=\"stop\"} 1",
        "nocturne_inference_errors_total{code=\"model_not_found\"} 1",
        "nocturne_inference_tokens_total{kind=\"answer\"} 2",
        "nocturne_inference_logged_total{topic=\"interactions\",result=\"acknowledged\"} 1",
        "nocturne_inference_sessions 1",
    ] {
        assert!(metrics.lines().any(|l| l == line), "no `{line}` in\n{metrics}");
    }
}
