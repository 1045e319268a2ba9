//! Weight matrices laid out for products with few rows, which is what decoding waits for.
//!
//! Columns lie in panels, so that a product reads the weights once and in order, whatever the number of rows, and holds its sums in registers. Weights that
//! bf16 holds without loss, as checkpoints published in it do, are kept in it: half of the bytes to read, the same numbers.

use std::sync::Arc;

use half::bf16;
use pulp::NullaryFnOnce;
use rayon::prelude::*;

/// Columns of a panel: two of the widest vectors.
const PANEL: usize = 32;

/// Rows whose sums fit into registers together with a line of weights, on the widest vectors.
const ROWS: usize = 8;

/// Products of at least this many weights are worth a second thread.
const PARALLEL_FROM: usize = 1 << 19;

/// From so many rows a thread on, threads take rows instead of columns: what they wait for is arithmetic then, not weights.
const ROWS_A_THREAD: usize = 32;

/// Tasks a thread, so that one that is held up does not hold up all.
const TASKS_A_THREAD: usize = 2;

/// Where a product runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spread {
    /// On all threads.
    All,
    /// On the calling thread: others have work of their own.
    Here,
}

/// One input's weights for a panel, aligned to a cache line.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
struct Line<C>([C; PANEL]);

/// A stored weight.
trait Cell: Copy + Sync {
    fn wide(self) -> f32;
}

impl Cell for f32 {
    #[inline(always)]
    fn wide(self) -> f32 {
        self
    }
}

impl Cell for bf16 {
    #[inline(always)]
    fn wide(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }
}

#[derive(Debug, Clone)]
enum Lines {
    Single(Arc<[Line<f32>]>),
    Brain(Arc<[Line<bf16>]>),
}

/// A matrix `[inputs, outputs]`; clones share the weights.
#[derive(Debug, Clone)]
pub struct Packed {
    inputs: usize,
    outputs: usize,
    lines: Lines,
}

impl Packed {
    /// From row-major `[inputs, outputs]`.
    pub fn new(weights: &[f32], inputs: usize) -> Self {
        let outputs = weights.len() / inputs.max(1);
        Self::from_cells(weights, inputs, outputs, |i, o| i * outputs + o)
    }

    /// From row-major `[outputs, inputs]`.
    pub fn transposed(weights: &[f32], inputs: usize) -> Self {
        Self::from_cells(weights, inputs, weights.len() / inputs.max(1), |i, o| o * inputs + i)
    }

    fn from_cells(weights: &[f32], inputs: usize, outputs: usize, at: impl Fn(usize, usize) -> usize) -> Self {
        let is_brain = weights.iter().all(|w| w.to_bits().trailing_zeros() >= 16);
        let lines = if is_brain {
            Lines::Brain(pack(inputs, outputs, bf16::ZERO, |i, o| bf16::from_f32(weights[at(i, o)])))
        } else {
            Lines::Single(pack(inputs, outputs, 0.0, |i, o| weights[at(i, o)]))
        };
        Self { inputs, outputs, lines }
    }

    /// Extents of a row that goes in.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Extents of a row that comes out.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Memory that the weights take.
    pub fn bytes(&self) -> usize {
        match &self.lines {
            Lines::Single(lines) => size_of_val(&**lines),
            Lines::Brain(lines) => size_of_val(&**lines),
        }
    }

    /// Appends the weights of one output, `[inputs]`.
    ///
    /// # Panics
    /// When there is no such output.
    pub fn column(&self, output: usize, out: &mut Vec<f32>) {
        assert!(output < self.outputs, "output {output} of {}", self.outputs);
        let (panel, place) = (output / PANEL * self.inputs, output % PANEL);
        match &self.lines {
            Lines::Single(lines) => out.extend(lines[panel..panel + self.inputs].iter().map(|line| line.0[place])),
            Lines::Brain(lines) => out.extend(lines[panel..panel + self.inputs].iter().map(|line| line.0[place].wide())),
        }
    }

    /// `out = x w`, `x [rows, inputs]`, `out [rows, outputs]`.
    pub fn product(&self, out: &mut Vec<f32>, x: &[f32], spread: Spread) {
        out.clear();
        out.resize(x.len() / self.inputs * self.outputs, 0.0);
        match &self.lines {
            Lines::Single(lines) => self.spread(lines, out, x, spread),
            Lines::Brain(lines) => self.spread(lines, out, x, spread),
        }
    }

    fn spread<C: Cell>(&self, lines: &[Line<C>], out: &mut [f32], x: &[f32], spread: Spread) {
        let (rows, threads) = (x.len() / self.inputs, rayon::current_num_threads());
        if spread == Spread::Here || threads < 2 || rows.div_ceil(ROWS) * lines.len() * PANEL < PARALLEL_FROM {
            return self.multiply(lines, x, out, self.outputs);
        }
        if rows >= ROWS_A_THREAD * threads {
            let part = rows.div_ceil(threads * TASKS_A_THREAD).next_multiple_of(ROWS);
            let parts = out.par_chunks_mut(part * self.outputs).zip(x.par_chunks(part * self.inputs));
            return parts.for_each(|(out, x)| self.multiply(lines, x, out, self.outputs));
        }
        let panels = (lines.len() / self.inputs).div_ceil(threads * TASKS_A_THREAD);
        let parts = lines.par_chunks(panels * self.inputs);
        if rows == 1 {
            return out.par_chunks_mut(panels * PANEL).zip(parts).for_each(|(out, lines)| {
                let width = out.len();
                self.multiply(lines, x, out, width);
            });
        }
        // Columns of several rows do not lie together: each thread fills a part of its own.
        let parts: Vec<Vec<f32>> = parts
            .enumerate()
            .map(|(n, lines)| {
                let width = (self.outputs - n * panels * PANEL).min(panels * PANEL);
                let mut part = vec![0.0; rows * width];
                self.multiply(lines, x, &mut part, width);
                part
            })
            .collect();
        for (n, part) in parts.iter().enumerate() {
            let width = part.len() / rows;
            for (out, part) in out.chunks_exact_mut(self.outputs).zip(part.chunks_exact(width)) {
                out[n * panels * PANEL..][..width].copy_from_slice(part);
            }
        }
    }

