//! The linear memories of [`crate::kernels::delta`] as a program: what devices other than the CPU run, and an oracle for the fused operation.

use super::{Input, Parts, Program, segments};
use crate::{
    algebra::{Algebra, Map},
    kernels::delta::{CHUNK, Rule},
};

/// A linear memory over queries, keys (made ready, see [`Rule::prepare`]), values, write strengths and log decays.
#[derive(Debug, Clone, Copy)]
pub struct LinearMemory {
    /// Channels of queries and keys.
    pub key: usize,
    /// Channels of values.
    pub value: usize,
    /// How it is written.
    pub rule: Rule,
}

impl Program for LinearMemory {
    type State<M: Clone> = M;

    /// `q`, `k`, `v`; write strengths and log decays.
    fn inputs(&self) -> Vec<Input> {
        vec![Input::Tokens(vec![self.key, self.key, self.value]), Input::Tokens(vec![1, 1])]
    }

    fn output(&self) -> usize {
        self.value
    }

    fn begin<A: Algebra>(&self, a: &A, _: &Parts<A::M>) -> A::M {
        a.constant(self.key, self.value, 0.0)
    }

    fn run<A: Algebra>(&self, a: &A, x: &Parts<A::M>, state: &mut A::M) -> A::M {
        let [length, _] = a.dims(&x[0][0]);
        let mut outputs = Vec::new();
        for (from, to, _) in segments(0, length, CHUNK) {
            let [q, k, v, beta, log_decay] =
                [&x[0][0], &x[0][1], &x[0][2], &x[1][0], &x[1][1]].map(|part| a.slice(part, from, to));
            let gamma = a.cumulate(&log_decay);
            let now = a.map(&gamma, Map::Exp);
            let mut u = a.rows_by(&v, &beta);
            if self.rule.erases() {
                let read = a.rows_by(&a.mul(&k, state), &now);
                let scores = a.times(&a.decays(&gamma, &gamma, true), &a.mul_t(&k, &k));
                u = a.solve(&a.rows_by(&scores, &beta), &a.rows_by(&a.sub(&v, &read), &beta));
            }
            let scores = a.times(&a.decays(&gamma, &gamma, false), &a.mul_t(&q, &k));
            outputs.push(a.add(&a.mul(&a.rows_by(&q, &now), state), &a.mul(&scores, &u)));
            let keys = a.rows_by(&k, &a.to_end(&gamma));
            *state = a.add(&a.by(state, &a.last(&now)), &a.t_mul(&keys, &u));
        }
        a.stack(&outputs)
    }
}
