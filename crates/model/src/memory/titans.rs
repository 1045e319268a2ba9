//! Titans' neural memory (Behrouz et al., 2501.00663): a perceptron that learns while it reads, with momentum and forgetting.
//!
//! `M(z) = z W` with one layer, `M(z) = z + silu(… silu(z W₁) …) W_L` with more. With the loss `‖M(k_t) - v_t‖²`, step θ, momentum η, kept share 1 - α:
//! `S_t = η_t S_{t-1} - θ_t ∇ℓ`, `M_t = (1 - α_t) M_{t-1} + S_t`, `y_t = M_t(q_t)`. Gradients are those of the weights at the chunk's start (Eq. 16 to 18), so
//! that all of a chunk are found at once. Every layer's gradient is a sum of outer products `x_iᵀ g_i`, so that a token reads the weights that it would have
//! after its own write without any of them being formed: `z_t = β_t x_t W + s_t x_t S + Σ_{i≤t} c_ti (x_t · x_i) g_i`, with
//! `c = A H diag(-θ)`, `A_tj = Π_{j<l≤t}(1 - α_l)`, `H_ji = Π_{i<l≤j} η_l`, `s_t = Σ_j A_tj Π_{l≤j} η_l`. Rejected: reading the weights of the chunk's start, which
//! makes a memory blind to the last chunk. Bounded gradients (`bound`) are ours: those of a chunk are taken at one place and add up, and a deep memory has no largest
//! step below which it never overshoots.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::{Input, Parts, Program, segments};
use crate::algebra::{Algebra, Map};

/// The memory of one head.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Titans {
    /// Channels of queries, keys and values.
    pub width: usize,
    /// Widths of hidden layers; none makes the memory linear.
    pub hidden: Vec<usize>,
    /// Tokens whose gradients are taken at once.
    pub chunk: usize,
    /// The largest step θ.
    pub max_step: f64,
    /// The norm that no gradient of a layer's output exceeds; without it a deep memory that reads the same thing often enough ends in numbers that are none.
    pub bound: Option<f64>,
}

impl Titans {
    /// Rows and columns of every layer.
    pub fn layers(&self) -> Vec<[usize; 2]> {
        let mut widths = vec![self.width];
        widths.extend(&self.hidden);
        widths.push(self.width);
        widths.windows(2).map(|pair| [pair[0], pair[1]]).collect()
    }

    /// Whether the input is added to the output.
    pub fn is_residual(&self) -> bool {
        !self.hidden.is_empty()
    }
}

/// Weights and momentum of a stream.
#[derive(Debug, Clone)]
pub struct State<M> {
    /// Weights now.
    pub weights: Vec<M>,
    /// Momentum now; absent before the first token.
    pub momentum: Option<Vec<M>>,
    /// Weights at the chunk's start.
    pub snapshot: Vec<M>,
    /// Tokens of the chunk so far.
    pub filled: usize,
}

/// What gates say of the tokens of a segment, as columns.
struct Strengths<M> {
    /// θ
    step: M,
    /// `Σ ln(1 - α)`
    kept: M,
    /// `Σ ln η`
    carried: M,
}

/// Gradients of the layers' outputs at every token, and the layers' inputs.
struct Surprise<M> {
    inputs: Vec<M>,
    gradients: Vec<M>,
}

impl Program for Titans {
    type State<M: Clone> = State<M>;

    /// `q`, `k` (of any norm), `v`; logits of step, kept share and momentum; their biases; initial weights.
    fn inputs(&self) -> Vec<Input> {
        let tokens = Input::Tokens(vec![self.width; 3]);
        vec![tokens, Input::Tokens(vec![1; 3]), Input::Heads(vec![[1, 1]; 3]), Input::Heads(self.layers())]
    }

    fn output(&self) -> usize {
        self.width
    }

    fn begin<A: Algebra>(&self, _: &A, x: &Parts<A::M>) -> State<A::M> {
        State { weights: x[3].clone(), momentum: None, snapshot: x[3].clone(), filled: 0 }
    }

    fn run<A: Algebra>(&self, a: &A, x: &Parts<A::M>, state: &mut State<A::M>) -> A::M {
        let [length, _] = a.dims(&x[0][0]);
        let mut outputs = Vec::new();
        for (from, to, ends) in segments(state.filled, length, self.chunk) {
            let cut = |part: &A::M| a.slice(part, from, to);
            let (q, k, v) = (a.normalized(&cut(&x[0][0])), a.normalized(&cut(&x[0][1])), cut(&x[0][2]));
            let logits = [0, 1, 2].map(|n| a.plus(&cut(&x[1][n]), &x[2][n]));
            let strengths = Strengths {
                step: a.scale(&a.map(&logits[0], Map::Sigmoid), self.max_step),
                kept: a.cumulate(&a.log_sigmoid(&logits[1])),
                carried: a.cumulate(&a.log_sigmoid(&logits[2])),
            };
            let surprise = self.surprise(a, &state.snapshot, &k, &v, &strengths.step);
            outputs.push(self.segment(a, state, &q, &strengths, &surprise));
            state.filled += to - from;
            if ends {
                state.filled = 0;
                state.snapshot.clone_from(&state.weights);
            }
        }
        a.stack(&outputs)
    }
}

