//! The peak of this process's memory over one run.

use std::fs;

/// What the kernel counts as the peak from now on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Watched {
    from_now_on: bool,
}

/// Forgets the peak so far, where the kernel lets a process do so.
pub(super) fn watch() -> Watched {
    // 5 resets the high-water mark of resident memory (proc(5)).
    Watched { from_now_on: fs::write("/proc/self/clear_refs", "5").is_ok() }
}

impl Watched {
    /// The peak since then in bytes, with all that the process held before; `None` where it cannot be told from earlier peaks.
    pub(super) fn peak_bytes(self) -> Option<u64> {
        nocturne_kit::memory::peak_bytes().filter(|_| self.from_now_on)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peak_from_now_on_holds_what_is_allocated_from_now_on() {
        let watched = watch();
        if !watched.from_now_on {
            println!("SKIPPED: this kernel does not let a process forget its peak");
            return;
        }
        let before = nocturne_kit::memory::resident_bytes().expect("known where peaks are");
        let block = vec![1_u8; 64 << 20];
        assert!(watched.peak_bytes().is_some_and(|peak| peak >= before + (48 << 20)), "{}", block.len());
    }
}
