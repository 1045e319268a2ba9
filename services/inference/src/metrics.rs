//! Counters of the service and their Prometheus text.
//!
//! Written by hand: the text format is a page long, no client library is in the tree, and a registry with global state is what a
//! test with several servers in one process cannot have. Every label value comes from a fixed set, a generation's number or a
//! channel; never from a request.

use std::{
    collections::BTreeMap,
    fmt::Write,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counters by label values.
#[derive(Debug, Default)]
pub(crate) struct Family(Mutex<BTreeMap<Vec<String>, u64>>);

impl Family {
    pub(crate) fn add(&self, labels: &[&str], more: u64) {
        let labels = labels.iter().map(|label| (*label).to_owned()).collect();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(labels).or_default() += more;
    }
}

/// Upper bounds of latency buckets, in seconds.
const BOUNDS: [f64; 12] = [0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// How long things took.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    /// One for each bound and one above all.
    buckets: [AtomicU64; BOUNDS.len() + 1],
    micros: AtomicU64,
}

impl Histogram {
    pub(crate) fn observe(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let bucket = BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(BOUNDS.len());
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.micros.fetch_add(took.as_micros() as u64, Ordering::Relaxed);
    }
}

/// Everything that the service counts.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    /// By endpoint, generation and finish reason.
    pub(crate) requests: Family,
    /// Requests that were answered with an error, by its code.
    pub(crate) errors: Family,
    /// By kind: prompt, cached, answer.
    pub(crate) tokens: Family,
    /// How sessions were continued: new, continued, recomputed.
    pub(crate) sessions: Family,
    /// Log records by topic and result: acknowledged, late, failed, opted-out.
    pub(crate) logged: Family,
    /// Ledger entries by result: flipped, refused.
    pub(crate) changes: Family,
    pub(crate) ledger_failures: Counter,
    pub(crate) decode_failures: Counter,
    pub(crate) steps: Counter,
    pub(crate) stepped_answers: Counter,
    pub(crate) request_seconds: Histogram,
    pub(crate) first_token_seconds: Histogram,
    pub(crate) log_seconds: Histogram,
}

/// Numbers that are read when the text is written.
#[derive(Debug, Clone, Default)]
pub(crate) struct Gauges {
    pub(crate) queued: u64,
    pub(crate) queue_capacity: u64,
    pub(crate) sessions: u64,
    pub(crate) session_bytes: u64,
    pub(crate) sessions_evicted: u64,
    pub(crate) generation: String,
    pub(crate) channel: String,
    pub(crate) ledger_sequence: u64,
    pub(crate) flips: u64,
    pub(crate) last_flip_seconds: Option<f64>,
    /// Generation and requests.
    pub(crate) in_flight: Vec<(String, u64)>,
}

/// Prometheus' text format, version 0.0.4.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

