//! The numbers that a rule is computed in: `f32` in training, `f64` where a test holds it against a closed form.

use std::{
    fmt::Debug,
    iter::Sum,
    ops::{Add, AddAssign, Div, DivAssign, Mul, MulAssign, Neg, Sub, SubAssign},
};

use faer::{
    Accum, MatMut, MatRef, Par, Spec,
    dyn_stack::{MemBuffer, MemStack},
    linalg::{cholesky::llt, matmul::matmul},
    prelude::{Reborrow, ReborrowMut, default},
    traits::RealField,
};

use crate::kernels::gemm::{self, Factor, Write};

/// A real number.
pub trait Real:
    RealField
    + 'static
    + Copy
    + Default
    + Debug
    + PartialOrd
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
    + SubAssign
    + MulAssign
    + DivAssign
    + Sum
{
    /// The nearest number of this kind.
    fn of(x: f64) -> Self;
    /// The same number, wide.
    fn wide(self) -> f64;
    /// `√x`
    #[must_use]
    fn root(self) -> Self;
    /// `tanh x`
    #[must_use]
    fn tanh(self) -> Self;
    /// The greater of two.
    #[must_use]
    fn at_least(self, floor: Self) -> Self;
    /// `out = a b`, overwritten or added; see [`product`].
    fn multiply(out: &mut [Self], write: Write, a: Operand<'_, Self>, b: Operand<'_, Self>);
}

/// A row-major matrix, possibly read transposed.
#[derive(Debug, Clone, Copy)]
pub struct Operand<'a, T> {
    data: &'a [T],
    rows: usize,
    cols: usize,
    transposed: bool,
}

impl<'a, T> Operand<'a, T> {
    /// A `rows × cols` matrix.
    pub fn new(data: &'a [T], rows: usize, cols: usize) -> Self {
        Self { data, rows, cols, transposed: false }
    }

    /// The transpose.
    #[must_use]
    pub fn t(self) -> Self {
        Self { transposed: !self.transposed, ..self }
    }

    fn extents(&self) -> (usize, usize) {
        if self.transposed { (self.cols, self.rows) } else { (self.rows, self.cols) }
    }
}

impl<'a> Operand<'a, f32> {
    fn factor(self) -> Factor<'a> {
        let factor = Factor::new(self.data, self.rows, self.cols);
        if self.transposed { factor.t() } else { factor }
    }
}

impl<'a> Operand<'a, f64> {
    fn view(self) -> MatRef<'a, f64> {
        let view = MatRef::from_row_major_slice(self.data, self.rows, self.cols);
        if self.transposed { view.transpose() } else { view }
    }
}

impl Real for f32 {
    fn of(x: f64) -> Self {
        x as Self
    }

    fn wide(self) -> f64 {
        f64::from(self)
    }

    fn root(self) -> Self {
        self.sqrt()
    }

    fn tanh(self) -> Self {
        Self::tanh(self)
    }

    fn at_least(self, floor: Self) -> Self {
        self.max(floor)
    }

    fn multiply(out: &mut [Self], write: Write, a: Operand<'_, Self>, b: Operand<'_, Self>) {
        gemm::product(out, write, a.factor(), b.factor());
    }
}

impl Real for f64 {
    fn of(x: f64) -> Self {
        x
    }

    fn wide(self) -> f64 {
        self
    }

    fn root(self) -> Self {
        self.sqrt()
    }

    fn tanh(self) -> Self {
        Self::tanh(self)
    }

    fn at_least(self, floor: Self) -> Self {
        self.max(floor)
    }

    fn multiply(out: &mut [Self], write: Write, a: Operand<'_, Self>, b: Operand<'_, Self>) {
        let accum = if write == Write::Set { Accum::Replace } else { Accum::Add };
        let out = MatMut::from_row_major_slice_mut(out, a.extents().0, b.extents().1);
        matmul(out, accum, a.view(), b.view(), 1.0, Par::Seq);
    }
}

/// `a b`, row-major.
pub fn product<T: Real>(a: Operand<'_, T>, b: Operand<'_, T>) -> Vec<T> {
    let mut out = vec![T::default(); a.extents().0 * b.extents().1];
    T::multiply(&mut out, Write::Set, a, b);
    out
}

/// `Σ x²`
pub fn square_sum<T: Real>(x: &[T]) -> T {
    x.iter().map(|x| *x * *x).sum()
}

/// Solves `matrix · x = rhs` for a symmetric positive definite `[n, n]` matrix and `[n, cols]` right-hand sides, in place and on one thread, so that the
/// number of threads changes no number. `None` when the matrix is not positive definite; `rhs` is as it was then.
pub fn solve_positive<T: Real>(matrix: &mut [T], n: usize, rhs: &mut [T], cols: usize) -> Option<()> {
    let mut factor = MatMut::from_row_major_slice_mut(matrix, n, n);
    let params: Spec<llt::factor::LltParams, T> = default();
    let mut memory = MemBuffer::new(llt::factor::cholesky_in_place_scratch::<T>(n, Par::Seq, params));
    let stack = MemStack::new(&mut memory);
    llt::factor::cholesky_in_place(factor.rb_mut(), default(), Par::Seq, stack, params).ok()?;
    let mut memory = MemBuffer::new(llt::solve::solve_in_place_scratch::<T>(n, cols, Par::Seq));
    let stack = MemStack::new(&mut memory);
    llt::solve::solve_in_place(factor.rb(), MatMut::from_row_major_slice_mut(rhs, n, cols), Par::Seq, stack);
    Some(())
}
