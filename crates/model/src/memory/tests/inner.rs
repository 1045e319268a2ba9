//! Inner gradients against differences of the inner losses, and closed forms of models.md, section 1.5. The losses are written anew here, weights as plain
//! matrices, so that no formula is held against a copy of itself.

use super::{
    super::hope::{LONGEST_VALUE, MEMORY},
    *,
};

fn silu(z: f64) -> f64 {
    z / (1.0 + (-z).exp())
}

/// What a stack of layers says, with the input added where it is a residual one.
fn says(weights: &[Vec<f64>], residual: bool, input: &[f64]) -> Vec<f64> {
    let mut x = input.to_vec();
    for (n, w) in weights.iter().enumerate() {
        let cols = w.len() / x.len();
        let sum = |c: usize| x.iter().enumerate().map(|(r, x)| x * w[r * cols + c]).sum::<f64>();
        let z: Vec<f64> = (0..cols).map(sum).collect();
        x = if n + 1 < weights.len() { z.into_iter().map(silu).collect() } else { z };
    }
    if residual { x.iter().zip(input).map(|(x, i)| x + i).collect() } else { x }
}

/// The slope of a loss with regard to every weight, by central differences.
fn slopes(weights: &[Vec<f64>], loss: &dyn Fn(&[Vec<f64>]) -> f64) -> Vec<Vec<f64>> {
    const STEP: f64 = 1e-5;
    let moved = |layer: usize, at: usize, by: f64| {
        let mut weights = weights.to_vec();
        weights[layer][at] += by;
        loss(&weights)
    };
    let slope = |layer, at| (moved(layer, at, STEP) - moved(layer, at, -STEP)) / (2.0 * STEP);
    weights.iter().enumerate().map(|(layer, w)| (0..w.len()).map(|at| slope(layer, at)).collect()).collect()
}

fn unit(x: &[f64]) -> Vec<f64> {
    let mut x = x.to_vec();
    delta::normalize(&mut x);
    x
}

fn cut(params: &[f64], layers: &[[usize; 2]]) -> Vec<Vec<f64>> {
    let mut left = params;
    let mut part = |[rows, cols]: &[usize; 2]| {
        let (part, rest) = left.split_at(rows * cols);
        left = rest;
        part.to_vec()
    };
    layers.iter().map(&mut part).collect()
}

#[test]
fn titans_surprise_is_the_slope_of_its_loss_at_every_layer() {
    for program in titans().into_iter().filter(|program| program.bound.is_none()) {
        let mut inputs = drawn::<f64>(&program, 1);
        // Nothing is forgotten, so that one write is all that moves the weights.
        inputs[2][1] = 1e3;
        let tape = Tape::new();
        let parts = parts(&tape, &program, &inputs, 0, 1);
        let mut state = program.begin(&tape, &parts);
        program.run(&tape, &parts, &mut state);
        let step = 0.5 * (inputs[1][0] + inputs[2][0]).sigmoid();
        let (k, v) = (unit(&inputs[0][4..8]), &inputs[0][8..]);
        let before = cut(&inputs[3], &program.layers());
        let residual = before.len() > 1;
        let loss = |w: &[Vec<f64>]| says(w, residual, &k).iter().zip(v).map(|(m, v)| (m - v).powi(2)).sum::<f64>();
        for ((w, after), slope) in before.iter().zip(&state.weights).zip(slopes(&before, &loss)) {
            let taken: Vec<f64> = w.iter().zip(tape.value(*after)).map(|(w, after)| (w - after) / step).collect();
            assert!(worst(&taken, &slope) < 1e-8, "{program:?}: {taken:?} {slope:?}");
        }
    }
}

/// What one token teaches one box: its key, what the box aims at, and the largest step.
struct Taught {
    k: Vec<f64>,
    v: Vec<f64>,
    step: f64,
}

fn taught(inputs: &[Vec<f64>], boxes: &[Vec<Vec<f64>>]) -> Taught {
    let (xk, xv, statics) = (&inputs[0][4..8], &inputs[0][8..12], &inputs[2]);
    let read: f64 = says(&boxes[2], true, xk).iter().zip(&statics[3..7]).map(|(s, r)| s * r).sum();
    let step = (inputs[1][0] + read + statics[0]).sigmoid();
    Taught { k: unit(&says(&boxes[0], true, xk)), v: says(&boxes[1], true, xv), step }
}

