mod inner;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{
    Input, Program,
    delta::LinearMemory,
    hope::{BoxKind, LONGEST_ROW, Objective, SelfModifying, Targets, within},
    per_head::PerHead,
    recurrent::{HopeHead, HopeStatics, TitansHead, shorten},
    titans::Titans,
};
use crate::{
    algebra::{
        Algebra,
        tape::{Tape, Var},
    },
    host::{Kernel, View},
    kernels::{
        delta::{self, Rule},
        real::Real,
        tests::check,
    },
};

fn titans() -> Vec<Titans> {
    let titans = |hidden, bound| Titans { width: 4, hidden, chunk: 8, max_step: 0.5, bound };
    vec![
        titans(vec![], None),
        titans(vec![6], None),
        titans(vec![6, 5], None),
        titans(vec![], Some(0.7)),
        titans(vec![6, 5], Some(0.7)),
    ]
}

fn hopes() -> Vec<SelfModifying> {
    let mut all = Vec::new();
    for boxes in [BoxKind::Linear, BoxKind::Perceptron { hidden: 6 }] {
        for (objective, targets, adaptive) in [
            (Objective::Distance, Targets::Own, true),
            (Objective::Alignment, Targets::Value, true),
            (Objective::Alignment, Targets::Own, false),
            (Objective::Alignment, Targets::OwnUnit, true),
            (Objective::Alignment, Targets::Live, true),
            (Objective::Distance, Targets::Live, true),
        ] {
            if targets == Targets::Live && boxes != BoxKind::Linear {
                continue;
            }
            let program = SelfModifying { width: 4, chunk: 8, boxes, objective, targets, max_step: 1.0, adaptive, shares: false };
            all.extend([program, SelfModifying { shares: true, ..program }].into_iter().filter(|p| adaptive || !p.shares));
        }
    }
    all
}

fn shapes(program: &impl Program, heads: usize, batch: usize, time: usize) -> Vec<Vec<usize>> {
    let shape = |input| match input {
        Input::Tokens(widths) => vec![batch, time, heads * widths.iter().sum::<usize>()],
        Input::Heads(extents) => vec![heads, extents.iter().map(|[r, c]| r * c).sum()],
    };
    program.inputs().into_iter().map(shape).collect()
}

fn differences<P: Program>(program: P) {
    let shapes = shapes(&program, 2, 2, 19);
    let shapes: Vec<&[usize]> = shapes.iter().map(Vec::as_slice).collect();
    check(&PerHead { program, heads: 2 }, &shapes);
}

#[test]
fn titans_gradients_match_differences_across_chunks() {
    titans().into_iter().for_each(differences);
}

#[test]
fn self_modifying_gradients_match_differences_across_chunks() {
    hopes().into_iter().for_each(differences);
}

#[test]
fn linear_memories_gradients_match_differences() {
    for rule in [Rule::Gated, Rule::Retention { rope: crate::kernels::rope::Rope::new(1e4) }] {
        differences(LinearMemory { key: 4, value: 6, rule });
    }
}

/// One head's inputs, drawn; and the same as parts on a tape.
fn drawn<T: Real>(program: &impl Program, time: usize) -> Vec<Vec<T>> {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let shapes = shapes(program, 1, 1, time);
    shapes.iter().map(|s| (0..s.iter().product()).map(|_| T::of(rng.random_range(-1.0..1.0))).collect()).collect()
}

/// Puts rows `from..to` of the tokens, and all of the rest, on a tape.
fn parts<T: Real>(tape: &Tape<T>, program: &impl Program, inputs: &[Vec<T>], from: usize, to: usize) -> Vec<Vec<Var>> {
    let place = |(input, values): (Input, &Vec<T>)| match input {
        Input::Tokens(widths) => {
            let row: usize = widths.iter().sum();
            let mut at = 0;
            let part = |width: usize| {
                let rows = values[from * row..to * row].chunks_exact(row);
                let part: Vec<T> = rows.flat_map(|r| r[at..at + width].to_vec()).collect();
                at += width;
                tape.given(part, to - from, width)
            };
            widths.into_iter().map(part).collect::<Vec<_>>()
        }
        Input::Heads(extents) => {
            let mut at = 0;
            let part = |[r, c]: [usize; 2]| {
                at += r * c;
                tape.given(values[at - r * c..at].to_vec(), r, c)
            };
            extents.into_iter().map(part).collect()
        }
    };
    program.inputs().into_iter().zip(inputs).map(place).collect()
}

fn chunked<T: Real, P: Program>(program: &P, inputs: &[Vec<T>], time: usize) -> Vec<T> {
    let tape = Tape::new();
    let parts = parts(&tape, program, inputs, 0, time);
    let mut state = program.begin(&tape, &parts);
    let out = program.run(&tape, &parts, &mut state);
    tape.value(out)
}

