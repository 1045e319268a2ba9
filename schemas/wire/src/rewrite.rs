//! Rewriting: batches that take the place of others, or only make way for them.
//!
//! A batch is never changed. Whoever wants fewer and larger ones, or ones without a subject's rows, writes them beside the old ones under a name that says
//! what they replace, and removes the old ones after that. Readers that see both take the higher revision: [`live`]. So that two rewriters never cut a
//! partition in two ways that cross, each first records what it is about to do: creating the record with the partition's next sequence is the claim, and
//! whoever comes after a rewriter that died finishes what its record says before making a claim of their own.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    batch::{BatchName, Offset, Partition, Rewritten, Topic},
    hash::Sha256Hex,
    id::{SubjectId, TenantId},
};

/// Why batches are rewritten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RewriteReason {
    /// Small batches become a large one.
    Compaction,
    /// A subject's rows are taken out.
    Erasure,
    /// What is older than it may be is removed; nothing takes its place.
    Retention,
}

impl RewriteReason {
    /// The word for people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Compaction => "compaction",
            Self::Erasure => "erasure",
            Self::Retention => "retention",
        }
    }
}

/// One claim: what happens to a run of a partition's batches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rewrite {
    /// The stream.
    pub topic: Topic,
    /// The partition.
    pub partition: Partition,
    /// Position among the partition's claims, from 0.
    pub sequence: u64,
    /// Why.
    pub reason: RewriteReason,
    /// The batches that are replaced, in the order of offsets, without a gap between them.
    pub inputs: Vec<BatchName>,
    /// Offset of the last record that they cover.
    pub last: Offset,
    /// How many erasures are applied: all with a lower sequence.
    pub erasures: u64,
    /// Offsets of dead letters that are erased. They are named because an erasure keeps only a digest of who is forgotten, which finds no bytes: whoever
    /// finishes the claim of somebody who died leaves out the same letters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub struck: Vec<Offset>,
    /// When it was claimed.
    pub time: Timestamp,
    /// Who did.
    pub actor: String,
}

impl Rewrite {
    /// The batch that takes the place of the others; `None` when nothing does.
    pub fn output(&self) -> Option<BatchName> {
        let first = self.inputs.first()?.first;
        let revision = self.inputs.iter().map(BatchName::revision).max()?.checked_add(1)?;
        let (topic, partition) = (self.topic, self.partition);
        let rewritten = Some(Rewritten { last: self.last, revision });
        (self.reason != RewriteReason::Retention).then_some(BatchName { topic, partition, first, rewritten })
    }
}

/// A partition's batches as readers see them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Live {
    /// The batches that count, in the order of offsets.
    pub batches: Vec<BatchName>,
    /// Those whose place another one took, and that nobody has removed yet.
    pub superseded: Vec<BatchName>,
}

/// Which of a partition's batches count. One whose first offset another one of a higher revision covers does not: rewriting replaces whole batches.
pub fn live(mut names: Vec<BatchName>) -> Live {
    // Of those that begin at one offset the highest revision comes first, and it covers the most.
    names.sort_unstable_by_key(|name| (name.first, std::cmp::Reverse(name.revision())));
    let mut live = Live::default();
    for name in names {
        // Ranges nest, so that whatever covers this batch lies in the newest one that counts, or is it.
        if live.batches.last().is_some_and(|cover| cover.replaces(&name)) {
            live.superseded.push(name);
        } else {
            live.batches.push(name);
        }
    }
    live
}

impl Live {
    /// Whether another batch took the place of one of this name, whether that is there or not.
    pub fn replaced(&self, name: &BatchName) -> bool {
        let after = self.batches.partition_point(|batch| batch.first <= name.first);
        after.checked_sub(1).is_some_and(|index| self.batches[index].replaces(name))
    }
}

/// A subject's wish that what they said is forgotten.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Erasure {
    /// Position among all erasures, from 0.
    pub sequence: u64,
    /// The tenant that the subject belongs to; `None` for the subject of that name of every tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<TenantId>,
    /// SHA-256 of the subject's id: the record of a wish to be forgotten must not remember who wished it.
    pub subject: Sha256Hex,
    /// What was said until then is erased.
    pub until: Timestamp,
    /// When it was asked for.
    pub time: Timestamp,
    /// Who entered it.
    pub actor: String,
}

