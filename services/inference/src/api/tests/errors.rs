use serde_json::{Value, json};

use crate::fixture::{Bench, chat, content};

/// Posts a body as it is; gives the status and the error, whose shape is checked.
async fn refused(bench: &Bench, path: &str, body: String) -> (u16, Value) {
    let response = bench.client.post(bench.url(path)).body(body).send().await.unwrap();
    let status = response.status().as_u16();
    let answer: Value = response.json().await.unwrap();
    let error = answer["error"].as_object().unwrap();
    assert!(error["message"].is_string() && error["type"].is_string() && error["code"].is_string(), "{answer}");
    assert!(error.contains_key("param"), "{answer}");
    (status, answer["error"].clone())
}

#[tokio::test]
async fn bad_requests_are_refused_with_the_parameter() {
    let bench = Bench::start().await;
    let cases = [
        (json!({"messages": []}), 400, "messages", "invalid_value"),
        (json!({"messages": null}), 400, "messages", "missing_required_parameter"),
        (json!({"model": null}), 400, "model", "missing_required_parameter"),
        (json!({"model": 7}), 400, "model", "invalid_type"),
        (json!({"model": "gpt-4"}), 404, "model", "model_not_found"),
        (json!({"temperature": "warm"}), 400, "temperature", "invalid_type"),
        (json!({"temperature": 2.5}), 400, "temperature", "invalid_value"),
        (json!({"top_p": -0.1}), 400, "top_p", "invalid_value"),
        (json!({"max_tokens": 0}), 400, "max_tokens", "invalid_value"),
        (json!({"max_tokens": 1.5}), 400, "max_tokens", "invalid_type"),
        (json!({"stream": "yes"}), 400, "stream", "invalid_type"),
        (json!({"stream_options": {"include_usage": 1}}), 400, "stream_options.include_usage", "invalid_type"),
        (json!({"seed": "x"}), 400, "seed", "invalid_type"),
        (json!({"store": 1}), 400, "store", "invalid_type"),
        (json!({"stop": ["a", "b", "c", "d", "e"]}), 400, "stop", "invalid_value"),
        (json!({"stop": 3}), 400, "stop", "invalid_type"),
        (json!({"n": 2}), 400, "n", "unsupported_parameter"),
        (json!({"logprobs": true}), 400, "logprobs", "unsupported_parameter"),
        (json!({"tools": [{}]}), 400, "tools", "unsupported_parameter"),
        (json!({"response_format": {"type": "json_object"}}), 400, "response_format", "unsupported_parameter"),
        (json!({"user": ""}), 400, "user", "invalid_value"),
        (json!({"metadata": "x"}), 400, "metadata", "invalid_type"),
        (json!({"metadata": {"session": 4}}), 400, "metadata.session", "invalid_type"),
        (json!({"metadata": {"continue": "true"}}), 400, "metadata.continue", "invalid_value"),
        (json!({"metadata": {"consent": "maybe"}}), 400, "metadata.consent", "invalid_value"),
        (json!({"messages": [{"role": "boss", "content": "x"}]}), 400, "messages[0].role", "invalid_value"),
        (json!({"messages": [{"role": "user"}]}), 400, "messages[0].content", "invalid_type"),
        (
            json!({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}),
            400,
            "messages[0].content[0]",
            "unsupported_parameter",
        ),
    ];
    for (change, status, param, code) in cases {
        let mut body = chat("say 1");
        body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let (found, error) = refused(&bench, "/v1/chat/completions", body.to_string()).await;
        assert_eq!((found, &error["param"], &error["code"]), (status, &json!(param), &json!(code)), "{change}: {error}");
    }
    assert!(bench.logged().await.is_empty());
}

#[tokio::test]
async fn unknown_and_harmless_fields_are_ignored() {
    let bench = Bench::start().await;
    let mut body = chat("say 1");
    let more = json!({"frobnicate": 1, "n": 1, "logprobs": false, "tools": [], "response_format": {"type": "text"}, "seed": -3,
        "temperature": null, "metadata": {"color": "red"}, "parallel_tool_calls": true});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let answer: Value = bench.asking(&body).send().await.unwrap().json().await.unwrap();
    assert_eq!(content(&answer), "0");
}

#[tokio::test]
async fn a_body_that_is_not_json_is_refused_saying_where() {
    let bench = Bench::start().await;
    let (status, error) = refused(&bench, "/v1/chat/completions", "{\"model\": \"nocturne\",\n  oops}".to_owned()).await;
    assert_eq!((status, &error["code"], &error["type"]), (400, &json!("invalid_json"), &json!("invalid_request_error")));
    assert!(error["message"].as_str().unwrap().contains("line 2 column 3"), "{error}");
    assert_eq!(refused(&bench, "/v1/chat/completions", "[1]".to_owned()).await.0, 400);
    assert_eq!(refused(&bench, "/v1/completions", String::new()).await.0, 400);
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused() {
    let bench = Bench::start_with(|settings| crate::InferenceSettings { max_body_bytes: 2000, ..settings }).await;
    let (status, error) = refused(&bench, "/v1/chat/completions", chat(&"x".repeat(3000)).to_string()).await;
    assert_eq!((status, &error["code"]), (413, &json!("request_too_large")));
    assert!(error["message"].as_str().unwrap().contains("2000"), "{error}");
}

#[tokio::test]
async fn a_prompt_over_the_context_is_refused_with_the_numbers() {
    let bench = Bench::start().await;
    let (status, error) = refused(&bench, "/v1/chat/completions", chat(&"x".repeat(300)).to_string()).await;
    assert_eq!((status, &error["code"]), (400, &json!("context_length_exceeded")));
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("200 tokens") && message.contains("303 in the messages"), "{message}");
}

