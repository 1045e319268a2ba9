//! Hope's self-modifying memory (Nested Learning, arXiv 2512.24695, Eq. 83 to 93): memories that also produce the keys, values and rates by which they learn.
//!
//! Five boxes a head, `M(z) = z + z S` (linear) or `M(z) = z + silu(z A) B`: those of keys, values, steps, decays, and the memory that is read. With
//! `k = M_k(x_k)/‖·‖`, `v = M_v(x_v)`, and the step η and decay α that the other two say, every box learns its own target `v̂ = M(v)` by gradient descent with
//! the delta rule: `M_t = M_{t-1}(α_t I - η_t k kᵀ) - η_t ∇ ½‖M(k) - v̂‖²`, and the answer is `M_memory,t(q_t)`. As in the paper's section 8.2 everything that boxes
//! say, targets and gradients included (but for [`Targets::Live`]), comes from their state at the chunk's start, while the factor `(α I - η k kᵀ)` runs with every token, by the
//! closed form `U = (I + tril(diag(η)(G' ∘ K Kᵀ), -1))⁻¹ diag(η)(-E - diag(γ_{t-1}) K S₀)`, `G'_ti = γ_{t-1} / γ_i`, E being the gradients.
//!
//! What the paper leaves open is decided so (and measured by `nocturne bench model`):
//! * Boxes see the input through projections and a convolution of their own, as keys and values of other mixers do; without them a head could combine its
//!   own channels only.
//! * Steps and decays are one number a head: a static gate plus what a readout of their box says; `η = max_step · sigmoid`, `ln α = -e^a softplus`.
//! * The delta rule reaches both layers of a perceptron, with the inputs of each as keys; the hidden ones have any norm, so that their step is
//!   `η / (1 + η ‖h‖²)`, the exact minimizer of the proximal problem.
//! * An answer reads the live memory, its own token's write included, not the chunk's start: it costs the same and is what lets a chunk recall itself.
//! * Decay is toward the identity: what was written fades, and with it what training put into the boxes; toward zero, keys would vanish.
//! * Inner momentum is left out, as in Eq. 88.
//! * The four boxes that are not read may take a learned share of the memory's step (`shares`), which begins small. With all of it, keys and values are made
//!   otherwise in every chunk before any of them has a meaning, and recall is learned late: `mqar`, 16 pairs, after two minutes 62 % where shares have 99 %.

use serde::{Deserialize, Serialize};

use super::{Input, Parts, Program, segments};
use crate::algebra::{Algebra, Map};

/// What a box is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum BoxKind {
    /// A matrix.
    Linear,
    /// A perceptron with one hidden layer.
    Perceptron {
        /// Its width.
        hidden: usize,
    },
}

/// What a box minimizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Objective {
    /// `½‖M(k) - v̂‖²` (Eq. 93).
    Distance,
    /// `-⟨M(k), v̂⟩` (Eq. 92): with the delta rule's own erasure this writes like Gated DeltaNet.
    Alignment,
}

/// What a box aims at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Targets {
    /// Its own answer to the value, `M(v)` (Eq. 84).
    Own,
    /// Its own answer to the value at unit length. What a box says of its own accord grows with what it learned, which it then learns: with steps above 1 that has
    /// no bound, and training ends in numbers that are none (`nocturne bench model --task parity`, all rates).
    OwnUnit,
    /// Its own answer of this very token, not of the chunk's start, `M_{t-1}(v)`; of the memory, and of linear boxes only. What lies along a key is multiplied
    /// by `α - η + η ⟨v, k⟩` in a step: a value may bring back what the step erases, or more than that, so that a memory can count. Boxes that say keys, values,
    /// steps and decays aim as with [`Targets::OwnUnit`] and do not fade: a count is right only as long as what it counts with stays the same. What grows is
    /// bounded, values at [`LONGEST_VALUE`] and rows of the matrix at [`LONGEST_ROW`].
    Live,
    /// The value (Eq. 79 to 82).
    Value,
}

/// The memory of one head.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SelfModifying {
    /// Channels of queries, keys and values.
    pub width: usize,
    /// Tokens for which boxes speak from one state.
    pub chunk: usize,
    /// What boxes are.
    pub boxes: BoxKind,
    /// What they minimize.
    pub objective: Objective,
    /// What they aim at.
    pub targets: Targets,
    /// The largest step η.
    pub max_step: f64,
    /// Whether the boxes of keys, values, steps and decays change; the memory always does.
    pub adaptive: bool,
    /// Whether each of those four takes a learned share of the memory's step instead of all of it.
    pub shares: bool,
}

