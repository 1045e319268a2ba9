//! The algebra on slices, with a tape for gradients.

use std::cell::{Ref, RefCell};

use super::{Algebra, Map};
use crate::kernels::{
    gemm::{Factor, Write, product_here},
    math::{add, axpy, dot, scale, simd},
    real::Real,
};

mod pullback;

/// A matrix on a tape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Var(usize);

/// Which factor of a product is read transposed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Transposed {
    Neither,
    First,
    Second,
}

/// How a matrix came about.
#[derive(Debug, Clone)]
enum Origin {
    Given,
    Constant,
    Mul(Var, Var, Transposed),
    Sum(Var, Var, f64),
    Times(Var, Var),
    Scale(Var, f64),
    RowsBy(Var, Var),
    By(Var, Var),
    Plus(Var, Var),
    Map(Var, Map),
    Slice(Var, usize),
    Stack(Vec<Var>),
    Squares(Var),
    Cumulate(Var),
    Decays(Var, Var),
    Solve(Var, Var),
    Shrunk(Var, f64),
}

#[derive(Debug)]
struct Node<T> {
    rows: usize,
    cols: usize,
    value: Vec<T>,
    origin: Origin,
}

impl<T: Real> Node<T> {
    fn factor(&self) -> Factor<'_, T> {
        Factor::new(&self.value, self.rows, self.cols)
    }

    fn row(&self, n: usize) -> &[T] {
        &self.value[n * self.cols..(n + 1) * self.cols]
    }
}

/// All matrices of one evaluation in the order in which they came about.
#[derive(Debug, Default)]
pub struct Tape<T>(RefCell<Vec<Node<T>>>);

/// Gradients by matrix.
#[derive(Debug)]
pub struct Gradients<T>(Vec<Option<Vec<T>>>);

impl<T: Real> Gradients<T> {
    /// The gradient of a matrix; zeros when nothing depends on it.
    pub fn take(&mut self, of: Var, size: usize) -> Vec<T> {
        self.0[of.0].take().unwrap_or_else(|| vec![T::zero(); size])
    }
}

impl<T: Real> Tape<T> {
    /// An empty tape.
    pub fn new() -> Self {
        Self(RefCell::new(Vec::new()))
    }

    /// A matrix whose gradient is wanted.
    pub fn given(&self, value: Vec<T>, rows: usize, cols: usize) -> Var {
        debug_assert_eq!(value.len(), rows * cols, "a matrix has rows times columns elements");
        self.push(rows, cols, value, Origin::Given)
    }

    /// The elements of a matrix, row-major.
    pub fn value(&self, a: Var) -> Vec<T> {
        self.get(a).value.clone()
    }

    fn get(&self, a: Var) -> Ref<'_, Node<T>> {
        Ref::map(self.0.borrow(), |nodes| &nodes[a.0])
    }

    fn push(&self, rows: usize, cols: usize, value: Vec<T>, origin: Origin) -> Var {
        let mut nodes = self.0.borrow_mut();
        nodes.push(Node { rows, cols, value, origin });
        Var(nodes.len() - 1)
    }

    fn product(&self, a: Var, b: Var, transposed: Transposed) -> Var {
        let (rows, cols, value) = {
            let (x, y) = (self.get(a), self.get(b));
            let (f, g, rows, cols) = match transposed {
                Transposed::Neither => (x.factor(), y.factor(), x.rows, y.cols),
                Transposed::First => (x.factor().t(), y.factor(), x.cols, y.cols),
                Transposed::Second => (x.factor(), y.factor().t(), x.rows, y.rows),
            };
            let mut value = vec![T::zero(); rows * cols];
            product_here(&mut value, Write::Set, f, g);
            (rows, cols, value)
        };
        self.push(rows, cols, value, Origin::Mul(a, b, transposed))
    }

    /// A matrix of the extents of `a`, made from a copy of it.
    fn changed(&self, a: Var, origin: Origin, change: impl FnOnce(&mut [T], usize)) -> Var {
        let (rows, cols, value) = {
            let x = self.get(a);
            let mut value = x.value.clone();
            simd(|| change(&mut value, x.cols));
            (x.rows, x.cols, value)
        };
        self.push(rows, cols, value, origin)
    }

    fn with(&self, a: Var, b: Var, origin: Origin, change: impl FnOnce(&mut [T], usize, &[T])) -> Var {
        self.changed(a, origin, |value, cols| change(value, cols, &self.get(b).value))
    }
}

impl Map {
    #[inline(always)]
    fn of<T: Real>(self, x: T) -> T {
        match self {
            Self::Exp => x.exponential(),
            Self::Sigmoid => x.sigmoid(),
            Self::Softplus => x.softplus(),
            Self::Silu => x * x.sigmoid(),
            Self::SiluSlope => x.silu_slope(),
            Self::Recip => x.recip(),
        }
    }

    /// The derivative at `x`, whose image is `y`.
    #[inline(always)]
    fn slope<T: Real>(self, x: T, y: T) -> T {
        match self {
            Self::Exp => y,
            Self::Sigmoid => y * (T::one() - y),
            Self::Softplus => x.sigmoid(),
            Self::Silu => x.silu_slope(),
            Self::SiluSlope => {
                let s = x.sigmoid();
                s * (T::one() - s) * (T::of(2.0) + x * (T::one() - s - s))
            }
            Self::Recip => -y * y,
        }
    }
}

