//! Landing: what a batcher process takes in, from the log and from a real Kafka, against what its cores can decode and encode at all.

mod material;
mod path;
mod pure;
mod run;

use std::{thread, time::Duration};

use anyhow::Context;
use clap::Args;
use serde::Serialize;

use self::{
    material::Material,
    path::RequestPath,
    run::{Landed, Transport},
};
use crate::output;

/// What landing is measured over.
#[derive(Debug, Clone, Args)]
pub(crate) struct LandingArgs {
    /// Kafka brokers to measure over, too; topics are made and deleted
    #[arg(long, value_name = "BROKERS", help_heading = "Landing")]
    kafka: Option<String>,
    /// Records a run
    #[arg(long, value_name = "N", default_values_t = [200_000], value_delimiter = ',', help_heading = "Landing", value_parser = clap::value_parser!(u64).range(1..))]
    records: Vec<u64>,
    /// Bytes a record
    #[arg(long, value_name = "BYTES", default_values_t = [142, 1024, 8192], value_delimiter = ',', help_heading = "Landing")]
    sizes: Vec<usize>,
    /// Turns a conversation has; each request carries the ones before it
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Landing")]
    turns: u64,
    /// Partitions of the topic
    #[arg(long, value_name = "N", default_values_t = [1, 8, 32], value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..), help_heading = "Landing")]
    partitions: Vec<u32>,
}

/// Decoding and encoding alone, on every core.
#[derive(Debug, Clone, Serialize)]
struct Pure {
    record_bytes: usize,
    records_per_second: f64,
    /// Shares of one core's time.
    decode_share: f64,
    sort_share: f64,
    encode_share: f64,
    compress_share: f64,
    smaller: f64,
}

/// One run.
#[derive(Debug, Clone, Serialize)]
struct Run {
    transport: &'static str,
    record_bytes: usize,
    partitions: u32,
    records: u64,
    records_per_second: f64,
    megabytes_per_second: f64,
    /// Of what decoding and encoding alone reach.
    of_pure: f64,
    /// Records for a second that the process keeps a core busy, of what decoding and encoding alone reach for one: what is left of the cores to others, the
    /// broker above all, does not count against it.
    of_pure_a_core: Option<f64>,
    /// Of the process, where it is one of its own.
    peak_resident_bytes: Option<u64>,
    batches: u64,
    /// Seconds of work by stage, over all threads; the rest is waiting.
    read_seconds: f64,
    decode_seconds: f64,
    sort_seconds: f64,
    encode_seconds: f64,
    /// Of encoding, by the share that it has alone.
    compress_seconds: f64,
    put_seconds: f64,
}

/// All of it.
#[derive(Debug, Serialize)]
pub(super) struct Figures {
    pure: Vec<Pure>,
    runs: Vec<Run>,
    request_path: Vec<RequestPath>,
}

impl Figures {
    pub(super) fn rows(&self) -> Vec<[String; 3]> {
        let mut rows = Vec::new();
        for pure in &self.pure {
            rows.push([
                format!("decode and encode alone, {} B", pure.record_bytes),
                format!("{:.0} k records/s", pure.records_per_second / 1e3),
                format!(
                    "decode {}, sort {}, encode {}, compress {} of the time; {:.1} times smaller",
                    output::percent(pure.decode_share),
                    output::percent(pure.sort_share),
                    output::percent(pure.encode_share),
                    output::percent(pure.compress_share),
                    pure.smaller
                ),
            ]);
        }
        for run in &self.runs {
            let resident = run.peak_resident_bytes.map(|bytes| format!("; peak {:.0} MB resident", bytes as f64 / 1e6));
            let a_core = run.of_pure_a_core.map(|share| format!(" ({} for the time on cores)", output::percent(share)));
            rows.push([
                format!("landing from {}, {} B, {} partitions", run.transport, run.record_bytes, run.partitions),
                format!("{:.0} k records/s", run.records_per_second / 1e3),
                format!(
                    "{:.0} MB/s, {} of decode and encode alone{}; {} records in {} batches; read {:.1} s, decode {:.1} s, sort {:.1} s, encode {:.1} s and compress {:.1} s, put {:.1} s{}",
                    run.megabytes_per_second,
                    output::percent(run.of_pure),
                    a_core.unwrap_or_default(),
                    run.records,
                    run.batches,
                    run.read_seconds,
                    run.decode_seconds,
                    run.sort_seconds,
                    run.encode_seconds,
                    run.compress_seconds,
                    run.put_seconds,
                    resident.unwrap_or_default()
                ),
            ]);
        }
        rows.extend(self.request_path.iter().map(RequestPath::row));
        rows
    }
}

pub(super) async fn measure(args: &LandingArgs) -> anyhow::Result<Figures> {
    let mut figures = Figures { pure: Vec::new(), runs: Vec::new(), request_path: path::measure(args.kafka.as_deref()).await? };
    for &size in &args.sizes {
        let material = Material::of(size, args.turns)?;
        let measured = material.clone();
        let pure = tokio::task::spawn_blocking(move || pure::measure(&measured)).await.context("measuring")??;
        for &partitions in &args.partitions {
            for &records in &args.records {
                for transport in [Some(Transport::Log), args.kafka.clone().map(Transport::Kafka)].into_iter().flatten() {
                    eprintln!("landing from {}: {records} records of {size} B, {partitions} partitions", transport.name());
                    let landed = run::land(&transport, &material, records, partitions).await?;
                    figures.runs.push(of(&transport, &material, partitions, records, &landed, &pure));
                }
            }
        }
        figures.pure.push(pure);
    }
    Ok(figures)
}

fn of(transport: &Transport, material: &Material, partitions: u32, records: u64, landed: &Landed, pure: &Pure) -> Run {
    let records_per_second = landed.measured as f64 / landed.seconds;
    let compress = pure.compress_share / (pure.encode_share + pure.compress_share).max(f64::MIN_POSITIVE);
    let encode = landed.spent.encode.as_secs_f64();
    Run {
        transport: transport.name(),
        record_bytes: material.mean_bytes(),
        partitions,
        records,
        records_per_second,
        megabytes_per_second: records_per_second * material.mean_bytes() as f64 / 1e6,
        of_pure: records_per_second / pure.records_per_second,
        // A tick of the system's clock is no measure.
        of_pure_a_core: landed.busy.filter(|busy| *busy > Duration::from_millis(200)).map(|busy| {
            let cores = thread::available_parallelism().map_or(1, usize::from) as f64;
            landed.measured as f64 / busy.as_secs_f64() / (pure.records_per_second / cores)
        }),
        peak_resident_bytes: landed.peak_resident_bytes,
        batches: landed.batches,
        read_seconds: landed.spent.read.as_secs_f64(),
        decode_seconds: landed.spent.decode.as_secs_f64(),
        sort_seconds: landed.spent.sort.as_secs_f64(),
        encode_seconds: encode * (1.0 - compress),
        compress_seconds: encode * compress,
        put_seconds: landed.spent.put.as_secs_f64(),
    }
}