/// The length that no value of live targets exceeds: `v / sqrt(1 + |v|² / 2.5²)`. What lies along a key is multiplied by -7 to 4 in a step of 2 then (Eq. 92).
pub const LONGEST_VALUE: f64 = 2.5;
/// The length that no row of a memory with live targets exceeds when a chunk begins: what counts by growing would otherwise end in numbers that are none. It
/// leaves room for 16 tokens that each multiply a row by 2.8 before the squares of what is read overflow in single precision. A count that grows by
/// 1.7 a symbol is at it after 52 of them; of strings of 100 symbols a bound of 1e4 left almost no count (`tests/benches/README.md`).
pub const LONGEST_ROW: f64 = 1e12;

/// Boxes of a head; the last one is the memory.
pub const BOXES: usize = 5;
const KEYS: usize = 0;
const VALUES: usize = 1;
const STEPS: usize = 2;
const DECAYS: usize = 3;
/// The box that is read.
pub const MEMORY: usize = 4;
/// Where logits of shares begin among what a head is given.
const SHARES: usize = 5;

impl SelfModifying {
    /// Rows and columns of one box's matrices.
    pub fn layers(&self) -> Vec<[usize; 2]> {
        match self.boxes {
            BoxKind::Linear => vec![[self.width, self.width]],
            BoxKind::Perceptron { hidden } => vec![[self.width, hidden], [hidden, self.width]],
        }
    }

    /// What box `n` aims at, and whether it forgets: in one place for the chunked form and for decoding.
    pub(super) const fn manner(&self, n: usize) -> Manner {
        match self.targets {
            Targets::Live if n != MEMORY => Manner { targets: Targets::OwnUnit, fades: false },
            targets => Manner { targets, fades: true },
        }
    }

    /// Boxes that change.
    pub fn changing(&self) -> std::ops::Range<usize> {
        if self.adaptive { 0..BOXES } else { MEMORY..BOXES }
    }
}

/// What boxes that learn alike have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Manner {
    pub(super) targets: Targets,
    /// Whether what was learned decays.
    pub(super) fades: bool,
}

/// The boxes of a stream.
#[derive(Debug, Clone)]
pub struct State<M> {
    /// Matrices of every box now.
    pub live: Vec<Vec<M>>,
    /// Those at the chunk's start.
    pub snapshot: Vec<Vec<M>>,
    /// Tokens of the chunk so far.
    pub filled: usize,
}

/// What a segment's tokens say about learning.
#[derive(Clone)]
struct Lesson<M> {
    k: M,
    v: M,
    /// η, a column.
    step: M,
    /// Cumulative log decay, and the same before each token's own.
    gamma: M,
    before: M,
}

/// How some of the boxes take a lesson.
struct Course<M> {
    lesson: Lesson<M>,
    manner: Manner,
    /// What the live matrices are asked, token by token, in the course of a write: the key that is erased, and with live targets what they are asked for those.
    asked: M,
    /// Decayed products of what is asked with keys.
    alike: M,
}

impl Program for SelfModifying {
    type State<M: Clone> = State<M>;

    /// `q`, `x_k`, `x_v`; logits of step and decay; bias of the step, `a`, bias of the decay, readouts of steps and decays, perhaps logits of shares; the boxes.
    fn inputs(&self) -> Vec<Input> {
        let boxes = std::iter::repeat_n(self.layers(), BOXES).flatten().collect();
        let mut heads = vec![[1, 1], [1, 1], [1, 1], [self.width, 1], [self.width, 1]];
        heads.extend([[1, 1]; MEMORY].iter().filter(|_| self.shares));
        vec![Input::Tokens(vec![self.width; 3]), Input::Tokens(vec![1; 2]), Input::Heads(heads), Input::Heads(boxes)]
    }

    fn output(&self) -> usize {
        self.width
    }

    fn begin<A: Algebra>(&self, _: &A, x: &Parts<A::M>) -> State<A::M> {
        let boxes: Vec<Vec<A::M>> = x[3].chunks(self.layers().len()).map(<[_]>::to_vec).collect();
        State { live: boxes.clone(), snapshot: boxes, filled: 0 }
    }

