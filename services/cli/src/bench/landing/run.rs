//! One run: a backlog is made, then a batcher lands it.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use jiff::Timestamp;
use nocturne_batcher::{Batcher, BatcherSettings, BatcherStatus, Spent};
use nocturne_bus::{
    Codec, Durability, Group, KafkaSettings, LocalLog, LogSettings, Partitions, PublishError, Publisher, Spool, SpoolSettings,
    create_topics, delete_topics,
};
use nocturne_kit::{Shutdown, memory, processor};
use nocturne_lake::Lake;
use nocturne_wire::Topic;

use super::Material;

/// Where records come from.
#[derive(Debug, Clone)]
pub(super) enum Transport {
    Log,
    Kafka(String),
}

impl Transport {
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Kafka(_) => "Kafka",
        }
    }
}

/// What a run gave.
pub(super) struct Landed {
    /// Records that landed while it was measured.
    pub(super) measured: u64,
    pub(super) seconds: f64,
    pub(super) batches: u64,
    pub(super) spent: Spent,
    pub(super) peak_resident_bytes: Option<u64>,
    /// Time that the process kept cores busy meanwhile, where it is one of its own.
    pub(super) busy: Option<Duration>,
}

const PATIENCE: Duration = Duration::from_mins(10);

pub(super) async fn land(transport: &Transport, material: &Material, records: u64, partitions: u32) -> anyhow::Result<Landed> {
    let folder = tempfile::tempdir().context("making a temporary directory")?;
    let lake = Lake::open(&folder.path().join("lake").to_string_lossy())?;
    match transport {
        Transport::Log => from_log(folder.path(), &lake, material, records, partitions).await,
        Transport::Kafka(brokers) => from_kafka(folder.path(), brokers, material, records, partitions).await,
    }
}

