//! From a request's body and headers to what is asked for.

use axum::http::HeaderMap;
use nocturne_wire::record::{Message, Role};
use serde_json::Value;

use super::{
    App,
    error::ApiError,
    identity::{self, Identity},
    params::{Params, wrong_type},
};
use crate::{decode::Sampling, engine::Engine, session::Form};

/// Most stop strings of one request, as OpenAI has it.
const MAX_STOPS: usize = 4;

/// What the model reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Input {
    /// A conversation.
    Chat(Vec<Message>),
    /// Bare text.
    Text(String),
}

/// How the answer is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Delivery {
    /// At once.
    Whole,
    /// In chunks, with the token counts at the end when they were asked for.
    Stream { include_usage: bool },
}

/// One request for an answer.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Request {
    pub(super) input: Input,
    pub(super) identity: Identity,
    /// `max_tokens` is the request's own limit, or the default.
    pub(super) sampling: Sampling,
    /// Whether the client set the limit: then one that does not fit is refused instead of lowered.
    pub(super) limited: bool,
    pub(super) delivery: Delivery,
    pub(super) store: bool,
}

impl Request {
    /// Parses `/v1/chat/completions`.
    pub(super) fn chat<E: Engine>(app: &App<E>, headers: &HeaderMap, body: &[u8]) -> Result<Self, ApiError> {
        let params = Params::parse(body)?;
        refuse_unsupported(&params, &["tools", "functions", "response_format", "modalities", "audio"])?;
        let list = params.array("messages")?.ok_or_else(|| ApiError::missing("messages"))?;
        if list.is_empty() {
            return Err(ApiError::invalid("messages", "`messages` must hold at least one message."));
        }
        let messages = list.iter().enumerate().map(|(index, value)| message(index, value)).collect::<Result<_, _>>()?;
        Self::common(app, headers, &params, Input::Chat(messages))
    }

    /// Parses `/v1/completions`.
    pub(super) fn text<E: Engine>(app: &App<E>, headers: &HeaderMap, body: &[u8]) -> Result<Self, ApiError> {
        let params = Params::parse(body)?;
        refuse_unsupported(&params, &["suffix", "echo"])?;
        let prompt = match params.get("prompt").ok_or_else(|| ApiError::missing("prompt"))? {
            Value::String(text) => text.clone(),
            Value::Array(list) if list.len() == 1 && list[0].is_string() => list[0].as_str().unwrap_or_default().to_owned(),
            Value::Array(_) => {
                return Err(ApiError::unsupported("prompt", "`prompt` must be one string; lists and tokens are not supported."));
            }
            other => return Err(wrong_type("prompt", "a string", other)),
        };
        if prompt.is_empty() {
            return Err(ApiError::invalid("prompt", "`prompt` must not be empty."));
        }
        let request = Self::common(app, headers, &params, Input::Text(prompt))?;
        if request.identity.form == Form::Continue {
            return Err(ApiError::unsupported("metadata.continue", "Sessions are continued by /v1/chat/completions only."));
        }
        Ok(request)
    }

    fn common<E: Engine>(app: &App<E>, headers: &HeaderMap, params: &Params, input: Input) -> Result<Self, ApiError> {
        let served = &app.settings.model;
        let model = params.string("model")?.ok_or_else(|| ApiError::missing("model"))?;
        if model != served {
            return Err(ApiError::unknown_model(model, served));
        }
        let limit = match params.count("max_completion_tokens")? {
            Some(limit) => Some(limit),
            None => params.count("max_tokens")?,
        };
        let temperature = params.number("temperature", 0.0..=2.0)?.map(|value| value as f32);
        let usage = params.object("stream_options")?.and_then(|options| options.get("include_usage"));
        let include_usage = usage.filter(|value| !value.is_null()).map_or(Ok(false), |value| {
            value.as_bool().ok_or_else(|| wrong_type("stream_options.include_usage", "a boolean", value))
        })?;
        Ok(Self {
            input,
            identity: identity::identity(headers, params, (&app.tenant, &app.subject))?,
            sampling: Sampling {
                temperature: temperature.unwrap_or(app.settings.default_temperature),
                top_p: params.number("top_p", 0.0..=1.0)?.unwrap_or(1.0) as f32,
                // Without a seed two equal requests may differ, as the client expects of a temperature above 0.
                seed: params.integer("seed")?.map_or_else(|| uuid::Uuid::now_v7().as_u64_pair().1, i64::cast_unsigned),
                max_tokens: limit.unwrap_or(app.settings.default_max_tokens),
                stop: stops(params)?,
            },
            limited: limit.is_some(),
            delivery: match params.bool("stream")? {
                Some(true) => Delivery::Stream { include_usage },
                Some(false) | None => Delivery::Whole,
            },
            store: params.bool("store")?.unwrap_or(true),
        })
    }
}

