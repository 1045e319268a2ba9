//! How long processes have kept cores busy.

use std::{fs, time::Duration};

/// Time that the threads which a process has now spent on cores; `None` where the system does not tell, or it has ended.
pub fn busy_of(pid: u32) -> Option<Duration> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    let spent = threads.filter_map(|thread| first(&fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?));
    Some(Duration::from_nanos(spent.sum()))
}

/// Nanoseconds on a core, of a line with those, the nanoseconds of waiting for one, and the number of turns.
fn first(schedstat: &str) -> Option<u64> {
    schedstat.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_three_numbers_is_the_time_on_a_core() {
        assert_eq!(first("123 456 7\n"), Some(123));
        assert_eq!(first(""), None);
    }
}
