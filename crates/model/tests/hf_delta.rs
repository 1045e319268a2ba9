//! The delta rules against transformers: its recurrence for Qwen3-Next, which is Gated DeltaNet's, and without decay DeltaNet's; outputs and gradients.
#![allow(clippy::unwrap_used, reason = "a test that panics says what it found")]

use std::collections::BTreeMap;

use nocturne_model::{
    host::{Kernel, View},
    kernels::delta::{DeltaMemory, Rule},
};
use nocturne_support::{Reference, or_skip};
use serde::Deserialize;

const TIME: usize = 100;
const HEADS: usize = 2;
const KEY: usize = 8;
const VALUE: usize = 12;

#[derive(Deserialize)]
struct Given {
    qkv: Vec<f64>,
    gates: Vec<f64>,
    a_log: Vec<f64>,
    dt_bias: Vec<f64>,
    weights: Vec<f64>,
}

#[derive(Deserialize)]
struct Said {
    output: Vec<f64>,
    /// Of `qkv`, `gates`, `a_log` and `dt_bias`.
    gradients: Vec<Vec<f64>>,
}

#[derive(Deserialize)]
struct All {
    given: Given,
    rules: BTreeMap<String, Said>,
}

/// The largest difference, in parts of the largest value: PyTorch computes in single precision.
fn worst(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let largest = b.iter().fold(1e-3_f64, |most, x| most.max(x.abs()));
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max) / largest
}

#[test]
fn delta_rules_are_those_of_transformers() {
    let reference = or_skip!(Reference::install());
    let said = reference.run(include_str!("hf/delta.py"), &[]).unwrap_or_else(|absent| panic!("{absent}"));
    let All { given, rules } = serde_json::from_str(&said).unwrap();
    let shapes: [&[usize]; 4] = [&[1, TIME, HEADS * (2 * KEY + VALUE)], &[1, TIME, 2 * HEADS], &[HEADS], &[HEADS]];
    // Without decay only write logits are read, the first of each token's gates.
    let writes: Vec<f64> = given.gates.chunks_exact(2 * HEADS).flat_map(|row| row[..HEADS].to_vec()).collect();
    let gradient = View { data: &given.weights, shape: &[1, TIME, HEADS * VALUE] };
    for (name, rule) in
        [("gated", Rule::Gated), ("plain", Rule::Plain { negative: false }), ("negative", Rule::Plain { negative: true })]
    {
        let op = DeltaMemory { heads: HEADS, key: KEY, rule };
        let mut inputs: Vec<View<'_, f64>> = [&given.qkv, &given.gates, &given.a_log, &given.dt_bias]
            .into_iter()
            .zip(shapes)
            .map(|(data, shape)| View { data, shape })
            .collect();
        if name != "gated" {
            inputs.truncate(2);
            inputs[1] = View { data: &writes, shape: &[1, TIME, HEADS] };
        }
        let forward = Kernel::forward(&op, &inputs);
        let expected = &rules[name];
        assert!(worst(&forward.output, &expected.output) < 1e-5, "{name}: {}", worst(&forward.output, &expected.output));
        let found = Kernel::backward(&op, &inputs, &forward.saved, gradient, &vec![true; inputs.len()]);
        for (n, found) in found.into_iter().enumerate() {
            let mut expected = expected.gradients[n].clone();
            if name != "gated" && n == 1 {
                expected = expected.chunks_exact(2 * HEADS).flat_map(|row| row[..HEADS].to_vec()).collect();
            }
            let error = worst(&found.unwrap(), &expected);
            assert!(error < 1e-4, "{name}, gradient of input {n}: {error}");
        }
    }
}
