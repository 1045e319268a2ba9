//! The optimizers' rules against closed forms, in `f64`.
#![allow(clippy::unwrap_used, reason = "a test that panics says what it found")]

use nocturne_model::optim::{
    DeltaMomentumSettings, DmgdSettings, M3Settings, MomentumSettings, MuonSettings,
    delta_momentum::Erase,
    dgd::proximal_step,
    dmgd::Output,
    muon::orthogonalize,
    real::{Operand, product},
    rule::Rule,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Numbers in (-1, 1).
fn noise(seed: u64, n: usize) -> Vec<f64> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..n).map(|_| rng.random_range(-1.0..1.0)).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn assert_close(found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    for (n, (f, e)) in found.iter().zip(expected).enumerate() {
        assert!((f - e).abs() <= tolerance * (1.0 + e.abs()), "entry {n}: {f}, expected {e}");
    }
}

/// Weights after some steps along given gradients, from weights that are the same for every rule.
fn followed<R: Rule<f64>>(rule: &R, gradients: &[Vec<f64>], (rows, cols): (usize, usize)) -> Vec<f64> {
    let mut weights = noise(1, rows * cols);
    let mut memory = rule.begin(rows, cols);
    for gradient in gradients {
        rule.step(1.0, &mut weights, gradient, (rows, cols), &mut memory);
    }
    weights
}

fn gradients(steps: u64, (rows, cols): (usize, usize)) -> Vec<Vec<f64>> {
    (0..steps).map(|n| noise(100 + n, rows * cols)).collect()
}

const SHAPES: [(usize, usize); 5] = [(4, 7), (7, 4), (5, 5), (1, 6), (6, 1)];

mod momentum {
    use super::*;

    #[test]
    fn a_step_of_the_memory_descends_its_objective() {
        let rule = MomentumSettings { retention: 0.8, ..MomentumSettings::default() };
        let (start, gradient) = (noise(3, 6), noise(4, 6));
        let mut memory = rule.begin(2, 3);
        memory.0.data.clone_from(&start);
        rule.step(0.0, &mut noise(1, 6), &gradient, (2, 3), &mut memory);
        for n in 0..6 {
            let (mut up, mut down) = (start.clone(), start.clone());
            (up[n], down[n]) = (up[n] + 1e-5, down[n] - 1e-5);
            let slope = (rule.objective(&up, &gradient) - rule.objective(&down, &gradient)) / 2e-5;
            assert!((memory.0.data[n] - (start[n] - slope)).abs() < 1e-9, "entry {n}");
        }
    }

    #[test]
    fn at_a_constant_rate_it_is_heavy_ball() {
        let rule = MomentumSettings { rate: 0.03, retention: 0.9, weight_decay: 0.0 };
        let (mut weights, mut moved) = (noise(1, 12), vec![0.0; 12]);
        let gradients = gradients(20, (3, 4));
        for gradient in &gradients {
            moved.iter_mut().zip(gradient).for_each(|(m, g)| *m = 0.9 * *m - 0.03 * g);
            weights.iter_mut().zip(&moved).for_each(|(w, m)| *w += m);
        }
        assert_close(&followed(&rule, &gradients, (3, 4)), &weights, 1e-13);
    }

    /// The paper says 6 and 43; counted from zero, which makes 7 and 44.
    #[test]
    fn the_last_7_gradients_make_half_of_it_and_the_last_44_make_99_percent() {
        const STEPS: usize = 400;
        let rule = MomentumSettings { retention: 0.9, ..MomentumSettings::default() };
        let mut memory = rule.begin(1, STEPS);
        // Orthogonal gradients of one length, so that every entry of the memory is the share of one of them.
        for step in 0..STEPS {
            let mut gradient = vec![0.0; STEPS];
            gradient[step] = 1.0;
            rule.step(0.0, &mut [], &gradient, (1, STEPS), &mut memory);
        }
        let whole: f64 = memory.0.data.iter().sum();
        let share = |last: usize| memory.0.data[STEPS - last..].iter().sum::<f64>() / whole;
        assert!(share(6) < 0.5 && share(7) > 0.5, "{} and {}", share(6), share(7));
        assert!(share(43) < 0.99 && share(44) > 0.99, "{} and {}", share(43), share(44));
        assert!((share(7) - (1.0 - 0.9_f64.powi(7))).abs() < 1e-12);
    }
}

mod delta_momentum {
    use super::*;

