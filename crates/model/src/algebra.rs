//! The operations that the equations of deep and self-modifying memories are written in.
//!
//! A memory is a program over matrices, one head of one sequence. It is written once, over [`Algebra`], and evaluated three ways: [`tape`] runs it on
//! slices and keeps a tape for its gradient (in `f32` where training runs on the CPU, in `f64` where tests hold it against finite differences and
//! recurrences), and [`batched`] runs it on tensors of any device, all heads at once, and leaves the gradient to burn.
//! Rejected: one hand-derived backward pass for each memory. Those of the deep memories are pages of algebra, would have to be derived again
//! for every variant, and devices other than the CPU would need a second version all the same.

pub mod batched;
pub mod tape;

use crate::kernels::delta::NORM_EPSILON;

/// An element-wise function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Map {
    /// `e^x`
    Exp,
    /// `1 / (1 + e^-x)`
    Sigmoid,
    /// `ln(1 + e^x)`
    Softplus,
    /// `x · sigmoid(x)`
    Silu,
    /// The derivative of [`Map::Silu`], which memories that learn by gradients need in their forward pass.
    SiluSlope,
    /// `1 / x`
    Recip,
}

/// Matrices and what can be done with them. A `column` is `[rows, 1]`.
pub trait Algebra {
    /// A matrix.
    type M: Clone;

    /// Rows and columns.
    fn dims(&self, a: &Self::M) -> [usize; 2];

    /// A matrix all of whose elements are `value`; it has no gradient.
    fn constant(&self, rows: usize, cols: usize, value: f64) -> Self::M;

    /// `A B`
    fn mul(&self, a: &Self::M, b: &Self::M) -> Self::M;

    /// `A Bᵀ`
    fn mul_t(&self, a: &Self::M, b: &Self::M) -> Self::M;

    /// `Aᵀ B`
    fn t_mul(&self, a: &Self::M, b: &Self::M) -> Self::M;

    /// `A + B`
    fn add(&self, a: &Self::M, b: &Self::M) -> Self::M;

    /// `A - B`
    fn sub(&self, a: &Self::M, b: &Self::M) -> Self::M;

    /// `A ∘ B`
    fn times(&self, a: &Self::M, b: &Self::M) -> Self::M;

    /// `c A` for a constant.
    fn scale(&self, a: &Self::M, c: f64) -> Self::M;

    /// `A` with row i multiplied by element i of a column.
    fn rows_by(&self, a: &Self::M, column: &Self::M) -> Self::M;

    /// `A` multiplied by the one element of a `[1, 1]`.
    fn by(&self, a: &Self::M, scalar: &Self::M) -> Self::M;

    /// `A` with the one element of a `[1, 1]` added everywhere.
    fn plus(&self, a: &Self::M, scalar: &Self::M) -> Self::M;

    /// An element-wise function.
    fn map(&self, a: &Self::M, map: Map) -> Self::M;

    /// Rows `from..to`.
    fn slice(&self, a: &Self::M, from: usize, to: usize) -> Self::M;

    /// Rows one below the other; at least one matrix.
    fn stack(&self, parts: &[Self::M]) -> Self::M;

    /// The column of squared norms of rows.
    fn squares(&self, a: &Self::M) -> Self::M;

    /// Running sums of a column, each element included.
    fn cumulate(&self, column: &Self::M) -> Self::M;

    /// The lower triangle `exp(a_t - b_i)` of two columns, for `i <= t`, or for `i < t` only when `strict`; zero elsewhere.
    fn decays(&self, a: &Self::M, b: &Self::M, strict: bool) -> Self::M;

    /// `(I + A)⁻¹ B` for a strictly lower triangular A.
    fn solve(&self, a: &Self::M, b: &Self::M) -> Self::M;

    /// Rows `x / sqrt(|x|² + floor)`: of unit norm where the floor is small, of a norm below 1 anywhere.
    fn shrunk(&self, a: &Self::M, floor: f64) -> Self::M;

    /// Rows with unit norm: `x / sqrt(|x|² + ε)`, ε being [`NORM_EPSILON`].
    fn normalized(&self, a: &Self::M) -> Self::M {
        self.shrunk(a, NORM_EPSILON)
    }

    /// `-A`
    fn neg(&self, a: &Self::M) -> Self::M {
        self.scale(a, -1.0)
    }

    /// `ln sigmoid(A)`
    fn log_sigmoid(&self, a: &Self::M) -> Self::M {
        self.neg(&self.map(&self.neg(a), Map::Softplus))
    }

    /// The last row of a column, `[1, 1]`.
    fn last(&self, column: &Self::M) -> Self::M {
        let [rows, _] = self.dims(column);
        self.slice(column, rows - 1, rows)
    }

    /// `e^(last - x)` of a column: what is left at the end of what is written at each row.
    fn to_end(&self, cumulated: &Self::M) -> Self::M {
        self.map(&self.plus(&self.neg(cumulated), &self.last(cumulated)), Map::Exp)
    }
}
