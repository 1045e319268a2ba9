//! A process to be killed: a publisher, a batcher or a rewriter, told on its command line what to do, that says on standard output what it has acknowledged.
//!
//! `victim publish-local DIR PREFIX FIRST COUNT` · `victim batch-local DIR LAKE` · `victim publish-kafka DIR BROKERS NAME PREFIX FIRST COUNT` ·
//! `victim batch-kafka BROKERS NAME LAKE` · `victim seal-kafka BROKERS NAME GROUP LAKE` · `victim live-local DIR LAKE PREFIX` · `victim compact LAKE` ·
//! `victim erase LAKE SUBJECT`

use std::{
    env,
    io::{self, Write as _},
    path::Path,
    process::ExitCode,
    time::Duration,
};

use jiff::Timestamp;
use nocturne_batcher::Batcher;
use nocturne_bus::{Group, LocalLog, Publisher, Spool, SpoolSettings};
use nocturne_compact::{Rewriter, Wish};
use nocturne_faults::{eager_compaction, encoded, interaction, kafka_settings, log_settings, sealing};
use nocturne_kit::{
    Shutdown,
    telemetry::{self, LogOutput},
};
use nocturne_lake::Lake;
use nocturne_wire::{SubjectId, Topic};

/// Records that one who publishes and seals publishes at once: too few for a batch, so that only time seals them.
const BURST: u64 = 30;

/// Long enough for the idle batcher to seal.
const BETWEEN_BURSTS: Duration = Duration::from_millis(1300);

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Longer than brokers are away in any test.
const DRAIN_SECONDS: u64 = 80;

/// Records that wait for their acknowledgement.
const IN_FLIGHT: usize = 64;

#[tokio::main]
async fn main() -> ExitCode {
    // For a person who looks for what went wrong: `NOCTURNE_VICTIM_LOG=nocturne=debug` has victims log to standard error.
    if let Ok(filter) = env::var("NOCTURNE_VICTIM_LOG") {
        telemetry::install(&LogOutput { filter, ..LogOutput::default() }).ok();
    }
    let args: Vec<String> = env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match run(&args).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("victim {}: {}", args.join(" "), telemetry::chain(&*error));
            ExitCode::FAILURE
        }
    }
}

