//! Matrix products over row-major slices.

use faer::{Accum, MatMut, MatRef, Par, linalg::matmul::matmul};
use rayon::prelude::*;

use super::real::Real;

/// One factor of a product: a row-major slice, possibly read transposed.
#[derive(Debug, Clone, Copy)]
pub struct Factor<'a, T = f32> {
    data: &'a [T],
    rows: usize,
    cols: usize,
    transposed: bool,
}

impl<'a, T: Real> Factor<'a, T> {
    /// A dense `rows × cols` matrix.
    pub fn new(data: &'a [T], rows: usize, cols: usize) -> Self {
        Self { data, rows, cols, transposed: false }
    }

    /// The transpose.
    #[must_use]
    pub fn t(mut self) -> Self {
        self.transposed = !self.transposed;
        self
    }

    fn view(&self) -> MatRef<'a, T> {
        let view = MatRef::from_row_major_slice(&self.data[..self.rows * self.cols], self.rows, self.cols);
        if self.transposed { view.transpose() } else { view }
    }
}

/// Whether a product overwrites or adds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Write {
    /// `out = a b`
    Set,
    /// `out += a b`
    Add,
}

/// Products of at least this many multiply-adds are worth a second thread.
const PARALLEL_FROM: usize = 1 << 20;

/// `out = a b` or `out += a b`, on as many threads as pay. Rows of the output are split between threads here: every thread then runs without
/// meeting the others, whereas the library's own threads meet at a barrier for every block, which costs a fifth on a busy machine.
pub fn product<T: Real>(out: &mut [T], write: Write, a: Factor<'_, T>, b: Factor<'_, T>) {
    let (a, b) = (a.view(), b.view());
    let (rows, cols) = (a.nrows(), b.ncols());
    let threads = rayon::current_num_threads();
    if threads < 2 || rows < 2 * threads || rows * a.ncols() * cols < PARALLEL_FROM {
        return run(out, write, a, b);
    }
    let part = rows.div_ceil(threads);
    out[..rows * cols].par_chunks_mut(part * cols).enumerate().for_each(|(n, out)| {
        let height = out.len() / cols;
        run(out, write, a.subrows(n * part, height), b);
    });
}

/// The same on the calling thread only, for use inside a parallel loop.
pub fn product_here<T: Real>(out: &mut [T], write: Write, a: Factor<'_, T>, b: Factor<'_, T>) {
    run(out, write, a.view(), b.view());
}

fn run<T: Real>(out: &mut [T], write: Write, a: MatRef<'_, T>, b: MatRef<'_, T>) {
    let (rows, cols) = (a.nrows(), b.ncols());
    let out = MatMut::from_row_major_slice_mut(&mut out[..rows * cols], rows, cols);
    let accum = match write {
        Write::Set => Accum::Replace,
        Write::Add => Accum::Add,
    };
    matmul(out, accum, a, b, T::one(), Par::Seq);
}
