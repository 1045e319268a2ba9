//! One head's channels out of rows that hold all of them, and back.

use super::real::Real;

/// Where a head's channels lie in every row.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Columns {
    /// Channels of a row.
    pub(crate) row: usize,
    /// The head's first.
    pub(crate) at: usize,
    /// How many it has.
    pub(crate) width: usize,
}

/// A dense `[T, width]` copy of one head of sequence `b` of `x [B, T, row]`.
pub(crate) fn gather<T: Real>(x: &[T], time: usize, b: usize, c: Columns) -> Vec<T> {
    let mut out = Vec::with_capacity(time * c.width);
    for row in x[b * time * c.row..(b + 1) * time * c.row].chunks_exact(c.row) {
        out.extend_from_slice(&row[c.at..c.at + c.width]);
    }
    out
}

/// Writes a dense `[T, width]` into the rows `[T, row]` of one sequence.
pub(crate) fn scatter<T: Real>(rows: &mut [T], part: &[T], c: Columns) {
    for (row, part) in rows.chunks_exact_mut(c.row).zip(part.chunks_exact(c.width)) {
        row[c.at..c.at + c.width].copy_from_slice(part);
    }
}
