//! A process to be killed: a publisher or a batcher, told on its command line what to do, that says on standard output what it has acknowledged.
//!
//! `victim publish-local DIR PREFIX FIRST COUNT` · `victim batch-local DIR LAKE` · `victim publish-kafka DIR BROKERS NAME PREFIX FIRST COUNT` ·
//! `victim batch-kafka BROKERS NAME LAKE`

use std::{
    env,
    io::{self, Write as _},
    path::Path,
    process::ExitCode,
};

use nocturne_batcher::Batcher;
use nocturne_bus::{Group, LocalLog, Publisher, Spool, SpoolSettings};
use nocturne_faults::{encoded, interaction, kafka_settings, log_settings, sealing};
use nocturne_kit::Shutdown;
use nocturne_lake::Lake;
use nocturne_wire::Topic;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Records that wait for their acknowledgement.
const IN_FLIGHT: usize = 64;

#[tokio::main]
async fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match run(&args).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("victim {}: {}", args.join(" "), nocturne_kit::telemetry::chain(&*error));
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
        ["publish-kafka", dir, brokers, name, prefix, first, count] => {
            let spool = Spool::open(Path::new(dir), &SpoolSettings::default(), &kafka_settings(brokers, name))?;
            publish(&spool.publisher(), prefix, first.parse()?, count.parse()?).await?;
            say("published")?;
            let mut status = spool.status();
            status.wait_for(|status| status.connected && status.backlog_records == 0).await?;
            say("delivered")?;
            spool.close().await;
        }
        ["batch-kafka", brokers, name, lake] => {
            let lake = Lake::open(lake)?;
            let group = Group::join(&kafka_settings(brokers, name))?;
            let batcher = Batcher::open(sealing(), group, &lake, "victim").await?;
            say("open")?;
            batcher.run(Shutdown::new()).await?;
        }
        _ => return Err("wrong arguments".into()),
    }
    Ok(())
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
