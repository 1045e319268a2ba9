//! Weight matrices laid out for products with few rows, which is what decoding waits for.
//!
//! Columns lie in panels, so that a product reads the weights once and in order, whatever the number of rows, and holds its sums in registers. Weights that
//! bf16 holds without loss, as checkpoints published in it do, are kept in it: half of the bytes to read, the same numbers.

use std::sync::Arc;

use half::bf16;
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

/// Columns of a panel: two of the widest vectors.
const PANEL: usize = 32;

/// Rows whose sums fit into registers together with a line of weights, on the widest vectors.
const ROWS: usize = 8;

/// The same on narrower ones, of which there are fewer.
const ROWS_OF_NARROW: usize = 2;

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

/// How a panel's weights for one input are stored.
trait Line: Copy + Send + Sync {
    fn new(weights: [f32; PANEL]) -> Self;
    fn get(&self, column: usize) -> f32;
    /// All of them, in `V` vectors.
    fn vectors<S: Simd, const V: usize>(&self, simd: S) -> [S::f32s; V];
}

/// As they are.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
struct Single([f32; PANEL]);

impl Line for Single {
    fn new(weights: [f32; PANEL]) -> Self {
        Self(weights)
    }

    fn get(&self, column: usize) -> f32 {
        self.0[column]
    }

    #[inline(always)]
    fn vectors<S: Simd, const V: usize>(&self, _: S) -> [S::f32s; V] {
        let (vectors, _) = S::as_simd_f32s(&self.0);
        std::array::from_fn(|v| vectors[v])
    }
}

/// In bf16: a word holds a column of the first half of the panel in its lower bits and one of the second half in its upper ones, so that a shift and a mask
/// give both.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
struct Brain([u32; PANEL / 2]);

const UPPER: u32 = 0xffff_0000;

impl Line for Brain {
    fn new(weights: [f32; PANEL]) -> Self {
        let bits = |n: usize| u32::from(bf16::from_f32(weights[n]).to_bits());
        Self(std::array::from_fn(|n| bits(n) | bits(n + PANEL / 2) << 16))
    }

    fn get(&self, column: usize) -> f32 {
        let word = self.0[column % (PANEL / 2)];
        f32::from_bits(if column < PANEL / 2 { word << 16 } else { word & UPPER })
    }

    #[inline(always)]
    fn vectors<S: Simd, const V: usize>(&self, simd: S) -> [S::f32s; V] {
        let (words, _) = S::as_simd_u32s(&self.0);
        let (sixteen, upper) = (simd.splat_u32s(16), simd.splat_u32s(UPPER));
        std::array::from_fn(|v| {
            let bits =
                if v < V / 2 { simd.wrapping_dyn_shl_u32s(words[v], sixteen) } else { simd.and_u32s(words[v - V / 2], upper) };
            simd.transmute_f32s_u32s(bits)
        })
    }
}

#[derive(Debug, Clone)]
enum Lines {
    Single(Arc<[Single]>),
    Brain(Arc<[Brain]>),
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

