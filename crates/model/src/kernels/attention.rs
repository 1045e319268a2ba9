//! Causal softmax attention with rotary positions, grouped queries and, if wanted, a window.
//!
//! Queries are taken in blocks, so that nothing above the diagonal is computed and no row of probabilities outlives its block; the backward pass
//! computes them again from the logarithms of their normalizers (Dao et al., `FlashAttention`).

mod span;

use pulp::NullaryFnOnce;
use rayon::prelude::*;

use self::span::Span;
use super::{
    gemm::{Factor, Write, product_here},
    heads::{Columns, gather, scatter},
    math::{axpy, dot, simd, softmax},
    real::Real,
    rope::{Rope, Rotary},
};
use crate::host::{Forward, Kernel, View};

/// Attention over `qkv [B, T, (H + 2G) W]`: all query heads, then all key heads, then all value heads. The output is `[B, T, H W]`.
#[derive(Debug, Clone, Copy)]
pub struct Attention {
    /// Query heads, H.
    pub heads: usize,
    /// Key and value heads, G; divides H.
    pub kv_heads: usize,
    /// Rotary positions, if any.
    pub rope: Option<Rope>,
    /// Tokens that a query sees, itself included; all before it when there is none.
    pub window: Option<usize>,
    /// Tokens at the beginning that every query sees, whatever its window.
    pub prefix: usize,
}

impl Attention {
    /// Keys that are kept of so many tokens: those that a later one may still see, and one at least.
    pub fn kept(&self, tokens: usize) -> usize {
        let Some(window) = self.window else { return tokens };
        let prefix = self.prefix.min(tokens);
        prefix + (tokens - prefix).min((window - 1).max(1))
    }
}

/// Queries of one block.
const BLOCK: usize = 64;

/// The logit of a key that is not seen: finite, so that nothing is subtracted from infinity.
const HIDDEN: f64 = -1e9;

/// Extents of a call.
struct Extents<T> {
    batch: usize,
    time: usize,
    width: usize,
    scale: T,
    rotary: Option<Rotary<T>>,
}

/// One group: its queries `[H / G][T, W]`, its keys and its values `[T, W]`.
struct Group<T> {
    q: Vec<Vec<T>>,
    k: Vec<T>,
    v: Vec<T>,
}

impl Attention {
    fn extents<T: Real>(&self, qkv: View<'_, T>) -> Extents<T> {
        let (batch, time) = (qkv.shape[0], qkv.shape[1]);
        let width = qkv.shape[2] / (self.heads + 2 * self.kv_heads);
        let rotary = self.rope.map(|rope| Rotary::new(time, width, &rope));
        Extents { batch, time, width, scale: T::count(width).sqrt().recip(), rotary }
    }

    fn column<T>(&self, e: &Extents<T>, head: usize) -> Columns {
        Columns { row: (self.heads + 2 * self.kv_heads) * e.width, at: head * e.width, width: e.width }
    }

    fn group<T: Real>(&self, e: &Extents<T>, qkv: View<'_, T>, n: usize) -> Group<T> {
        let (b, g) = (n / self.kv_heads, n % self.kv_heads);
        let take = |head| gather(qkv.data, e.time, b, self.column(e, head));
        let turned = |head| {
            let mut x = take(head);
            e.turn(&mut x);
            x
        };
        let each = self.heads / self.kv_heads;
        let q = (g * each..(g + 1) * each).map(turned).collect();
        Group { q, k: turned(self.heads + g), v: take(self.heads + self.kv_heads + g) }
    }

    fn spans(&self, time: usize) -> impl Iterator<Item = Span> + use<> {
        let (window, prefix) = (self.window.unwrap_or(time), self.prefix);
        (0..time).step_by(BLOCK).map(move |from| {
            let to = (from + BLOCK).min(time);
            let keys_from = (from + 1).saturating_sub(window);
            if keys_from > prefix { Span { from, to, keys_from, lead: prefix } } else { Span { from, to, keys_from: 0, lead: 0 } }
        })
    }

