//! Delta gradient descent: a layer's weights follow the delta rule with their own surprise as target (Nested Learning, Eq. 56, 57 and appendix C).
//!
//! Gradient descent on `y = x W` is a step on the dot product of what the layer says with the surprise `u = -∂L/∂y`. With an `L2` objective in its place,
//!
//! > `W ← argmin_Φ ½ ‖x Φ - u‖² + ‖Φ - W‖² / 2η = (I - η' xᵀ x) W + η' xᵀ u`, `η' = η / (1 + η ‖x‖²)`,
//!
//! for any `x` (the paper prints the case `‖x‖ = 1`): weights are erased along what was read before anything is written there. For the tokens of a batch
//! the same problem, summed, has the solution
//!
//! > `W ← (I + η S)⁻¹ (W - η G)`, `S = Σ xᵀ x`, `G = Σ xᵀ ∂L/∂y`,
//!
//! which needs the inputs only by their second moment `S`. Gradients here are those of a mean loss, so that `S` is the mean over the inputs, too; a sum
//! would erase as often as there are tokens. No inverse is formed, and since `I + η S` is at least `I`, no rate makes a step unstable.
//!
//! burn shows an optimizer parameter and gradient only. `S` comes by a side channel ([`InputMoments`]) that the operations of the model fill, and every
//! parameter has an optimizer of its own that knows its id. With `L = ½ ‖x W - v‖²` *both* terms erase: the eigenvalue along a unit `x` is `1 - 2η'` and
//! the fixed point is `v / 2`, not `v`.

use burn::module::ParamId;
use serde::{Deserialize, Serialize};

use super::{
    inputs::InputMoments,
    real::{Real, solve_positive},
    rule::{Nothing, Rule},
};

/// Settings of delta gradient descent.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DgdSettings {
    /// Peak of `η` (.1); the schedule multiplies it.
    pub rate: f64,
    /// Factor of `S` (1, the rule as derived); at 0 it is gradient descent and needs no inputs.
    pub erase: f64,
}

impl Default for DgdSettings {
    fn default() -> Self {
        Self { rate: 0.1, erase: 1.0 }
    }
}

/// `(I + rate · erase · moment)⁻¹ (weights - rate · gradient)` in place, for `weights` and `gradient` `[rows, cols]` and the second moment `[rows, rows]` of the
/// inputs. `None`, and the weights as they were, when the moment is none: not finite, or not that of any inputs.
pub fn proximal_step<T: Real>(
    weights: &mut [T],
    gradient: &[T],
    moment: &[T],
    (rows, cols): (usize, usize),
    (rate, erase): (f64, f64),
) -> Option<()> {
    if rate == 0.0 {
        return Some(());
    }
    let mut target: Vec<T> = weights.iter().zip(gradient).map(|(w, g)| *w - T::of(rate) * *g).collect();
    if erase != 0.0 {
        if moment.len() != rows * rows {
            return None;
        }
        let mut matrix: Vec<T> = moment.iter().map(|s| *s * T::of(rate * erase)).collect();
        matrix.iter_mut().step_by(rows + 1).for_each(|diagonal| *diagonal += T::of(1.0));
        solve_positive(&mut matrix, rows, &mut target, cols)?;
    }
    weights.copy_from_slice(&target);
    Some(())
}

/// The rule for one parameter.
#[derive(Debug, Clone)]
pub(super) struct Dgd {
    pub(super) settings: DgdSettings,
    pub(super) id: ParamId,
    pub(super) inputs: InputMoments,
}

impl Rule<f32> for Dgd {
    type Memory = Nothing;

    fn begin(&self, _: usize, _: usize) -> Nothing {
        Nothing
    }

    fn step(&self, scale: f64, weights: &mut [f32], gradient: &[f32], extents: (usize, usize), _: &mut Nothing) {
        let moment = self.inputs.take(self.id).map(|moment| moment.mean()).unwrap_or_default();
        let rates = (scale * self.settings.rate, self.settings.erase);
        // Descending without erasing would be another optimizer under this one's name; weights that stay are noticed.
        if proximal_step(weights, gradient, &moment, extents, rates).is_none() {
            tracing::error!(parameter = %self.id, inputs = moment.len(), "no second moment of the layer's inputs; its weights stay");
        }
    }
}
