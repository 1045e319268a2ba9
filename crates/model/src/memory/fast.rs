//! The in-session bank of [`crate::kernels::fast`] as a program: a linear memory that keeps its weights within a period.

use burn::tensor::Tensor;

use super::{Input, Parts, Program, segments};
use crate::algebra::{Algebra, Map};

/// One memory `[W, W]`.
#[derive(Debug, Clone, Copy)]
pub struct Associative {
    /// Channels of queries, keys and values.
    pub width: usize,
    /// Tokens between two changes.
    pub period: usize,
}

/// Weights, and what the period has added to them so far.
#[derive(Debug, Clone)]
pub struct State<M> {
    pub(crate) weights: M,
    pub(crate) gathered: Option<M>,
    pub(crate) filled: usize,
}

impl State<Tensor<3>> {
    /// The same values without the operations that led to them.
    #[must_use]
    pub fn detached(self) -> Self {
        Self { weights: self.weights.detach(), gathered: self.gathered.map(Tensor::detach), filled: self.filled }
    }
}

impl Program for Associative {
    type State<M: Clone> = State<M>;

    /// `q`, `k` (of any norm), `v`; the write logit; the retention's logit.
    fn inputs(&self) -> Vec<Input> {
        vec![Input::Tokens(vec![self.width; 3]), Input::Tokens(vec![1]), Input::Heads(vec![[1, 1]])]
    }

    fn output(&self) -> usize {
        self.width
    }

    fn begin<A: Algebra>(&self, a: &A, _: &Parts<A::M>) -> State<A::M> {
        State { weights: a.constant(self.width, self.width, 0.0), gathered: None, filled: 0 }
    }

    fn run<A: Algebra>(&self, a: &A, x: &Parts<A::M>, state: &mut State<A::M>) -> A::M {
        let [length, _] = a.dims(&x[0][0]);
        let retention = a.map(&x[2][0], Map::Sigmoid);
        let mut outputs = Vec::new();
        for (from, to, ends) in segments(state.filled, length, self.period) {
            let [q, k, v, gate] = [&x[0][0], &x[0][1], &x[0][2], &x[1][0]].map(|part| a.slice(part, from, to));
            let (q, k) = (a.normalized(&q), a.normalized(&k));
            outputs.push(a.mul(&q, &state.weights));
            let strength = a.scale(&a.map(&gate, Map::Sigmoid), (self.period as f64).recip());
            let error = a.rows_by(&a.sub(&v, &a.mul(&k, &state.weights)), &strength);
            let added = a.t_mul(&k, &error);
            let gathered = state.gathered.take().map_or(added.clone(), |sum| a.add(&sum, &added));
            state.filled += to - from;
            if ends {
                state.weights = a.add(&a.by(&state.weights, &retention), &gathered);
                state.filled = 0;
            } else {
                state.gathered = Some(gathered);
            }
        }
        a.stack(&outputs)
    }
}
