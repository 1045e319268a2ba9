use std::sync::{Arc, Mutex};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{
    attention, conv, delta, embed, fast, gate, head, linear, math, mlp, norm, quiet,
    real::Real,
    rope::{Rope, Rotary},
};
use crate::host::{Kernel, View};

fn random(rng: &mut ChaCha8Rng, n: usize) -> Vec<f64> {
    (0..n).map(|_| rng.random_range(-1.0..1.0)).collect()
}

fn views<'a>(data: &'a [Vec<f64>], shapes: &'a [&'a [usize]]) -> Vec<View<'a, f64>> {
    data.iter().zip(shapes).map(|(data, shape)| View { data, shape }).collect()
}

/// Compares the gradient of every input along random directions with differences of the fourth order, in `f64`.
pub(crate) fn check(op: &impl Kernel, shapes: &[&[usize]]) {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let inputs: Vec<Vec<f64>> = shapes.iter().map(|s| random(&mut rng, s.iter().product())).collect();
    let forward = op.forward(&views(&inputs, shapes));
    let weights = random(&mut rng, forward.output.len());
    let gradient = View { data: &weights, shape: &forward.shape };
    let gradients = op.backward(&views(&inputs, shapes), &forward.saved, gradient, &vec![true; shapes.len()]);
    for (n, gradient) in gradients.iter().enumerate() {
        let gradient = gradient.as_ref().expect("every gradient was asked for");
        for _ in 0..3 {
            let direction = random(&mut rng, inputs[n].len());
            let epsilon = 1e-4;
            let across = |steps: f64| {
                let at = |sign: f64| {
                    let mut moved = inputs.clone();
                    math::axpy(&mut moved[n], sign * steps * epsilon, &direction);
                    math::dot(&op.forward(&views(&moved, shapes)).output, &weights)
                };
                at(1.0) - at(-1.0)
            };
            let numeric = (8.0 * across(1.0) - across(2.0)) / (12.0 * epsilon);
            let analytic = math::dot(gradient, &direction);
            let error = (numeric - analytic).abs() / (1.0 + numeric.abs());
            assert!(error < 1e-8, "{op:?}, input {n}: numeric {numeric}, analytic {analytic}");
        }
    }
}

#[test]
fn linear_gradients_match_differences() {
    check(&linear::Linear, &[&[2, 3, 5], &[5, 7]]);
}

#[test]
fn norm_gradients_match_differences() {
    check(&norm::RmsNorm { epsilon: 1e-6 }, &[&[2, 70, 8], &[8]]);
    check(&norm::RmsNorm { epsilon: 1e-6 }, &[&[2, 3, 8], &[4]]);
}

#[test]
fn conv_gradients_match_differences() {
    for silu in [false, true] {
        check(&conv::ShortConv { silu }, &[&[2, 9, 6], &[4, 6]]);
        check(&conv::ShortConv { silu }, &[&[2, 5, 70], &[8, 70]]);
    }
}

#[test]
fn mlp_gradients_match_differences() {
    for activation in [mlp::Activation::SquaredRelu, mlp::Activation::Silu] {
        check(&mlp::Mlp { activation }, &[&[3, 4, 6], &[6, 10], &[10, 6]]);
        check(&mlp::GatedMlp { activation }, &[&[3, 4, 6], &[6, 10], &[6, 10], &[10, 6]]);
    }
}

#[test]
fn gate_gradients_match_differences() {
    check(&gate::SiluGate, &[&[2, 3, 5], &[2, 3, 5]]);
}

#[test]
fn embed_gradients_match_differences() {
    check(&embed::Embed { ids: Arc::new(vec![0, 2, 2, 1, 4, 0]), batch: 2 }, &[&[5, 3]]);
}

#[test]
fn attention_gradients_match_differences() {
    let plain = attention::Attention { heads: 2, kv_heads: 2, rope: Some(Rope::new(10_000.0)), window: None, prefix: 0 };
    check(&plain, &[&[2, 11, 3 * 8]]);
    check(&attention::Attention { rope: None, ..plain }, &[&[1, 150, 3 * 8]]);
    check(&attention::Attention { heads: 4, window: Some(7), ..plain }, &[&[2, 150, 8 * 4]]);
    check(&attention::Attention { window: Some(7), prefix: 3, ..plain }, &[&[1, 150, 3 * 8]]);
}

