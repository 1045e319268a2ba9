//! What logging adds to a request: the same question with `store` true and false in turn, and the log's acknowledgement alone.

use std::{path::Path, time::Instant};

use nocturne_wire::{Topic, avro};
use serde::Serialize;

use super::{house::House, seal::record};
use crate::{
    api::{Message, Who},
    demo::quantile,
};

/// Pairs of requests.
const PAIRS: usize = 400;

/// Records for the acknowledgement alone.
const RECORDS: u64 = 1_000;

/// Latencies in milliseconds.
#[derive(Debug, Serialize)]
struct Latency {
    p50_ms: f64,
    p99_ms: f64,
}

impl Latency {
    fn of(values: &[f64]) -> Self {
        Self { p50_ms: quantile(values, 0.5), p99_ms: quantile(values, 0.99) }
    }

    fn tell(&self) -> String {
        format!("p50 {:.2} ms, p99 {:.2} ms", self.p50_ms, self.p99_ms)
    }
}

/// What logging costs.
#[derive(Debug, Serialize)]
pub(super) struct Figures {
    /// Requests whose answer waits for the log.
    stored: Latency,
    /// The same requests with `store: false`.
    not_stored: Latency,
    /// The difference.
    added: Latency,
    /// From publishing a record to its durable acknowledgement.
    acknowledged: Latency,
}

impl Figures {
    pub(super) fn rows(&self) -> [[String; 3]; 2] {
        let how = format!("requests with the log: {}; without: {}", self.stored.tell(), self.not_stored.tell());
        [
            ["logging adds to a request".to_owned(), self.added.tell(), how],
            ["record to durable acknowledgement".to_owned(), self.acknowledged.tell(), "one at a time, fdatasync".to_owned()],
        ]
    }
}

pub(super) async fn measure(base: Option<&Path>) -> anyhow::Result<Figures> {
    let house = House::open(base).await?;
    let (mut stored, mut not_stored) = (Vec::with_capacity(PAIRS), Vec::with_capacity(PAIRS));
    for pair in 0..PAIRS {
        for store in [true, false] {
            let session = format!("bench-{pair}-{store}");
            let who = Who { session: &session, subject: "bench", store };
            let answer = house.api.ask(who, &[Message::user("What can you do?")]).await?;
            let times = if store { &mut stored } else { &mut not_stored };
            times.push(answer.took.as_secs_f64() * 1e3);
        }
    }
    let acknowledged = acknowledgements(&house).await?;
    house.close().await?;
    let (stored, not_stored) = (Latency::of(&stored), Latency::of(&not_stored));
    let added = Latency { p50_ms: stored.p50_ms - not_stored.p50_ms, p99_ms: stored.p99_ms - not_stored.p99_ms };
    Ok(Figures { stored, not_stored, added, acknowledged: Latency::of(&acknowledged) })
}

async fn acknowledgements(house: &House) -> anyhow::Result<Vec<f64>> {
    let publisher = house.server.publisher.clone();
    let mut times = Vec::new();
    for n in 0..RECORDS {
        let record = record(n)?;
        let begun = Instant::now();
        let payload = avro::encode_interaction(&record).into();
        publisher.publish_acked(Topic::Interactions, record.session.as_str().as_bytes(), payload)?.await?;
        times.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    Ok(times)
}
