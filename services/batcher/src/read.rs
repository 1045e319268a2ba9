//! What a worker has read since its last batch.

use std::sync::Arc;

use nocturne_bus::Record;
use tokio::time::{Duration, Instant};

use crate::{
    framed::{self, Names},
    handle::Flush,
};

/// What was read and is not sealed.
pub(crate) struct Read {
    pub(crate) records: Arc<Vec<Record>>,
    /// When the worker started; decisions count time from here.
    pub(crate) epoch: Instant,
    pub(crate) first_at: Duration,
    pub(crate) newest_at: Duration,
    /// Times of the first record and of the newest one, microseconds since 1970.
    pub(crate) times: Option<(i64, i64)>,
    /// Time that reading took.
    pub(crate) took: Duration,
    /// Flushes that are not answered yet.
    pub(crate) pending: Vec<Flush>,
}

impl Read {
    pub(crate) fn nothing() -> Self {
        Self {
            records: Arc::default(),
            epoch: Instant::now(),
            first_at: Duration::ZERO,
            newest_at: Duration::ZERO,
            times: None,
            took: Duration::ZERO,
            pending: Vec::new(),
        }
    }

    pub(crate) fn span(&self) -> Duration {
        let micros = self.times.map_or(0, |(first, newest)| newest.saturating_sub(first));
        Duration::from_micros(u64::try_from(micros).unwrap_or(0))
    }

    pub(crate) fn note_times(&mut self, names: &Names, records: &[Record]) {
        for time in records.iter().filter_map(|record| framed::peek_time(names, &record.payload)) {
            let (first, newest) = self.times.unwrap_or((time, time));
            self.times = Some((first, newest.max(time)));
        }
    }
}
