use nocturne_bus::{LogSettings, Partitions};
use nocturne_wire::record::{Consent, FinishReason, Message, Origin, Role};
use serde_json::{Value, json};

use crate::fixture::{Bench, chat, content, eventually};

#[tokio::test]
async fn an_answered_request_is_in_the_log_with_all_its_fields() {
    let bench = Bench::start().await;
    let request = bench
        .asking(&chat("say 3"))
        .header("x-nocturne-session", "s1")
        .header("x-nocturne-subject", "ann")
        .header("x-nocturne-tenant", "acme")
        .header("x-nocturne-consent", "log-only")
        .header("x-nocturne-origin", "tool");
    let response = request.send().await.unwrap();
    let id = response.headers()["x-nocturne-interaction"].to_str().unwrap().to_owned();
    let logged = bench.logged().await;
    assert_eq!(logged.len(), 1);
    let record = &logged[0];
    assert_eq!(record.id.as_str(), id);
    assert_eq!((record.tenant.as_str(), record.subject.as_str(), record.session.as_str()), ("acme", "ann", "s1"));
    assert_eq!((record.turn, record.generation.0, record.model.as_str()), (0, 0, "nocturne"));
    assert_eq!(record.messages, [Message { role: Role::User, content: "say 3".to_owned() }]);
    assert_eq!((record.answer.as_str(), record.finish), ("000", FinishReason::Stop));
    assert_eq!((record.prompt_tokens, record.answer_tokens), (8, 3));
    assert_eq!((record.consent, record.origin, record.truncated), (Consent::LogOnly, Origin::Tool, false));
    assert!(record.latency_ms > 0.0);
    // The fake's surprise of a prompt token is its position; tokens 1 to 6 are the message after its first token.
    assert_eq!((record.prompt_surprise.mean_nats, record.prompt_surprise.max_nats), (3.5, 6.0));
    // The fake is certain of each token of its answers.
    assert!(record.answer_surprise.max_nats < 1e-6, "{:?}", record.answer_surprise);
}

#[tokio::test]
async fn an_opt_out_leaves_no_record() {
    let bench = Bench::start().await;
    let mut body = chat("say 3");
    body["store"] = false.into();
    let answer: Value = bench.asking(&body).send().await.unwrap().json().await.unwrap();
    assert_eq!(content(&answer), "000");
    let verdict = json!({"interaction": answer["id"], "score": -1, "correction": "say four"});
    assert_eq!(bench.post("/v1/feedback", &verdict).await.status(), 400, "a verdict would tell what was not to be kept");
    assert!(bench.feedback().await.is_empty());
    bench.ask("say 1").await;
    let logged = bench.logged().await;
    assert_eq!(logged.iter().map(|record| record.answer.as_str()).collect::<Vec<_>>(), ["0"]);
    assert!(bench.metrics().await.contains("logged_total{topic=\"interactions\",result=\"opted-out\"} 1"));
}

#[tokio::test]
async fn only_the_messages_that_are_new_in_a_session_are_logged() {
    let bench = Bench::start().await;
    let mut messages = json!([{"role": "system", "content": "be kind"}, {"role": "user", "content": "say 2"}]);
    for text in ["say 3", "say 4"] {
        let body = json!({"model": "nocturne", "messages": messages, "metadata": {"session": "s"}});
        let answer: Value = bench.asking(&body).send().await.unwrap().json().await.unwrap();
        let list = messages.as_array_mut().unwrap();
        list.push(json!({"role": "assistant", "content": content(&answer)}));
        list.push(json!({"role": "user", "content": text}));
    }
    let mut logged = bench.logged().await;
    logged.sort_by_key(|record| record.turn);
    let said: Vec<Vec<&str>> =
        logged.iter().map(|record| record.messages.iter().map(|message| message.content.as_str()).collect()).collect();
    assert_eq!(said, [vec!["be kind", "say 2"], vec!["say 3"]]);
    assert_eq!(logged.iter().map(|record| record.turn).collect::<Vec<_>>(), [0, 1]);
}

#[tokio::test]
async fn what_an_earlier_request_did_not_want_stored_is_not_logged_with_a_later_one() {
    let bench = Bench::start().await;
    // A client without a session header sends the whole list each time; the server knows nothing of its first request.
    let list = json!([{"role": "system", "content": "be kind"}, {"role": "user", "content": "a secret"},
        {"role": "assistant", "content": "noted"}, {"role": "user", "content": "say 2"}]);
    bench.asking(&json!({"model": "nocturne", "messages": list})).send().await.unwrap();
    let logged = bench.logged().await;
    let said: Vec<&str> = logged[0].messages.iter().map(|message| message.content.as_str()).collect();
    assert_eq!(said, ["say 2"]);
}

