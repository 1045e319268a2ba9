//! The algebra on tensors of any device, all heads of all sequences at once, `[N, rows, cols]`.

use burn::tensor::{DType, Device, Tensor, activation};

use super::{Algebra, Map};
use crate::ops::product::product;

/// Rows that [`Batched::solve`] does at once.
const LEAF: usize = 4;

/// Evaluates on one device; constants have extent 1 along N and are broadcast.
#[derive(Debug, Clone)]
pub struct Batched {
    device: Device,
    dtype: DType,
}

impl Batched {
    /// On the device and in the precision of a tensor.
    pub fn like<const D: usize>(tensor: &Tensor<D>) -> Self {
        Self { device: tensor.device(), dtype: tensor.dtype() }
    }

    /// The lower triangle of ones, `[1, n, n]`, with or without the diagonal.
    fn lower(&self, n: usize, strict: bool) -> Tensor<3> {
        Tensor::<2>::ones([n, n], (&self.device, self.dtype)).tril(-i64::from(strict)).unsqueeze()
    }
}

impl Algebra for Batched {
    type M = Tensor<3>;

    fn dims(&self, a: &Tensor<3>) -> [usize; 2] {
        let [_, rows, cols] = a.dims();
        [rows, cols]
    }

    fn constant(&self, rows: usize, cols: usize, value: f64) -> Tensor<3> {
        Tensor::full([1, rows, cols], value, (&self.device, self.dtype))
    }

    fn mul(&self, a: &Tensor<3>, b: &Tensor<3>) -> Tensor<3> {
        product(a.clone(), b.clone())
    }

    fn mul_t(&self, a: &Tensor<3>, b: &Tensor<3>) -> Tensor<3> {
        product(a.clone(), b.clone().transpose())
    }

    fn t_mul(&self, a: &Tensor<3>, b: &Tensor<3>) -> Tensor<3> {
        product(a.clone().transpose(), b.clone())
    }

    fn add(&self, a: &Tensor<3>, b: &Tensor<3>) -> Tensor<3> {
        a.clone() + b.clone()
    }

    fn sub(&self, a: &Tensor<3>, b: &Tensor<3>) -> Tensor<3> {
        a.clone() - b.clone()
    }

    fn times(&self, a: &Tensor<3>, b: &Tensor<3>) -> Tensor<3> {
        a.clone() * b.clone()
    }

    fn scale(&self, a: &Tensor<3>, c: f64) -> Tensor<3> {
        a.clone() * c
    }

    fn rows_by(&self, a: &Tensor<3>, column: &Tensor<3>) -> Tensor<3> {
        a.clone() * column.clone()
    }

    fn by(&self, a: &Tensor<3>, scalar: &Tensor<3>) -> Tensor<3> {
        a.clone() * scalar.clone()
    }

    fn plus(&self, a: &Tensor<3>, scalar: &Tensor<3>) -> Tensor<3> {
        a.clone() + scalar.clone()
    }

    fn map(&self, a: &Tensor<3>, map: Map) -> Tensor<3> {
        let a = a.clone();
        match map {
            Map::Exp => a.exp(),
            Map::Sigmoid => activation::sigmoid(a),
            Map::Softplus => activation::softplus(a, 1.0),
            Map::Silu => activation::silu(a),
            Map::SiluSlope => {
                let s = activation::sigmoid(a.clone());
                s.clone() * (a * (-s + 1.0) + 1.0)
            }
            Map::Recip => a.recip(),
        }
    }

    fn slice(&self, a: &Tensor<3>, from: usize, to: usize) -> Tensor<3> {
        a.clone().narrow(1, from, to - from)
    }

    fn stack(&self, parts: &[Tensor<3>]) -> Tensor<3> {
        Tensor::cat(parts.to_vec(), 1)
    }

    fn squares(&self, a: &Tensor<3>) -> Tensor<3> {
        a.clone().powi_scalar(2).sum_dim(2)
    }

    fn cumulate(&self, column: &Tensor<3>) -> Tensor<3> {
        let [_, rows, _] = column.dims();
        product(self.lower(rows, false).expand([column.dims()[0], rows, rows]), column.clone())
    }

    fn decays(&self, a: &Tensor<3>, b: &Tensor<3>, strict: bool) -> Tensor<3> {
        let lower = self.lower(a.dims()[1], strict);
        // What lies above the diagonal grows without bound; it is taken to zero before and after its exponential.
        let inside = (a.clone() - b.clone().transpose()) * lower.clone();
        inside.exp() * lower
    }

    /// By halves: `x₁ = (I + A₁₁)⁻¹ b₁`, `x₂ = (I + A₂₂)⁻¹ (b₂ - A₂₁ x₁)`. Small blocks by `(I + A)⁻¹ = Π (I + (-A)^(2^j))`, A being nilpotent: over all rows
    /// that needs the fewest products, and loses all digits where keys are alike, because the powers grow before they vanish.
    fn solve(&self, a: &Tensor<3>, b: &Tensor<3>) -> Tensor<3> {
        let n = a.dims()[1];
        if n <= LEAF {
            let power = -a.clone();
            let x = b.clone() + product(power.clone(), b.clone());
            if n <= 2 {
                return x;
            }
            return x.clone() + product(product(power.clone(), power), x);
        }
        let half = (n / 2).next_multiple_of(LEAF);
        let part = |from: usize, to: usize| a.clone().narrow(1, from, to - from).narrow(2, from, to - from);
        let first = self.solve(&part(0, half), &b.clone().narrow(1, 0, half));
        let below = a.clone().narrow(1, half, n - half).narrow(2, 0, half);
        let rest = b.clone().narrow(1, half, n - half) - product(below, first.clone());
        Tensor::cat(vec![first, self.solve(&part(half, n), &rest)], 1)
    }

    fn shrunk(&self, a: &Tensor<3>, floor: f64) -> Tensor<3> {
        a.clone() * (self.squares(a) + floor).sqrt().recip()
    }
}
