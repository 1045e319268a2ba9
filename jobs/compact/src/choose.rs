//! Which batches are worth being merged: a pure decision over a listing.

use std::ops::Range;

use jiff::Timestamp;
use nocturne_lake::StoredBatch;
use nocturne_wire::Offset;

use crate::CompactSettings;

/// The oldest run of neighbors, from `from` on, that is worth being merged; `batches` are a partition's, in the order of offsets.
///
/// A run is as long as the target allows. It must be of several batches, and its largest must not outweigh the others: else a large batch would be written
/// again for every few small ones that come after it, and the work would grow with the square of the lake.
pub(crate) fn run(batches: &[StoredBatch], from: Offset, now: Timestamp, settings: &CompactSettings) -> Option<Range<usize>> {
    let kept = batches.len().saturating_sub(settings.keep_newest.max(1));
    let end = batches[..kept].iter().position(|batch| !settings.is_settled(batch, now)).unwrap_or(kept);
    let mut begin = batches.partition_point(|batch| batch.name.first < from);
    while begin < end {
        let run = begin..begin + fitting(&batches[begin..end], settings.target_bytes);
        if is_worth_it(&batches[run.clone()], settings) {
            return Some(run);
        }
        begin += 1;
    }
    None
}

/// How many batches from the first on fit into the target.
fn fitting(batches: &[StoredBatch], target: u64) -> usize {
    let mut sum = 0_u64;
    let fits = |batch: &&StoredBatch| {
        sum = sum.saturating_add(batch.bytes);
        sum <= target
    };
    batches.iter().take_while(fits).count()
}

fn is_worth_it(run: &[StoredBatch], settings: &CompactSettings) -> bool {
    let sum: u64 = run.iter().map(|batch| batch.bytes).sum();
    let largest = run.iter().map(|batch| batch.bytes).max().unwrap_or_default();
    run.len() >= settings.min_batches.max(2) && largest <= sum - largest
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use nocturne_wire::{BatchName, Partition, Topic};
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn settings() -> CompactSettings {
        CompactSettings { target_bytes: 100, keep_newest: 1, ..CompactSettings::default() }
    }

    /// Batches of these sizes, all old.
    fn stored(sizes: &[u64]) -> Vec<StoredBatch> {
        let created = NOW.checked_sub(SignedDuration::from_hours(2)).expect("a time");
        let batch = |(index, bytes): (usize, &u64)| StoredBatch {
            name: BatchName::new(Topic::Interactions, Partition(0), Offset(index as u64 * 10)),
            bytes: *bytes,
            created,
        };
        sizes.iter().enumerate().map(batch).collect()
    }

    fn chosen(sizes: &[u64]) -> Option<Range<usize>> {
        run(&stored(sizes), Offset(0), NOW, &settings())
    }

    #[test]
    fn a_run_of_small_batches_is_merged_up_to_the_target() {
        assert_eq!(chosen(&[30, 30, 30, 10, 30, 5]), Some(0..4));
        assert_eq!(chosen(&[100, 10, 10, 10, 10, 10]), Some(1..5), "the first is large enough");
        assert_eq!(chosen(&[10, 10, 10, 10]), None, "the newest stays, and three are too few");
    }

    #[test]
    fn a_large_batch_waits_until_what_follows_is_as_large() {
        assert_eq!(chosen(&[50, 10, 10, 5, 10]), None);
        assert_eq!(chosen(&[50, 10, 10, 10, 10, 10, 10]), Some(0..6));
        assert_eq!(chosen(&[50, 10, 10, 10, 5, 10]), Some(1..5), "the small ones among themselves");
    }

    #[test]
    fn the_young_are_left_alone() {
        let mut batches = stored(&[10; 9]);
        batches[4].created = NOW;
        assert_eq!(run(&batches, Offset(0), NOW, &settings()), Some(0..4));
        batches[3].created = NOW;
        assert_eq!(run(&batches, Offset(0), NOW, &settings()), None);
        assert_eq!(run(&stored(&[10; 9]), Offset(30), NOW, &settings()), Some(3..8));
    }

    proptest! {
        /// Batches of one byte come one by one; whenever a run is chosen it is merged.
        #[test]
        fn the_work_of_merging_grows_slower_than_the_square(count in 10_usize..400) {
            let settings = CompactSettings { target_bytes: 1 << 30, ..settings() };
            let (mut sizes, mut written) = (Vec::new(), 0);
            for size in std::iter::repeat_n(1, count) {
                sizes.push(size);
                while let Some(run) = run(&stored(&sizes), Offset(0), NOW, &settings) {
                    let sum = sizes[run.clone()].iter().sum();
                    written += sum;
                    sizes.splice(run, [sum]);
                }
            }
            let bound = count as f64 * ((count as f64).log2() + 1.0);
            prop_assert!(written as f64 <= bound, "{written} bytes written for {count}");
            prop_assert!(sizes.len() <= 8 + 3 * (count.ilog2() as usize), "{} batches are left of {count}", sizes.len());
        }
    }
}
