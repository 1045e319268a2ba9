use std::sync::{Arc, Mutex};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{attention, conv, delta, embed, fast, gate, head, linear, math, mlp, norm, quiet, real::Real, rope::Rope};
use crate::host::{Kernel, View};

fn random(rng: &mut ChaCha8Rng, n: usize) -> Vec<f64> {
    (0..n).map(|_| rng.random_range(-1.0..1.0)).collect()
}

fn views<'a>(data: &'a [Vec<f64>], shapes: &'a [&'a [usize]]) -> Vec<View<'a, f64>> {
    data.iter().zip(shapes).map(|(data, shape)| View { data, shape }).collect()
}

/// Compares the gradient of every input along random directions with central differences, in `f64`.
pub(crate) fn check(op: &impl Kernel, shapes: &[&[usize]]) {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let inputs: Vec<Vec<f64>> = shapes.iter().map(|s| random(&mut rng, s.iter().product())).collect();
    let forward = op.forward(&views(&inputs, shapes));
    let weights = random(&mut rng, forward.output.len());
    let gradient = View { data: &weights, shape: &forward.shape };
    let gradients = op.backward(&views(&inputs, shapes), &forward.saved, gradient, &vec![true; shapes.len()]);
    for (n, gradient) in gradients.iter().enumerate() {
        let gradient = gradient.as_ref().expect("every gradient was asked for");
        let direction = random(&mut rng, inputs[n].len());
        let epsilon = 1e-5;
        let moved = |sign: f64| {
            let mut moved = inputs.clone();
            math::axpy(&mut moved[n], sign * epsilon, &direction);
            math::dot(&op.forward(&views(&moved, shapes)).output, &weights)
        };
        let numeric = (moved(1.0) - moved(-1.0)) / (2.0 * epsilon);
        let analytic = math::dot(gradient, &direction);
        let error = (numeric - analytic).abs() / (1.0 + numeric.abs());
        assert!(error < 1e-8, "{op:?}, input {n}: numeric {numeric}, analytic {analytic}");
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
    let mut teacher: Vec<f32> = random(&mut rng, 9).into_iter().map(|x| x as f32).collect();
    math::softmax(&mut teacher);
    let targets = head::Targets {
        rows: vec![
            head::Target { row: 1, goal: head::Goal::Token(4), weight: 0.7, counted: true },
            head::Target { row: 3, goal: head::Goal::Teacher(0), weight: 4.0, counted: false },
        ],
        teacher,
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