#[tokio::test]
async fn a_log_that_is_closed_fails_no_request() {
    let bench = Bench::start().await;
    bench.log.close().await;
    assert_eq!(content(&bench.ask("say 2").await), "00");
    assert!(bench.metrics().await.contains("logged_total{topic=\"interactions\",result=\"failed\"} 1"));
    let feedback = bench.post("/v1/feedback", &json!({"interaction": "a-1-2", "score": 1})).await;
    assert_eq!(feedback.status(), 503);
}

#[tokio::test]
async fn a_full_log_fails_no_request_and_is_counted() {
    let partitions = Partitions { interactions: 1, feedback: 1 };
    let small = LogSettings { partitions, segment_bytes: 1024, max_bytes: 4096, ..LogSettings::default() };
    let bench = Bench::start_over(small, |settings| settings).await;
    for _ in 0..40 {
        assert_eq!(content(&bench.ask("say 2").await), "00");
    }
    let acknowledged = bench.logged().await.len();
    assert!((1..40).contains(&acknowledged), "{acknowledged} fit");
    let failed = format!("logged_total{{topic=\"interactions\",result=\"failed\"}} {}", 40 - acknowledged);
    assert!(bench.metrics().await.contains(&failed), "{}", bench.metrics().await);
    let verdict = json!({"interaction": "a-1-2", "score": -1, "correction": "no ".repeat(400)});
    let feedback = bench.post("/v1/feedback", &verdict).await;
    assert_eq!(feedback.status(), 503, "a verdict that cannot be kept is not acknowledged");
}

#[tokio::test]
async fn a_client_that_hangs_up_cancels_its_answer_which_is_logged() {
    let bench = Bench::start().await;
    bench.engine.gate.close();
    let mut body = chat("say 90");
    body["stream"] = true.into();
    let mut response = bench.asking(&body).send().await.unwrap();
    assert!(response.chunk().await.unwrap().is_some());
    bench.held_back().await;
    bench.engine.gate.allow(3);
    bench.held_back().await;
    drop(response);
    // Steps are let through one by one until the server has noticed.
    let logged = eventually(
        async || {
            bench.engine.gate.allow(1);
            bench.logged().await
        },
        |logged| !logged.is_empty(),
    );
    let logged = logged.await;
    assert_eq!(logged[0].finish, FinishReason::Cancelled);
    assert!(logged[0].answer_tokens < 90, "{:?}", logged[0]);
    bench.in_flight(0).await;
}

#[tokio::test]
async fn a_long_text_is_cut_and_marked_in_the_log_only() {
    let bench = Bench::start_with(|settings| crate::InferenceSettings { logged_text_bytes: 16, ..settings }).await;
    let answer = bench.ask("text a much longer answer").await;
    assert_eq!(content(&answer), "a much longer answer");
    let logged = bench.logged().await;
    assert!(logged[0].truncated && logged[0].answer.len() <= 16 && logged[0].messages[0].content.len() <= 16);
}

#[tokio::test]
async fn shutdown_finishes_what_is_in_flight_and_admits_nothing() {
    let bench = Bench::start().await;
    bench.engine.gate.close();
    let mut body = chat("say 20");
    body["stream"] = true.into();
    let response = bench.asking(&body).send().await.unwrap();
    bench.held_back().await;
    bench.shutdown.request();
    bench.engine.gate.open();
    let text = response.text().await.unwrap();
    assert!(text.trim_end().ends_with("[DONE]"), "{text}");
    let url = bench.url("/v1/chat/completions");
    let client = reqwest::Client::new();
    bench.running.finished().await;
    assert!(client.post(url).json(&chat("say 1")).send().await.is_err());
}

#[tokio::test]
async fn what_does_not_finish_in_time_is_cancelled_and_logged() {
    let bench = Bench::start_with(|settings| crate::InferenceSettings { drain_seconds: 0, ..settings }).await;
    bench.engine.gate.close();
    let asked = tokio::spawn(bench.asking(&chat("say 20")).send());
    bench.held_back().await;
    bench.shutdown.request();
    let gate = std::sync::Arc::clone(&bench.engine.gate);
    let response = tokio::select! {
        response = asked => response.unwrap().unwrap(),
        () = async { loop { gate.allow(1); tokio::task::yield_now().await } } => unreachable!(),
    };
    // Either the few steps sufficed or the answer was cancelled; it is in the log in both cases.
    assert!([200, 503].contains(&response.status().as_u16()));
    assert_eq!(bench.logged().await.len(), 1);
}
