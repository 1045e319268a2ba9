//! Gradients along a tape.

use super::{Gradients, Node, Origin, Tape, Transposed, Var};
use crate::kernels::{
    gemm::{Factor, Write, product_here},
    math::{add, axpy, dot, scale, simd},
    real::Real,
};

impl<T: Real> Tape<T> {
    /// Gradients of `Σ seed ∘ value` over some matrices, with regard to every matrix on the tape.
    pub fn backward(&self, seeds: Vec<(Var, Vec<T>)>) -> Gradients<T> {
        let nodes = self.0.borrow();
        let mut pull = Pull { nodes: &nodes, gradients: nodes.iter().map(|_| None).collect() };
        for (var, seed) in seeds {
            pull.add(var, seed);
        }
        for n in (0..nodes.len()).rev() {
            if matches!(nodes[n].origin, Origin::Given | Origin::Constant) {
                continue;
            }
            if let Some(gradient) = pull.gradients[n].take() {
                simd(|| pull.back(&nodes[n], gradient));
            }
        }
        Gradients(pull.gradients)
    }
}

struct Pull<'a, T> {
    nodes: &'a [Node<T>],
    gradients: Vec<Option<Vec<T>>>,
}

impl<T: Real> Pull<'_, T> {
    #[inline(always)]
    fn add(&mut self, of: Var, gradient: Vec<T>) {
        if matches!(self.nodes[of.0].origin, Origin::Constant) {
            return;
        }
        match &mut self.gradients[of.0] {
            Some(sum) => add(sum, &gradient),
            none => *none = Some(gradient),
        }
    }

    #[inline(always)]
    fn add_product(&mut self, of: Var, a: Factor<'_, T>, b: Factor<'_, T>) {
        let node = &self.nodes[of.0];
        if matches!(node.origin, Origin::Constant) {
            return;
        }
        let sum = self.gradients[of.0].get_or_insert_with(|| vec![T::zero(); node.value.len()]);
        product_here(sum, Write::Add, a, b);
    }

    #[inline(always)]
    fn back(&mut self, node: &Node<T>, mut g: Vec<T>) {
        match &node.origin {
            Origin::Given | Origin::Constant => {}
            Origin::Mul(a, b, transposed) => self.product(node, &g, *a, *b, *transposed),
            Origin::Sum(a, b, sign) => {
                let mut other = g.clone();
                scale(&mut other, T::of(*sign));
                self.add(*b, other);
                self.add(*a, g);
            }
            Origin::Times(a, b) => {
                let by = |var: &Var| g.iter().zip(&self.nodes[var.0].value).map(|(g, x)| *g * *x).collect();
                let (da, db) = (by(b), by(a));
                self.add(*a, da);
                self.add(*b, db);
            }
            Origin::Scale(a, c) => {
                scale(&mut g, T::of(*c));
                self.add(*a, g);
            }
            Origin::RowsBy(a, column) => self.rows_by(node, g, *a, *column),
            Origin::By(a, scalar) => {
                self.add(*scalar, vec![dot(&g, &self.nodes[a.0].value)]);
                scale(&mut g, self.nodes[scalar.0].value[0]);
                self.add(*a, g);
            }
            Origin::Plus(a, scalar) => {
                self.add(*scalar, vec![g.iter().copied().sum()]);
                self.add(*a, g);
            }
            Origin::Map(a, map) => {
                let points = self.nodes[a.0].value.iter().zip(&node.value);
                g.iter_mut().zip(points).for_each(|(g, (x, y))| *g *= map.slope(*x, *y));
                self.add(*a, g);
            }
            Origin::Slice(a, from) => self.slice(node, &g, *a, *from),
            Origin::Stack(parts) => self.stack(&g, parts),
            Origin::Squares(a) => {
                let x = &self.nodes[a.0];
                let mut da = x.value.clone();
                da.chunks_exact_mut(x.cols).zip(&g).for_each(|(row, g)| scale(row, T::of(2.0) * *g));
                self.add(*a, da);
            }
            Origin::Cumulate(a) => {
                let mut total = T::zero();
                for g in g.iter_mut().rev() {
                    total += *g;
                    *g = total;
                }
                self.add(*a, g);
            }
            Origin::Decays(a, b) => self.decays(node, &g, *a, *b),
            Origin::Solve(a, b) => self.solve(node, g, *a, *b),
            Origin::Shrunk(a, floor) => self.shrunk(node, g, *a, *floor),
        }
    }

    #[inline(always)]
    fn product(&mut self, node: &Node<T>, g: &[T], a: Var, b: Var, transposed: Transposed) {
        let g = Factor::new(g, node.rows, node.cols);
        let (x, y) = (self.nodes[a.0].factor(), self.nodes[b.0].factor());
        match transposed {
            Transposed::Neither => {
                self.add_product(a, g, y.t());
                self.add_product(b, x.t(), g);
            }
            Transposed::First => {
                self.add_product(a, y, g.t());
                self.add_product(b, x, g);
            }
            Transposed::Second => {
                self.add_product(a, g, y);
                self.add_product(b, g.t(), x);
            }
        }
    }

    #[inline(always)]
    fn rows_by(&mut self, node: &Node<T>, mut g: Vec<T>, a: Var, column: Var) {
        let x = &self.nodes[a.0];
        let dcolumn = g.chunks_exact(node.cols).enumerate().map(|(t, g)| dot(g, x.row(t))).collect();
        g.chunks_exact_mut(node.cols).zip(&self.nodes[column.0].value).for_each(|(row, c)| scale(row, *c));
        self.add(column, dcolumn);
        self.add(a, g);
    }

    #[inline(always)]
    fn slice(&mut self, node: &Node<T>, g: &[T], a: Var, from: usize) {
        let x = &self.nodes[a.0];
        if matches!(x.origin, Origin::Constant) {
            return;
        }
        let sum = self.gradients[a.0].get_or_insert_with(|| vec![T::zero(); x.value.len()]);
        add(&mut sum[from * node.cols..(from + node.rows) * node.cols], g);
    }

    #[inline(always)]
    fn stack(&mut self, g: &[T], parts: &[Var]) {
        let mut at = 0;
        for part in parts {
            let size = self.nodes[part.0].value.len();
            self.add(*part, g[at..at + size].to_vec());
            at += size;
        }
    }

    #[inline(always)]
    fn decays(&mut self, node: &Node<T>, g: &[T], a: Var, b: Var) {
        let n = node.rows;
        let (mut da, mut db) = (vec![T::zero(); n], vec![T::zero(); n]);
        for t in 0..n {
            for i in 0..=t {
                let d = g[t * n + i] * node.value[t * n + i];
                da[t] += d;
                db[i] -= d;
            }
        }
        self.add(a, da);
        self.add(b, db);
    }

    /// With `X = (I + A)⁻¹ B`: `dB = (I + A)⁻ᵀ dX`, `dA = -tril(dB Xᵀ, -1)`.
    #[inline(always)]
    fn solve(&mut self, node: &Node<T>, mut g: Vec<T>, a: Var, b: Var) {
        let (n, cols) = (node.rows, node.cols);
        let matrix = &self.nodes[a.0].value;
        for t in (0..n).rev() {
            let (rows, row) = g.split_at_mut(t * cols);
            for (i, before) in rows.chunks_exact_mut(cols).enumerate() {
                axpy(before, -matrix[t * n + i], &row[..cols]);
            }
        }
        let mut da = vec![T::zero(); n * n];
        product_here(&mut da, Write::Set, Factor::new(&g, n, cols), node.factor().t());
        for t in 0..n {
            scale(&mut da[t * n..t * n + t], -T::one());
            da[t * n + t..(t + 1) * n].fill(T::zero());
        }
        self.add(a, da);
        self.add(b, g);
    }

    #[inline(always)]
    fn shrunk(&mut self, node: &Node<T>, mut g: Vec<T>, a: Var, floor: f64) {
        let x = &self.nodes[a.0];
        for (t, g) in g.chunks_exact_mut(node.cols).enumerate() {
            let inverse = (dot(x.row(t), x.row(t)) + T::of(floor)).sqrt().recip();
            let along = dot(g, node.row(t));
            axpy(g, -along, node.row(t));
            scale(g, inverse);
        }
        self.add(a, g);
    }
}