fn worst<T: Real>(a: &[T], b: &[T]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (*a - *b).abs().wide()).fold(0.0, f64::max)
}

const TIME: usize = 45;

fn titans_recurrent<T: Real>(program: &Titans, inputs: &[Vec<T>]) -> Vec<T> {
    let width = program.width;
    let mut head = TitansHead::new(program, &inputs[3]);
    let mut out = vec![T::zero(); TIME * width];
    for (t, out) in out.chunks_exact_mut(width).enumerate() {
        let row = &inputs[0][t * 3 * width..(t + 1) * 3 * width];
        let logits = [0, 1, 2].map(|n| inputs[1][t * 3 + n] + inputs[2][n]);
        head.step(program, [&row[..width], &row[width..2 * width], &row[2 * width..]], logits, out);
    }
    out
}

fn hope_recurrent<T: Real>(program: &SelfModifying, inputs: &[Vec<T>]) -> Vec<T> {
    let width = program.width;
    let mut head = HopeHead::new(program, &inputs[3]);
    let mut out = vec![T::zero(); TIME * width];
    for (t, out) in out.chunks_exact_mut(width).enumerate() {
        let row = &inputs[0][t * 3 * width..(t + 1) * 3 * width];
        let statics = HopeStatics::of(program, &inputs[2]);
        let logits = [inputs[1][t * 2], inputs[1][t * 2 + 1]];
        head.step(program, &statics, [&row[..width], &row[width..2 * width], &row[2 * width..]], logits, out);
    }
    out
}

#[test]
fn titans_in_chunks_equals_its_recurrence() {
    for program in titans() {
        let exact = drawn::<f64>(&program, TIME);
        let error = worst(&chunked(&program, &exact, TIME), &titans_recurrent(&program, &exact));
        assert!(error < 1e-10, "{program:?}: {error}");
        let shipped = drawn::<f32>(&program, TIME);
        let error = worst(&chunked(&program, &shipped, TIME), &titans_recurrent(&program, &shipped));
        assert!(error < 1e-4, "{program:?}: {error}");
    }
}

#[test]
fn self_modifying_memories_in_chunks_equal_their_recurrence() {
    for program in hopes() {
        let exact = drawn::<f64>(&program, TIME);
        let error = worst(&chunked(&program, &exact, TIME), &hope_recurrent(&program, &exact));
        assert!(error < 1e-10, "{program:?}: {error}");
        let shipped = drawn::<f32>(&program, TIME);
        let error = worst(&chunked(&program, &shipped, TIME), &hope_recurrent(&program, &shipped));
        assert!(error < 1e-4, "{program:?}: {error}");
    }
}

/// The output and the values of the state, of a stream that is cut at some places.
fn cut_at<P: Program>(
    program: &P,
    inputs: &[Vec<f64>],
    cuts: &[usize],
    dump: fn(&P::State<Var>) -> Vec<Var>,
) -> (Vec<f64>, Vec<f64>) {
    let tape = Tape::new();
    let mut state = program.begin(&tape, &parts(&tape, program, inputs, 0, 1));
    let mut outputs = Vec::new();
    let ends = cuts.iter().copied().chain([TIME]);
    let mut from = 0;
    for to in ends {
        outputs.push(program.run(&tape, &parts(&tape, program, inputs, from, to), &mut state));
        from = to;
    }
    let state = dump(&state).into_iter().flat_map(|v| tape.value(v)).collect();
    (tape.value(tape.stack(&outputs)), state)
}

fn splits<P: Program>(program: &P, dump: fn(&P::State<Var>) -> Vec<Var>) {
    let inputs = drawn::<f64>(program, TIME);
    let whole = cut_at(program, &inputs, &[], dump);
    for cuts in [vec![1], vec![8], vec![7, 9, 30], (1..TIME).collect()] {
        let parts = cut_at(program, &inputs, &cuts, dump);
        let error = worst(&whole.0, &parts.0).max(worst(&whole.1, &parts.1));
        assert!(error < 1e-10, "{program:?} cut at {cuts:?}: {error}");
    }
}

#[test]
fn a_stream_may_be_cut_anywhere() {
    for program in titans() {
        splits(&program, |s| s.weights.iter().chain(s.momentum.iter().flatten()).chain(&s.snapshot).copied().collect());
    }
    for program in hopes() {
        splits(&program, |s| s.live.iter().chain(&s.snapshot).flatten().copied().collect());
    }
    for rule in [Rule::Gated, Rule::Retention { rope: crate::kernels::rope::Rope::new(1e4) }] {
        splits(&LinearMemory { key: 4, value: 6, rule }, |s| vec![*s]);
    }
}