#[test]
fn a_boxs_write_is_the_slope_of_its_loss_and_what_its_key_erases() {
    let all = [Objective::Distance, Objective::Alignment].into_iter().flat_map(|objective| {
        let programs = hopes().into_iter().flat_map(move |p| {
            [Targets::Own, Targets::OwnUnit, Targets::Live, Targets::Value].map(|targets| SelfModifying {
                objective,
                targets,
                ..p
            })
        });
        programs.filter(|p| p.targets != Targets::Live || p.boxes == BoxKind::Linear).collect::<Vec<_>>()
    });
    for program in all {
        let mut inputs = drawn::<f64>(&program, 1);
        // Nothing decays.
        inputs[2][1] = -1e3;
        let layers = program.layers();
        let extents: Vec<[usize; 2]> = std::iter::repeat_n(layers.clone(), 5).flatten().collect();
        let boxes: Vec<Vec<Vec<f64>>> = cut(&inputs[3], &extents).chunks(layers.len()).map(<[_]>::to_vec).collect();
        let Taught { k, v, step } = taught(&inputs, &boxes);
        let tape = Tape::new();
        let parts = parts(&tape, &program, &inputs, 0, 1);
        let mut state = program.begin(&tape, &parts);
        program.run(&tape, &parts, &mut state);
        for n in program.changing() {
            // Live targets are the memory's alone.
            let targets = if program.targets == Targets::Live && n != MEMORY { Targets::OwnUnit } else { program.targets };
            let aim = match targets {
                Targets::Own => says(&boxes[n], true, &v),
                Targets::OwnUnit => unit(&says(&boxes[n], true, &v)),
                Targets::Live => says(&boxes[n], true, &short(&v)),
                Targets::Value => v.clone(),
            };
            let loss = |w: &[Vec<f64>]| {
                let said = says(w, true, &k);
                match program.objective {
                    Objective::Distance => 0.5 * said.iter().zip(&aim).map(|(m, a)| (m - a).powi(2)).sum::<f64>(),
                    Objective::Alignment => -said.iter().zip(&aim).map(|(m, a)| m * a).sum::<f64>(),
                }
            };
            // The memory takes its whole step, others what their logits say, behind everything else.
            let share = if program.shares && n < 4 { inputs[2][11 + n].sigmoid() } else { 1.0 };
            let step = step * share;
            let slopes = slopes(&boxes[n], &loss);
            let hidden: Vec<f64> = says(&boxes[n][..1], false, &k).into_iter().map(silu).collect();
            for (layer, (w, slope)) in boxes[n].iter().zip(slopes).enumerate() {
                // A hidden layer's outputs have any norm: there the step is that of the proximal problem.
                let key = if layer == 0 { &k } else { &hidden };
                let norm: f64 = key.iter().map(|x| x * x).sum();
                let step = if layer == 0 { step } else { step / (1.0 + step * norm) };
                let cols = w.len() / key.len();
                let read = says(std::slice::from_ref(w), false, key);
                let expected: Vec<f64> =
                    (0..w.len()).map(|at| w[at] - step * (slope[at] + key[at / cols] * read[at % cols])).collect();
                assert!(worst(&expected, &tape.value(state.live[n][layer])) < 1e-8, "{program:?}, box {n}, layer {layer}");
            }
        }
    }
}

/// No longer than [`LONGEST_VALUE`].
fn short(v: &[f64]) -> Vec<f64> {
    let norm = (1.0 + v.iter().map(|x| x * x).sum::<f64>() / LONGEST_VALUE.powi(2)).sqrt();
    v.iter().map(|x| x / norm).collect()
}

fn plain(objective: Objective, max_step: f64) -> SelfModifying {
    let (boxes, targets) = (BoxKind::Linear, Targets::Value);
    SelfModifying { width: 4, chunk: 1, boxes, objective, targets, max_step, adaptive: false, shares: false }
}

/// models.md 1.5: with the distance as loss both terms erase, so that a repeated write converges to half its target, and what is missing shrinks by `1 - 2η`.
#[test]
fn a_repeated_write_comes_nearer_to_half_its_target_by_one_less_two_steps() {
    let (k, v) = ([1.0, 0.0, 0.0, 0.0], [0.3, -0.7, 0.2, 0.9]);
    let row = [vec![50.0, -50.0, -50.0], vec![0.0; 8]].concat();
    for step in [0.25, 0.5, 0.75] {
        let program = plain(Objective::Distance, step);
        let mut head = HopeHead::new(&program, &[0.0; 5 * 16]);
        let mut said = vec![0.0; 4];
        for writes in 1..8 {
            head.step(&program, &HopeStatics::of(&program, &row), [&k, &k, &v], [0.0, 0.0], &mut said);
            let missing = (1.0_f64 - 2.0 * step).powi(writes);
            // Boxes begin as the identity, which is part of what they say.
            let expected: Vec<f64> = v.iter().zip(k).map(|(v, k)| k + (v - k) / 2.0 * (1.0 - missing)).collect();
            // A key is a unit vector but for the little that keeps its norm from being zero.
            assert!(worst(&said, &expected) < 1e-5, "step {step}, {writes} writes: {said:?} {expected:?}");
        }
    }
}

