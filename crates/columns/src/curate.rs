//! Curation: which rows a night may learn from, as query plans over the planned batches.
//!
//! No row disappears: each keeps a verdict and, when it is dropped, the first rule that dropped it, in this order:
//!
//! | reason | rule |
//! |---|---|
//! | `replayed record` | a record of the same id is there already |
//! | `no consent` | the subject did not allow training |
//! | `truncated` | a text was cut at the payload limit |
//! | `exact duplicate` | the subject said the same words earlier in the session |
//! | `near duplicate` | the subject said the same words earlier in another session, or says nearly the same later in any |
//! | `subject cap` | the subject has as many newer rows as one subject may have |
//! | `model share` | user messages written by models would outweigh the others |
//!
//! A rule sees only what the rules before it left. Feedback drops nothing: a negative score marks the answer as not usable, and the
//! latest correction is attached, because the user's own words stay true. Which of two contradicting statements holds is settled
//! later, by the order in time; so a row that was repeated carries the time of its last repetition (`repeated_until`): who says A,
//! then B, then A again, means A, although the third statement is dropped as a duplicate of the first. Of texts that are nearly the same the one said last
//! stays, and texts in which a word was exchanged for another are not nearly the same: the word may be what was learned. A row that feedback corrects
//! or calls wrong is never dropped as a duplicate.
//!
//! **Complexity.** Every rule is a sort, a hash aggregation or an equality join, in O(n log n), under a memory limit. Only near
//! duplicates compare rows in pairs, and of all pairs of a subject's rows only those that can be similar: texts are joined by the few
//! trigrams of which a text must share one with any text as similar as the setting (prefix filtering: sets with Jaccard similarity
//! ≥ t share one of their first n − ⌈t·n⌉ + 1 elements in any common order). The result is exact. Identical texts are collapsed first,
//! so that a subject who says "hello" a thousand times does not give a million pairs; what stays quadratic is one subject that fills
//! the same template again and again, at a merge of two short lists a pair. A text that resembles only a dropped near duplicate is
//! dropped, too: chains of small changes count as one text.

mod output;
mod rules;
mod tables;
#[cfg(test)]
mod tests;
mod text;

use nocturne_wire::{night::CurationCounts, plan::CurationSettings};

pub use self::output::{CuratedRow, curated_rows, read_curated, write_curated};
use crate::{ColumnsError, RecordBatch, Resources, Result};

/// Curated rows.
#[derive(Debug, Clone)]
pub struct Curated {
    /// Every planned row with its verdict, in the order of time, session, turn: see [`curated_rows`], [`write_curated`].
    pub rows: RecordBatch,
    /// How many were kept and dropped.
    pub counts: CurationCounts,
}

/// Decides for each interaction whether a night may learn from it.
///
/// # Errors
/// [`ColumnsError::OutOfMemory`] when the rows need more memory than given; [`ColumnsError::Refused`] when a setting is out of range.
pub async fn curate(
    interactions: Vec<RecordBatch>,
    feedback: Vec<RecordBatch>,
    settings: &CurationSettings,
    resources: &Resources,
) -> Result<Curated> {
    check(settings)?;
    let failed = ColumnsError::query(resources.memory_bytes);
    let tables = tables::open(interactions, feedback, resources)?;
    let schema = tables.curated_schema();
    let decided = rules::apply(&tables, settings).await.map_err(&failed)?;
    let batches = decided.collect().await.map_err(&failed)?;
    let rows = output::gather(&schema, &batches)?;
    let counts = output::count(&rows)?;
    Ok(Curated { rows, counts })
}

fn check(settings: &CurationSettings) -> Result<()> {
    let refused = |reason: String| Err(ColumnsError::Refused { what: "curation settings", reason });
    let similarity = settings.near_duplicate_similarity;
    if !(similarity > 0.0 && similarity <= 1.0) {
        return refused(format!("near_duplicate_similarity is {similarity}, it must be above 0 and at most 1"));
    }
    let share = settings.max_model_share;
    if !(0.0..=1.0).contains(&share) {
        return refused(format!("max_model_share is {share}, it must be from 0 to 1"));
    }
    Ok(())
}