    /// Multiplies with some panels on this thread; `out` has rows of `width`.
    fn multiply<C: Cell>(&self, lines: &[Line<C>], x: &[f32], out: &mut [f32], width: usize) {
        for (n, panel) in lines.chunks_exact(self.inputs).enumerate() {
            let columns = n * PANEL..width.min((n + 1) * PANEL);
            pulp::Arch::new().dispatch(Job { panel, x, inputs: self.inputs, out: &mut *out, width, columns });
        }
    }
}

fn pack<C: Copy>(inputs: usize, outputs: usize, zero: C, cell: impl Fn(usize, usize) -> C) -> Arc<[Line<C>]> {
    let line = |panel: usize, i: usize| {
        let cell = |n: usize| (n < outputs).then(|| cell(i, n));
        Line(std::array::from_fn(|l| cell(panel * PANEL + l).unwrap_or(zero)))
    };
    (0..outputs.div_ceil(PANEL)).flat_map(|panel| (0..inputs).map(move |i| (panel, i))).map(|(panel, i)| line(panel, i)).collect()
}

/// One panel's product. Not a closure: those are inlined into the function that has the processor's features only when they are small.
struct Job<'a, C> {
    panel: &'a [Line<C>],
    x: &'a [f32],
    inputs: usize,
    out: &'a mut [f32],
    width: usize,
    columns: std::ops::Range<usize>,
}

impl<C: Cell> NullaryFnOnce for Job<'_, C> {
    type Output = ();

    #[inline(always)]
    fn call(mut self) {
        let rows = self.x.len() / self.inputs;
        let mut row = 0;
        while row < rows {
            row += match rows - row {
                ROWS.. => self.rows::<ROWS>(row),
                4.. => self.rows::<4>(row),
                2.. => self.rows::<2>(row),
                _ => self.rows::<1>(row),
            };
        }
    }
}

impl<C: Cell> Job<'_, C> {
    /// Writes some rows; says how many.
    #[inline(always)]
    fn rows<const R: usize>(&mut self, first: usize) -> usize {
        let x: [&[f32]; R] = std::array::from_fn(|r| &self.x[(first + r) * self.inputs..][..self.inputs]);
        let mut sums = [[0.0f32; PANEL]; R];
        for (i, line) in self.panel.iter().enumerate().take(self.inputs) {
            let mut w = [0.0; PANEL];
            for l in 0..PANEL {
                w[l] = line.0[l].wide();
            }
            for r in 0..R {
                let x = x[r][i];
                for l in 0..PANEL {
                    sums[r][l] = x.mul_add(w[l], sums[r][l]);
                }
            }
        }
        for (r, sums) in sums.iter().enumerate() {
            let row = &mut self.out[(first + r) * self.width..][..self.width];
            row[self.columns.clone()].copy_from_slice(&sums[..self.columns.len()]);
        }
        R
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(count: usize, salt: usize, brain: bool) -> Vec<f32> {
        let value = |n: usize| ((n * 7_919 + salt * 104_729) % 1_009) as f32 / 1_009.0 - 0.5;
        (0..count).map(value).map(|x| if brain { bf16::from_f32(x).to_f32() } else { x }).collect()
    }

    #[test]
    fn products_of_any_extents_are_those_of_the_definition() {
        for (inputs, outputs) in [(1, 1), (3, 31), (7, 33), (64, 96), (600, 1000)] {
            for rows in [1, 2, 3, 7, 8, 13, 130] {
                for brain in [false, true] {
                    let (w, x) = (values(inputs * outputs, 1, brain), values(rows * inputs, 2, false));
                    let by_definition = |row: usize, o: usize| -> f64 {
                        (0..inputs).map(|i| f64::from(x[row * inputs + i]) * f64::from(w[i * outputs + o])).sum()
                    };
                    let packed = Packed::new(&w, inputs);
                    assert_eq!(matches!(packed.lines, Lines::Brain(_)), brain);
                    for spread in [Spread::All, Spread::Here] {
                        let mut out = vec![f32::NAN; 3];
                        packed.product(&mut out, &x, spread);
                        assert_eq!(out.len(), rows * outputs);
                        for (n, found) in out.iter().enumerate() {
                            let expected = by_definition(n / outputs, n % outputs);
                            assert!((f64::from(*found) - expected).abs() < 1e-4, "{inputs} {outputs} {rows} {brain} {spread:?}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn a_transposed_matrix_gives_its_columns_back() {
        let w = values(5 * 70, 3, true);
        let packed = Packed::transposed(&w, 5);
        assert_eq!((packed.inputs(), packed.outputs()), (5, 70));
        let mut column = Vec::new();
        packed.column(69, &mut column);
        assert_eq!(column, w[69 * 5..]);
        assert_eq!(packed.bytes(), 3 * 5 * PANEL * 2);
    }
}