/// Interactions that an erasure took out of a partition: feedback on them is forgotten too, however late it comes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tombstones {
    /// The partition of interactions.
    pub partition: Partition,
    /// The claim that took them out.
    pub claim: u64,
    /// SHA-256 of their ids.
    pub interactions: Vec<Sha256Hex>,
}

/// Batches that are known to hold nothing that is to be erased, so that nobody reads them again for that. They are named one by one: one that is missing when
/// others are looked at, or that a backup brings back, is not among them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sweep {
    /// How many erasures were looked for: all with a lower sequence.
    pub erasures: u64,
    /// The batches of one partition.
    pub batches: Vec<BatchName>,
}

impl Erasure {
    /// What tombstones hold in place of an interaction.
    pub fn tombstone(interaction: &str) -> Sha256Hex {
        Sha256Hex::of(interaction.as_bytes())
    }

    /// What an erasure holds in place of a subject.
    pub fn digest(subject: &SubjectId) -> Sha256Hex {
        Sha256Hex::of(subject.as_str().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sealed(first: u64) -> BatchName {
        BatchName::new(Topic::Interactions, Partition(0), Offset(first))
    }

    fn rewritten(first: u64, last: u64, revision: u32) -> BatchName {
        BatchName { rewritten: Some(Rewritten { last: Offset(last), revision }), ..sealed(first) }
    }

    #[test]
    fn the_higher_revision_takes_the_place_of_all_that_it_covers() {
        let all = vec![sealed(0), sealed(5), sealed(10), sealed(20), rewritten(0, 9, 1), rewritten(0, 19, 2)];
        let seen = live(all);
        assert_eq!(seen.batches, [rewritten(0, 19, 2), sealed(20)]);
        assert_eq!(seen.superseded, [rewritten(0, 9, 1), sealed(0), sealed(5), sealed(10)]);
    }

    #[test]
    fn a_batch_that_a_late_writer_creates_inside_a_rewritten_range_does_not_count() {
        let seen = live(vec![rewritten(0, 99, 1), sealed(50), sealed(100)]);
        assert_eq!(seen.batches, [rewritten(0, 99, 1), sealed(100)]);
    }

    #[test]
    fn what_retention_removes_has_no_successor() {
        let claim = |reason| Rewrite {
            topic: Topic::Interactions,
            partition: Partition(0),
            sequence: 0,
            reason,
            inputs: vec![sealed(0), rewritten(5, 9, 4)],
            last: Offset(9),
            erasures: 0,
            struck: Vec::new(),
            time: Timestamp::UNIX_EPOCH,
            actor: String::new(),
        };
        assert_eq!(claim(RewriteReason::Retention).output(), None);
        assert_eq!(claim(RewriteReason::Compaction).output(), Some(rewritten(0, 9, 5)));
    }

    proptest! {
        /// Plays rewriters that take runs of live batches and remove some, all or none of what they replaced.
        #[test]
        fn whatever_is_left_behind_every_offset_is_read_once(steps in prop::collection::vec((any::<u8>(), 1_usize..4, any::<u8>()), 0..12)) {
            let mut stored: Vec<BatchName> = (0..20).map(|index| sealed(index * 10)).collect();
            for (start, count, keep) in steps {
                let seen = live(stored.clone()).batches;
                let start = usize::from(start) % seen.len();
                let run = &seen[start..(start + count).min(seen.len())];
                let last = seen.get(start + run.len()).map_or(199, |next| next.first.0 - 1);
                let revision = run.iter().map(BatchName::revision).max().expect("not empty") + 1;
                stored.push(rewritten(run[0].first.0, last, revision));
                let mut bits = keep;
                stored.retain(|name| {
                    bits = bits.rotate_left(1);
                    !run.contains(name) || bits & 1 == 1
                });
            }
            let seen = live(stored.clone());
            for name in &stored {
                prop_assert_eq!(seen.replaced(name), seen.superseded.contains(name));
            }
            prop_assert_eq!(seen.batches.len() + seen.superseded.len(), stored.len());
            let ends = seen.batches.iter().skip(1).map(|name| name.first.0).chain([200]);
            prop_assert_eq!(seen.batches[0].first.0, 0);
            for (name, end) in seen.batches.iter().zip(ends) {
                prop_assert!(name.rewritten.is_none_or(|rewritten| rewritten.last.0 + 1 == end), "{:?}", seen.batches);
            }
        }
    }
}
