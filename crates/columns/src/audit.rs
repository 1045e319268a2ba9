//! The proof that every offset was sealed exactly once.
//!
//! Pure: it is given every object under the topics' folders and under `dead-letters/`, and says what is wrong with them together. A
//! lake is clean when, for each partition, the batches follow each other without gap or overlap, each accounts for every offset of
//! its range as a row, a dead letter, a duplicate or an erased record, no id occurs twice, and nothing is damaged or foreign. What a writer left behind
//! when it died before its commit is listed, but is no fault: it is not committed and readers never see it.

mod report;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use arrow::array::{RecordBatch, StringArray, UInt64Array};
use bytes::Bytes;
use nocturne_wire::{
    BatchName, NightId, Offset, Partition, Topic,
    batch::BatchFooter,
    epoch::Epoch,
    path,
    plan::PlannedBatch,
    rewrite::{Erasure, Rewrite, RewriteReason, Sweep, Tombstones},
};
use serde::de::DeserializeOwned;

pub use self::report::{AuditReport, Fault, PartitionAudit};
use crate::{ColumnsError, IdHash, dead_letters, letters_digest, open_batch, rows::Columns, schema::OFFSET};

/// Audits the objects of a lake, given as path and bytes in any order, without those that others took the place of; those outside the audited folders are
/// ignored. `read` are the batches that nights were planned over: a batch at the end of a partition is missed by nobody else.
pub fn audit(
    objects: impl IntoIterator<Item = (String, Bytes)>,
    read: impl IntoIterator<Item = (NightId, PlannedBatch)>,
) -> AuditReport {
    let mut audit = Audit::default();
    for (path, bytes) in objects {
        audit.take(path, &bytes);
    }
    for (night, batch) in read {
        audit.was_read(night, &batch);
    }
    audit.finish()
}

#[derive(Default)]
struct Audit {
    sealed: BTreeMap<(Topic, Partition), BTreeMap<Offset, BatchFooter>>,
    /// Dead letters by their batches: where they are, and how many.
    letters: BTreeMap<BatchName, Vec<(String, u64)>>,
    /// Breaks that people accepted.
    epochs: Vec<Epoch>,
    /// Where each partition goes on after what retention removed.
    kept_from: BTreeMap<(Topic, Partition), Offset>,
    /// The claim on each partition that reaches furthest: whatever became of it, batches reach as far.
    claimed: BTreeMap<(Topic, Partition), (Offset, String)>,
    /// Sequences of the erasures.
    erasures: BTreeSet<u64>,
    /// Every id seen: as hashes, a month of ids fits memory.
    ids: HashMap<(Topic, IdHash), BatchName>,
    faults: Vec<Fault>,
}

impl Audit {
    fn take(&mut self, path: String, bytes: &Bytes) {
        if let Some(name) = path::parse_batch(&path) {
            self.batch(path, &name, bytes);
        } else if let Some((name, last)) = path::parse_dead_letters(&path) {
            self.dead_letters(path, name, last, bytes);
        } else if path.starts_with(path::EPOCHS) {
            if let Some(epoch) = self.json(path, bytes) {
                self.epochs.push(epoch);
            }
        } else if path.starts_with(path::REWRITES) {
            if let Some(claim) = self.json(path.clone(), bytes) {
                self.claim(path, &claim);
            }
        } else if path.starts_with(path::ERASURES) {
            if let Some(Erasure { sequence, .. }) = self.json(path.clone(), bytes) {
                self.belongs(&path, &path::erasure(sequence));
                self.erasures.insert(sequence);
            }
        } else if path.starts_with(path::TOMBSTONES) {
            if let Some(Tombstones { partition, claim, .. }) = self.json(path.clone(), bytes) {
                self.belongs(&path, &path::tombstones(partition, claim));
            }
        } else if path.starts_with(path::SWEEPS) {
            self.json::<Sweep>(path, bytes);
        } else if is_audited(&path) {
            self.faults.push(Fault::Foreign { path });
        }
    }

    fn json<T: DeserializeOwned>(&mut self, path: String, bytes: &[u8]) -> Option<T> {
        match serde_json::from_slice(bytes) {
            Ok(value) => Some(value),
            Err(error) => {
                self.faults.push(Fault::Damaged { path, reason: error.to_string() });
                None
            }
        }
    }

    /// Holds an object's path against the one that its content belongs to.
    fn belongs(&mut self, path: &str, expected: &str) {
        if path != expected {
            self.faults.push(Fault::Damaged { path: path.to_owned(), reason: format!("its content belongs to {expected}") });
        }
    }

