//! Delta momentum: a memory of gradients that makes room before it writes (Nested Learning, Eq. 48 and 49).
//!
//! With an `L2` objective in the place of the dot product the memory follows the delta rule. The paper prints it twice, in two orders of factors
//! neither of which fits a matrix that is not square: `M ← α M - η (M g - P) gᵀ` and `M ← (α I - gᵀ g) M - η P g`. Here, with weights `[inputs,
//! outputs]` and `P = I`,
//!
//! > `M ← (α I - c g gᵀ) M + g`, `W ← W - η M`.
//!
//! For the gradient `x δᵀ` of one token `g gᵀ` is `‖δ‖² x xᵀ`: what is made room for is the direction of the *input*, by which a layer's weights are
//! addressed. The other order, `M gᵀ g`, would erase whatever moved the same outputs, for all inputs. For a vector, a column, it is what Eq. 53 is tried on.
//!
//! **Scale.** As printed, the eigenvalues of `α I - g gᵀ` leave the unit circle as soon as `‖g‖² > 1 + α`, and the memory explodes: on Eq. 53 the first
//! gradient has a norm of 340. The share `c` is therefore bounded so that all eigenvalues stay in `[0, α]`, by `‖g‖²`, which is at least the greatest eigenvalue of
//! `g gᵀ`; see [`Erase`]. That it converges faster than momentum is the paper's claim and not ours: on Eq. 53 it does not.

use serde::{Deserialize, Serialize};

use super::{
    momentum::Gradients,
    real::{Operand, Real, product, square_sum},
    rule::{Matrix, Rule, descend},
};
use crate::kernels::gemm::Write;

/// How much room a gradient makes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Erase {
    /// `c = min(s, α / ‖g‖²)`: the printed rule where it is stable. Gradients much smaller than one erase next to nothing.
    Capped(f64),
    /// `c = min(s, α) / ‖g‖²`: the same share whatever the scale of gradients is.
    Normalized(f64),
}

impl Erase {
    /// `c` for a gradient of this squared norm.
    fn share(self, retention: f64, norm: f64) -> f64 {
        match self {
            // A norm whose inverse overflows is none.
            _ if norm < f64::from(f32::MIN_POSITIVE) => 0.0,
            Self::Capped(strength) => strength.min(retention / norm),
            Self::Normalized(strength) => strength.min(retention) / norm,
        }
    }
}

/// Settings of delta momentum.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DeltaMomentumSettings {
    /// Peak learning rate (.02); the schedule multiplies it.
    pub rate: f64,
    /// `α`, what the memory keeps a step outside the direction of the gradient (.9).
    pub retention: f64,
    /// What it loses along it (`{ normalized = 0.5 }`).
    pub erase: Erase,
    /// Decoupled weight decay, multiplied by the learning rate (0).
    pub weight_decay: f64,
}

impl Default for DeltaMomentumSettings {
    fn default() -> Self {
        Self { rate: 0.02, retention: 0.9, erase: Erase::Normalized(0.5), weight_decay: 0.0 }
    }
}

impl<T: Real> Rule<T> for DeltaMomentumSettings {
    type Memory = Gradients<T>;

    fn begin(&self, rows: usize, cols: usize) -> Gradients<T> {
        Gradients(Matrix::zeros(rows, cols))
    }

    fn step(&self, scale: f64, weights: &mut [T], gradient: &[T], extents: (usize, usize), memory: &mut Gradients<T>) {
        let share = self.erase.share(self.retention, square_sum(gradient).wide());
        let mut taken = gradient.to_vec();
        if share > 0.0 {
            let erased = read(gradient, &memory.0.data, extents);
            taken.iter_mut().zip(&erased).for_each(|(t, e)| *t -= T::of(share) * *e);
        }
        memory.0.blend(T::of(self.retention), T::of(1.0), &taken);
        descend(weights, &memory.0.data, scale * self.rate, T::of(1.0), T::of(self.weight_decay));
    }
}

/// `g gᵀ m`, by way of the smaller of the two products.
fn read<T: Real>(g: &[T], m: &[T], (rows, cols): (usize, usize)) -> Vec<T> {
    let (g, m) = (Operand::new(g, rows, cols), Operand::new(m, rows, cols));
    let mut out = vec![T::default(); rows * cols];
    if rows < cols {
        let outer = product(g, g.t());
        T::multiply(&mut out, Write::Set, Operand::new(&outer, rows, rows), m);
    } else {
        let inner = product(g.t(), m);
        T::multiply(&mut out, Write::Set, g, Operand::new(&inner, cols, cols));
    }
    out
}