#[tokio::test]
async fn unknown_urls_and_wrong_methods_have_the_same_shape() {
    let bench = Bench::start().await;
    assert_eq!(refused(&bench, "/v1/embeddings", "{}".to_owned()).await.1["code"], "unknown_url");
    let response = bench.get("/v1/chat/completions").await;
    assert_eq!(response.status(), 405);
    assert_eq!(response.json::<Value>().await.unwrap()["error"]["code"], "method_not_allowed");
}

#[tokio::test]
async fn a_full_queue_is_told_at_once_and_nothing_else_suffers() {
    let bench = Bench::start_with(|settings| crate::InferenceSettings { queue_capacity: 2, max_batch: 1, ..settings }).await;
    bench.engine.gate.close();
    let first = tokio::spawn(bench.asking(&chat("say 5")).send());
    bench.held_back().await;
    let waiting: Vec<_> = (0..2).map(|_| tokio::spawn(bench.asking(&chat("say 5")).send())).collect();
    bench.in_flight(3).await;
    let response = bench.asking(&chat("say 5")).send().await.unwrap();
    assert_eq!(response.status(), 429);
    assert_eq!(response.headers()["retry-after"], "1");
    let error: Value = response.json().await.unwrap();
    assert_eq!((&error["error"]["code"], &error["error"]["type"]), (&json!("queue_full"), &json!("rate_limit_error")));
    bench.engine.gate.open();
    for answer in waiting.into_iter().chain([first]) {
        assert_eq!(answer.await.unwrap().unwrap().status(), 200);
    }
}

#[tokio::test]
async fn feedback_is_checked_and_logged() {
    let bench = Bench::start().await;
    let id = bench.ask("say 1").await["id"].as_str().unwrap().to_owned();
    let body = json!({"interaction": id, "score": -1, "correction": "say two", "user": "ann"});
    let given: Value = bench.post("/v1/feedback", &body).await.json().await.unwrap();
    let logged = bench.feedback().await;
    assert_eq!(logged.len(), 1);
    assert_eq!(format!("chatcmpl-{}", logged[0].interaction), id);
    assert_eq!(given["id"], logged[0].id.as_str());
    assert_eq!((logged[0].subject.as_str(), logged[0].correction.as_deref()), ("ann", Some("say two")));
    let empty = json!({"interaction": id, "score": 1, "correction": " "});
    assert_eq!(bench.post("/v1/feedback", &empty).await.status(), 200);
    assert_eq!(
        bench.feedback().await.last().and_then(|verdict| verdict.correction.clone()),
        None,
        "an empty field corrects nothing"
    );
    let unknown = json!({"interaction": "elsewhere-17-4", "score": 1});
    assert_eq!(bench.post("/v1/feedback", &unknown).await.status(), 200);
    for (body, param) in [
        (json!({"interaction": "nonsense", "score": 1}), "interaction"),
        (json!({"score": 1}), "interaction"),
        (json!({"interaction": "a-1-2"}), "score"),
        (json!({"interaction": "a-1-2", "score": 1.5}), "score"),
        (json!({"interaction": "a-1-2", "score": 1, "correction": 4}), "correction"),
        (json!({"interaction": "a-1-2", "score": 1, "correction": "no ".repeat(100_000)}), "correction"),
    ] {
        let (status, error) = refused(&bench, "/v1/feedback", body.to_string()).await;
        assert_eq!((status, &error["param"]), (400, &json!(param)));
    }
}

/// Bodies a slip away from good ones, from every byte on: each is answered in one of two shapes, and the server stays up.
#[tokio::test]
async fn any_body_is_answered_or_refused_in_openais_shape() {
    let bench = Bench::start().await;
    let mut body = chat("say 1");
    let more = json!({"stop": ["a"], "metadata": {"session": "s", "continue": "false"}, "stream": false, "temperature": 0.5});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let good = body.to_string().into_bytes();
    for (at, with) in (0..good.len()).zip([0_u8, b'"', b'9', b'}', 0xff, b',', b'-'].into_iter().cycle()) {
        for path in ["/v1/chat/completions", "/v1/completions", "/v1/feedback"] {
            let mut bad = good.clone();
            bad[at] = with;
            let response = bench.client.post(bench.url(path)).body(bad).send().await.unwrap();
            let status = response.status().as_u16();
            let answer: Value = response.json().await.unwrap();
            let shaped = if status == 200 { answer["choices"].is_array() } else { answer["error"]["message"].is_string() };
            assert!(shaped && status < 500, "byte {at} as {with}: {status} {answer}");
        }
    }
}