    fn claim(&mut self, path: String, claim: &Rewrite) {
        self.belongs(&path, &path::rewrite(claim.topic, claim.partition, claim.sequence));
        let claimed = self.claimed.entry((claim.topic, claim.partition)).or_default();
        *claimed = std::mem::take(claimed).max((claim.last, path));
        if claim.reason == RewriteReason::Retention {
            let kept_from = self.kept_from.entry((claim.topic, claim.partition)).or_default();
            *kept_from = (*kept_from).max(claim.last.next());
        }
    }

    fn batch(&mut self, path: String, name: &BatchName, bytes: &Bytes) {
        let (footer, rows) = match open_batch(name, bytes) {
            Ok(opened) => opened,
            Err(error) => return self.faults.push(Fault::Damaged { path, reason: chain(&error) }),
        };
        match check_rows(&footer, &rows) {
            Ok(ids) => self.count_ids(name, &ids),
            Err(reason) => self.faults.push(Fault::WrongFooter { path, reason }),
        }
        self.sealed.entry((name.topic, name.partition)).or_default().insert(name.first, footer);
    }

    fn dead_letters(&mut self, path: String, name: BatchName, last: Offset, bytes: &Bytes) {
        match dead_letters::read(bytes) {
            Err(error) => self.faults.push(Fault::Damaged { path, reason: chain(&error) }),
            Ok((footer, letters)) => {
                let inside = letters.iter().all(|letter| (name.first..=last).contains(&letter.offset));
                let belongs = footer.letters.is_none() || footer.letters == letters_digest(&letters);
                if footer.name != name || footer.last != last || !inside || !belongs {
                    let reason = "its name, its footer and its rows do not cover the same offsets".to_owned();
                    self.faults.push(Fault::WrongFooter { path: path.clone(), reason });
                }
                self.letters.entry(name).or_default().push((path, letters.len() as u64));
            }
        }
    }

    fn count_ids(&mut self, name: &BatchName, ids: &StringArray) {
        for id in ids.iter().flatten() {
            if let Some(before) = self.ids.insert((name.topic, IdHash::of(id)), *name) {
                let (first, second) = (path::batch(&before), path::batch(name));
                self.faults.push(Fault::DuplicateId { id: id.to_owned(), first, second });
            }
        }
    }

    /// Holds a batch that a night was planned over against what the lake holds. A damaged one is a fault already. One that ends sooner than planned had a gap
    /// behind it when the night was planned, for a plan takes a batch to end where the next one begins.
    fn was_read(&mut self, night: NightId, batch: &PlannedBatch) {
        let key = (batch.name.topic, batch.name.partition);
        if self.kept_from.get(&key).is_some_and(|kept_from| batch.name.first < *kept_from) {
            return;
        }
        // What was read may lie in a batch that took the place of the one that was planned.
        let covering = self.sealed.get(&key).and_then(|batches| batches.range(..=batch.name.first).next_back());
        let found = covering.map(|(_, footer)| footer).filter(|footer| footer.last >= batch.name.first);
        let longer = |footer: &BatchFooter| footer.name == batch.name && footer.last > batch.last;
        let path = path::batch(&batch.name);
        let known = || {
            self.faults.iter().any(|fault| match fault {
                Fault::Damaged { path: other, .. } | Fault::ReadBatch { path: other, .. } => *other == path,
                _ => false,
            })
        };
        if found.is_none_or(longer) && !known() {
            let found = found.map(|footer| footer.last);
            self.faults.push(Fault::ReadBatch { path, night, last: batch.last, found });
        }
    }

    fn finish(mut self) -> AuditReport {
        let sealed = std::mem::take(&mut self.sealed);
        let mut partitions = Vec::with_capacity(sealed.len());
        for ((topic, partition), batches) in sealed {
            partitions.extend(self.partition(topic, partition, batches.into_values()));
        }
        for ((topic, partition), (last, claim)) in std::mem::take(&mut self.claimed) {
            let reached = partitions.iter().find(|found| (found.topic, found.partition) == (topic, partition));
            if reached.is_none_or(|found| found.next <= last) {
                self.faults.push(Fault::Claimed { claim, last, found: reached.map(|found| found.next) });
            }
        }
        for (expected, sequence) in self.erasures.iter().enumerate() {
            if *sequence != expected as u64 {
                self.faults.push(Fault::Erasure { path: path::erasure(expected as u64) });
                break;
            }
        }
        let mut leftovers = Vec::new();
        for attempts in std::mem::take(&mut self.letters).into_values() {
            leftovers.extend(attempts.into_iter().map(|(path, _)| path));
        }
        self.faults.sort();
        AuditReport { partitions, faults: self.faults, leftovers }
    }