#[test]
fn delta_memories_gradients_match_differences_across_chunks() {
    let memory = |rule| delta::DeltaMemory { heads: 2, key: 4, rule };
    check(&memory(delta::Rule::Gated), &[&[2, 70, 2 * (2 * 4 + 6)], &[2, 70, 4], &[2], &[2]]);
    for negative in [false, true] {
        check(&memory(delta::Rule::Plain { negative }), &[&[2, 70, 2 * (2 * 4 + 6)], &[2, 70, 2]]);
    }
    check(&memory(delta::Rule::Retention { rope: Rope::new(10_000.0) }), &[&[2, 70, 2 * (2 * 4 + 6)]]);
}

#[test]
fn fast_bank_gradients_match_differences_across_chunks() {
    check(&fast::FastBank { period: 4 }, &[&[2, 14, 3 * 6], &[2, 14, 1], &[1]]);
}

#[test]
fn head_gradients_match_differences() {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let scores: Vec<f32> = random(&mut rng, 9).into_iter().map(|x| x as f32).collect();
    let targets = head::Targets {
        rows: vec![
            head::Target { row: 1, goal: head::Goal::Token(4), weight: 0.7, counted: true },
            head::Target { row: 3, goal: head::Goal::Teacher(0), weight: 4.0, counted: false },
        ],
        teacher: head::Teacher::of_scores(scores, 9),
    };
    let op = head::HeadLoss { targets: Arc::new(targets), normalizer: 2.0, tally: Arc::new(Mutex::new(head::Tally::default())) };
    check(&op, &[&[1, 5, 4], &[9, 4]]);
}

/// The largest difference between the chunked form and the recurrence, in one precision.
fn chunked_and_recurrent<T: Real>(erases: bool) -> f64 {
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    let (time, key, value) = (101, 16, 12);
    let mut draw = |n: usize, low: f64, high: f64| -> Vec<T> { (0..n).map(|_| T::of(rng.random_range(low..high))).collect() };
    let (mut q, mut k, v) = (draw(time * key, -1.0, 1.0), draw(time * key, -1.0, 1.0), draw(time * value, -1.0, 1.0));
    q.chunks_exact_mut(key).chain(k.chunks_exact_mut(key)).for_each(|row| {
        delta::normalize(row);
    });
    let (beta, log_decay) = (draw(time, 0.0, 2.0), draw(time, -0.5, 0.0));
    let input = delta::HeadInput { key, value, erases, q, k, v, beta, log_decay };
    let (chunked, _) = delta::head_forward(&input);
    let mut state = vec![T::zero(); key * value];
    let mut out = vec![T::zero(); time * value];
    for (t, out) in out.chunks_exact_mut(value).enumerate() {
        let (keys, values) = (t * key..(t + 1) * key, t * value..(t + 1) * value);
        let (q, k, v) = (&input.q[keys.clone()], &input.k[keys], &input.v[values]);
        delta::step(&mut state, q, k, v, input.beta[t], input.log_decay[t], erases, out);
    }
    out.iter().zip(&chunked).map(|(a, b)| (*a - *b).abs().wide()).fold(0.0, f64::max)
}

#[test]
fn delta_memories_in_chunks_equal_the_recurrence() {
    for erases in [true, false] {
        let (exact, shipped) = (chunked_and_recurrent::<f64>(erases), chunked_and_recurrent::<f32>(erases));
        assert!(exact < 1e-12, "f64 differs by {exact}");
        assert!(shipped < 1e-4, "f32 differs by {shipped}");
    }
}

#[test]
fn fast_exp_is_close_to_exp() {
    for n in -8000..8000 {
        let x = n as f32 * 0.01;
        let relative = (x.exponential() / x.exp() - 1.0).abs();
        assert!(relative < 5e-7 || x < -80.0, "exp({x}) is off by {relative}");
    }
}