    fn run<A: Algebra>(&self, a: &A, x: &Parts<A::M>, state: &mut State<A::M>) -> A::M {
        let [length, _] = a.dims(&x[0][0]);
        let mut outputs = Vec::new();
        for (from, to, ends) in segments(state.filled, length, self.chunk) {
            let tokens = [&x[0][0], &x[0][1], &x[0][2], &x[1][0], &x[1][1]].map(|part| a.slice(part, from, to));
            let q = a.normalized(&tokens[0]);
            let lesson = self.lesson(a, &tokens, &x[2], &state.snapshot);
            let mut courses: Vec<Course<A::M>> = Vec::new();
            for n in self.changing() {
                // Boxes that learn in the same manner stand beside each other, and share what does not depend on their state.
                if courses.last().is_none_or(|course| course.manner != self.manner(n)) {
                    courses.push(self.course(a, self.manner(n), &lesson));
                }
                let course = &courses[courses.len() - 1];
                let step = match x[2].get(SHARES + n) {
                    Some(logit) if n != MEMORY => a.by(&course.lesson.step, &a.map(logit, Map::Sigmoid)),
                    _ => course.lesson.step.clone(),
                };
                let writes = self.writes(a, course, &step, [&state.snapshot[n], &state.live[n]]);
                if n == MEMORY {
                    outputs.push(Self::read(a, &course.lesson, &q, &writes, &state.live[n]));
                }
                state.live[n] = Self::moved(a, &course.lesson, &writes, &state.live[n]);
            }
            state.filled += to - from;
            if ends {
                state.filled = 0;
                if self.targets == Targets::Live {
                    state.live[MEMORY].iter_mut().for_each(|rows| *rows = within(a, rows, LONGEST_ROW));
                }
                state.snapshot.clone_from(&state.live);
            }
        }
        a.stack(&outputs)
    }
}

impl<M: Clone> Lesson<M> {
    /// The same for what does not fade.
    fn without_decay<A: Algebra<M = M>>(&self, a: &A) -> Self {
        let [length, _] = a.dims(&self.gamma);
        let none = a.constant(length, 1, 0.0);
        let (k, v, step) = (self.k.clone(), self.v.clone(), self.step.clone());
        Self { k, v, step, gamma: none.clone(), before: none }
    }
}

/// Rows `x / sqrt(1 + |x|² / longest²)`: short ones as they are, none longer than that.
pub(super) fn within<A: Algebra>(a: &A, rows: &A::M, longest: f64) -> A::M {
    // Divided first: squares of long rows are no numbers in single precision.
    a.scale(&a.shrunk(&a.scale(rows, longest.recip()), 1.0), longest)
}

/// What one layer of a box gets: `S_t = α S_{t-1} + xᵀ u`.
struct Write<M> {
    x: M,
    u: M,
}

impl SelfModifying {
    /// `M(z)`
    fn say<A: Algebra>(a: &A, m: &[A::M], z: &A::M) -> A::M {
        match m {
            [matrix] => a.add(z, &a.mul(z, matrix)),
            [up, down] => a.add(z, &a.mul(&a.map(&a.mul(z, up), Map::Silu), down)),
            _ => unreachable!("a box has one matrix or two"),
        }
    }

    fn lesson<A: Algebra>(&self, a: &A, tokens: &[A::M; 5], heads: &[A::M], boxes: &[Vec<A::M>]) -> Lesson<A::M> {
        let [_, xk, xv, step, decay] = tokens;
        let k = a.normalized(&Self::say(a, &boxes[KEYS], xk));
        let v = Self::say(a, &boxes[VALUES], xv);
        let said = |n: usize, readout: &A::M| a.mul(&Self::say(a, &boxes[n], xk), readout);
        let step = a.plus(&a.add(step, &said(STEPS, &heads[3])), &heads[0]);
        let step = a.scale(&a.map(&step, Map::Sigmoid), self.max_step);
        let decay = a.plus(&a.add(decay, &said(DECAYS, &heads[4])), &heads[2]);
        let decay = a.neg(&a.by(&a.map(&decay, Map::Softplus), &a.map(&heads[1], Map::Exp)));
        let gamma = a.cumulate(&decay);
        let before = a.sub(&gamma, &decay);
        Lesson { k, v, step, gamma, before }
    }