    fn partition(
        &mut self,
        topic: Topic,
        partition: Partition,
        batches: impl Iterator<Item = BatchFooter>,
    ) -> Option<PartitionAudit> {
        let mut sum: Option<PartitionAudit> = None;
        let mut topic_id = None;
        for footer in batches {
            let kept_from = self.kept_from.get(&(topic, partition)).copied().unwrap_or_default();
            let sum = sum.get_or_insert_with(|| PartitionAudit::begin(topic, partition, footer.begin.max(kept_from)));
            // What retention has claimed and did not come to remove is there, and is no overlap.
            if footer.name.first < kept_from {
                sum.first = sum.first.min(footer.name.first);
            } else {
                self.neighbors(sum.next, &footer);
            }
            let topic_id = topic_id.get_or_insert_with(|| footer.topic_id.clone());
            if *topic_id != footer.topic_id && self.accepted(&footer, |begin| begin <= footer.name.first) {
                topic_id.clone_from(&footer.topic_id);
            }
            if *topic_id != footer.topic_id {
                self.faults.push(Fault::TopicRecreated {
                    path: path::batch(&footer.name),
                    was: topic_id.clone(),
                    is: footer.topic_id.clone(),
                });
                topic_id.clone_from(&footer.topic_id);
            }
            self.settle_dead_letters(&footer);
            sum.add(&footer);
        }
        sum
    }

    fn neighbors(&mut self, next: Offset, footer: &BatchFooter) {
        let (path, first) = (path::batch(&footer.name), footer.name.first);
        if first > next && self.accepted(footer, |begin| begin == first) {
            return;
        }
        if first > next {
            self.faults.push(Fault::Gap { path, from: next, to: first });
        } else if first < next {
            self.faults.push(Fault::Overlap { path, from: first, to: next });
        }
    }

    /// Whether a person accepted that a batch's partition goes on at such an offset, under the topic's id that the batch names.
    fn accepted(&self, footer: &BatchFooter, begins: impl Fn(Offset) -> bool) -> bool {
        let BatchName { topic, partition, .. } = footer.name;
        let mut of_topic = self.epochs.iter().filter(|epoch| epoch.topic == topic && epoch.topic_id == footer.topic_id);
        of_topic.any(|epoch| begins(epoch.start(partition).begin))
    }

    /// Takes a batch's dead letters out of those found; what remains in the end belongs to no batch.
    fn settle_dead_letters(&mut self, footer: &BatchFooter) {
        let attempts = self.letters.entry(footer.name).or_default();
        let own = path::dead_letters(footer);
        let found = if footer.dead > 0 { attempts.iter().position(|(path, _)| *path == own) } else { None };
        let found = found.map_or(0, |index| attempts.remove(index).1);
        if found != footer.dead {
            self.faults.push(Fault::DeadLetters { path: path::batch(&footer.name), expected: footer.dead, found });
        }
    }
}

fn is_audited(path: &str) -> bool {
    let inside = |folder: &str| path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
    Topic::ALL.iter().any(|topic| inside(topic.as_str())) || inside("dead-letters")
}

/// The ids of the rows, when footer and rows agree.
fn check_rows(footer: &BatchFooter, rows: &RecordBatch) -> Result<StringArray, String> {
    let (first, last) = (footer.name.first, footer.last);
    let span = last
        .0
        .checked_sub(first.0)
        .map(|more| u128::from(more) + 1)
        .ok_or_else(|| format!("it ends at {last}, before its first offset"))?;
    let counted: u128 = [footer.rows, footer.dead, footer.duplicates, footer.erased].into_iter().map(u128::from).sum();
    if counted != span {
        return Err(format!("it covers {span} offsets, but accounts for {counted}"));
    }
    let columns = Columns::of("batch", rows);
    let text = |error: ColumnsError| chain(&error);
    let mut offsets = columns.get::<UInt64Array>(OFFSET).map_err(text)?.values().to_vec();
    // Rows are sorted by whose they are.
    offsets.sort_unstable();
    let inside = offsets.iter().all(|offset| (first..=last).contains(&Offset(*offset)));
    if !inside || !offsets.is_sorted_by(|a, b| a < b) {
        return Err("its rows' offsets are not within its range, or one is there twice".to_owned());
    }
    if footer.name.rewritten.is_some_and(|rewritten| rewritten.last != last) {
        return Err(format!("its name says that it ends elsewhere than at {last}"));
    }
    columns.get::<StringArray>("id").map_err(text).cloned()
}

/// An error with its causes in one line: the report is read where no cause can be asked for.
fn chain(error: &ColumnsError) -> String {
    let causes = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
