//! Progress of one stage, as a bar while it runs and a line when it is done.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use nocturne_kit::display::Elapsed;

/// One stage.
pub(super) struct Stage {
    name: &'static str,
    begun: Instant,
    pub(super) bar: ProgressBar,
}

impl Stage {
    /// Begins a stage of `total` parts.
    pub(super) fn begin(name: &'static str, total: usize) -> Self {
        let bar = ProgressBar::new(total as u64);
        let style = ProgressStyle::with_template("{prefix:<8} {bar:30} {pos:>5}/{len:<5} {elapsed:>5}  {wide_msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("━╸ "));
        bar.set_prefix(name);
        bar.enable_steady_tick(Duration::from_millis(200));
        Self { name, begun: Instant::now(), bar }
    }

    /// Ends it with a sentence; returns its seconds.
    pub(super) fn end(self, sentence: &str) -> f64 {
        let took = self.begun.elapsed();
        self.bar.finish_and_clear();
        eprintln!("{:<8} {:>12}  {sentence}", self.name, Elapsed(took).to_string());
        took.as_secs_f64()
    }
}