async fn from_log(folder: &Path, lake: &Lake, material: &Material, records: u64, partitions: u32) -> anyhow::Result<Landed> {
    let settings = LogSettings {
        partitions: Partitions { interactions: partitions, feedback: 1 },
        max_bytes: 64 << 30,
        durability: Durability::OperatingSystem,
        ..LogSettings::default()
    };
    let (dir, opening) = (folder.join("log"), settings.clone());
    let log = tokio::task::spawn_blocking(move || LocalLog::open(&dir, &opening)).await??;
    publish(&log.publisher(), material, records).await?;
    while log.stats().appended < records {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let batcher = Batcher::open(BatcherSettings::default(), Group::local(&log), lake, "bench").await?;
    let landed = watch(batcher, records).await?;
    log.close().await;
    Ok(landed)
}

async fn publish(publisher: &Publisher, material: &Material, records: u64) -> anyhow::Result<()> {
    for n in 0..records {
        let (key, bytes) = material.record(n)?;
        let bytes = bytes::Bytes::from(bytes);
        loop {
            match publisher.publish(Topic::Interactions, key.as_bytes(), bytes.clone()) {
                Ok(()) => break,
                Err(PublishError::Busy) => tokio::time::sleep(Duration::from_millis(1)).await,
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(())
}

/// Runs a batcher in this process until everything landed. The clock runs from the first batch's beginning to the last one's end.
async fn watch(batcher: Batcher, records: u64) -> anyhow::Result<Landed> {
    let (handle, shutdown) = (batcher.handle(), Shutdown::new());
    let mut status = handle.status();
    let begun = Instant::now();
    let running = tokio::spawn(batcher.run(shutdown.clone()));
    let done = |status: &BatcherStatus| status.rows() >= records;
    // What is left at the end of the backlog is asked for, not waited for.
    let flushed = async {
        loop {
            handle.flush().await?;
            if done(&handle.status().borrow()) {
                return anyhow::Ok(());
            }
        }
    };
    tokio::time::timeout(PATIENCE, flushed).await.context("landing takes too long")??;
    let seconds = begun.elapsed().as_secs_f64();
    let last = status.borrow_and_update().clone();
    shutdown.request();
    running.await??;
    Ok(Landed { measured: records, seconds, batches: last.batches(), spent: last.spent(), peak_resident_bytes: None, busy: None })
}

async fn from_kafka(folder: &Path, brokers: &str, material: &Material, records: u64, partitions: u32) -> anyhow::Result<Landed> {
    let tag = Timestamp::now().as_microsecond();
    let mut kafka = KafkaSettings { brokers: brokers.to_owned(), ..KafkaSettings::default() };
    kafka.topics.interactions = format!("nocturne-bench-{tag}.interactions");
    kafka.topics.feedback = format!("nocturne-bench-{tag}.feedback");
    kafka.consumer.group = format!("nocturne-bench-{tag}");
    kafka.create.interactions = partitions as i32;
    // A broker on the same machine is fed at little cost, so that landing is what is measured.
    kafka.producer.compression = Codec::Lz4;
    create_topics(&kafka).await?;
    let spool = SpoolSettings { durability: Durability::OperatingSystem, max_bytes: 64 << 30, ..SpoolSettings::default() };
    let (dir, settings) = (folder.join("spool"), kafka.clone());
    let spool = tokio::task::spawn_blocking(move || Spool::open(&dir, &spool, &settings)).await??;
    publish(&spool.publisher(), material, records).await?;
    let mut status = spool.status();
    let sent = status.wait_for(|status| status.delivered >= records);
    tokio::time::timeout(PATIENCE, sent).await.context("sending the backlog takes too long")?.context("the spool has stopped")?;
    spool.close().await;
    let landed = child::land(folder, &kafka, records).await;
    delete_topics(&kafka).await?;
    landed
}

/// A batcher in a process of its own, whose memory is its own.
mod child {
    use std::process::Stdio;

    use tokio::process::Command;

    use super::{Context, Duration, Instant, KafkaSettings, Landed, PATIENCE, Path, Spent, bail, memory, processor};
    use crate::{
        address::{self, url},
        server::Config,
    };

    const LOOK_EVERY: Duration = Duration::from_millis(50);

    pub(super) async fn land(folder: &Path, kafka: &KafkaSettings, records: u64) -> anyhow::Result<Landed> {
        let mut config = Config { kafka: kafka.clone(), ..Config::default() };
        config.store.url = folder.join("lake").to_string_lossy().into_owned();
        "warn".clone_into(&mut config.telemetry.filter);
        config.batcher.seal.idle_seconds = 1;
        let (file, state) = (folder.join("batcher.toml"), folder.join("batcher"));
        tokio::fs::write(&file, toml::to_string(&config)?).await.context("writing a configuration")?;
        let mut command = Command::new(std::env::current_exe().context("finding this program")?);
        command.arg("--state").arg(&state).args(["batcher", "--supervised", "--config"]).arg(&file);
        command.env_remove("NOCTURNE_STORE").stdin(Stdio::piped()).stdout(Stdio::null()).kill_on_drop(true);
        let mut child = command.spawn().context("starting a batcher")?;
        let begun = Instant::now();
        let address = loop {
            if let Some(address) = address::running(&state).await? {
                break address;
            }
            if child.try_wait()?.is_some() || begun.elapsed() > Duration::from_secs(30) {
                bail!("the batcher did not start");
            }
            tokio::time::sleep(LOOK_EVERY).await;
        };
        let http = reqwest::Client::builder().no_proxy().build()?;
        let page = || async { anyhow::Ok(http.get(url(address.control, "/metrics")).send().await?.text().await?) };
        // What is left at the end of the backlog is asked for, not waited for; the answer comes when all of it landed.
        let asking = http.post(url(address.control, "/admin/flush"));
        let mut asking_for: Option<tokio::task::JoinHandle<_>> = None;
        let mut first: Option<(Instant, u64)> = None;
        let mut busy_before = None;
        let landed = loop {
            let text = page().await?;
            let (now, rows) = (Instant::now(), sum(&text, "nocturne_batcher_rows_total") as u64);
            if rows > 0 && first.is_none() {
                first = Some((now, rows));
                busy_before = processor::busy_of(address.pid);
                asking_for = asking.try_clone().map(|asking| tokio::spawn(asking.send()));
            }
            if rows >= records {
                let (since, before) = first.unwrap_or((now, 0));
                let spent = |stage| Duration::from_secs_f64(sum(&text, &format!("nocturne_batcher_{stage}_seconds_total")));
                // A backlog of one batch is over when it is first seen: then all of the time counts, the joining too.
                let (measured, seconds) = if rows > before {
                    (rows - before, (now - since).as_secs_f64())
                } else {
                    (rows, begun.elapsed().as_secs_f64())
                };
                break Landed {
                    measured,
                    seconds,
                    batches: sum(&text, "nocturne_batcher_batches_total") as u64,
                    spent: Spent {
                        read: spent("read"),
                        decode: spent("decode"),
                        sort: spent("sort"),
                        encode: spent("encode"),
                        put: spent("put"),
                    },
                    peak_resident_bytes: memory::peak_bytes_of(address.pid),
                    busy: processor::busy_of(address.pid).zip(busy_before).map(|(busy, before)| busy.saturating_sub(before)),
                };
            }
            if begun.elapsed() > PATIENCE {
                bail!("landing takes too long: {rows} of {records} records are there");
            }
            tokio::time::sleep(LOOK_EVERY).await;
        };
        if let Some(asking) = asking_for {
            asking.abort();
        }
        drop(child.stdin.take());
        tokio::time::timeout(Duration::from_secs(30), child.wait()).await.context("the batcher does not stop")??;
        Ok(landed)
    }

    /// The sum of a family's samples.
    fn sum(page: &str, family: &str) -> f64 {
        let samples = page.lines().filter(|line| line.strip_prefix(family).is_some_and(|rest| rest.starts_with(['{', ' '])));
        samples.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
    }
}