/// What would change the answer but is not there is refused, not ignored.
fn refuse_unsupported(params: &Params, names: &[&str]) -> Result<(), ApiError> {
    for name in ["n", "best_of"] {
        if let Some(count) = params.integer(name)?
            && count != 1
        {
            return Err(ApiError::unsupported(name, format!("`{name}` must be 1: one answer a request is supported.")));
        }
    }
    for name in ["logprobs", "top_logprobs"].iter().chain(names) {
        let harmless = match params.get(name) {
            None | Some(Value::Bool(false)) => true,
            Some(Value::Array(list)) => list.is_empty(),
            Some(Value::Object(format)) => {
                *name == "response_format" && format.get("type").and_then(Value::as_str) == Some("text")
            }
            Some(Value::String(text)) => text.is_empty(),
            Some(Value::Bool(true) | Value::Number(_) | Value::Null) => false,
        };
        let text_only = *name == "modalities" && params.get(name) == Some(&serde_json::json!(["text"]));
        if !harmless && !text_only {
            return Err(ApiError::unsupported(name, format!("`{name}` is not supported by this server.")));
        }
    }
    Ok(())
}

fn stops(params: &Params) -> Result<Vec<String>, ApiError> {
    let list = match params.get("stop") {
        None => return Ok(Vec::new()),
        Some(Value::String(text)) => vec![text.clone()],
        Some(value @ Value::Array(list)) => {
            let texts = list.iter().map(|item| item.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>();
            texts.ok_or_else(|| wrong_type("stop", "a string or an array of strings", value))?
        }
        Some(other) => return Err(wrong_type("stop", "a string or an array of strings", other)),
    };
    if list.len() > MAX_STOPS || list.iter().any(String::is_empty) {
        return Err(ApiError::invalid("stop", format!("`stop` must hold at most {MAX_STOPS} strings, none of them empty.")));
    }
    Ok(list)
}

fn message(index: usize, value: &Value) -> Result<Message, ApiError> {
    let at = |field: &str| format!("messages[{index}]{field}");
    let fields = value.as_object().ok_or_else(|| wrong_type(&at(""), "an object", value))?;
    let role = match fields.get("role").unwrap_or(&Value::Null) {
        Value::String(role) => match role.as_str() {
            "system" | "developer" => Role::System,
            "user" => Role::User,
            "assistant" => Role::Assistant,
            "tool" | "function" => Role::Tool,
            other => {
                let message = format!("`{}` must be `system`, `user`, `assistant` or `tool`, not `{other}`.", at(".role"));
                return Err(ApiError::invalid(at(".role"), message));
            }
        },
        other => return Err(wrong_type(&at(".role"), "a string", other)),
    };
    let content = match fields.get("content").unwrap_or(&Value::Null) {
        Value::String(text) => text.clone(),
        Value::Array(parts) => {
            let texts = parts.iter().enumerate().map(|(part, value)| text_part(&at(&format!(".content[{part}]")), value));
            texts.collect::<Result<Vec<_>, _>>()?.concat()
        }
        other => return Err(wrong_type(&at(".content"), "a string or an array of text parts", other)),
    };
    Ok(Message { role, content })
}

fn text_part(name: &str, part: &Value) -> Result<String, ApiError> {
    if part.get("type").and_then(Value::as_str) != Some("text") {
        return Err(ApiError::unsupported(name, format!("`{name}` must have the type `text`; other parts are not supported.")));
    }
    match part.get("text") {
        Some(Value::String(text)) => Ok(text.clone()),
        other => Err(wrong_type(&format!("{name}.text"), "a string", other.unwrap_or(&Value::Null))),
    }
}