impl Titans {
    /// What weights answer to queries of any norm, without learning.
    pub fn say<A: Algebra>(&self, a: &A, weights: &[A::M], q: &A::M) -> A::M {
        let q = a.normalized(q);
        let mut x = q.clone();
        for (n, w) in weights.iter().enumerate() {
            let z = a.mul(&x, w);
            x = if n + 1 < weights.len() { a.map(&z, Map::Silu) } else { z };
        }
        if self.is_residual() { a.add(&x, &q) } else { x }
    }

    /// Initial weights `[H, n]` as those of every head of every sequence.
    pub(crate) fn split(&self, params: &Tensor<2>, batch: usize) -> Vec<Tensor<3>> {
        super::deal_params(params, batch, &self.layers())
    }

    /// `-θ ∇ℓ` of every layer at the snapshot.
    fn surprise<A: Algebra>(&self, a: &A, weights: &[A::M], k: &A::M, v: &A::M, step: &A::M) -> Surprise<A::M> {
        let mut inputs = vec![k.clone()];
        let mut sums = Vec::new();
        for (n, w) in weights.iter().enumerate() {
            let z = a.mul(&inputs[n], w);
            if n + 1 < weights.len() {
                inputs.push(a.map(&z, Map::Silu));
            }
            sums.push(z);
        }
        let read = &sums[weights.len() - 1];
        let read = if self.is_residual() { a.add(read, k) } else { read.clone() };
        let mut gradient = self.bounded(a, a.scale(&a.sub(&read, v), -2.0));
        let mut gradients = vec![a.rows_by(&gradient, step)];
        for n in (1..weights.len()).rev() {
            let through = a.times(&a.mul_t(&gradient, &weights[n]), &a.map(&sums[n - 1], Map::SiluSlope));
            gradient = self.bounded(a, through);
            gradients.push(a.rows_by(&gradient, step));
        }
        gradients.reverse();
        Surprise { inputs, gradients }
    }

    /// `g / sqrt(1 + |g|² / bound²)`: small gradients as they are, none above the bound.
    fn bounded<A: Algebra>(&self, a: &A, gradient: A::M) -> A::M {
        match self.bound {
            Some(bound) => a.scale(&a.shrunk(&gradient, bound * bound), bound),
            None => gradient,
        }
    }

    /// Reads every token with the weights after its write and moves the state to the segment's end.
    fn segment<A: Algebra>(
        &self,
        a: &A,
        state: &mut State<A::M>,
        q: &A::M,
        strengths: &Strengths<A::M>,
        surprise: &Surprise<A::M>,
    ) -> A::M {
        let kept = a.decays(&strengths.kept, &strengths.kept, false);
        let carried = a.map(&strengths.carried, Map::Exp);
        let written = a.mul(&kept, &a.decays(&strengths.carried, &strengths.carried, false));
        let of_weights = a.map(&strengths.kept, Map::Exp);
        let of_momentum = a.mul(&kept, &carried);

        let mut x = q.clone();
        for (n, w) in state.weights.iter().enumerate() {
            let mut z = a.rows_by(&a.mul(&x, w), &of_weights);
            if let Some(momentum) = &state.momentum {
                z = a.add(&z, &a.rows_by(&a.mul(&x, &momentum[n]), &of_momentum));
            }
            let scores = a.times(&written, &a.mul_t(&x, &surprise.inputs[n]));
            z = a.add(&z, &a.mul(&scores, &surprise.gradients[n]));
            x = if n + 1 < state.weights.len() { a.map(&z, Map::Silu) } else { z };
        }
        let output = if self.is_residual() { a.add(&x, q) } else { x };

        let [length, _] = a.dims(q);
        let one = a.constant(1, 1, 1.0);
        let last = a.t_mul(&a.slice(&written, length - 1, length), &one);
        let to_end = a.to_end(&strengths.carried);
        let momentum = state.momentum.take();
        let mut moved = Vec::new();
        for (n, w) in state.weights.iter_mut().enumerate() {
            let (inputs, gradients) = (&surprise.inputs[n], &surprise.gradients[n]);
            let mut weights = a.add(&a.by(w, &a.last(&of_weights)), &a.t_mul(&a.rows_by(inputs, &last), gradients));
            let mut swing = a.t_mul(&a.rows_by(inputs, &to_end), gradients);
            if let Some(momentum) = &momentum {
                weights = a.add(&weights, &a.by(&momentum[n], &a.last(&of_momentum)));
                swing = a.add(&swing, &a.by(&momentum[n], &a.last(&carried)));
            }
            *w = weights;
            moved.push(swing);
        }
        state.momentum = Some(moved);
        output
    }
}