impl Metrics {
    /// The metrics as text.
    pub(crate) fn render(&self, gauges: &Gauges) -> String {
        let mut page = Page(String::with_capacity(4096));
        page.family("requests_total", "Answered requests.", &["endpoint", "generation", "finish"], &self.requests);
        page.family("errors_total", "Requests answered with an error.", &["code"], &self.errors);
        page.family("tokens_total", "Tokens of prompts (cached: not read again) and answers.", &["kind"], &self.tokens);
        page.family("session_requests_total", "Requests by how their session was continued.", &["reuse"], &self.sessions);
        page.family("logged_total", "Records handed to the log.", &["topic", "result"], &self.logged);
        page.family("generation_changes_total", "Ledger entries followed or refused.", &["result"], &self.changes);
        for (name, help, value) in [
            (
                "ledger_failures_total",
                "Reads of the ledger or of an artifact that failed and are repeated.",
                self.ledger_failures.get(),
            ),
            ("decode_failures_total", "Answers lost to a panic or to scores that are not finite.", self.decode_failures.get()),
            ("decode_steps_total", "Steps of a batch.", self.steps.get()),
            (
                "decode_stepped_answers_total",
                "Answers stepped; by decode_steps_total it gives the mean batch.",
                self.stepped_answers.get(),
            ),
            ("sessions_evicted_total", "Sessions that left the store for others.", gauges.sessions_evicted),
            ("flips_total", "Changes of the serving generation.", gauges.flips),
        ] {
            page.single(name, "counter", help, value as f64);
        }
        for (name, help, value) in [
            ("queued_requests", "Requests that wait for a place in the batch.", gauges.queued),
            ("queue_capacity", "Requests that may wait.", gauges.queue_capacity),
            ("sessions", "Sessions kept.", gauges.sessions),
            ("session_bytes", "Memory of kept sessions.", gauges.session_bytes),
            ("ledger_sequence", "Newest ledger entry that was dealt with.", gauges.ledger_sequence),
        ] {
            page.single(name, "gauge", help, value as f64);
        }
        if let Some(seconds) = gauges.last_flip_seconds {
            page.single("last_flip_seconds", "gauge", "From reading the ledger's entry to serving it, last time.", seconds);
        }
        page.head("generation_info", "gauge", "The serving generation.");
        let serving = [gauges.channel.as_str(), gauges.generation.as_str()];
        page.sample("generation_info", &["channel", "generation"], &serving, 1.0);
        page.head("in_flight_requests", "gauge", "Requests in flight by generation.");
        for (generation, requests) in &gauges.in_flight {
            page.sample("in_flight_requests", &["generation"], &[generation], *requests as f64);
        }
        page.histogram("request_seconds", "From admission to the last token.", &self.request_seconds);
        page.histogram("first_token_seconds", "From admission to the first token.", &self.first_token_seconds);
        page.histogram("log_seconds", "From a complete answer to the log's acknowledgement.", &self.log_seconds);
        page.0
    }
}

const PREFIX: &str = "nocturne_inference_";

struct Page(String);

impl Page {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "# HELP {PREFIX}{name} {help}\n# TYPE {PREFIX}{name} {kind}");
    }

    fn sample<L: AsRef<str>>(&mut self, name: &str, keys: &[&str], values: &[L], value: f64) {
        let escape = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let pairs: Vec<_> = keys.iter().zip(values).map(|(key, value)| format!("{key}=\"{}\"", escape(value.as_ref()))).collect();
        let labels = if pairs.is_empty() { String::new() } else { format!("{{{}}}", pairs.join(",")) };
        let _ = writeln!(self.0, "{PREFIX}{name}{labels} {value}");
    }

    fn single(&mut self, name: &str, kind: &str, help: &str, value: f64) {
        self.head(name, kind, help);
        self.sample::<&str>(name, &[], &[], value);
    }

    fn family(&mut self, name: &str, help: &str, keys: &[&str], family: &Family) {
        self.head(name, "counter", help);
        for (values, value) in family.0.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            self.sample(name, keys, values, *value as f64);
        }
    }

    fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) {
        self.head(name, "histogram", help);
        let mut count = 0;
        for (index, bucket) in histogram.buckets.iter().enumerate() {
            count += bucket.load(Ordering::Relaxed);
            let bound = BOUNDS.get(index).map_or_else(|| "+Inf".to_owned(), ToString::to_string);
            self.sample(&format!("{name}_bucket"), &["le"], &[bound], count as f64);
        }
        self.sample::<&str>(&format!("{name}_sum"), &[], &[], histogram.micros.load(Ordering::Relaxed) as f64 / 1e6);
        self.sample::<&str>(&format!("{name}_count"), &[], &[], count as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_has_heads_samples_and_cumulative_buckets() {
        let metrics = Metrics::default();
        metrics.requests.add(&["chat", "3", "stop"], 2);
        metrics.request_seconds.observe(Duration::from_millis(3));
        metrics.request_seconds.observe(Duration::from_secs(61));
        let text = metrics.render(&Gauges { channel: "a\"b".to_owned(), ..Gauges::default() });
        for line in [
            "# TYPE nocturne_inference_requests_total counter",
            "nocturne_inference_requests_total{endpoint=\"chat\",generation=\"3\",finish=\"stop\"} 2",
            "nocturne_inference_request_seconds_bucket{le=\"0.005\"} 1",
            "nocturne_inference_request_seconds_bucket{le=\"+Inf\"} 2",
            "nocturne_inference_request_seconds_sum 61.003",
            "nocturne_inference_generation_info{channel=\"a\\\"b\",generation=\"\"} 1",
        ] {
            assert!(text.lines().any(|l| l == line), "no `{line}` in\n{text}");
        }
    }
}