    fn course<A: Algebra>(&self, a: &A, manner: Manner, lesson: &Lesson<A::M>) -> Course<A::M> {
        let mut lesson = if manner.fades { lesson.clone() } else { lesson.without_decay(a) };
        if manner.targets == Targets::Live {
            lesson.v = within(a, &lesson.v, LONGEST_VALUE);
        }
        let l = &lesson;
        let asked = match (manner.targets, self.objective) {
            (Targets::Live, Objective::Alignment) => a.sub(&l.k, &l.v),
            (Targets::Live, Objective::Distance) => a.sub(&a.scale(&l.k, 2.0), &l.v),
            _ => l.k.clone(),
        };
        let alike = a.times(&a.decays(&l.before, &l.gamma, true), &a.mul_t(&asked, &l.k));
        Course { lesson, manner, asked, alike }
    }

    /// The gradients' error at the output: `M(k) - v̂`, or `-v̂`.
    fn error<A: Algebra>(&self, a: &A, course: &Course<A::M>, snapshot: &[A::M]) -> A::M {
        let l = &course.lesson;
        let target = match course.manner.targets {
            Targets::Own => Self::say(a, snapshot, &l.v),
            Targets::OwnUnit => a.normalized(&Self::say(a, snapshot, &l.v)),
            // What the live matrix adds to both is asked in the course of the write.
            Targets::Live | Targets::Value => l.v.clone(),
        };
        match (self.objective, course.manner.targets) {
            (Objective::Distance, Targets::Live) => a.sub(&l.k, &target),
            (Objective::Distance, _) => a.sub(&Self::say(a, snapshot, &l.k), &target),
            (Objective::Alignment, _) => a.neg(&target),
        }
    }

    /// What a box gets in steps of its own.
    fn writes<A: Algebra>(&self, a: &A, course: &Course<A::M>, step: &A::M, [snapshot, live]: [&[A::M]; 2]) -> Vec<Write<A::M>> {
        let l = &course.lesson;
        let error = self.error(a, course, snapshot);
        let row = |gradient: &A::M, x: &A::M, live: &A::M| {
            a.neg(&a.add(gradient, &a.rows_by(&a.mul(x, live), &a.map(&l.before, Map::Exp))))
        };
        let first = |gradient: &A::M| {
            let u = a.solve(&a.rows_by(&course.alike, step), &a.rows_by(&row(gradient, &course.asked, &live[0]), step));
            Write { x: l.k.clone(), u }
        };
        let [up, down] = snapshot else { return vec![first(&error)] };
        let z = a.mul(&l.k, up);
        let h = a.map(&z, Map::Silu);
        let inner = a.times(&a.mul_t(&error, down), &a.map(&z, Map::SiluSlope));
        let [length, _] = a.dims(&h);
        let bound = a.add(&a.constant(length, 1, 1.0), &a.times(step, &a.squares(&h)));
        let step = a.times(step, &a.map(&bound, Map::Recip));
        let scores = a.rows_by(&a.times(&a.decays(&l.before, &l.gamma, true), &a.mul_t(&h, &h)), &step);
        let u = a.solve(&scores, &a.rows_by(&row(&error, &h, &live[1]), &step));
        vec![first(&inner), Write { x: h, u }]
    }

    /// The live memory's answer to every query, the token's own write included.
    fn read<A: Algebra>(a: &A, l: &Lesson<A::M>, q: &A::M, writes: &[Write<A::M>], live: &[A::M]) -> A::M {
        let decays = a.decays(&l.gamma, &l.gamma, false);
        let now = a.map(&l.gamma, Map::Exp);
        let mut x = q.clone();
        for (n, (write, matrix)) in writes.iter().zip(live).enumerate() {
            let scores = a.times(&decays, &a.mul_t(&x, &write.x));
            let z = a.add(&a.rows_by(&a.mul(&x, matrix), &now), &a.mul(&scores, &write.u));
            x = if n + 1 < live.len() { a.map(&z, Map::Silu) } else { z };
        }
        a.add(&x, q)
    }

    fn moved<A: Algebra>(a: &A, l: &Lesson<A::M>, writes: &[Write<A::M>], live: &[A::M]) -> Vec<A::M> {
        let (to_end, all) = (a.to_end(&l.gamma), a.map(&a.last(&l.gamma), Map::Exp));
        let layer = |(write, matrix): (&Write<A::M>, &A::M)| {
            a.add(&a.by(matrix, &all), &a.t_mul(&a.rows_by(&write.x, &to_end), &write.u))
        };
        writes.iter().zip(live).map(layer).collect()
    }
}
