//! Deep momentum gradient descent: the momentum is a perceptron that learns from gradients as it goes (Nested Learning, Eq. 50 to 52).
//!
//! The paper: `W ← W + σ(m(u))`, `m ← α m - η ∇L(m; u, I)` with `u = ∇L(W)`, `L` a dot product and `m` a perceptron; with `m` a matrix and `σ`
//! Newton-Schulz that is said to be Muon. The types of Eq. 50 do not fit together for a matrix, for `m(u)` is then `[outputs, outputs]`, and sizes and
//! rates of the inner perceptron are nowhere given. What is built here keeps each of the paper's parts and has both limits exactly:
//!
//! * A memory is asked once for every row `r` of the gradient, which is an input of the layer. Its key is the feature map `φ(u)_r = (e_r, u_r)`
//!   (Eq. 51): which row it is, and the row itself. `m(φ(u))_r = M_r + s · tanh(u_r / s · A) B` with a table `M [rows, cols]`, `A [cols, hidden]`
//!   and `B [hidden, cols]`: a linear memory of single inputs, and a perceptron over directions of surprise that all inputs share.
//! * `s` is the root mean square of the gradient, so that the perceptron works at order one and the update scales as the gradient does.
//! * The inner loss is `-⟨m(φ(u)), u⟩`; the table takes a step at rate one, which the outer rate absorbs, and the perceptron at `inner_rate` on the mean
//!   over rows of the loss in units of `s`. Everything is kept by `α`: `M` and `B` towards zero, `A` towards where it began, for a memory whose first
//!   layer fades to zero learns nothing any more.
//! * The update is `m(φ(u))` after the step, as it is or through Newton-Schulz.
//!
//! Without hidden units that is momentum, and with Newton-Schulz and the Nesterov look-ahead it is [`super::MuonSettings`], number for number.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::{
    muon::{orthogonalize, stretch},
    real::{Operand, Real, product, square_sum},
    rule::{Matrix, Memory, Rule, Visitor, descend},
};

/// What is done to the memory's answer, `σ` of Eq. 52.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Output {
    /// Nothing.
    Plain,
    /// Newton-Schulz iterations.
    Orthogonal,
}

/// Settings of deep momentum.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DmgdSettings {
    /// Peak learning rate (.02); the schedule multiplies it.
    pub rate: f64,
    /// `α`, what the memory keeps a step (.95).
    pub retention: f64,
    /// Hidden units of the perceptron (16); without any the memory is linear.
    pub hidden: usize,
    /// Learning rate of the perceptron (.05).
    pub inner_rate: f64,
    /// What is done to the answer (`orthogonal`).
    pub output: Output,
    /// Whether the gradient is added to the answer once more, as Nesterov does (true).
    pub nesterov: bool,
    /// Decoupled weight decay, multiplied by the learning rate (0).
    pub weight_decay: f64,
    /// Seed of the perceptron's first layer (0).
    pub seed: u64,
}

impl Default for DmgdSettings {
    fn default() -> Self {
        Self {
            rate: 0.02,
            retention: 0.95,
            hidden: 16,
            inner_rate: 0.05,
            output: Output::Orthogonal,
            nesterov: true,
            weight_decay: 0.0,
            seed: 0,
        }
    }
}

/// The weights of the memory.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Deep<T> {
    /// `M [rows, cols]`
    pub table: Matrix<T>,
    /// `A [cols, hidden]`
    pub up: Matrix<T>,
    /// What `A` was at first.
    pub up_begin: Matrix<T>,
    /// `B [hidden, cols]`
    pub down: Matrix<T>,
}

impl<T: Real> Memory<T> for Deep<T> {
    fn visit(&mut self, visitor: &mut dyn Visitor<T>) {
        visitor.matrix("table", &mut self.table);
        visitor.matrix("up", &mut self.up);
        visitor.matrix("up_begin", &mut self.up_begin);
        visitor.matrix("down", &mut self.down);
    }
}

impl<T: Real> Deep<T> {
    /// `tanh(key A)`
    fn hidden(&self, key: Operand<'_, T>) -> Vec<T> {
        let mut hidden = product(key, Operand::new(&self.up.data, self.up.rows, self.up.cols));
        hidden.iter_mut().for_each(|h| *h = h.tanh());
        hidden
    }

