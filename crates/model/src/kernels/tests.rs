use std::sync::{Arc, Mutex};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{attention, conv, delta, embed, fast, head, linear, mlp, norm, quiet};
use crate::host::{HostOp, View};

fn random(rng: &mut ChaCha8Rng, n: usize) -> Vec<f32> {
    (0..n).map(|_| rng.random_range(-1.0_f32..1.0)).collect()
}

/// Compares the gradient along random directions with central differences.
fn check(op: &dyn HostOp, shapes: &[&[usize]], tolerance: f64) {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let inputs: Vec<Vec<f32>> = shapes.iter().map(|s| random(&mut rng, s.iter().product())).collect();
    let views = |data: &[Vec<f32>]| -> Forwarded {
        let views: Vec<View<'_>> = data.iter().zip(shapes).map(|(data, shape)| View { data, shape }).collect();
        let f = op.forward(&views);
        Forwarded { output: f.output, shape: f.shape, saved: f.saved }
    };
    let forward = views(&inputs);
    let weights = random(&mut rng, forward.output.len());
    let loss = |f: &Forwarded| -> f64 { f.output.iter().zip(&weights).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum() };
    let input_views: Vec<View<'_>> = inputs.iter().zip(shapes).map(|(data, shape)| View { data, shape }).collect();
    let gradient = View { data: &weights, shape: &forward.shape };
    let gradients = op.backward(&input_views, &forward.saved, gradient, &vec![true; shapes.len()]);
    for (n, gradient) in gradients.iter().enumerate() {
        let gradient = gradient.as_ref().expect("every gradient was asked for");
        let direction = random(&mut rng, inputs[n].len());
        let epsilon = 2e-3_f32;
        let moved = |sign: f32| {
            let mut moved = inputs.clone();
            moved[n].iter_mut().zip(&direction).for_each(|(x, d)| *x += sign * epsilon * d);
            loss(&views(&moved))
        };
        let numeric = (moved(1.0) - moved(-1.0)) / (2.0 * f64::from(epsilon));
        let analytic: f64 = gradient.iter().zip(&direction).map(|(g, d)| f64::from(*g) * f64::from(*d)).sum();
        let error = (numeric - analytic).abs() / (1.0 + numeric.abs());
        assert!(error < tolerance, "input {n}: numeric {numeric}, analytic {analytic}");
    }
}

struct Forwarded {
    output: Vec<f32>,
    shape: Vec<usize>,
    saved: Vec<Vec<f32>>,
}

#[test]
fn linear_gradients_match_differences() {
    check(&linear::Linear, &[&[2, 3, 5], &[5, 7]], 1e-3);
}

#[test]
fn norm_gradients_match_differences() {
    check(&norm::RmsNorm, &[&[2, 70, 8], &[8]], 2e-3);
    check(&norm::RmsNorm, &[&[2, 3, 8], &[4]], 2e-3);
}

#[test]
fn conv_gradients_match_differences() {
    for silu in [false, true] {
        check(&conv::ShortConv { silu }, &[&[2, 9, 6], &[4, 6]], 2e-3);
    }
}

#[test]
fn mlp_gradients_match_differences() {
    for activation in [mlp::Activation::SquaredRelu, mlp::Activation::Silu] {
        check(&mlp::Mlp { activation }, &[&[3, 4, 6], &[6, 10], &[10, 6]], 2e-3);
    }
}

#[test]
fn embed_gradients_match_differences() {
    check(&embed::Embed { ids: Arc::new(vec![0, 2, 2, 1, 4, 0]), batch: 2 }, &[&[5, 3]], 1e-3);
}

#[test]
fn attention_gradients_match_differences() {
    check(&attention::Attention { heads: 2, theta: 10_000.0 }, &[&[2, 11, 3 * 8]], 3e-3);
}

#[test]
fn gated_delta_gradients_match_differences_across_chunks() {
    check(&delta::GatedDelta { heads: 2 }, &[&[2, 70, 3 * 8], &[2, 70, 4], &[2], &[2]], 1e-2);
}

#[test]
fn fast_bank_gradients_match_differences_across_chunks() {
    check(&fast::FastBank { period: 4 }, &[&[2, 14, 3 * 6], &[2, 14, 1], &[1]], 5e-3);
}

#[test]
fn head_gradients_match_differences() {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let mut teacher = random(&mut rng, 9);
    super::math::softmax(&mut teacher);
    let targets = head::Targets {
        rows: vec![
            head::Target { row: 1, goal: head::Goal::Token(4), weight: 0.7, counted: true },
            head::Target { row: 3, goal: head::Goal::Teacher(0), weight: 4.0, counted: false },
        ],
        teacher,
    };
    let op = head::HeadLoss { targets: Arc::new(targets), normalizer: 2.0, tally: Arc::new(Mutex::new(head::Tally::default())) };
    check(&op, &[&[1, 5, 4], &[9, 4]], 2e-3);
}

#[test]
fn gated_delta_in_chunks_equals_the_recurrence() {
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    let (time, width) = (101, 16);
    let mut q = random(&mut rng, time * width);
    let mut k = random(&mut rng, time * width);
    q.chunks_exact_mut(width).chain(k.chunks_exact_mut(width)).for_each(|row| {
        delta::normalize(row);
    });
    let input = delta::HeadInput {
        width,
        q,
        k,
        v: random(&mut rng, time * width),
        beta: (0..time).map(|_| rng.random_range(0.0_f32..1.0)).collect(),
        log_decay: (0..time).map(|_| rng.random_range(-0.5_f32..0.0)).collect(),
    };
    let (chunked, _) = delta::head_forward(&input);
    let mut state = vec![0.0; width * width];
    for t in 0..time {
        let row = t * width..(t + 1) * width;
        let mut out = vec![0.0; width];
        delta::step(
            &mut state,
            &input.q[row.clone()],
            &input.k[row.clone()],
            &input.v[row.clone()],
            input.beta[t],
            input.log_decay[t],
            &mut out,
        );
        let worst = out.iter().zip(&chunked[row]).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 1e-4, "token {t} differs by {worst}");
    }
}

#[test]
fn fast_exp_is_close_to_exp() {
    for n in -8000..8000 {
        let x = n as f32 * 0.01;
        let relative = (super::math::exp(x) / x.exp() - 1.0).abs();
        assert!(relative < 5e-7 || x < -80.0, "exp({x}) is off by {relative}");
    }
}

#[test]
fn a_penalty_changes_the_gradient_of_its_rows_and_no_output() {
    let op = quiet::Quiet { weights: Arc::new(vec![0.0, 3.0]), normalizer: 2.0 };
    let y = View { data: &[1.0, -2.0, 4.0, -6.0], shape: &[1, 2, 2] };
    assert_eq!(op.forward(&[y]).output, y.data);
    let gradient = View { data: &[0.5; 4], shape: &[1, 2, 2] };
    let dy = op.backward(&[y], &[], gradient, &[true]).remove(0).unwrap();
    assert_eq!(dy, [0.5, 0.5, 0.5 + 1.5 * 4.0, 0.5 - 1.5 * 6.0]);
}
