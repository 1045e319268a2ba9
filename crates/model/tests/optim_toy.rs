//! Delta momentum on the problem that its paper tries it on (Nested Learning, Eq. 53).
//!
//! The paper gives no constants. Here they are those of the one public check of the claim, so that the numbers of steps can be compared.

use nocturne_model::optim::{DeltaMomentumSettings, MomentumSettings, delta_momentum::Erase, rule::Rule};

const K: f64 = 10.0;
const A: f64 = 1.0;
const OMEGA: f64 = 2.0;
const RATE: f64 = 0.004;
const RETENTION: f64 = 0.9;
const START: [f64; 2] = [-3.5, 2.0];
/// It counts as solved below this, for so many steps.
const SOLVED: (f64, u32) = (1e-6, 10);
const PATIENCE: u32 = 20_000;

/// `ψ(r, θ) = r² + k (r - θ + a sin ωr)²` and its gradient.
fn psi([r, theta]: [f64; 2]) -> (f64, [f64; 2]) {
    let miss = r - theta + A * (OMEGA * r).sin();
    (r * r + K * miss * miss, [2.0 * r + 2.0 * K * miss * (1.0 + A * OMEGA * (OMEGA * r).cos()), -2.0 * K * miss])
}

/// Steps until the problem is solved and stays so.
fn steps<R: Rule<f64>>(rule: &R) -> Option<u32> {
    let (mut at, mut memory, mut solved) = (START, rule.begin(2, 1), 0);
    for step in 0..PATIENCE {
        let (value, gradient) = psi(at);
        solved = if value < SOLVED.0 { solved + 1 } else { 0 };
        if solved == SOLVED.1 {
            return Some(step + 1 - SOLVED.1);
        }
        rule.step(1.0, &mut at, &gradient, (2, 1), &mut memory);
    }
    None
}

#[test]
fn delta_momentum_solves_the_problem_and_no_faster_than_momentum() {
    let delta = |erase| steps(&DeltaMomentumSettings { rate: RATE, retention: RETENTION, erase, weight_decay: 0.0 });
    let momentum = steps(&MomentumSettings { rate: RATE, retention: RETENTION, weight_decay: 0.0 });
    let (capped, normalized) = (delta(Erase::Capped(RATE)), delta(Erase::Normalized(0.5)));
    println!("steps: momentum {momentum:?}, delta momentum capped {capped:?}, normalized {normalized:?}");
    let [Some(momentum), Some(capped), Some(normalized)] = [momentum, capped, normalized] else {
        panic!("momentum {momentum:?}, capped {capped:?}, normalized {normalized:?}");
    };
    assert!(momentum <= capped && capped <= normalized, "the claim would hold: {momentum}, {capped}, {normalized}");
}

#[test]
fn the_rule_as_it_is_printed_diverges() {
    let (mut at, mut m) = (START, [0.0; 2]);
    for _ in 0..50 {
        let (_, g) = psi(at);
        let along = g[0] * m[0] + g[1] * m[1];
        m = [0, 1].map(|n| RETENTION * m[n] - along * g[n] - RATE * g[n]);
        at = [at[0] + m[0], at[1] + m[1]];
    }
    assert!(!psi(at).0.is_finite(), "it arrived at {at:?}");
}