    fn from_cells(weights: &[f32], inputs: usize, outputs: usize, at: impl Fn(usize, usize) -> usize + Sync) -> Self {
        let is_brain = weights.par_iter().all(|w| w.to_bits().trailing_zeros() >= 16);
        let cell = |i: usize, o: usize| weights[at(i, o)];
        let lines = if is_brain { Lines::Brain(pack(inputs, outputs, cell)) } else { Lines::Single(pack(inputs, outputs, cell)) };
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

    /// Appends the weights of one output, `[inputs]`.
    ///
    /// # Panics
    /// When there is no such output.
    pub fn column(&self, output: usize, out: &mut Vec<f32>) {
        assert!(output < self.outputs, "output {output} of {}", self.outputs);
        let (panel, place) = (output / PANEL * self.inputs, output % PANEL);
        match &self.lines {
            Lines::Single(lines) => out.extend(lines[panel..panel + self.inputs].iter().map(|line| line.get(place))),
            Lines::Brain(lines) => out.extend(lines[panel..panel + self.inputs].iter().map(|line| line.get(place))),
        }
    }

    /// `out = x w`, `x [rows, inputs]`, `out [rows, outputs]`.
    pub fn product(&self, out: &mut Vec<f32>, x: &[f32], spread: Spread) {
        let rows = x.len() / self.inputs;
        out.clear();
        out.resize(rows * self.outputs, 0.0);
        let most = Arch::new().dispatch(Most);
        let x = interleave(x, self.inputs, most);
        let task = Task { x: &x, rows, inputs: self.inputs, most };
        match &self.lines {
            Lines::Single(lines) => task.spread(lines, out, self.outputs, spread),
            Lines::Brain(lines) => task.spread(lines, out, self.outputs, spread),
        }
    }
}

/// In parallel, since the embeddings of a large model are packed for a second.
fn pack<L: Line>(inputs: usize, outputs: usize, cell: impl Fn(usize, usize) -> f32 + Sync) -> Arc<[L]> {
    let line = |n: usize| {
        let (panel, i) = (n / inputs.max(1) * PANEL, n % inputs.max(1));
        L::new(std::array::from_fn(|l| if panel + l < outputs { cell(i, panel + l) } else { 0.0 }))
    };
    let lines: Vec<L> = (0..outputs.div_ceil(PANEL) * inputs).into_par_iter().map(line).collect();
    lines.into()
}

/// How many rows are best taken at once.
struct Most;

impl WithSimd for Most {
    type Output = usize;

    fn with_simd<S: Simd>(self, _: S) -> usize {
        if S::F32_LANES * 2 >= PANEL { ROWS } else { ROWS_OF_NARROW }
    }
}

/// How many rows are taken at once of those that are left.
const fn block(rows: usize, most: usize) -> usize {
    let largest = match rows {
        ROWS.. => ROWS,
        4.. => 4,
        2.. => 2,
        _ => 1,
    };
    if largest < most { largest } else { most }
}

/// Rows with those of a block interleaved, `[block][inputs, rows of the block]`: the inner loop then reads on and on, with nothing to check.
fn interleave(x: &[f32], inputs: usize, most: usize) -> Vec<f32> {
    let mut out = Vec::with_capacity(x.len());
    let mut left = x;
    while !left.is_empty() {
        let count = block(left.len() / inputs, most);
        let (rows, rest) = left.split_at(count * inputs);
        match count {
            ROWS => interleave_block::<ROWS>(rows, inputs, &mut out),
            4 => interleave_block::<4>(rows, inputs, &mut out),
            2 => interleave_block::<2>(rows, inputs, &mut out),
            _ => out.extend_from_slice(rows),
        }
        left = rest;
    }
    out
}

fn interleave_block<const R: usize>(rows: &[f32], inputs: usize, out: &mut Vec<f32>) {
    let rows: [&[f32]; R] = std::array::from_fn(|r| &rows[r * inputs..][..inputs]);
    out.extend((0..inputs).flat_map(|i| rows.map(|row| row[i])));
}

/// Interleaved rows that are to be multiplied.
#[derive(Clone, Copy)]
struct Task<'a> {
    x: &'a [f32],
    rows: usize,
    inputs: usize,
    most: usize,
}

