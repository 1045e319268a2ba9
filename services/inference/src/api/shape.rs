//! Answers in OpenAI's shape.

use jiff::Timestamp;
use nocturne_wire::{generation::GenerationName, id::InteractionId, record::FinishReason};
use serde_json::{Value, json};

/// Which of the two APIs answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Endpoint {
    Chat,
    Text,
}

impl Endpoint {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Text => "text",
        }
    }

    const fn prefix(self) -> &'static str {
        match self {
            Self::Chat => "chatcmpl-",
            Self::Text => "cmpl-",
        }
    }

    const fn object(self, stream: bool) -> &'static str {
        match (self, stream) {
            (Self::Chat, false) => "chat.completion",
            (Self::Chat, true) => "chat.completion.chunk",
            (Self::Text, _) => "text_completion",
        }
    }
}

/// Takes the prefix off an answer's id, so that clients may give back either.
pub(super) fn bare_id(id: &str) -> &str {
    [Endpoint::Chat, Endpoint::Text].iter().find_map(|endpoint| id.strip_prefix(endpoint.prefix())).unwrap_or(id)
}

/// How OpenAI calls a generation.
pub(super) fn fingerprint(generation: &GenerationName) -> String {
    format!("gen-{generation}")
}

/// OpenAI's word for why an answer ended.
pub(super) const fn finish_word(finish: FinishReason) -> &'static str {
    match finish {
        FinishReason::Stop => "stop",
        FinishReason::Length => "length",
        FinishReason::Cancelled => "cancelled",
    }
}

/// Token counts of one answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Usage {
    pub(super) prompt: u32,
    pub(super) cached: u32,
    pub(super) answer: u32,
}

impl Usage {
    fn json(self) -> Value {
        json!({
            "prompt_tokens": self.prompt,
            "completion_tokens": self.answer,
            "total_tokens": self.prompt + self.answer,
            "prompt_tokens_details": {"cached_tokens": self.cached},
        })
    }
}

/// What all parts of one answer have in common.
#[derive(Debug, Clone)]
pub(super) struct Envelope {
    pub(super) endpoint: Endpoint,
    pub(super) id: InteractionId,
    pub(super) created: Timestamp,
    pub(super) model: String,
    pub(super) generation: GenerationName,
    pub(super) include_usage: bool,
}

impl Envelope {
    fn value(&self, stream: bool, choices: &Value) -> Value {
        json!({
            "id": format!("{}{}", self.endpoint.prefix(), self.id),
            "object": self.endpoint.object(stream),
            "created": self.created.as_second(),
            "model": self.model,
            "system_fingerprint": fingerprint(&self.generation),
            "choices": choices,
        })
    }

    /// The whole answer at once.
    pub(super) fn whole(&self, text: &str, finish: FinishReason, usage: Usage) -> Value {
        let finish = finish_word(finish);
        let choice = match self.endpoint {
            Endpoint::Chat => json!({"message": {"role": "assistant", "content": text, "refusal": null}}),
            Endpoint::Text => json!({"text": text}),
        };
        let mut value = self.value(false, &json!([with(choice, finish.into())]));
        value["usage"] = usage.json();
        value
    }

    /// The first chunk of a stream, which names the role; a text completion has none.
    pub(super) fn opening(&self) -> Option<Value> {
        (self.endpoint == Endpoint::Chat).then(|| self.chunk(json!({"delta": {"role": "assistant", "content": ""}}), Value::Null))
    }

    /// More text.
    pub(super) fn piece(&self, text: &str) -> Value {
        let choice = match self.endpoint {
            Endpoint::Chat => json!({"delta": {"content": text}}),
            Endpoint::Text => json!({"text": text}),
        };
        self.chunk(choice, Value::Null)
    }

    /// The end of the text.
    pub(super) fn closing(&self, finish: FinishReason) -> Value {
        let choice = match self.endpoint {
            Endpoint::Chat => json!({"delta": {}}),
            Endpoint::Text => json!({"text": ""}),
        };
        self.chunk(choice, finish_word(finish).into())
    }

    /// The chunk with the token counts, when it was asked for.
    pub(super) fn usage(&self, usage: Usage) -> Option<Value> {
        self.include_usage.then(|| {
            let mut value = self.value(true, &json!([]));
            value["usage"] = usage.json();
            value
        })
    }

    fn chunk(&self, choice: Value, finish: Value) -> Value {
        let mut value = self.value(true, &json!([with(choice, finish)]));
        if self.include_usage {
            value["usage"] = Value::Null;
        }
        value
    }
}

fn with(mut choice: Value, finish: Value) -> Value {
    choice["index"] = 0.into();
    choice["logprobs"] = Value::Null;
    choice["finish_reason"] = finish;
    choice
}