    fn down(&self) -> Operand<'_, T> {
        Operand::new(&self.down.data, self.down.rows, self.down.cols)
    }

    /// The perceptron's answers `[rows, cols]` to keys `[rows, cols]`.
    pub fn perceptron(&self, key: &[T], rows: usize) -> Vec<T> {
        let hidden = self.hidden(Operand::new(key, rows, self.up.rows));
        product(Operand::new(&hidden, rows, self.up.cols), self.down())
    }

    /// The inner loss of the perceptron, `-1/rows · Σ ⟨answer, key⟩`.
    pub fn inner_loss(&self, key: &[T], rows: usize) -> T {
        let along: T = self.perceptron(key, rows).iter().zip(key).map(|(a, k)| *a * *k).sum();
        -along / T::of(rows as f64)
    }

    /// Gradients of [`Deep::inner_loss`] by `A` and `B`.
    pub fn inner_gradients(&self, key: &[T], rows: usize) -> (Vec<T>, Vec<T>) {
        let (cols, units) = (self.up.rows, self.up.cols);
        let mean = -T::of(1.0 / rows as f64);
        let key = Operand::new(key, rows, cols);
        let hidden = self.hidden(key);
        let mut down = product(Operand::new(&hidden, rows, units).t(), key);
        down.iter_mut().for_each(|d| *d *= mean);
        let mut slope = product(key, self.down().t());
        slope.iter_mut().zip(&hidden).for_each(|(s, h)| *s = *s * mean * (T::of(1.0) - *h * *h));
        (product(key.t(), Operand::new(&slope, rows, units)), down)
    }

    /// One step on the inner loss; what is kept is the distance from the beginning.
    fn learn(&mut self, key: &[T], rows: usize, keep: T, rate: T) {
        let (up, down) = self.inner_gradients(key, rows);
        for ((a, begin), gradient) in self.up.data.iter_mut().zip(&self.up_begin.data).zip(&up) {
            *a = *begin + keep * (*a - *begin) - rate * *gradient;
        }
        self.down.blend(keep, -rate, &down);
    }
}

impl<T: Real> Rule<T> for DmgdSettings {
    type Memory = Deep<T>;

    fn begin(&self, rows: usize, cols: usize) -> Deep<T> {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        let mut up = Matrix::zeros(cols, self.hidden);
        // Uniform with variance 1 / cols: hidden units begin at order one for keys of order one.
        let bound = (3.0 / cols as f64).sqrt();
        up.data.iter_mut().for_each(|a| *a = T::of(rng.random_range(-bound..bound)));
        Deep { table: Matrix::zeros(rows, cols), up_begin: up.clone(), up, down: Matrix::zeros(self.hidden, cols) }
    }

    fn step(&self, scale: f64, weights: &mut [T], gradient: &[T], (rows, cols): (usize, usize), memory: &mut Deep<T>) {
        let keep = T::of(self.retention);
        memory.table.blend(keep, T::of(1.0), gradient);
        let mut answer = memory.table.data.clone();
        let size = (square_sum(gradient) / T::of(gradient.len() as f64)).root();
        // A gradient that is next to nothing has no direction.
        if self.hidden > 0 && size > T::of(f64::from(f32::MIN_POSITIVE)) {
            let key: Vec<T> = gradient.iter().map(|g| *g / size).collect();
            memory.learn(&key, rows, keep, T::of(self.inner_rate));
            answer.iter_mut().zip(memory.perceptron(&key, rows)).for_each(|(a, p)| *a += size * p);
        }
        if self.nesterov {
            answer.iter_mut().zip(gradient).for_each(|(a, g)| *a = *a * keep + *g);
        }
        let (update, stretch) = match self.output {
            Output::Plain => (answer, T::of(1.0)),
            Output::Orthogonal => (orthogonalize(answer, rows, cols), stretch(rows, cols)),
        };
        descend(weights, &update, scale * self.rate, stretch, T::of(self.weight_decay));
    }
}