/// With a value whose part along the key is 1 a token brings back what the step erases: every write stays, and what is written of two kinds cancels to nothing.
#[test]
fn a_memory_with_live_targets_counts() {
    let program = SelfModifying { targets: Targets::Live, chunk: 16, ..plain(Objective::Alignment, 1.0) };
    let row = [vec![50.0, -50.0, -50.0], vec![0.0; 8]].concat();
    let mut head = HopeHead::new(&program, &[0.0; 5 * 16]);
    let (mut read, mut difference, mut said) = (0.0_f64, 0.0, vec![0.0; 4]);
    for kind in [vec![1.0; 40], vec![-1.0; 40]].concat() {
        head.step(&program, &HopeStatics::of(&program, &row), [&K, &K, &long(&[1.0, kind, 0.0, 0.0])], [0.0, 0.0], &mut said);
        (read, difference) = (read + 1.0, difference + kind);
        assert!(worst(&said, &[1.0 + read, difference, 0.0, 0.0]) < 1e-4 * read, "after {read} tokens: {said:?}");
    }
    assert!(difference.abs() < 1e-12 && said[1].abs() < 1e-3, "{said:?}");
}

const K: [f64; 4] = [1.0, 0.0, 0.0, 0.0];

/// What [`short`] makes `v` of.
fn long(v: &[f64]) -> Vec<f64> {
    let norm = (1.0 - v.iter().map(|x| x * x).sum::<f64>() / LONGEST_VALUE.powi(2)).sqrt();
    v.iter().map(|x| x / norm).collect()
}

/// Only the memory changes, aims at values and aligns with them: the delta rule with strength η, beside the identity.
#[test]
fn an_aligned_linear_memory_is_the_delta_rule() {
    let program = plain(Objective::Alignment, 2.0);
    let mut inputs = drawn::<f64>(&program, TIME);
    inputs[2][1] = -1e3;
    inputs[2][3..].fill(0.0);
    inputs[3][..MEMORY * 16].fill(0.0);
    let out = chunked(&program, &inputs, TIME);
    let mut state = inputs[3][MEMORY * 16..].to_vec();
    for (t, out) in out.chunks_exact(4).enumerate() {
        let row = &inputs[0][t * 12..][..12];
        let (q, k) = (unit(&row[..4]), unit(&row[4..8]));
        let strength = 2.0 * (inputs[1][t * 2] + inputs[2][0]).sigmoid();
        let mut said = vec![0.0; 4];
        delta::step(&mut state, &q, &k, &row[8..], strength, 0.0, true, &mut said);
        said.iter_mut().zip(&q).for_each(|(s, q)| *s += q);
        assert!(worst(&said, out) < 1e-10, "token {t}");
    }
}

/// Without a step and without decay no bit of an answer depends on what was read before it.
#[test]
fn a_memory_without_a_step_is_blind_to_what_it_read() {
    fn last<P: Program>(program: &P, inputs: &[Vec<f64>]) -> Vec<f64> {
        let mut out = chunked(program, inputs, TIME);
        out.split_off(out.len() - 4)
    }
    for program in titans().into_iter().map(|p| Titans { max_step: 0.0, ..p }) {
        let mut inputs = drawn::<f64>(&program, TIME);
        inputs[2] = vec![0.0, 1e3, -1e3];
        let before = last(&program, &inputs);
        inputs[0][..(TIME - 1) * 12].iter_mut().for_each(|x| *x = -*x + 0.1);
        assert_eq!(before, last(&program, &inputs), "{program:?}");
    }
    for program in hopes().into_iter().map(|p| SelfModifying { max_step: 0.0, ..p }) {
        let mut inputs = drawn::<f64>(&program, TIME);
        inputs[2][1] = -1e3;
        let before = last(&program, &inputs);
        inputs[0][..(TIME - 1) * 12].iter_mut().for_each(|x| *x = -*x + 0.1);
        assert_eq!(before, last(&program, &inputs), "{program:?}");
    }
}