async fn run(args: &[&str]) -> Result<(), Failure> {
    match args {
        ["publish-local", dir, prefix, first, count] => {
            let log = LocalLog::open(Path::new(dir), &log_settings())?;
            publish(&log.publisher(), prefix, first.parse()?, count.parse()?).await?;
            log.close().await;
        }
        ["batch-local", dir, lake] => {
            // Nobody publishes meanwhile: a log belongs to one process.
            let log = LocalLog::open(Path::new(dir), &log_settings())?;
            let lake = Lake::open(lake)?;
            let batcher = Batcher::open(sealing(), Group::local(&log), &lake, "victim").await?;
            say("open")?;
            let (handle, shutdown) = (batcher.handle(), Shutdown::new());
            let running = tokio::spawn(batcher.run(shutdown.clone()));
            handle.flush().await?;
            say("sealed")?;
            shutdown.request();
            running.await??;
            log.close().await;
        }
        ["trickle-kafka", dir, brokers, name, count] => {
            let spool = Spool::open(Path::new(dir), &SpoolSettings::default(), &kafka_settings(brokers, name))?;
            let mut status = spool.status();
            for n in 0..count.parse()? {
                publish(&spool.publisher(), "t", n, 1).await?;
                // Told once a second.
                drop(status.wait_for(|status| status.delivered > n).await?);
                say(&format!("delivered {n}"))?;
            }
        }
        ["publish-kafka", dir, brokers, name, prefix, first, count] => {
            let settings = SpoolSettings { drain_seconds: DRAIN_SECONDS, ..SpoolSettings::default() };
            let spool = Spool::open(Path::new(dir), &settings, &kafka_settings(brokers, name))?;
            publish(&spool.publisher(), prefix, first.parse()?, count.parse()?).await?;
            say("published")?;
            // Closing sends what waits. The status is told once a second: until then it may say that nothing waits, from before there was anything.
            let status = spool.status();
            spool.close().await;
            if status.borrow().backlog_records > 0 {
                return Err("not everything was delivered in time".into());
            }
            say("delivered")?;
        }
        ["batch-kafka", brokers, name, lake] => {
            let lake = Lake::open(lake)?;
            let group = Group::join(&kafka_settings(brokers, name))?;
            let batcher = Batcher::open(sealing(), group, &lake, "victim").await?;
            say("open")?;
            batcher.run(Shutdown::new()).await?;
        }
        // Seals what there is, and ends.
        ["seal-kafka", brokers, name, group, lake] => {
            let mut settings = kafka_settings(brokers, name);
            settings.consumer.group = (*group).to_owned();
            let partitions = (settings.create.interactions + settings.create.feedback) as usize;
            let batcher = Batcher::open(sealing(), Group::join(&settings)?, &Lake::open(lake)?, "victim").await?;
            say("open")?;
            let (handle, shutdown) = (batcher.handle(), Shutdown::new());
            let running = tokio::spawn(batcher.run(shutdown.clone()));
            let mut status = handle.status();
            drop(status.wait_for(|status| status.partitions.len() == partitions).await?);
            say("assigned")?;
            handle.flush().await?;
            say("sealed")?;
            shutdown.request();
            running.await??;
            say("left")?;
        }
        ["live-local", dir, lake, prefix] => live(Path::new(dir), &Lake::open(lake)?, prefix).await?,
        ["compact", lake] => {
            let rewriter = rewriter(lake)?;
            rewriter.compact(|_| {}).await?;
            say("done")?;
        }
        ["erase", lake, subject] => {
            let rewriter = rewriter(lake)?;
            let wish = Wish { subject: SubjectId::parse(*subject)?, tenant: None, until: Timestamp::now() };
            rewriter.erase(&wish).await?;
            say("done")?;
        }
        _ => return Err("wrong arguments".into()),
    }
    Ok(())
}

/// Publishes and seals in one process, as on a machine of its own, without end.
async fn live(dir: &Path, lake: &Lake, prefix: &str) -> Result<(), Failure> {
    let log = LocalLog::open(dir, &log_settings())?;
    let batcher = Batcher::open(sealing(), Group::local(&log), lake, "victim").await?;
    let mut running = tokio::spawn(batcher.run(Shutdown::new()));
    let publisher = log.publisher();
    for burst in 0.. {
        publish(&publisher, prefix, burst * BURST, BURST).await?;
        tokio::select! {
            ended = &mut running => ended??,
            () = tokio::time::sleep(BETWEEN_BURSTS) => {}
        }
    }
    Ok(())
}

fn rewriter(lake: &str) -> Result<Rewriter, Failure> {
    let rewriter = Rewriter::new(Lake::open(lake)?, eager_compaction(), format!("victim {}", std::process::id()));
    say("open")?;
    Ok(rewriter)
}

async fn publish(publisher: &Publisher, prefix: &str, first: u64, count: u64) -> Result<(), Failure> {
    let mut waiting = std::collections::VecDeque::new();
    for n in first..first + count {
        let record = interaction(prefix, n, 200);
        let (key, payload) = encoded(&record);
        // Issued is said before, so that a record which arrives although this process died at once is known.
        say(&format!("issue {}", record.id))?;
        waiting.push_back((record.id, publisher.publish_acked(Topic::Interactions, &key, payload.into())?));
        if waiting.len() >= IN_FLIGHT {
            acknowledge(waiting.pop_front()).await?;
        }
    }
    while !waiting.is_empty() {
        acknowledge(waiting.pop_front()).await?;
    }
    Ok(())
}

async fn acknowledge(waiting: Option<(nocturne_wire::InteractionId, nocturne_bus::Ack)>) -> Result<(), Failure> {
    let Some((id, ack)) = waiting else { return Ok(()) };
    ack.await?;
    say(&format!("ack {id}"))?;
    Ok(())
}

fn say(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}