    /// Has a row of logits of a span's keys stay as it is where query `t` sees and be `-inf` or zero elsewhere.
    #[inline(always)]
    fn hide<T: Real>(&self, row: &mut [T], s: Span, t: usize, with: T) {
        row[s.at(t + 1)..].fill(with);
        if let Some(window) = self.window {
            let (prefix, first) = (self.prefix.max(s.keys_from), (t + 1).saturating_sub(window));
            if first > prefix {
                row[s.at(prefix)..s.at(first)].fill(with);
            }
        }
    }
}

impl<T: Real> Extents<T> {
    fn turn(&self, x: &mut [T]) {
        if let Some(rotary) = &self.rotary {
            simd(|| x.chunks_exact_mut(self.width).enumerate().for_each(|(t, head)| rotary.turn(head, t)));
        }
    }

    fn turn_back(&self, x: &mut [T]) {
        if let Some(rotary) = &self.rotary {
            simd(|| x.chunks_exact_mut(self.width).enumerate().for_each(|(t, head)| rotary.turn_back(head, t)));
        }
    }

    fn rows<'a>(&self, x: &'a [T], from: usize, to: usize) -> Factor<'a, T> {
        Factor::new(&x[from * self.width..to * self.width], to - from, self.width)
    }

    fn whole<'a>(&self, x: &'a [T]) -> Factor<'a, T> {
        Factor::new(x, x.len() / self.width, self.width)
    }

    /// Scaled logits of a block.
    fn logits(&self, q: &[T], k: &[T], s: Span) -> Vec<T> {
        let mut scores = vec![T::zero(); s.queries() * s.keys()];
        let keys = s.cut(k, self.width);
        product_here(&mut scores, Write::Set, self.rows(q, s.from, s.to), self.whole(&keys).t());
        simd(|| super::math::scale(&mut scores, self.scale));
        scores
    }
}

impl Attention {
    /// One head's output and the logarithms of its normalizers.
    fn head<T: Real>(&self, e: &Extents<T>, q: &[T], k: &[T], v: &[T]) -> (Vec<T>, Vec<T>) {
        let mut output = vec![T::zero(); e.time * e.width];
        let mut log_sums = Vec::with_capacity(e.time);
        for s in self.spans(e.time) {
            let mut p = e.logits(q, k, s);
            simd(|| {
                for (row, t) in p.chunks_exact_mut(s.keys()).zip(s.from..) {
                    self.hide(row, s, t, T::of(HIDDEN));
                    log_sums.push(softmax(&mut row[..=s.at(t)]));
                    self.hide(row, s, t, T::zero());
                }
            });
            let p = Factor::new(&p, s.queries(), s.keys());
            let values = s.cut(v, e.width);
            product_here(&mut output[s.from * e.width..s.to * e.width], Write::Set, p, e.whole(&values));
        }
        (output, log_sums)
    }

    /// Gradients of one head: `dq`, and what it adds to `dk` and `dv`.
    fn head_backward<T: Real>(
        &self,
        e: &Extents<T>,
        g: &Group<T>,
        h: usize,
        of: &Output<'_, T>,
        dkv: &mut [Vec<T>; 2],
    ) -> Vec<T> {
        let q = &g.q[h];
        let mut dq = vec![T::zero(); e.time * e.width];
        for s in self.spans(e.time) {
            let mut p = e.logits(q, &g.k, s);
            let (dout, out) = (e.rows(of.gradient, s.from, s.to), s.from * e.width..s.to * e.width);
            let mut ds = vec![T::zero(); p.len()];
            let (keys, values) = (s.cut(&g.k, e.width), s.cut(&g.v, e.width));
            product_here(&mut ds, Write::Set, dout, e.whole(&values).t());
            simd(|| {
                let along = of.gradient[out.clone()].chunks_exact(e.width).zip(of.output[out.clone()].chunks_exact(e.width));
                let rows = p.chunks_exact_mut(s.keys()).zip(ds.chunks_exact_mut(s.keys()));
                for (((p, ds), (dout, out)), t) in rows.zip(along).zip(s.from..) {
                    let (along, log_sum) = (dot(dout, out), of.log_sums[t]);
                    let seen = ..=s.at(t);
                    for (p, ds) in p[seen].iter_mut().zip(&mut ds[seen]) {
                        *p = (*p - log_sum).exponential();
                        *ds = (*ds - along) * *p * e.scale;
                    }
                    self.hide(p, s, t, T::zero());
                    self.hide(ds, s, t, T::zero());
                }
            });
            let (p, ds) = (Factor::new(&p, s.queries(), s.keys()), Factor::new(&ds, s.queries(), s.keys()));
            product_here(&mut dq[out], Write::Set, ds, e.whole(&keys));
            let [dk, dv] = dkv;
            s.add_product(dk, ds.t(), e.rows(q, s.from, s.to), e.width);
            s.add_product(dv, p.t(), dout, e.width);
        }
        e.turn_back(&mut dq);
        dq
    }
}