/// A memory whose largest step is zero says what its initial weights say, whatever it reads.
#[test]
fn a_zero_inner_rate_changes_nothing() {
    for program in titans() {
        let program = Titans { max_step: 0.0, ..program };
        let mut inputs = drawn::<f64>(&program, TIME);
        inputs[2] = vec![0.0, 1e3, -1e3];
        let q: Vec<f64> = inputs[0].chunks_exact(12).flat_map(|row| row[..4].to_vec()).collect();
        let out = chunked(&program, &inputs, TIME);
        for (q, out) in q.chunks_exact(4).zip(out.chunks_exact(4)) {
            let mut fresh = TitansHead::new(&program, &inputs[3]);
            let mut said = vec![0.0; 4];
            fresh.step(&program, [q, q, q], [0.0, 1e3, -1e3], &mut said);
            assert!(worst(&said, out) < 1e-12);
        }
    }
}

/// With one layer, no momentum, targets that are values and the chunk's length 1, Titans is the gated delta rule with strength 2θ.
#[test]
fn linear_titans_without_momentum_is_the_gated_delta_rule() {
    let program = Titans { width: 4, hidden: vec![], chunk: 1, max_step: 0.5, bound: None };
    let mut inputs = drawn::<f64>(&program, TIME);
    inputs[2][2] = -1e6;
    inputs[3].fill(0.0);
    let out = chunked(&program, &inputs, TIME);
    let mut state = vec![0.0; 16];
    for t in 0..TIME {
        let row = &inputs[0][t * 12..(t + 1) * 12];
        let (mut q, mut k) = (row[..4].to_vec(), row[4..8].to_vec());
        delta::normalize(&mut q);
        delta::normalize(&mut k);
        let beta = (inputs[1][t * 3] + inputs[2][0]).sigmoid();
        let kept = (inputs[1][t * 3 + 1] + inputs[2][1]).sigmoid();
        // The delta rule decays before it subtracts, Titans subtracts what the memory said before it decayed.
        let read: Vec<f64> = (0..4).map(|c| (0..4).map(|r| k[r] * state[r * 4 + c]).sum()).collect();
        let v: Vec<f64> = row[8..].iter().zip(&read).map(|(v, r)| v - r).collect();
        let mut said = vec![0.0; 4];
        delta::step(&mut state, &q, &k, &v, beta, kept.ln(), false, &mut said);
        assert!(worst(&said, &out[t * 4..(t + 1) * 4]) < 1e-10, "token {t}");
    }
}

#[test]
fn the_fused_linear_memory_equals_its_program() {
    let op = delta::DeltaMemory { heads: 1, key: 4, rule: Rule::Gated };
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let mut draw = |n: usize| -> Vec<f64> { (0..n).map(|_| rng.random_range(-1.0..1.0)).collect() };
    let (qkv, gates, a_log, dt_bias) = (draw(70 * 14), draw(70 * 2), draw(1), draw(1));
    let shapes: [&[usize]; 4] = [&[1, 70, 14], &[1, 70, 2], &[1], &[1]];
    let views: Vec<View<'_, f64>> =
        [&qkv, &gates, &a_log, &dt_bias].into_iter().zip(shapes).map(|(data, shape)| View { data, shape }).collect();
    let fused = op.forward(&views).output;
    let mut ready = qkv.clone();
    let mut strengths = Vec::new();
    for (row, gates) in ready.chunks_exact_mut(14).zip(gates.chunks_exact(2)) {
        let (q, rest) = row.split_at_mut(4);
        op.rule.prepare(q, &mut rest[..4], 0, None);
        let (beta, log_decay) = op.rule.strengths(gates, 0, &a_log, &dt_bias);
        strengths.extend([beta, log_decay]);
    }
    let program = LinearMemory { key: 4, value: 6, rule: Rule::Gated };
    assert!(worst(&fused, &chunked(&program, &[ready, strengths], 70)) < 1e-12);
}

/// Squares of such rows are no numbers in single precision, and what is bounded by them would be gone.
#[test]
fn a_row_that_doubles_with_every_token_is_held_at_the_bound() {
    let mut row = vec![3.0_f32, -4.0];
    for _ in 0..12 {
        row.iter_mut().for_each(|x| *x *= 65_536.0);
        let tape = Tape::new();
        let expected = tape.value(within(&tape, &tape.given(row.clone(), 1, 2), LONGEST_ROW));
        shorten(&mut row, LONGEST_ROW);
        assert!(row.iter().zip(&expected).all(|(a, b)| (a - b).abs() <= 1e-6 * b.abs()), "{row:?}, {expected:?}");
    }
    let longest = LONGEST_ROW as f32;
    assert!((row[0] / (0.6 * longest) - 1.0).abs() < 1e-5 && (row[1] / (-0.8 * longest) - 1.0).abs() < 1e-5, "{row:?}");
}
