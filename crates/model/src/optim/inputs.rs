//! Second moments of what layers read: the side channel that delta gradient descent needs and no optimizer of burn's sees.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use burn::module::ParamId;

use crate::kernels::gemm::{Factor, Write, product};

/// The inputs of one layer over a step.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Moment {
    /// `Σ x xᵀ`, `[width, width]`.
    pub sum: Vec<f32>,
    /// Width of the inputs.
    pub width: usize,
    /// Inputs that were added up.
    pub inputs: u64,
}

impl Moment {
    /// Of `x [n, width]`.
    pub fn of(x: &[f32], width: usize) -> Self {
        let n = x.len() / width.max(1);
        let mut sum = vec![0.0; width * width];
        let x = Factor::new(x, n, width);
        product(&mut sum, Write::Set, x.t(), x);
        Self { sum, width, inputs: n as u64 }
    }

    fn add(&mut self, other: &Self) {
        if self.inputs == 0 {
            self.clone_from(other);
        } else if self.width == other.width {
            self.sum.iter_mut().zip(&other.sum).for_each(|(s, o)| *s += o);
            self.inputs += other.inputs;
        }
    }

    /// `Σ x xᵀ / n`
    pub fn mean(&self) -> Vec<f32> {
        let share = (self.inputs.max(1) as f32).recip();
        self.sum.iter().map(|s| s * share).collect()
    }
}

/// Moments by the parameter that the inputs were multiplied with; clones share them.
///
/// Passes that run side by side have one each, merged in the order of the passes: sums of floating-point numbers depend on their order, and the number of
/// threads must change no number.
#[derive(Debug, Clone, Default)]
pub struct InputMoments(Arc<Mutex<BTreeMap<ParamId, Moment>>>);

impl InputMoments {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<ParamId, Moment>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds the inputs `x [n, width]` of the layer with this weight. Rows for which `counted` is false, as padding is, are left out.
    pub fn add(&self, id: ParamId, x: &[f32], width: usize, counted: Option<&[bool]>) {
        let moment = match counted {
            None => Moment::of(x, width),
            Some(counted) => {
                let rows = x.chunks_exact(width).zip(counted).filter(|(_, counted)| **counted);
                Moment::of(&rows.flat_map(|(row, _)| row).copied().collect::<Vec<_>>(), width)
            }
        };
        self.lock().entry(id).or_default().add(&moment);
    }

    /// Adds what another one holds, and empties it.
    pub fn merge(&self, other: &Self) {
        let taken = std::mem::take(&mut *other.lock());
        let mut held = self.lock();
        for (id, moment) in &taken {
            held.entry(*id).or_default().add(moment);
        }
    }

    /// Takes the moments of one parameter out.
    pub fn take(&self, id: ParamId) -> Option<Moment> {
        self.lock().remove(&id)
    }
}
