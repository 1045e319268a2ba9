//! Errors in OpenAI's shape.

use std::time::Duration;

use axum::{
    Json,
    extract::rejection::BytesRejection,
    http::{HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use crate::engine::Unwritable;

/// What a client should wait before it tries a full queue again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

const INVALID: &str = "invalid_request_error";

/// An error's code, attached to its response so that it can be counted.
#[derive(Debug, Clone, Copy)]
pub(super) struct ErrorCode(pub(super) &'static str);

/// An error as a client sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiError {
    pub(super) status: StatusCode,
    pub(super) kind: &'static str,
    pub(super) code: &'static str,
    pub(super) param: Option<String>,
    pub(super) message: String,
}

impl ApiError {
    fn new(status: StatusCode, kind: &'static str, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, kind, code, param: None, message: message.into() }
    }

    /// A parameter with a value that is not accepted.
    pub(super) fn invalid(param: impl Into<String>, message: impl Into<String>) -> Self {
        let invalid = Self::new(StatusCode::BAD_REQUEST, INVALID, "invalid_value", message);
        Self { param: Some(param.into()), ..invalid }
    }

    /// A parameter that is not supported.
    pub(super) fn unsupported(param: &str, message: impl Into<String>) -> Self {
        Self { code: "unsupported_parameter", ..Self::invalid(param, message) }
    }

    /// A parameter that must be given.
    pub(super) fn missing(param: &str) -> Self {
        Self { code: "missing_required_parameter", ..Self::invalid(param, format!("You must provide `{param}`.")) }
    }

    pub(super) fn bad_json(error: &serde_json::Error) -> Self {
        // serde_json names line and column; for an empty body that is all there is to say.
        Self::new(StatusCode::BAD_REQUEST, INVALID, "invalid_json", format!("The request body is not valid JSON: {error}."))
    }

    pub(super) fn body(rejection: &BytesRejection, max_bytes: usize) -> Self {
        let status = rejection.status();
        if status == StatusCode::PAYLOAD_TOO_LARGE {
            let message = format!("The request body is larger than the {max_bytes} bytes that are accepted.");
            return Self::new(status, INVALID, "request_too_large", message);
        }
        Self::new(StatusCode::BAD_REQUEST, INVALID, "unreadable_body", "The request body could not be read.")
    }

    pub(super) fn unknown_model(asked: &str, served: &str) -> Self {
        let message = format!("The model `{asked}` does not exist here. Served: `{served}`.");
        let unknown = Self::new(StatusCode::NOT_FOUND, INVALID, "model_not_found", message);
        Self { param: Some("model".to_owned()), ..unknown }
    }

    pub(super) fn context_length(max: usize, prompt: usize, answer: usize) -> Self {
        let message = format!(
            "This model's maximum context length is {max} tokens. However, you requested {} tokens ({prompt} in the messages, \
             {answer} in the completion). Please reduce the length of the messages or completion.",
            prompt + answer
        );
        let long = Self::new(StatusCode::BAD_REQUEST, INVALID, "context_length_exceeded", message);
        Self { param: Some("messages".to_owned()), ..long }
    }

    pub(super) fn unwritable(why: &Unwritable) -> Self {
        Self::invalid("messages", format!("The model's chat template does not take these messages: {why}."))
    }

    pub(super) fn session_expired(session: &str) -> Self {
        let message = format!(
            "The session `{session}` is not kept (any more), so it cannot be continued. Send the whole message list without \
             `metadata.continue`."
        );
        let expired = Self::new(StatusCode::NOT_FOUND, INVALID, "session_expired", message);
        Self { param: Some("metadata.continue".to_owned()), ..expired }
    }

    pub(super) fn queue_full(capacity: usize) -> Self {
        let message = format!("All {capacity} places in the queue are taken. Please try again.");
        Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limit_error", "queue_full", message)
    }

    pub(super) fn shutting_down() -> Self {
        let message = "The server is shutting down. Please try again elsewhere or later.";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "server_error", "shutting_down", message)
    }

    pub(super) fn not_logged() -> Self {
        let message = "The feedback could not be stored. Please try again.";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "server_error", "log_unavailable", message)
    }

    pub(super) fn internal() -> Self {
        let message = "The server could not complete the answer. Please try again.";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", "internal_error", message)
    }

    pub(super) fn unknown_url(method: &Method, path: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, INVALID, "unknown_url", format!("Unknown request URL: {method} {path}."))
    }

    pub(super) fn wrong_method(method: &Method, path: &str) -> Self {
        let message = format!("The method {method} is not allowed for {path}.");
        Self::new(StatusCode::METHOD_NOT_ALLOWED, INVALID, "method_not_allowed", message)
    }

    /// The error as JSON.
    pub(super) fn body_json(&self) -> Value {
        json!({"error": {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}})
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body_json())).into_response();
        if self.status == StatusCode::TOO_MANY_REQUESTS {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER.as_secs()));
        }
        response.extensions_mut().insert(ErrorCode(self.code));
        response
    }
}