#[test]
fn a_penalty_changes_the_gradient_of_its_rows_and_no_output() {
    let op = quiet::Quiet { weights: Arc::new(vec![0.0, 3.0]), normalizer: 2.0 };
    let y = View { data: &[1.0_f32, -2.0, 4.0, -6.0], shape: &[1, 2, 2] };
    assert_eq!(op.forward(&[y]).output, y.data);
    let gradient = View { data: &[0.5; 4], shape: &[1, 2, 2] };
    let dy = op.backward(&[y], &[], gradient, &[true]).remove(0).unwrap();
    assert_eq!(dy, [0.5, 0.5, 0.5 + 1.5 * 4.0, 0.5 - 1.5 * 6.0]);
}

#[test]
fn a_penalty_is_the_slope_of_what_it_names() {
    let mut rng = ChaCha8Rng::seed_from_u64(9);
    let (y, weights) = (random(&mut rng, 4 * 6), vec![0.5, 0.0, 2.0, 0.25]);
    let op = quiet::Quiet { weights: Arc::new(weights.clone()), normalizer: 3.0 };
    let penalty = |y: &[f64]| {
        let rows = y.chunks_exact(6).zip(&weights);
        rows.map(|(row, w)| f64::from(*w) * row.iter().map(|y| y * y).sum::<f64>()).sum::<f64>() / (2.0 * 3.0)
    };
    let zero = View { data: &[0.0; 4 * 6], shape: &[1, 4, 6] };
    let dy = op.backward(&[View { data: &y, shape: &[1, 4, 6] }], &[], zero, &[true]).remove(0).unwrap();
    for at in 0..y.len() {
        let moved = |by: f64| {
            let mut y = y.clone();
            y[at] += by;
            penalty(&y)
        };
        let slope = (moved(1e-4) - moved(-1e-4)) / 2e-4;
        // The weights over the normalizer are `f32`.
        assert!((dy[at] - slope).abs() < 1e-6, "{at}: {} {slope}", dy[at]);
    }
}

#[test]
fn a_teachers_entropy_does_not_depend_on_the_height_of_its_scores() {
    let scores = [[0.3, -1.2, 2.0, 0.0], [40.0, -40.0, 0.0, 1.0], [0.0, f32::NEG_INFINITY, 1.0, 2.0]];
    for shift in [0.0, 100.0, -300.0] {
        let shifted = scores.iter().flatten().map(|s| s + shift).collect();
        let teacher = head::Teacher::of_scores(shifted, 4);
        for (n, scores) in scores.iter().enumerate() {
            let weights: Vec<f64> = scores.iter().map(|s| f64::from(*s).exp()).collect();
            let sum: f64 = weights.iter().sum();
            let expected: f64 = weights.iter().map(|w| w / sum).filter(|p| *p > 0.0).map(|p| p * p.ln()).sum();
            let (row, said) = teacher.row(n as u32);
            assert!((f64::from(said) - expected).abs() < 1e-3, "row {n} at {shift}: {said} {expected}");
            assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-5);
        }
    }
}

/// Softmax attention as its definition has it, one query and one key at a time; no positions.
fn plainly_attended(op: &attention::Attention, qkv: &[f64], time: usize, width: usize) -> Vec<f64> {
    let row = (op.heads + 2 * op.kv_heads) * width;
    let part = |t: usize, n: usize| &qkv[t * row + n * width..][..width];
    let mut out = Vec::new();
    for t in 0..time {
        for head in 0..op.heads {
            let group = op.heads + head * op.kv_heads / op.heads;
            let seen = |s: &usize| *s < op.prefix || op.window.is_none_or(|window| s + window > t);
            let keys: Vec<usize> = (0..=t).filter(seen).collect();
            let score =
                |s: &usize| part(t, head).iter().zip(part(*s, group)).map(|(q, k)| q * k).sum::<f64>() / (width as f64).sqrt();
            let weights: Vec<f64> = keys.iter().map(|s| score(s).exp()).collect();
            let sum: f64 = weights.iter().sum();
            let said = |c: usize| keys.iter().zip(&weights).map(|(s, w)| w / sum * part(*s, group + op.kv_heads)[c]).sum::<f64>();
            out.extend((0..width).map(said));
        }
    }
    out
}

