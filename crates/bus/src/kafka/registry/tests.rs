//! The client against answers that are played, and settings that cannot be.

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::*;

/// Answers one request, and tells what it was.
async fn played(answer: &'static str) -> (RegistrySettings, tokio::task::JoinHandle<String>) {
    played_in_turn(vec![answer]).await
}

/// Answers as many requests as there are answers, and tells what they were.
async fn played_in_turn(answers: Vec<&'static str>) -> (RegistrySettings, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/root/", listener.local_addr().expect("bound"));
    let served = tokio::spawn(async move {
        let mut told = String::new();
        for answer in answers {
            let (mut stream, _) = listener.accept().await.expect("a client");
            let mut request = vec![0; 64 << 10];
            let read = stream.read(&mut request).await.expect("a request");
            stream.write_all(answer.as_bytes()).await.expect("taken");
            told.push_str(&String::from_utf8_lossy(&request[..read]));
        }
        told
    });
    (RegistrySettings { url, timeout_milliseconds: 2_000, ..RegistrySettings::default() }, served)
}

fn opened(settings: &RegistrySettings) -> Registry {
    Registry::open(settings).expect("sound").expect("named")
}

#[tokio::test]
async fn a_request_has_its_path_and_its_login() {
    let (mut settings, served) = played("HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\n{\"id\":7}").await;
    let secret = tempfile::NamedTempFile::new().expect("a file");
    fs::write(secret.path(), "sesame\n").expect("written");
    settings.username = "ada".to_owned();
    settings.password_file = Some(secret.path().to_owned());
    let registry = opened(&settings);
    assert!(!format!("{registry:?}").contains("sesame"));
    assert_eq!(registry.register("a/b-value", "\"string\"").await.expect("registered"), 7);
    let request = served.await.expect("served").to_lowercase();
    assert!(request.starts_with("post /root/subjects/a%2fb-value/versions http/1.1"), "{request}");
    // `ada:sesame`
    assert!(request.contains("authorization: basic ywrhonnlc2ftzq=="), "{request}");
    assert!(request.ends_with(r#"{"schema":"\"string\""}"#), "{request}");
}

#[tokio::test]
async fn a_password_that_is_away_for_a_moment_is_asked_for_again() {
    let (mut settings, _served) = played("HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\n{\"id\":7}").await;
    let secret = tempfile::NamedTempFile::new().expect("a file");
    settings.username = "ada".to_owned();
    settings.password_file = Some(secret.path().to_owned());
    let registry = opened(&settings);
    secret.close().expect("removed");
    let away = registry.register("a-value", "\"string\"").await.expect_err("no password");
    assert!(!away.is_final() && away.to_string().contains("password"), "{away}");
    assert_eq!(registry.status().borrow().failed, 1);
}

#[tokio::test]
async fn an_incompatible_schema_is_final_and_says_what_to_do() {
    let body = "HTTP/1.1 409 Conflict\r\ncontent-length: 37\r\n\r\n{\"error_code\":409,\"message\":\"no way\"}";
    let (settings, _served) = played(body).await;
    let error = opened(&settings).register("a-value", "\"string\"").await.expect_err("refused");
    assert!(error.is_final());
    let told = error.to_string();
    assert!(told.contains("a-value") && told.contains("no way") && told.contains("[kafka.topics]"), "{told}");
}

#[tokio::test]
async fn a_registry_that_fails_is_no_word_about_an_id() {
    for answer in [
        "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\ncut",
        "nonsense",
    ] {
        let (settings, _served) = played(answer).await;
        let error = opened(&settings).schema(7).await.expect_err(answer);
        assert!(!error.is_final(), "{error}");
    }
    let nowhere = RegistrySettings { url: "http://127.0.0.1:9".to_owned(), ..RegistrySettings::default() };
    let error = opened(&nowhere).schema(7).await.expect_err("nobody there");
    assert!(matches!(error, RegistryError::Unreachable { .. }), "{error}");
}

const YES: &str = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 8\r\n\r\n{\"id\":7}";
const WHO: &str = "HTTP/1.1 401 Unauthorized\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
const NOT_YOU: &str = "HTTP/1.1 403 Forbidden\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
const BROKEN: &str = "HTTP/1.1 500 Broken\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
const TAKEN: &str = "HTTP/1.1 409 Conflict\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

#[tokio::test]
async fn a_password_that_was_mended_is_used_by_the_next_request() {
    let (mut settings, served) = played_in_turn(vec![WHO, YES]).await;
    let secret = tempfile::NamedTempFile::new().expect("a file");
    fs::write(secret.path(), "wrong").expect("written");
    settings.username = "ada".to_owned();
    settings.password_file = Some(secret.path().to_owned());
    let registry = opened(&settings);
    let denied = registry.register("a-value", "\"string\"").await.expect_err("who is that?");
    let told = denied.to_string();
    assert!(denied.is_denied() && !denied.is_final(), "{told}");
    assert!(
        ["401", "`username`", "`password_file`", REGISTRY_PASSWORD_VARIABLE].iter().all(|word| told.contains(word)),
        "{told}"
    );
    // A file that is away for a moment is said, and nobody is asked without a password.
    fs::remove_file(secret.path()).expect("removed");
    let away = registry.register("a-value", "\"string\"").await.expect_err("no password");
    assert!(matches!(away, RegistryError::File { what: "password", .. }), "{away}");
    fs::write(secret.path(), "sesame\n").expect("written");
    assert_eq!(registry.register("a-value", "\"string\"").await.expect("registered"), 7);
    // `ada:wrong`, then `ada:sesame`
    let requests = served.await.expect("served");
    let logins: Vec<_> =
        requests.lines().filter_map(|line| line.split_once("Basic ").or_else(|| line.split_once("basic "))).collect();
    assert_eq!(logins.iter().map(|(_, login)| *login).collect::<Vec<_>>(), ["YWRhOndyb25n", "YWRhOnNlc2FtZQ=="], "{requests}");
}

#[tokio::test]
async fn requests_are_counted_by_how_they_ended() {
    let (settings, served) = played_in_turn(vec![YES, WHO, NOT_YOU, BROKEN, TAKEN]).await;
    let registry = opened(&settings);
    let clone = registry.clone();
    for _ in 0..5 {
        clone.register("a-value", "\"string\"").await.ok();
    }
    served.await.expect("served");
    clone.register("a-value", "\"string\"").await.expect_err("nobody is there any more");
    let told = *registry.status().borrow();
    let wanted = RegistryStatus { answered: 1, denied: 2, failed: 2, unreachable: 1, ids_known: None };
    assert_eq!(told, wanted);
}

#[tokio::test]
async fn a_registry_without_tls_is_told_from_one_that_is_away() {
    let (mut settings, _served) = played("HTTP/1.1 400 Bad Request\r\n\r\n").await;
    settings.url = settings.url.replace("http://", "https://");
    let told = opened(&settings).subjects().await.expect_err("no TLS").to_string();
    assert!(told.contains("begin with http://"), "{told}");
    let nowhere = RegistrySettings { url: "https://127.0.0.1:9".to_owned(), ..RegistrySettings::default() };
    let told = opened(&nowhere).subjects().await.expect_err("nobody there").to_string();
    assert!(told.ends_with("at the schema registry https://127.0.0.1:9/"), "{told}");
}

#[test]
fn settings_that_cannot_be_are_refused() {
    let empty = tempfile::NamedTempFile::new().expect("a file");
    let with = |url: &str| RegistrySettings { url: url.to_owned(), ..RegistrySettings::default() };
    assert!(Registry::open(&with("")).expect("none").is_none());
    for (settings, word) in [
        (with("registry:8081"), "http://"),
        (with("no address"), "http://"),
        (with("http://ada:sesame@registry"), "password_file"),
        (RegistrySettings { username: "ada".to_owned(), ..with("http://registry") }, REGISTRY_PASSWORD_VARIABLE),
        (RegistrySettings { ca_file: Some("/nowhere/ca.crt".into()), ..with("http://registry") }, "/nowhere/ca.crt"),
        (RegistrySettings { ca_file: Some(empty.path().to_owned()), ..with("http://registry") }, "holds no certificate"),
    ] {
        let error = Registry::open(&settings).expect_err("refused");
        assert!(error.is_final());
        let told = error.to_string();
        assert!(told.contains(word) && !told.contains("sesame"), "{told}");
    }
}
