use serde_json::{Value, json};

use crate::fixture::{Bench, chat, content};

fn user(text: &str) -> Value {
    json!({"role": "user", "content": text})
}

async fn ask(bench: &Bench, session: &str, messages: Value) -> Value {
    let body = json!({"model": "nocturne", "messages": messages});
    let response = bench.asking(&body).header("x-nocturne-session", session).send().await.unwrap();
    assert_eq!(response.headers()["x-nocturne-session"], session);
    response.json().await.unwrap()
}

fn last_prefill(bench: &Bench) -> usize {
    *bench.engine.prefills.lock().unwrap().last().unwrap()
}

#[tokio::test]
async fn a_session_reads_only_what_is_new() {
    let bench = Bench::start().await;
    let first = ask(&bench, "s", json!([user("say 3")])).await;
    let messages = json!([user("say 3"), {"role": "assistant", "content": content(&first)}, user("say 2")]);
    let second = ask(&bench, "s", messages.clone()).await;
    // The end of the first answer, the new message, the opening: everything else was in the state.
    assert_eq!(last_prefill(&bench), 1 + 7 + 1);
    assert_eq!(second["usage"]["prompt_tokens"], 20);
    assert_eq!(second["usage"]["prompt_tokens_details"]["cached_tokens"], 11);
    // The same list in a fresh session is read from the start and gives the same answer.
    let fresh = ask(&bench, "t", messages).await;
    assert_eq!(last_prefill(&bench), 20);
    assert_eq!(content(&fresh), content(&second));
}

#[tokio::test]
async fn the_short_form_continues_a_session_and_says_when_it_is_gone() {
    let bench = Bench::start().await;
    ask(&bench, "s", json!([user("say 3")])).await;
    let mut body = chat("what?");
    body["metadata"] = json!({"session": "s", "continue": "true"});
    let answer: Value = bench.asking(&body).send().await.unwrap().json().await.unwrap();
    // Eight tokens of prompt, three of answer, an end, seven of message, an opening.
    assert_eq!(content(&answer), "read 20");
    body["metadata"]["session"] = "gone".into();
    let response = bench.asking(&body).send().await.unwrap();
    assert_eq!(response.status(), 404);
    assert_eq!(response.json::<Value>().await.unwrap()["error"]["code"], "session_expired");
}

#[tokio::test]
async fn a_session_of_another_tenant_is_another_session() {
    let bench = Bench::start().await;
    ask(&bench, "s", json!([user("say 3")])).await;
    let mut body = chat("what?");
    body["metadata"] = json!({"session": "s", "continue": "true", "tenant": "other"});
    assert_eq!(bench.asking(&body).send().await.unwrap().status(), 404);
}

#[tokio::test]
async fn a_state_survives_an_answer_that_ran_into_its_limit() {
    let bench = Bench::start().await;
    let mut body = chat("say 9");
    body["max_tokens"] = 3.into();
    body["metadata"] = json!({"session": "s"});
    bench.asking(&body).send().await.unwrap();
    let mut next = chat("what?");
    next["metadata"] = json!({"session": "s", "continue": "true"});
    let answer: Value = bench.asking(&next).send().await.unwrap().json().await.unwrap();
    assert_eq!(content(&answer), "read 20");
    // The third token of the answer was drawn but not read before.
    assert_eq!(last_prefill(&bench), 1 + 1 + 7 + 1);
}

#[tokio::test]
async fn after_a_swap_a_session_is_read_again_under_the_new_generation() {
    let bench = Bench::start().await;
    ask(&bench, "s", json!([user("say 3")])).await;
    let one = bench.lake.publish(1, b"1").await;
    bench.lake.promote(&one).await;
    bench.running.nudge().await.unwrap();
    let mut body = chat("say 2");
    body["metadata"] = json!({"session": "s", "continue": "true"});
    let answer: Value = bench.asking(&body).send().await.unwrap().json().await.unwrap();
    assert_eq!(content(&answer), "11");
    assert_eq!(last_prefill(&bench), 20);
    let next: Value = bench.asking(&body).send().await.unwrap().json().await.unwrap();
    assert_eq!(last_prefill(&bench), 1 + 7 + 1);
    assert_eq!(content(&next), "11");
}
