//! A program as one operation on the CPU: every head of every sequence on a tape of its own.

use rayon::prelude::*;

use super::{Input, Program};
use crate::{
    algebra::tape::{Tape, Var},
    host::{Forward, Kernel, View},
    kernels::{
        heads::{Columns, gather, scatter},
        math::{add, simd},
        real::Real,
    },
};

/// The operation; its inputs are those of the program, its output is `[B, T, H output]`.
#[derive(Debug, Clone)]
pub struct PerHead<P> {
    /// The equations.
    pub program: P,
    /// Number of heads.
    pub heads: usize,
}

/// Where each part of an input lies.
enum Place {
    Tokens(Vec<Columns>),
    Heads(Vec<(usize, [usize; 2])>),
}

impl<P: Program> PerHead<P> {
    /// Places of head `h` in every input.
    fn places(&self, h: usize) -> Vec<Place> {
        let place = |input| match input {
            Input::Tokens(widths) => {
                let row = self.heads * widths.iter().sum::<usize>();
                let mut before = 0;
                let columns = widths.into_iter().map(|width| {
                    let at = self.heads * before + h * width;
                    before += width;
                    Columns { row, at, width }
                });
                Place::Tokens(columns.collect())
            }
            Input::Heads(extents) => {
                let mut at = h * extents.iter().map(|[r, c]| r * c).sum::<usize>();
                let parts = extents.into_iter().map(|[rows, cols]| {
                    let part = (at, [rows, cols]);
                    at += rows * cols;
                    part
                });
                Place::Heads(parts.collect())
            }
        };
        self.program.inputs().into_iter().map(place).collect()
    }

    /// Puts one head's inputs on a tape and runs the program.
    fn evaluate<T: Real>(&self, tape: &Tape<T>, inputs: &[View<'_, T>], b: usize, h: usize) -> (Vec<Vec<Var>>, Var) {
        let time = inputs[0].shape[1];
        let parts: Vec<Vec<Var>> = self
            .places(h)
            .into_iter()
            .zip(inputs)
            .map(|(place, input)| match place {
                Place::Tokens(columns) => {
                    columns.into_iter().map(|c| tape.given(gather(input.data, time, b, c), time, c.width)).collect()
                }
                Place::Heads(parts) => {
                    let given = |(at, [r, c]): (usize, [usize; 2])| tape.given(input.data[at..at + r * c].to_vec(), r, c);
                    parts.into_iter().map(given).collect()
                }
            })
            .collect();
        let mut state = self.program.begin(tape, &parts);
        let output = self.program.run(tape, &parts, &mut state);
        (parts, output)
    }

    fn columns(&self, h: usize) -> Columns {
        let width = self.program.output();
        Columns { row: self.heads * width, at: h * width, width }
    }
}

impl<P: Program> Kernel for PerHead<P> {
    fn forward<T: Real>(&self, inputs: &[View<'_, T>]) -> Forward<T> {
        let (batch, time) = (inputs[0].shape[0], inputs[0].shape[1]);
        let heads: Vec<Vec<T>> = (0..batch * self.heads)
            .into_par_iter()
            .map(|n| {
                let tape = Tape::new();
                simd(|| {
                    let (_, output) = self.evaluate(&tape, inputs, n / self.heads, n % self.heads);
                    tape.value(output)
                })
            })
            .collect();
        let row = self.columns(0).row;
        let mut output = vec![T::zero(); batch * time * row];
        output.par_chunks_mut(time * row).zip(heads.par_chunks(self.heads)).for_each(|(rows, heads)| {
            heads.iter().enumerate().for_each(|(h, head)| scatter(rows, head, self.columns(h)));
        });
        Forward { output, shape: vec![batch, time, row], saved: Vec::new() }
    }

    fn backward<T: Real>(&self, inputs: &[View<'_, T>], _: &[Vec<T>], gradient: View<'_, T>, _: &[bool]) -> Vec<Option<Vec<T>>> {
        let (batch, time) = (inputs[0].shape[0], inputs[0].shape[1]);
        let heads: Vec<Vec<Vec<Vec<T>>>> = (0..batch * self.heads)
            .into_par_iter()
            .map(|n| {
                let (b, h) = (n / self.heads, n % self.heads);
                let tape = Tape::new();
                simd(|| {
                    let (parts, output) = self.evaluate(&tape, inputs, b, h);
                    let mut gradients = tape.backward(vec![(output, gather(gradient.data, time, b, self.columns(h)))]);
                    let take = |var: Var, tape: &Tape<T>, gradients: &mut crate::algebra::tape::Gradients<T>| {
                        gradients.take(var, tape.value(var).len())
                    };
                    parts.into_iter().map(|vars| vars.into_iter().map(|v| take(v, &tape, &mut gradients)).collect()).collect()
                })
            })
            .collect();
        let mut out: Vec<Vec<T>> = inputs.iter().map(|input| vec![T::zero(); input.data.len()]).collect();
        for (n, head) in heads.into_iter().enumerate() {
            let (b, h) = (n / self.heads, n % self.heads);
            for ((place, parts), out) in self.places(h).into_iter().zip(head).zip(&mut out) {
                match place {
                    Place::Tokens(columns) => {
                        for (part, c) in parts.iter().zip(columns) {
                            scatter(&mut out[b * time * c.row..(b + 1) * time * c.row], part, c);
                        }
                    }
                    Place::Heads(places) => {
                        for (part, (at, _)) in parts.iter().zip(places) {
                            add(&mut out[at..at + part.len()], part);
                        }
                    }
                }
            }
        }
        out.into_iter().map(Some).collect()
    }
}