impl<T: Real> Algebra for Tape<T> {
    type M = Var;

    fn dims(&self, a: &Var) -> [usize; 2] {
        let node = self.get(*a);
        [node.rows, node.cols]
    }

    fn constant(&self, rows: usize, cols: usize, value: f64) -> Var {
        self.push(rows, cols, vec![T::of(value); rows * cols], Origin::Constant)
    }

    fn mul(&self, a: &Var, b: &Var) -> Var {
        self.product(*a, *b, Transposed::Neither)
    }

    fn mul_t(&self, a: &Var, b: &Var) -> Var {
        self.product(*a, *b, Transposed::Second)
    }

    fn t_mul(&self, a: &Var, b: &Var) -> Var {
        self.product(*a, *b, Transposed::First)
    }

    fn add(&self, a: &Var, b: &Var) -> Var {
        self.with(*a, *b, Origin::Sum(*a, *b, 1.0), |x, _, y| add(x, y))
    }

    fn sub(&self, a: &Var, b: &Var) -> Var {
        self.with(*a, *b, Origin::Sum(*a, *b, -1.0), |x, _, y| axpy(x, -T::one(), y))
    }

    fn times(&self, a: &Var, b: &Var) -> Var {
        self.with(*a, *b, Origin::Times(*a, *b), |x, _, y| x.iter_mut().zip(y).for_each(|(x, y)| *x *= *y))
    }

    fn scale(&self, a: &Var, c: f64) -> Var {
        self.changed(*a, Origin::Scale(*a, c), |x, _| scale(x, T::of(c)))
    }

    fn rows_by(&self, a: &Var, column: &Var) -> Var {
        self.with(*a, *column, Origin::RowsBy(*a, *column), |x, cols, y| {
            x.chunks_exact_mut(cols).zip(y).for_each(|(row, y)| scale(row, *y));
        })
    }

    fn by(&self, a: &Var, scalar: &Var) -> Var {
        self.with(*a, *scalar, Origin::By(*a, *scalar), |x, _, y| scale(x, y[0]))
    }

    fn plus(&self, a: &Var, scalar: &Var) -> Var {
        self.with(*a, *scalar, Origin::Plus(*a, *scalar), |x, _, y| x.iter_mut().for_each(|x| *x += y[0]))
    }

    fn map(&self, a: &Var, map: Map) -> Var {
        self.changed(*a, Origin::Map(*a, map), |x, _| x.iter_mut().for_each(|x| *x = map.of(*x)))
    }

    fn slice(&self, a: &Var, from: usize, to: usize) -> Var {
        let (cols, value) = {
            let x = self.get(*a);
            (x.cols, x.value[from * x.cols..to * x.cols].to_vec())
        };
        self.push(to - from, cols, value, Origin::Slice(*a, from))
    }

    fn stack(&self, parts: &[Var]) -> Var {
        let cols = self.get(parts[0]).cols;
        let value: Vec<T> = parts.iter().flat_map(|p| self.value(*p)).collect();
        self.push(value.len() / cols, cols, value, Origin::Stack(parts.to_vec()))
    }

    fn squares(&self, a: &Var) -> Var {
        let (rows, value) = {
            let x = self.get(*a);
            (x.rows, simd(|| x.value.chunks_exact(x.cols).map(|row| dot(row, row)).collect()))
        };
        self.push(rows, 1, value, Origin::Squares(*a))
    }

    fn cumulate(&self, column: &Var) -> Var {
        self.changed(*column, Origin::Cumulate(*column), |x, _| {
            let mut total = T::zero();
            for x in x {
                total += *x;
                *x = total;
            }
        })
    }

    fn decays(&self, a: &Var, b: &Var, strict: bool) -> Var {
        let (n, value) = {
            let (x, y) = (self.get(*a), self.get(*b));
            let n = x.rows;
            let mut value = vec![T::zero(); n * n];
            simd(|| {
                for (t, row) in value.chunks_exact_mut(n).enumerate() {
                    for (value, y) in row[..t + usize::from(!strict)].iter_mut().zip(&y.value) {
                        *value = (x.value[t] - *y).exponential();
                    }
                }
            });
            (n, value)
        };
        self.push(n, n, value, Origin::Decays(*a, *b))
    }

    fn solve(&self, a: &Var, b: &Var) -> Var {
        self.with(*b, *a, Origin::Solve(*a, *b), |x, cols, a| {
            let n = x.len() / cols;
            for t in 1..n {
                let (before, row) = x.split_at_mut(t * cols);
                for (i, done) in before.chunks_exact(cols).enumerate() {
                    axpy(&mut row[..cols], -a[t * n + i], done);
                }
            }
        })
    }

    fn shrunk(&self, a: &Var, floor: f64) -> Var {
        self.changed(*a, Origin::Shrunk(*a, floor), |x, cols| {
            for row in x.chunks_exact_mut(cols) {
                let inverse = (dot(row, row) + T::of(floor)).sqrt().recip();
                scale(row, inverse);
            }
        })
    }
}
