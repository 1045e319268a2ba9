//! A disk that fills up, and one whose `fdatasync` fails.

use std::{
    error::Error as _,
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use super::*;
use crate::{
    AppendError,
    local::{
        disk::{Disk, Local, Sink},
        writer::QUEUE_CAPACITY,
    },
};

/// A disk with so much space left, which writes what fits and then fails, as real ones do.
#[derive(Clone, Default)]
struct Failing {
    space: Arc<AtomicU64>,
    sync_fails: Arc<AtomicBool>,
    cut_fails: Arc<AtomicBool>,
}

struct FailingSink {
    disk: Failing,
    inner: Box<dyn Sink>,
}

impl Disk for Failing {
    fn open(&self, path: &Path) -> io::Result<Box<dyn Sink>> {
        Ok(Box::new(FailingSink { disk: self.clone(), inner: Local.open(path)? }))
    }
}

impl Sink for FailingSink {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let space = self.disk.space.load(Ordering::SeqCst) as usize;
        let fits = bytes.len().min(space);
        self.inner.append(&bytes[..fits])?;
        self.disk.space.store((space - fits) as u64, Ordering::SeqCst);
        if fits < bytes.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn sync(&mut self) -> io::Result<()> {
        if self.disk.sync_fails.load(Ordering::SeqCst) {
            return Err(io::Error::other("the device went away"));
        }
        self.inner.sync()
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        if self.disk.cut_fails.load(Ordering::SeqCst) {
            return Err(io::Error::other("the device went away"));
        }
        self.inner.cut(length)
    }
}

fn open_on(dir: &Path, disk: &Failing) -> LocalLog {
    LocalLog::open_on(dir, &small(), false, Box::new(disk.clone())).expect("opens")
}

async fn refused(log: &LocalLog, payload: &'static str) -> AppendError {
    let ack = log.publisher().publish_acked(TOPIC, b"s", payload.into()).expect("accepted");
    ack.await.expect_err("not durable")
}

#[tokio::test]
async fn a_full_disk_is_told_and_counted_and_the_log_goes_on_when_space_returns() {
    let dir = tempfile::tempdir().expect("a folder");
    let disk = Failing { space: Arc::new(AtomicU64::new(40)), ..Failing::default() };
    let log = open_on(dir.path(), &disk);
    append(&log, "first").await;
    let error = refused(&log, "does not fit any more").await;
    assert_eq!(error.to_string(), "appending to interactions partition 0 of the log");
    assert_eq!(error.source().expect("has a cause").to_string(), io::Error::from(io::ErrorKind::StorageFull).to_string());
    refused(&log, "nor does this").await;
    assert_eq!(log.stats().dropped_failed, 2);
    disk.space.store(10_000, Ordering::SeqCst);
    assert_eq!(append(&log, "second").await, Offset(1));
    log.close().await;
    let log = open(dir.path());
    assert_eq!(payloads(&log).await, ["first", "second"]);
    assert_eq!(log.recovered().torn_bytes, 0);
}

#[tokio::test]
async fn a_record_whose_sync_failed_is_not_visible_and_its_offset_is_given_again() {
    let dir = tempfile::tempdir().expect("a folder");
    let disk = Failing { space: Arc::new(AtomicU64::new(10_000)), ..Failing::default() };
    let log = open_on(dir.path(), &disk);
    disk.sync_fails.store(true, Ordering::SeqCst);
    refused(&log, "lost").await;
    assert_eq!(payloads(&log).await, [""; 0]);
    disk.sync_fails.store(false, Ordering::SeqCst);
    assert_eq!(append(&log, "kept").await, Offset(0));
    assert_eq!(payloads(&log).await, ["kept"]);
}

#[tokio::test]
async fn a_part_of_a_record_that_could_not_be_cut_is_cut_before_the_next_write() {
    let dir = tempfile::tempdir().expect("a folder");
    let disk = Failing { space: Arc::new(AtomicU64::new(20)), ..Failing::default() };
    let log = open_on(dir.path(), &disk);
    disk.cut_fails.store(true, Ordering::SeqCst);
    refused(&log, "does not fit").await;
    disk.space.store(10_000, Ordering::SeqCst);
    refused(&log, "still dirty").await;
    disk.cut_fails.store(false, Ordering::SeqCst);
    append(&log, "clean").await;
    log.close().await;
    assert_eq!(payloads(&open(dir.path())).await, ["clean"]);
}

#[tokio::test]
async fn at_its_byte_limit_the_log_refuses_until_it_is_trimmed() {
    let dir = tempfile::tempdir().expect("a folder");
    let log = LocalLog::open(dir.path(), &LogSettings { max_bytes: 4096, ..small() }).expect("opens");
    let publisher = log.publisher();
    let mut last = Offset(0);
    let error = loop {
        let ack = publisher.publish_acked(TOPIC, b"s", vec![1; 200].into()).expect("accepted");
        match ack.await {
            Ok(position) => last = position.offset,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, AppendError::Full { max_bytes: 4096 }));
    assert!(log.stats().bytes <= 4096 && log.stats().dropped_full == 1);
    log.trim(TOPIC, P0, last.next()).await.expect("trimmed");
    assert_eq!(append(&log, "fits again").await, last.next());
}

/// A disk that stands still while the test holds the lock.
struct Stalling(Arc<Mutex<()>>);

struct StallingSink {
    gate: Arc<Mutex<()>>,
    inner: Box<dyn Sink>,
}

impl Disk for Stalling {
    fn open(&self, path: &Path) -> io::Result<Box<dyn Sink>> {
        Ok(Box::new(StallingSink { gate: self.0.clone(), inner: Local.open(path)? }))
    }
}

impl Sink for StallingSink {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        drop(self.gate.lock());
        self.inner.append(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.inner.sync()
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.inner.cut(length)
    }
}

#[tokio::test]
async fn a_stalled_disk_drops_and_counts_instead_of_waiting() {
    let dir = tempfile::tempdir().expect("a folder");
    let gate = Arc::new(Mutex::new(()));
    let settings = LogSettings { segment_bytes: 1 << 20, max_bytes: 16 << 20, ..small() };
    let log = LocalLog::open_on(dir.path(), &settings, false, Box::new(Stalling(gate.clone()))).expect("opens");
    let publisher = log.publisher();
    let total = 3 * QUEUE_CAPACITY as u64;
    let stalled = gate.lock().expect("not poisoned");
    // The writer may take the first record alone before it stalls, so that at most one queue and one group fit.
    let accepted = (0..total).filter(|_| publisher.publish(TOPIC, b"s", "x".into()).is_ok()).count() as u64;
    drop(stalled);
    let dropped = log.stats().dropped_busy;
    assert!(dropped > 0, "a queue of bounded length took everything");
    assert_eq!(accepted + dropped, total);
    log.close().await;
    assert_eq!(log.stats().appended, accepted);
}