    #[test]
    fn without_erasing_it_is_momentum() {
        let momentum = MomentumSettings { rate: 0.05, retention: 0.7, weight_decay: 0.1 };
        let delta = DeltaMomentumSettings { rate: 0.05, retention: 0.7, erase: Erase::Capped(0.0), weight_decay: 0.1 };
        for shape in SHAPES {
            let gradients = gradients(6, shape);
            assert_close(&followed(&delta, &gradients, shape), &followed(&momentum, &gradients, shape), 1e-15);
        }
    }

    #[test]
    fn a_step_is_the_written_out_rule() {
        let rule = DeltaMomentumSettings { retention: 0.9, erase: Erase::Capped(0.02), ..DeltaMomentumSettings::default() };
        for (rows, cols) in SHAPES {
            let (m, g) = (noise(5, rows * cols), noise(6, rows * cols));
            let mut memory = rule.begin(rows, cols);
            memory.0.data.clone_from(&m);
            rule.step(0.0, &mut [], &g, (rows, cols), &mut memory);
            let at = |r: usize, c: usize| r * cols + c;
            for r in 0..rows {
                for c in 0..cols {
                    let outer = |s: usize| (0..cols).map(|k| g[at(r, k)] * g[at(s, k)]).sum::<f64>();
                    let erased: f64 = (0..rows).map(|s| outer(s) * m[at(s, c)]).sum();
                    let expected = 0.9 * m[at(r, c)] - 0.02 * erased + g[at(r, c)];
                    assert!((memory.0.data[at(r, c)] - expected).abs() < 1e-14, "{rows} by {cols}");
                }
            }
        }
    }

    /// Eq. 45: tasks whose gradients are orthogonal. Momentum turns to the task of the moment, whatever it knew; at full retention the delta rule leaves alone what
    /// another task wrote, and what it writes itself is bounded.
    #[test]
    fn orthogonal_tasks_do_not_take_each_others_room() {
        let (first, second) = (vec![1.0, 0.0, 0.0], vec![0.0, 2.0, 0.0]);
        let run = |rule: &DeltaMomentumSettings| -> Vec<f64> {
            let mut memory = rule.begin(3, 1);
            for gradient in [vec![first.clone(); 10], vec![second.clone(); 200]].concat() {
                rule.step(0.0, &mut [], &gradient, (3, 1), &mut memory);
            }
            memory.0.data
        };
        let set = |retention, erase| DeltaMomentumSettings { retention, erase, ..DeltaMomentumSettings::default() };
        let plain = run(&set(0.9, Erase::Capped(0.0)));
        assert!(plain[0] < 1e-8 && (plain[1] - 20.0).abs() < 1e-6, "momentum forgot the first task: {plain:?}");
        let delta = run(&set(1.0, Erase::Normalized(0.5)));
        let first_alone = 2.0 * (1.0 - 0.5_f64.powi(10));
        assert_close(&delta, &[first_alone, 4.0, 0.0], 1e-12);
        let forever = run(&set(1.0, Erase::Capped(0.0)));
        assert_close(&forever, &[10.0, 400.0, 0.0], 1e-12);
    }

    #[test]
    fn gradients_of_any_size_leave_the_memory_bounded() {
        for erase in [Erase::Capped(1.0), Erase::Capped(f64::INFINITY), Erase::Normalized(0.5), Erase::Normalized(10.0)] {
            let rule = DeltaMomentumSettings { retention: 0.9, erase, ..DeltaMomentumSettings::default() };
            for size in [1e-30, 1e-3, 1.0, 1e4] {
                let mut memory = rule.begin(4, 7);
                for gradient in gradients(300, (4, 7)) {
                    let gradient: Vec<f64> = gradient.iter().map(|g| g * size).collect();
                    rule.step(0.0, &mut [], &gradient, (4, 7), &mut memory);
                }
                let norm = dot(&memory.0.data, &memory.0.data).sqrt();
                // Every eigenvalue of what is kept lies in [0, .9], and no gradient is longer than √28.
                assert!(norm <= size * 28.0_f64.sqrt() * 10.0, "{erase:?} at {size}: {norm}");
            }
        }
    }
}

mod dgd {
    use super::*;

