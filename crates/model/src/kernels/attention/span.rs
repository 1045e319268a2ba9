//! Which keys a block of queries is multiplied with.

use std::borrow::Cow;

use crate::kernels::{
    gemm::{Factor, Write, product_here},
    math::add,
    real::Real,
};

/// The rows of one block of queries and of the keys that they may see: the first `lead` of all, and those from `keys_from` on.
#[derive(Clone, Copy)]
pub(super) struct Span {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) keys_from: usize,
    pub(super) lead: usize,
}

impl Span {
    pub(super) fn queries(self) -> usize {
        self.to - self.from
    }

    pub(super) fn keys(self) -> usize {
        self.lead + self.to - self.keys_from
    }

    /// Where the key of a token lies among those of the span, from `keys_from` on.
    pub(super) fn at(self, t: usize) -> usize {
        self.lead + t - self.keys_from
    }

    /// Rows of all tokens as those of the span's keys.
    pub(super) fn cut<T: Clone>(self, x: &[T], width: usize) -> Cow<'_, [T]> {
        let rows = &x[self.keys_from * width..self.to * width];
        if self.lead == 0 { rows.into() } else { [&x[..self.lead * width], rows].concat().into() }
    }

    /// Adds a product whose rows belong to the span's keys to the rows of all tokens.
    pub(super) fn add_product<T: Real>(self, x: &mut [T], a: Factor<'_, T>, b: Factor<'_, T>, width: usize) {
        let keys = self.keys_from * width..self.to * width;
        if self.lead == 0 {
            product_here(&mut x[keys], Write::Add, a, b);
            return;
        }
        let mut rows = vec![T::zero(); self.keys() * width];
        product_here(&mut rows, Write::Set, a, b);
        let (lead, rest) = rows.split_at(self.lead * width);
        add(&mut x[..lead.len()], lead);
        add(&mut x[keys], rest);
    }
}