#[test]
fn attention_in_blocks_is_its_definition() {
    let plain = attention::Attention { heads: 4, kv_heads: 2, rope: None, window: None, prefix: 0 };
    let (time, width) = (150, 6);
    for op in
        [plain, attention::Attention { window: Some(20), ..plain }, attention::Attention { window: Some(20), prefix: 5, ..plain }]
    {
        let qkv = random(&mut ChaCha8Rng::seed_from_u64(4), time * 8 * width);
        let found = op.forward(&[View { data: &qkv, shape: &[1, time, 8 * width] }]).output;
        let expected = plainly_attended(&op, &qkv, time, width);
        let worst = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(found.len() == expected.len() && worst < 1e-12, "{op:?}: {worst}");
    }
}

/// The bank token by token, each adding its share of the chunk's error at the weights of the chunk's start.
#[test]
fn a_fast_bank_in_chunks_equals_its_recurrence() {
    let (time, width, period) = (50, 5, 8);
    let mut rng = ChaCha8Rng::seed_from_u64(6);
    let (qkv, gates, retention) = (random(&mut rng, time * 3 * width), random(&mut rng, time), random(&mut rng, 1));
    let shapes: [&[usize]; 3] = [&[1, time, 3 * width], &[1, time, 1], &[1]];
    let inputs: Vec<View<'_, f64>> =
        [&qkv, &gates, &retention].into_iter().zip(shapes).map(|(data, shape)| View { data, shape }).collect();
    let found = fast::FastBank { period }.forward(&inputs).output;
    let kept = retention[0].sigmoid();
    let (mut weights, mut next) = (vec![0.0; width * width], vec![0.0; width * width]);
    for t in 0..time {
        let (mut q, mut k) = (qkv[t * 3 * width..][..width].to_vec(), qkv[(t * 3 + 1) * width..][..width].to_vec());
        delta::normalize(&mut q);
        delta::normalize(&mut k);
        let v = &qkv[(t * 3 + 2) * width..][..width];
        let read = |x: &[f64], c: usize| (0..width).map(|r| x[r] * weights[r * width + c]).sum::<f64>();
        for c in 0..width {
            assert!((found[t * width + c] - read(&q, c)).abs() < 1e-12, "token {t}");
            let share = gates[t].sigmoid() * (v[c] - read(&k, c)) / period as f64;
            (0..width).for_each(|r| next[r * width + c] += k[r] * share);
        }
        if (t + 1).is_multiple_of(period) {
            weights.iter_mut().zip(&mut next).for_each(|(w, n)| *w = kept * *w + std::mem::take(n));
        }
    }
}

/// RetNet (2307.08621): head `h` keeps `1 - 2^(-5-h)` a token, and keys are divided by the root of their width.
#[test]
fn retention_is_its_definition() {
    let (time, key, value, heads) = (70, 4, 3, 3);
    let rope = Rope::new(10_000.0);
    let qkv = random(&mut ChaCha8Rng::seed_from_u64(8), time * heads * (2 * key + value));
    let op = delta::DeltaMemory { heads, key, rule: delta::Rule::Retention { rope } };
    let found = op.forward(&[View { data: &qkv, shape: &[1, time, heads * (2 * key + value)] }]).output;
    let rotary = Rotary::<f64>::new(time, key, &rope);
    let row = heads * (2 * key + value);
    for h in 0..heads {
        let gamma = 1.0 - 2.0_f64.powi(-5 - h as i32);
        let turned = |t: usize, from: usize| {
            let mut x = qkv[t * row + from..][..key].to_vec();
            rotary.turn(&mut x, t);
            x
        };
        for t in 0..time {
            let q = turned(t, h * key);
            let score = |s: usize| {
                let k = turned(s, (heads + h) * key);
                gamma.powi((t - s) as i32) * q.iter().zip(&k).map(|(q, k)| q * k).sum::<f64>() / (key as f64).sqrt()
            };
            for c in 0..value {
                let expected: f64 = (0..=t).map(|s| score(s) * qkv[s * row + 2 * heads * key + h * value + c]).sum();
                let found = found[t * heads * value + h * value + c];
                assert!((found - expected).abs() < 1e-10, "head {h}, token {t}: {found} {expected}");
            }
        }
    }
}