impl Task<'_> {
    fn spread<L: Line>(self, lines: &[L], out: &mut [f32], width: usize, spread: Spread) {
        let Self { x, rows, inputs, most } = self;
        let threads = rayon::current_num_threads();
        if spread == Spread::Here || threads < 2 || rows.div_ceil(most) * lines.len() * PANEL < PARALLEL_FROM {
            return self.multiply(lines, out, width);
        }
        if rows >= ROWS_A_THREAD * threads {
            let part = rows.div_ceil(threads * TASKS_A_THREAD).next_multiple_of(most);
            let parts = out.par_chunks_mut(part * width).zip(x.par_chunks(part * inputs));
            return parts.for_each(|(out, x)| Task { x, rows: x.len() / inputs, ..self }.multiply(lines, out, width));
        }
        let panels = (lines.len() / inputs).div_ceil(threads * TASKS_A_THREAD);
        let parts = lines.par_chunks(panels * inputs);
        if rows == 1 {
            return out.par_chunks_mut(panels * PANEL).zip(parts).for_each(|(out, lines)| {
                let width = out.len();
                self.multiply(lines, out, width);
            });
        }
        // Columns of several rows do not lie together: each thread fills a part of its own.
        let part = |(n, lines): (usize, &[L])| {
            let width = (width - n * panels * PANEL).min(panels * PANEL);
            let mut part = vec![0.0; rows * width];
            self.multiply(lines, &mut part, width);
            part
        };
        let parts: Vec<Vec<f32>> = parts.enumerate().map(part).collect();
        for (n, part) in parts.iter().enumerate() {
            let columns = part.len() / rows;
            for (out, part) in out.chunks_exact_mut(width).zip(part.chunks_exact(columns)) {
                out[n * panels * PANEL..][..columns].copy_from_slice(part);
            }
        }
    }

    /// Multiplies with some panels on this thread; `out` has rows of `width`.
    fn multiply<L: Line>(self, lines: &[L], out: &mut [f32], width: usize) {
        for (n, panel) in lines.chunks_exact(self.inputs).enumerate() {
            let columns = n * PANEL..width.min((n + 1) * PANEL);
            Arch::new().dispatch(Job { task: self, panel, out: &mut *out, width, columns });
        }
    }
}

/// One panel's product.
struct Job<'a, L> {
    task: Task<'a>,
    panel: &'a [L],
    out: &'a mut [f32],
    width: usize,
    columns: std::ops::Range<usize>,
}

impl<L: Line> WithSimd for Job<'_, L> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        match S::F32_LANES {
            16 => self.run::<S, 2>(simd),
            8 => self.run::<S, 4>(simd),
            4 => self.run::<S, 8>(simd),
            _ => self.run::<S, PANEL>(simd),
        }
    }
}

impl<L: Line> Job<'_, L> {
    #[inline(always)]
    fn run<S: Simd, const V: usize>(mut self, simd: S) {
        let mut row = 0;
        while row < self.task.rows {
            let count = block(self.task.rows - row, self.task.most);
            match count {
                ROWS => self.rows::<S, V, ROWS>(simd, row),
                4 => self.rows::<S, V, 4>(simd, row),
                2 => self.rows::<S, V, 2>(simd, row),
                _ => self.rows::<S, V, 1>(simd, row),
            }
            row += count;
        }
    }

    /// Writes the rows of one block.
    #[inline(always)]
    fn rows<S: Simd, const V: usize, const R: usize>(&mut self, simd: S, first: usize) {
        let x = &self.task.x[first * self.task.inputs..(first + R) * self.task.inputs];
        let mut sums = [[simd.splat_f32s(0.0); V]; R];
        for (line, x) in self.panel.iter().zip(x.as_chunks::<R>().0) {
            let weights = line.vectors::<S, V>(simd);
            for (sums, x) in sums.iter_mut().zip(x) {
                let x = simd.splat_f32s(*x);
                for (sum, w) in sums.iter_mut().zip(weights) {
                    *sum = simd.mul_add_e_f32s(x, w, *sum);
                }
            }
        }
        for (r, sums) in sums.into_iter().enumerate() {
            let mut numbers = [0.0; PANEL];
            let (vectors, _) = S::as_mut_simd_f32s(&mut numbers);
            vectors.copy_from_slice(&sums);
            let row = &mut self.out[(first + r) * self.width..][..self.width];
            row[self.columns.clone()].copy_from_slice(&numbers[..self.columns.len()]);
        }
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
    }
}
