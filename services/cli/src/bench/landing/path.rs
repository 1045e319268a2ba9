//! What logging adds to the thread that answers a request: encoding the record and handing it to the spool, with a broker and without.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::Context;
use nocturne_bus::{KafkaSettings, Spool, SpoolSettings, create_topics, delete_topics};
use nocturne_wire::Topic;
use serde::Serialize;

use super::Material;
use crate::demo::quantile;

const REQUESTS: u64 = 20_000;
/// Requests come one by one, so that the writer sleeps before each: the dearest case.
const PAUSE: Duration = Duration::from_micros(100);
/// Nobody listens here.
const NOWHERE: &str = "127.0.0.1:9";

/// Latencies of handing over in microseconds.
#[derive(Debug, Clone, Serialize)]
pub(super) struct RequestPath {
    brokers: &'static str,
    p50_microseconds: f64,
    p99_microseconds: f64,
    p999_microseconds: f64,
    refused: u64,
}

impl RequestPath {
    pub(super) fn row(&self) -> [String; 3] {
        [
            format!("logging adds to a request's thread, brokers {}", self.brokers),
            format!("p50 {:.1} µs, p99 {:.1} µs", self.p50_microseconds, self.p99_microseconds),
            format!("p99.9 {:.1} µs; records of 1 KiB; {} of {REQUESTS} refused", self.p999_microseconds, self.refused),
        ]
    }
}

pub(super) async fn measure(brokers: Option<&str>) -> anyhow::Result<Vec<RequestPath>> {
    let mut figures = vec![one("down", NOWHERE).await?];
    if let Some(brokers) = brokers {
        figures.push(one("up", brokers).await?);
    }
    Ok(figures)
}

async fn one(name: &'static str, brokers: &str) -> anyhow::Result<RequestPath> {
    eprintln!("handing records to the spool, brokers {name}");
    let folder = tempfile::tempdir().context("making a temporary directory")?;
    let mut kafka = KafkaSettings { brokers: brokers.to_owned(), ..KafkaSettings::default() };
    let tag = jiff::Timestamp::now().as_microsecond();
    kafka.topics.interactions = format!("nocturne-bench-{tag}.interactions");
    kafka.topics.feedback = format!("nocturne-bench-{tag}.feedback");
    let up = brokers != NOWHERE;
    if up {
        create_topics(&kafka).await?;
    }
    let (dir, settings) = (folder.path().join("spool"), kafka.clone());
    let spool = SpoolSettings { drain_seconds: 1, ..SpoolSettings::default() };
    let spool = tokio::task::spawn_blocking(move || Spool::open(&dir, &spool, &settings)).await??;
    let publisher = spool.publisher();
    let material = Material::of(1024, 1)?;
    let measured = tokio::task::spawn_blocking(move || {
        let (mut times, mut refused) = (Vec::with_capacity(REQUESTS as usize), 0);
        for n in 0..REQUESTS {
            let (key, bytes) = material.record(n)?;
            thread::sleep(PAUSE);
            let begun = Instant::now();
            refused += u64::from(publisher.publish(Topic::Interactions, key.as_bytes(), bytes.into()).is_err());
            times.push(begun.elapsed().as_secs_f64() * 1e6);
        }
        anyhow::Ok((times, refused))
    });
    let (times, refused) = measured.await??;
    spool.close().await;
    if up {
        delete_topics(&kafka).await?;
    }
    Ok(RequestPath {
        brokers: name,
        p50_microseconds: quantile(&times, 0.5),
        p99_microseconds: quantile(&times, 0.99),
        p999_microseconds: quantile(&times, 0.999),
        refused,
    })
}
