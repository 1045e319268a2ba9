//! M3 against its equations.

use super::*;

const FAST_ONLY: M3Settings = M3Settings {
    rate: 0.05,
    fast_retention: 0.875,
    square_retention: None,
    slow_retention: 0.8,
    slow_weight: 0.0,
    slow_chunk_steps: u64::MAX,
    nesterov: true,
    weight_decay: 0.0625,
};

#[test]
fn without_its_slow_part_it_is_muon() {
    let muon = MuonSettings { rate: 0.05, momentum: 0.875, weight_decay: 0.0625 };
    for shape in SHAPES {
        let gradients = gradients(12, shape);
        assert_close(&followed(&FAST_ONLY, &gradients, shape), &followed(&muon, &gradients, shape), 1e-9);
    }
}

#[test]
fn the_slow_update_of_a_chunk_moves_the_weights_of_the_next_one() {
    let rule = M3Settings { slow_weight: 0.5, slow_chunk_steps: 3, nesterov: false, weight_decay: 0.0, ..FAST_ONLY };
    let (rows, cols) = (4, 3);
    let (mut weights, mut memory) = (noise(1, 12), rule.begin(rows, cols));
    let (mut expected, mut fast, mut slow, mut chunk) = (weights.clone(), vec![0.0; 12], vec![0.0; 12], vec![0.0; 12]);
    let mut slow_update = vec![0.0; 12];
    for (n, gradient) in gradients(10, (rows, cols)).iter().enumerate() {
        rule.step(1.0, &mut weights, gradient, (rows, cols), &mut memory);
        fast.iter_mut().zip(gradient).for_each(|(m, g)| *m = 0.875 * *m + 0.125 * g);
        let update = orthogonalize(fast.clone(), rows, cols);
        for ((w, u), s) in expected.iter_mut().zip(&update).zip(&slow_update) {
            *w -= 0.05 * (4.0_f64 / 3.0).sqrt() * (u + 0.5 * s);
        }
        chunk.iter_mut().zip(gradient).for_each(|(c, g)| *c += g);
        if n % 3 == 2 {
            slow.iter_mut().zip(&chunk).for_each(|(m, c)| *m = 0.8 * *m + 0.2 * c / 3.0);
            slow_update = orthogonalize(slow.clone(), rows, cols);
            chunk = vec![0.0; 12];
        }
        assert_close(&weights, &expected, 1e-12);
        assert_eq!(memory.chunk_steps, (n as u64 + 1) % 3);
    }
}

#[test]
fn the_mean_of_squares_shapes_an_update_and_keeps_its_norm() {
    let shaped = M3Settings { square_retention: Some(0.9), weight_decay: 0.0, ..FAST_ONLY };
    let plain = M3Settings { weight_decay: 0.0, ..FAST_ONLY };
    for shape in SHAPES {
        // One column of the gradient is far greater than the others.
        let mut gradient = noise(20, shape.0 * shape.1);
        gradient.iter_mut().step_by(shape.1).for_each(|g| *g *= 100.0);
        let moved = |rule: &M3Settings| {
            let (mut weights, mut memory) = (vec![0.0; gradient.len()], rule.begin(shape.0, shape.1));
            rule.step(1.0, &mut weights, &gradient, shape, &mut memory);
            weights
        };
        let (shaped, plain) = (moved(&shaped), moved(&plain));
        assert!((dot(&shaped, &shaped) - dot(&plain, &plain)).abs() < 1e-9 * dot(&plain, &plain));
        assert!(gradient.len() < 10 || (0..gradient.len()).any(|n| (shaped[n] - plain[n]).abs() > 1e-3));
    }
}

#[test]
fn what_has_no_gradient_does_not_take_the_update_over() {
    let rule = M3Settings { square_retention: Some(0.9), weight_decay: 0.0, ..FAST_ONLY };
    let (rows, cols) = (6, 8);
    let mut gradient = noise(21, rows * cols);
    gradient[0] = 0.0;
    let (mut weights, mut memory) = (vec![0.0; rows * cols], rule.begin(rows, cols));
    rule.step(1.0, &mut weights, &gradient, (rows, cols), &mut memory);
    let share = weights[0] * weights[0] / dot(&weights, &weights);
    assert!(share > 1e-9 && share < 0.5, "{share}");
}