/// Gradients of a group: of each head's queries, and of its keys and values.
type GroupGradients<T> = (Vec<Vec<T>>, [Vec<T>; 2]);

/// What a head gave and the gradient that came back.
struct Output<'a, T> {
    output: &'a [T],
    log_sums: &'a [T],
    gradient: &'a [T],
}

impl Kernel for Attention {
    fn forward<T: Real>(&self, inputs: &[View<'_, T>]) -> Forward<T> {
        let qkv = inputs[0];
        let e = self.extents(qkv);
        let groups: Vec<Vec<(Vec<T>, Vec<T>)>> = (0..e.batch * self.kv_heads)
            .into_par_iter()
            .map(|n| {
                let g = self.group(&e, qkv, n);
                g.q.iter().map(|q| self.head(&e, q, &g.k, &g.v)).collect()
            })
            .collect();
        let heads: Vec<(Vec<T>, Vec<T>)> = groups.into_iter().flatten().collect();
        let channels = self.heads * e.width;
        let mut output = vec![T::zero(); e.batch * e.time * channels];
        output.par_chunks_mut(e.time * channels).zip(heads.par_chunks(self.heads)).for_each(|(out, heads)| {
            for (h, (head, _)) in heads.iter().enumerate() {
                scatter(out, head, Columns { row: channels, at: h * e.width, width: e.width });
            }
        });
        let mut saved: Vec<Vec<T>> = heads.into_iter().map(|(_, sums)| sums).collect();
        saved.push(output.clone());
        Forward { output, shape: vec![e.batch, e.time, channels], saved }
    }

    fn backward<T: Real>(
        &self,
        inputs: &[View<'_, T>],
        saved: &[Vec<T>],
        gradient: View<'_, T>,
        _: &[bool],
    ) -> Vec<Option<Vec<T>>> {
        let qkv = inputs[0];
        let e = self.extents(qkv);
        let channels = self.heads * e.width;
        let output = &saved[e.batch * self.heads];
        let each = self.heads / self.kv_heads;
        let groups: Vec<GroupGradients<T>> = (0..e.batch * self.kv_heads)
            .into_par_iter()
            .map(|n| {
                let (b, g) = (n / self.kv_heads, n % self.kv_heads);
                let group = self.group(&e, qkv, n);
                let mut dkv = [(); 2].map(|()| vec![T::zero(); e.time * e.width]);
                let dq = (0..each).map(|h| {
                    let columns = Columns { row: channels, at: (g * each + h) * e.width, width: e.width };
                    let of = Output {
                        output: &gather(output, e.time, b, columns),
                        log_sums: &saved[b * self.heads + g * each + h],
                        gradient: &gather(gradient.data, e.time, b, columns),
                    };
                    self.head_backward(&e, &group, h, &of, &mut dkv)
                });
                let dq = dq.collect();
                e.turn_back(&mut dkv[0]);
                (dq, dkv)
            })
            .collect();
        let mut dqkv = vec![T::zero(); qkv.data.len()];
        dqkv.par_chunks_mut(e.time * qkv.shape[2]).zip(groups.par_chunks(self.kv_heads)).for_each(|(out, groups)| {
            for (g, (dq, [dk, dv])) in groups.iter().enumerate() {
                dq.iter().enumerate().for_each(|(h, dq)| scatter(out, dq, self.column(&e, g * each + h)));
                scatter(out, dk, self.column(&e, self.heads + g));
                scatter(out, dv, self.column(&e, self.heads + self.kv_heads + g));
            }
        });
        vec![Some(dqkv)]
    }
}

/// One query of one head against the keys and values so far, `[T, row]` of which the head has the columns from `at` on; adds to `out`.
#[inline(always)]
pub fn read<T: Real>(out: &mut [T], q: &[T], keys: &[T], values: &[T], row: usize, at: usize, scores: &mut Vec<T>) {
    let width = q.len();
    let scale = T::count(width).sqrt().recip();
    scores.clear();
    scores.extend(keys.chunks_exact(row).map(|k| dot(q, &k[at..at + width]) * scale));
    softmax(scores);
    for (p, v) in scores.iter().zip(values.chunks_exact(row)) {
        axpy(out, *p, &v[at..at + width]);
    }
}

/// From so many queries on, products of matrices are faster than one query after the other.
const BLOCK_FROM: usize = 4;

/// Queries of one head, `[T, W]`, that belong to the last of its positions, against the keys and values of all, `[C, W]`; adds to `out`, `[T, W]`.
pub fn answer(out: &mut [f32], q: &[f32], (keys, values): (&[f32], &[f32]), width: usize, window: Option<usize>) {
    let (queries, positions) = (q.len() / width, keys.len() / width);
    let past = positions - queries;
    let rule = Attention { heads: 1, kv_heads: 1, rope: None, window, prefix: 0 };
    let first = |t: usize| (t + 1).saturating_sub(window.unwrap_or(positions));
    let mut scores = Vec::new();
    if queries < BLOCK_FROM {
        for (n, (q, out)) in q.chunks_exact(width).zip(out.chunks_exact_mut(width)).enumerate() {
            let seen = first(past + n) * width..(past + n + 1) * width;
            let one = One { out, q, keys: &keys[seen.clone()], values: &values[seen], scores: &mut scores };
            pulp::Arch::new().dispatch(one);
        }
        return;
    }
    let scale = (width as f32).sqrt().recip();
    for (n, (q, out)) in q.chunks(BLOCK * width).zip(out.chunks_mut(BLOCK * width)).enumerate() {
        let (from, rows) = (past + n * BLOCK, q.len() / width);
        let (keys_from, to) = (first(from), from + rows);
        let seen = |x| Factor::new(x, to - keys_from, width);
        scores.clear();
        scores.resize(rows * (to - keys_from), 0.0);
        let cut = keys_from * width..to * width;
        product_here(&mut scores, Write::Set, Factor::new(q, rows, width), seen(&keys[cut.clone()]).t());
        pulp::Arch::new().dispatch(Soften {
            rule: &rule,
            scores: &mut scores,
            scale,
            span: Span { from, to, keys_from, lead: 0 },
        });
        product_here(out, Write::Add, Factor::new(&scores, rows, to - keys_from), seen(&values[cut]));
    }
}

/// One query; not a closure, since those are inlined into the function that has the processor's features only when they are small.
struct One<'a> {
    out: &'a mut [f32],
    q: &'a [f32],
    keys: &'a [f32],
    values: &'a [f32],
    scores: &'a mut Vec<f32>,
}

impl NullaryFnOnce for One<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        read(self.out, self.q, self.keys, self.values, self.q.len(), 0, self.scores);
    }
}

/// The softmax of a block's rows; not a closure either.
struct Soften<'a> {
    rule: &'a Attention,
    scores: &'a mut [f32],
    scale: f32,
    span: Span,
}

impl NullaryFnOnce for Soften<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        super::math::scale(self.scores, self.scale);
        for (row, t) in self.scores.chunks_exact_mut(self.span.keys()).zip(self.span.from..) {
            self.rule.hide(row, self.span, t, HIDDEN as f32);
            softmax(&mut row[..=self.span.at(t)]);
            self.rule.hide(row, self.span, t, 0.0);
        }
    }
}
