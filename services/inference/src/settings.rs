//! What an operator can set; every key has a default, unknown keys are errors.

use std::{net::SocketAddr, time::Duration};

use serde::{Deserialize, Serialize};

/// Settings of the inference service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct InferenceSettings {
    /// Where the OpenAI-compatible API listens. Default `127.0.0.1:8321`.
    pub listen: SocketAddr,
    /// Where the admin routes listen. Default: none, which puts them on `listen` when that is a loopback address and nowhere
    /// otherwise.
    pub admin_listen: Option<SocketAddr>,
    /// Name under which the model is served. Default `nocturne`.
    pub model: String,
    /// Channel that is followed. Default `production`.
    pub channel: String,
    /// First part of every interaction id: which process answered (on Kubernetes the pod's uid). Default `local`.
    pub process_uid: String,
    /// Tenant of requests that name none. Default `default`.
    pub default_tenant: String,
    /// Subject of requests that name none. Default `anonymous`: such rows share one per-subject cap at night.
    pub default_subject: String,
    /// Largest request body. Default 1 MiB.
    pub max_body_bytes: usize,
    /// Requests that may wait for a place in the batch; more are answered with 429. Default 256.
    pub queue_capacity: usize,
    /// Requests that are decoded together by one thread. Default 32.
    pub max_batch: usize,
    /// Tokens of new prompts that a thread reads between two steps of the answers under way: more reads prompts sooner, fewer lets answers flow evenly on a large
    /// base. Default 512.
    pub prompt_tokens_a_step: usize,
    /// Threads that decode. Default 1.
    pub decode_threads: usize,
    /// Longest answer of a request that sets no limit, in tokens. Default 96.
    pub default_max_tokens: u32,
    /// Temperature of a request that sets none. Default 0: the most likely token.
    pub default_temperature: f32,
    /// Memory for the states and histories of sessions. Default 256 MiB.
    pub session_store_bytes: usize,
    /// Sessions that are kept at most. Default 10000.
    pub session_store_count: usize,
    /// Longest text that is logged; longer ones are cut and marked. Default 64 KiB.
    pub logged_text_bytes: usize,
    /// How long an answer waits for the log's acknowledgement before it is sent anyway. Default 2000 ms. With 0 it does not wait: a process that is
    /// killed in the millisecond after an answer may lose its record. Feedback always waits.
    pub log_wait_milliseconds: u64,
    /// How often the channel's ledger is read. Default 1000 ms.
    pub poll_milliseconds: u64,
    /// Generations that stay in memory, the serving one included; at least 2, so that a rollback is a flip. Default 2.
    pub resident_generations: usize,
    /// How long requests in flight may take to finish at shutdown. Default 10 s.
    pub drain_seconds: u64,
    /// Prompts that a generation must answer on this replica before it serves.
    pub golden_prompts: Vec<String>,
}

impl Default for InferenceSettings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8321)),
            admin_listen: None,
            model: "nocturne".to_owned(),
            channel: nocturne_wire::ledger::PRODUCTION.to_owned(),
            process_uid: "local".to_owned(),
            default_tenant: "default".to_owned(),
            default_subject: "anonymous".to_owned(),
            max_body_bytes: 1 << 20,
            queue_capacity: 256,
            max_batch: 32,
            prompt_tokens_a_step: 512,
            decode_threads: 1,
            default_max_tokens: 96,
            default_temperature: 0.0,
            session_store_bytes: 256 << 20,
            session_store_count: 10_000,
            logged_text_bytes: 64 << 10,
            log_wait_milliseconds: 2000,
            poll_milliseconds: 1000,
            resident_generations: 2,
            drain_seconds: 10,
            golden_prompts: ["Hello!", "What can you do?", "Who are you?"].map(str::to_owned).to_vec(),
        }
    }
}

/// A setting that cannot work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("setting `{key}` of the inference service {problem}")]
pub struct BadSetting {
    key: &'static str,
    problem: &'static str,
}

impl InferenceSettings {
    /// Refuses values that parse but cannot work.
    ///
    /// # Errors
    /// Names the first such key.
    pub fn validate(&self) -> Result<(), BadSetting> {
        let bad = |key, problem| Err(BadSetting { key, problem });
        for (key, value) in [
            ("max_body_bytes", self.max_body_bytes),
            ("queue_capacity", self.queue_capacity),
            ("max_batch", self.max_batch),
            ("prompt_tokens_a_step", self.prompt_tokens_a_step),
            ("decode_threads", self.decode_threads),
            ("default_max_tokens", self.default_max_tokens as usize),
            ("session_store_count", self.session_store_count),
            ("logged_text_bytes", self.logged_text_bytes),
            ("poll_milliseconds", self.poll_milliseconds as usize),
        ] {
            if value == 0 {
                return bad(key, "must be at least 1");
            }
        }
        if self.resident_generations < 2 {
            return bad("resident_generations", "must be at least 2: the serving generation and the one before it");
        }
        if !(0.0..=2.0).contains(&self.default_temperature) {
            return bad("default_temperature", "must be between 0 and 2");
        }
        for (key, text) in [
            ("model", &self.model),
            ("channel", &self.channel),
            ("process_uid", &self.process_uid),
            ("default_tenant", &self.default_tenant),
            ("default_subject", &self.default_subject),
        ] {
            if text.is_empty() || text.len() > 100 || text.chars().any(char::is_control) {
                return bad(key, "must be a text of 1 to 100 bytes without control characters");
            }
        }
        Ok(())
    }

    pub(crate) const fn log_wait(&self) -> Duration {
        Duration::from_millis(self.log_wait_milliseconds)
    }

    pub(crate) const fn poll(&self) -> Duration {
        Duration::from_millis(self.poll_milliseconds)
    }

    pub(crate) const fn drain(&self) -> Duration {
        Duration::from_secs(self.drain_seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        assert_eq!(InferenceSettings::default().validate(), Ok(()));
    }

    #[test]
    fn a_value_that_cannot_work_is_named() {
        let settings = InferenceSettings { resident_generations: 1, ..InferenceSettings::default() };
        assert!(settings.validate().unwrap_err().to_string().contains("resident_generations"));
    }

    #[test]
    fn an_unknown_key_is_refused() {
        let refused = serde_json::from_str::<InferenceSettings>(r#"{"max_bach": 3}"#).unwrap_err();
        assert!(refused.to_string().contains("max_bach"), "{refused}");
    }
}
