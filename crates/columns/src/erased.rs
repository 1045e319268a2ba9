//! Which rows are erased.

use std::{
    collections::{HashMap, HashSet},
    iter,
    sync::Arc,
};

use arrow::{
    array::{BooleanArray, RecordBatch, StringArray, TimestampMicrosecondArray},
    compute::filter_record_batch,
};
use nocturne_wire::{Sha256Hex, SubjectId, TenantId, Topic, rewrite::Erasure};

use crate::{ColumnsError, DeadLetter, Result, rows::Columns};

const WHAT: &str = "batch";

/// What is to be erased: rows of a subject, feedback on them, and dead letters that name the subject. Clones share what they hold.
#[derive(Debug, Clone, Default)]
pub struct Erased {
    /// By digests of subjects.
    rules: Arc<HashMap<Sha256Hex, Vec<Rule>>>,
    /// Interactions of erased subjects, as half of their tombstones: feedback on them goes, whoever gave it.
    interactions: Arc<HashSet<u128>>,
    /// Subjects as dead letters spell their ids, where they are known, and their tenants: a dead letter has no column to look at.
    named: Arc<Vec<Named>>,
}

#[derive(Debug, Clone)]
struct Named {
    subject: [Vec<u8>; 2],
    tenant: Option<[Vec<u8>; 2]>,
}

/// An id as Avro writes it and as JSON does. Its bytes alone would be found inside longer ids, too.
fn spelled(id: &str) -> [Vec<u8>; 2] {
    [as_avro(id), format!("\"{id}\"").into_bytes()]
}

/// The first half of a tombstone: it takes a sixth of the digits' memory, and two different ids meet once in 10^38.
fn half(tombstone: &Sha256Hex) -> u128 {
    u128::from_str_radix(&tombstone.as_str()[..32], 16).unwrap_or_default()
}

/// A text as Avro writes it: its length, then its bytes. The bytes alone would be found inside longer ids, too.
fn as_avro(text: &str) -> Vec<u8> {
    let mut zigzag = (text.len() as u64) << 1;
    let mut bytes = Vec::with_capacity(text.len() + 2);
    while zigzag >= 0x80 {
        bytes.push(zigzag as u8 | 0x80);
        zigzag >>= 7;
    }
    bytes.push(zigzag as u8);
    bytes.extend_from_slice(text.as_bytes());
    bytes
}

#[derive(Debug, Clone)]
struct Rule {
    tenant: Option<String>,
    until_micros: i64,
}

impl Erased {
    /// What these erasures erase. Feedback of others on a subject's interactions is only found after [`Erased::note`] was told of those.
    pub fn of(erasures: &[Erasure]) -> Self {
        let mut rules: HashMap<Sha256Hex, Vec<Rule>> = HashMap::new();
        for erasure in erasures {
            let tenant = erasure.tenant.as_ref().map(ToString::to_string);
            let rule = Rule { tenant, until_micros: erasure.until.as_microsecond() };
            rules.entry(erasure.subject.clone()).or_default().push(rule);
        }
        Self { rules: Arc::new(rules), ..Self::default() }
    }

    /// Also finds dead letters that hold the subject's id, and the tenant's when one is given, as Avro or JSON write them.
    #[must_use]
    pub fn naming(mut self, subject: &SubjectId, tenant: Option<&TenantId>) -> Self {
        let tenant = tenant.map(|tenant| spelled(tenant.as_str()));
        Arc::make_mut(&mut self.named).push(Named { subject: spelled(subject.as_str()), tenant });
        self
    }

    /// Whether nothing is to be erased.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty() && self.named.is_empty()
    }

    /// Tombstones of the erased interactions of a batch.
    ///
    /// # Errors
    /// [`ColumnsError::Damaged`] when the rows are not interactions.
    pub fn tombstones(&self, interactions: &RecordBatch) -> Result<Vec<Sha256Hex>> {
        let gone = self.rows(Topic::Interactions, interactions)?;
        let ids = Columns::of(WHAT, interactions).get::<StringArray>("id")?;
        let found = gone.iter().enumerate().filter(|(_, gone)| *gone == Some(true));
        Ok(found.map(|(row, _)| Erasure::tombstone(ids.value(row))).collect())
    }

    /// Remembers erased interactions, so that feedback on them is recognized.
    pub fn note<'a>(&mut self, tombstones: impl IntoIterator<Item = &'a Sha256Hex>) {
        let mut tombstones = tombstones.into_iter().map(half).peekable();
        if tombstones.peek().is_some() {
            Arc::make_mut(&mut self.interactions).extend(tombstones);
        }
    }

    /// How many of a topic's rows are erased.
    ///
    /// # Errors
    /// [`ColumnsError::Damaged`] when the rows are not that topic's.
    pub fn count(&self, topic: Topic, rows: &RecordBatch) -> Result<u64> {
        Ok(self.rows(topic, rows)?.true_count() as u64)
    }

    /// Whether a dead letter is erased.
    pub fn takes(&self, letter: &DeadLetter) -> bool {
        let holds = |text: &Vec<u8>| letter.raw.windows(text.len().max(1)).any(|window| window == text);
        let names = |spelled: &[Vec<u8>; 2]| spelled.iter().any(holds);
        self.named.iter().any(|named| names(&named.subject) && named.tenant.as_ref().is_none_or(names))
    }

    /// The rows that stay.
    pub(crate) fn strike(&self, topic: Topic, rows: RecordBatch) -> Result<RecordBatch> {
        if self.is_empty() {
            return Ok(rows);
        }
        let stays: BooleanArray = self.rows(topic, &rows)?.iter().map(|gone| gone.map(|gone| !gone)).collect();
        filter_record_batch(&rows, &stays).map_err(ColumnsError::build("rows that are not erased"))
    }

    fn rows(&self, topic: Topic, rows: &RecordBatch) -> Result<BooleanArray> {
        let columns = Columns::of(WHAT, rows);
        let (tenants, subjects) = (columns.get::<StringArray>("tenant")?, columns.get::<StringArray>("subject")?);
        let times = columns.get::<TimestampMicrosecondArray>("time")?;
        let about = match topic {
            Topic::Feedback if !self.interactions.is_empty() => Some(columns.get::<StringArray>("interaction")?),
            Topic::Feedback | Topic::Interactions => None,
        };
        // Rows of one subject often follow each other.
        let mut last: Option<(&str, &[Rule])> = None;
        let mut row = 0;
        let gone = iter::from_fn(|| {
            let index = row;
            row += 1;
            (index < rows.num_rows()).then(|| {
                let subject = subjects.value(index);
                let rules = match last {
                    Some((known, rules)) if known == subject => rules,
                    _ => self.rules.get(&Sha256Hex::of(subject.as_bytes())).map(Vec::as_slice).unwrap_or_default(),
                };
                last = Some((subject, rules));
                let applies = |rule: &Rule| {
                    times.value(index) <= rule.until_micros
                        && rule.tenant.as_deref().is_none_or(|tenant| tenant == tenants.value(index))
                };
                let is_about = |about: &StringArray| self.interactions.contains(&half(&Erasure::tombstone(about.value(index))));
                rules.iter().any(applies) || about.is_some_and(is_about)
            })
        });
        Ok(gone.map(Some).collect())
    }
}