    /// One token: inputs, surprise, weights.
    fn token(norm: f64) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
        let x = noise(7, 5);
        let length = dot(&x, &x).sqrt();
        (x.iter().map(|x| x * norm / length).collect(), noise(8, 3), noise(9, 15))
    }

    fn outer(x: &[f64], y: &[f64]) -> Vec<f64> {
        x.iter().flat_map(|x| y.iter().map(move |y| x * y)).collect()
    }

    #[test]
    fn for_one_token_of_any_norm_it_is_the_printed_form() {
        for norm in [1e-3, 0.5, 1.0, 7.0, 1e3] {
            for rate in [0.01, 1.0, 50.0] {
                let (x, delta, mut w) = token(norm);
                let shrunk = rate / (1.0 + rate * norm * norm);
                let read = product(Operand::new(&x, 1, 5), Operand::new(&w, 5, 3));
                let change: Vec<f64> = read.iter().zip(&delta).map(|(y, d)| shrunk * (y + d)).collect();
                let expected: Vec<f64> = w.iter().zip(outer(&x, &change)).map(|(w, c)| w - c).collect();
                proximal_step(&mut w, &outer(&x, &delta), &outer(&x, &x), (5, 3), (rate, 1.0)).unwrap();
                // A solution is as exact as the matrix is well conditioned.
                assert_close(&w, &expected, 1e-13 + 1e-15 * (1.0 + rate * norm * norm));
            }
        }
    }

    /// Where the step arrives, the objective is flat.
    #[test]
    fn for_a_batch_it_is_the_proximal_solution() {
        let (n, rows, cols, rate) = (9, 5, 3, 0.7);
        let (x, delta, before) = (noise(10, n * rows), noise(11, n * cols), noise(12, rows * cols));
        let inputs = Operand::new(&x, n, rows);
        let gradient = product(inputs.t(), Operand::new(&delta, n, cols));
        let mut after = before.clone();
        proximal_step(&mut after, &gradient, &product(inputs.t(), inputs), (rows, cols), (rate, 1.0)).unwrap();
        let mut misses = product(inputs, Operand::new(&after, rows, cols));
        misses.iter_mut().zip(&delta).for_each(|(m, d)| *m += d);
        let slope = product(inputs.t(), Operand::new(&misses, n, cols));
        for ((slope, after), before) in slope.iter().zip(&after).zip(&before) {
            assert!((slope + (after - before) / rate).abs() < 1e-12);
        }
    }

    #[test]
    fn both_terms_erase_and_the_fixed_point_is_half_the_target() {
        let (x, v, mut w) = token(1.0);
        let rate = 0.25;
        let shrunk = rate / (1.0 + rate);
        let read = |w: &[f64]| product(Operand::new(&x, 1, 5), Operand::new(w, 5, 3));
        let half: Vec<f64> = v.iter().map(|v| v / 2.0).collect();
        let away = |w: &[f64]| read(w).iter().zip(&half).map(|(y, h)| y - h).collect::<Vec<_>>();
        let beside: Vec<f64> = w.iter().zip(outer(&x, &read(&w))).map(|(w, along)| w - along).collect();
        for _ in 0..60 {
            let before = away(&w);
            let delta: Vec<f64> = read(&w).iter().zip(&v).map(|(y, v)| y - v).collect();
            proximal_step(&mut w, &outer(&x, &delta), &outer(&x, &x), (5, 3), (rate, 1.0)).unwrap();
            let expected: Vec<f64> = before.iter().map(|b| b * (1.0 - 2.0 * shrunk)).collect();
            assert_close(&away(&w), &expected, 1e-12);
        }
        assert_close(&read(&w), &half, 1e-12);
        let after: Vec<f64> = w.iter().zip(outer(&x, &read(&w))).map(|(w, along)| w - along).collect();
        assert_close(&after, &beside, 1e-12);
    }

    #[test]
    fn without_erasing_it_is_gradient_descent() {
        let (before, gradient) = (noise(13, 15), noise(14, 15));
        let mut w = before.clone();
        proximal_step(&mut w, &gradient, &[], (5, 3), (0.1, 0.0)).unwrap();
        let expected: Vec<f64> = before.iter().zip(&gradient).map(|(w, g)| w - 0.1 * g).collect();
        assert_close(&w, &expected, 0.0);
    }

    #[test]
    fn weights_stay_where_there_is_no_moment() {
        let before = noise(15, 15);
        for moment in [vec![], vec![f64::NAN; 25], vec![1.0; 9]] {
            let mut w = before.clone();
            assert!(proximal_step(&mut w, &noise(14, 15), &moment, (5, 3), (0.1, 1.0)).is_none());
            assert_eq!(w, before);
        }
    }
}

mod dmgd {
    use super::*;

