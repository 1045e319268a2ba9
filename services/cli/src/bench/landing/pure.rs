//! Decoding and encoding alone, on every core: the most that a process could land.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::anyhow;
use nocturne_columns::Range;
use nocturne_wire::{BatchName, Offset, Partition, Topic};

use super::{Material, Pure};

/// Bytes of a batch, as the batcher seals them by default.
const BATCH_BYTES: usize = 8 << 20;
const BATCHES_A_THREAD: usize = 12;

pub(super) fn measure(material: &Material) -> anyhow::Result<Pure> {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let count = (BATCH_BYTES / material.mean_bytes()).min(100_000) as u64;
    let records = (0..count).map(|n| material.record(n).map(|(_, bytes)| bytes)).collect::<anyhow::Result<Vec<_>>>()?;
    let begun = Instant::now();
    let spent: Vec<Spent> = thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(|| batches(&records))).collect();
        let ended = running.into_iter().map(|thread| thread.join().map_err(|_| anyhow!("a thread panicked"))?);
        ended.collect::<anyhow::Result<_>>()
    })?;
    let seconds = begun.elapsed().as_secs_f64();
    let sum = |stage: fn(&Spent) -> Duration| spent.iter().map(stage).sum::<Duration>();
    let (decode, sort, encode) = (sum(|s| s.decode), sum(|s| s.sort), sum(|s| s.encode));
    let all = (decode + sort + encode).as_secs_f64();
    // Once more on one thread without compression: the difference is what compression takes.
    let plain = plain(&records)?.mul_f64((threads * BATCHES_A_THREAD) as f64).min(encode);
    Ok(Pure {
        record_bytes: material.mean_bytes(),
        records_per_second: (threads * BATCHES_A_THREAD) as f64 * count as f64 / seconds,
        decode_share: decode.as_secs_f64() / all,
        sort_share: sort.as_secs_f64() / all,
        encode_share: plain.as_secs_f64() / all,
        compress_share: encode.saturating_sub(plain).as_secs_f64() / all,
        smaller: records.iter().map(Vec::len).sum::<usize>() as f64 / spent[0].bytes as f64,
    })
}

struct Spent {
    decode: Duration,
    sort: Duration,
    encode: Duration,
    bytes: usize,
}

fn range(records: &[Vec<u8>]) -> Range {
    let name = BatchName::new(Topic::Interactions, Partition(0), Offset(0));
    let last = Offset(records.len() as u64 - 1);
    Range { name, last, begin: Offset(0), topic_id: "bench".to_owned(), writer: "bench".to_owned() }
}

/// Time that encoding a batch takes without compression.
fn plain(records: &[Vec<u8>]) -> anyhow::Result<Duration> {
    let raw: Vec<_> = (0..).map(Offset).zip(records.iter().map(Vec::as_slice)).collect();
    let mut spent = Duration::ZERO;
    for _ in 0..BATCHES_A_THREAD {
        spent += nocturne_columns::seal_uncompressed(range(records), &raw)?.encode;
    }
    Ok(spent / BATCHES_A_THREAD as u32)
}

fn batches(records: &[Vec<u8>]) -> anyhow::Result<Spent> {
    let raw: Vec<_> = (0..).map(Offset).zip(records.iter().map(Vec::as_slice)).collect();
    let mut spent = Spent { decode: Duration::ZERO, sort: Duration::ZERO, encode: Duration::ZERO, bytes: 0 };
    for _ in 0..BATCHES_A_THREAD {
        let sealed = nocturne_columns::seal_records(range(records), &raw, Vec::new(), &[], None, 1)?;
        spent.bytes = sealed.parquet.len();
        spent.decode += sealed.decode;
        spent.sort += sealed.sort;
        spent.encode += sealed.encode;
    }
    Ok(spent)
}