    const LINEAR: DmgdSettings = DmgdSettings {
        rate: 0.05,
        retention: 0.9,
        hidden: 0,
        inner_rate: 0.1,
        output: Output::Plain,
        nesterov: false,
        weight_decay: 0.01,
        seed: 3,
    };

    #[test]
    fn with_a_linear_memory_it_is_momentum() {
        let momentum = MomentumSettings { rate: 0.05, retention: 0.9, weight_decay: 0.01 };
        for shape in SHAPES {
            let gradients = gradients(12, shape);
            assert_close(&followed(&LINEAR, &gradients, shape), &followed(&momentum, &gradients, shape), 0.0);
        }
    }

    #[test]
    fn with_a_linear_memory_and_newton_schulz_it_is_muon() {
        let muon = MuonSettings { rate: 0.05, momentum: 0.875, weight_decay: 0.0625 };
        let deep = DmgdSettings { retention: 0.875, output: Output::Orthogonal, nesterov: true, weight_decay: 0.0625, ..LINEAR };
        for shape in SHAPES {
            let gradients = gradients(12, shape);
            assert_close(&followed(&deep, &gradients, shape), &followed(&muon, &gradients, shape), 0.0);
        }
    }

    #[test]
    fn the_perceptrons_gradients_are_those_of_its_inner_loss() {
        let rule = DmgdSettings { hidden: 4, ..LINEAR };
        let mut memory = rule.begin(6, 5);
        memory.down.data = noise(16, 20);
        let key = noise(17, 30);
        let (up, down) = memory.inner_gradients(&key, 6);
        for n in 0..20 {
            let loss = |shift: f64, in_up: bool| {
                let mut moved = memory.clone();
                *(if in_up { &mut moved.up.data[n] } else { &mut moved.down.data[n] }) += shift;
                moved.inner_loss(&key, 6)
            };
            for (gradient, in_up) in [(up[n], true), (down[n], false)] {
                let slope: f64 = (loss(1e-5, in_up) - loss(-1e-5, in_up)) / 2e-5;
                assert!((slope - gradient).abs() < 1e-9, "entry {n}: {gradient}, differences say {slope}");
            }
        }
    }

    /// What the table cannot do: a row that was never seen is answered by what other rows have seen.
    #[test]
    fn the_perceptron_learns_the_direction_that_rows_have_in_common() {
        let rule = DmgdSettings { hidden: 8, ..LINEAR };
        let mut memory = rule.begin(6, 5);
        let along = [2.0, 0.0, -1.0, 0.0, 1.0];
        for n in 0..40 {
            let mut gradient = vec![0.0; 30];
            for (row, share) in gradient.chunks_exact_mut(5).zip(noise(200 + n, 3)) {
                row.iter_mut().zip(along).for_each(|(g, a)| *g = a * share);
            }
            rule.step(0.0, &mut [], &gradient, (6, 5), &mut memory);
        }
        let answered = |key: &[f64]| dot(&memory.perceptron(key, 1), key);
        assert!(answered(&along) > 0.5 * dot(&along, &along), "{}", answered(&along));
        for across in [[1.0, 0.0, 2.0, 0.0, 0.0], [0.0, 3.0, 0.0, 1.0, 0.0], [0.0, 0.0, 1.0, 0.0, 1.0]] {
            assert!(answered(&across).abs() < 1e-12, "{}", answered(&across));
        }
    }

    #[test]
    fn the_update_scales_with_the_gradient_and_exists_for_every_matrix() {
        let rule = DmgdSettings { hidden: 4, weight_decay: 0.0, ..LINEAR };
        for (rows, cols) in SHAPES {
            let moved = |scale: f64| {
                let (mut weights, mut memory) = (vec![0.0; rows * cols], rule.begin(rows, cols));
                for gradient in gradients(9, (rows, cols)) {
                    let gradient: Vec<f64> = gradient.iter().map(|g| g * scale).collect();
                    rule.step(1.0, &mut weights, &gradient, (rows, cols), &mut memory);
                }
                weights
            };
            let once = moved(1.0);
            assert!(once.iter().all(|w| w.is_finite()) && once.iter().any(|w| *w != 0.0));
            let expected: Vec<f64> = once.iter().map(|w| w * 4096.0).collect();
            assert_close(&moved(4096.0), &expected, 1e-12);
            assert_eq!(moved(0.0), vec![0.0; rows * cols], "no gradient, no update");
        }
    }
}

#[path = "optim_rules/m3.rs"]
mod m3;
