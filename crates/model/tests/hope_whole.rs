//! Hope's mixer (2512.24695, Eq. 83 to 93) against its definitions, written down once more in double precision: one token after another, matrices as in the
//! paper, and nothing of the model's own recurrence.
#![allow(clippy::unwrap_used, reason = "a test that panics says what it found")]

mod common;

use nocturne_model::{
    ModelConfig,
    config::{HopeConfig, MixerConfig},
    memory::hope::{BoxKind, LONGEST_ROW, LONGEST_VALUE, Objective, Targets},
    presets,
    tensors::Tensors,
};

use self::common::{
    plain::{HEAD, HEADS, Params, Row, WIDTH, dot, ids, off, off_in_double, plus, sigmoid, silu, through, unit},
    tensors_of,
};

const HIDDEN: usize = 5;
const KEYS: usize = 0;
const VALUES: usize = 1;
const STEPS: usize = 2;
const DECAYS: usize = 3;
const MEMORY: usize = 4;

fn config(change: impl FnOnce(&mut HopeConfig)) -> ModelConfig {
    let mut hope = HopeConfig {
        heads: HEADS,
        head_width: HEAD,
        boxes: BoxKind::Linear,
        chunk: 4,
        objective: Objective::Distance,
        targets: Targets::OwnUnit,
        max_step: 1.5,
        adaptive: true,
        shares: true,
        conv_taps: 4,
        gate: false,
    };
    change(&mut hope);
    presets::model("test", &MixerConfig::Hope(hope), 40, WIDTH, 1, 0)
}

/// A box of memory: its layers, row by row.
type Layers = Vec<Row>;

/// `M(z) = z + z S`, or `z + silu(z A) B`.
fn say(layers: &Layers, z: &[f64]) -> Row {
    let added = match layers.as_slice() {
        [s] => through(z, s),
        [a, b] => through(&through(z, a).into_iter().map(silu).collect::<Row>(), b),
        _ => unreachable!("a box has one layer or two"),
    };
    plus(z, &added)
}

/// `S ← (α I - η x xᵀ) S - η xᵀ g`, element by element.
fn delta(s: &mut Row, x: &[f64], g: &[f64], step: f64, decay: f64) {
    let read = through(x, s);
    for (i, row) in s.chunks_mut(g.len()).enumerate() {
        for (j, s) in row.iter_mut().enumerate() {
            *s = decay * *s - step * x[i] * read[j] - step * x[i] * g[j];
        }
    }
}

/// The boxes of a head.
struct Head {
    live: Vec<Layers>,
    /// What they were when the chunk began.
    begun: Vec<Layers>,
    tokens: usize,
}

impl Head {
    fn new(hope: &HopeConfig, row: &[f64]) -> Self {
        let sizes = match hope.boxes {
            BoxKind::Linear => vec![HEAD * HEAD],
            BoxKind::Perceptron { hidden } => vec![HEAD * hidden; 2],
        };
        let mut rest = row;
        let mut layer = |size: &usize| {
            let (layer, left) = rest.split_at(*size);
            rest = left;
            layer.to_vec()
        };
        let live: Vec<Layers> = (0..5).map(|_| sizes.iter().map(&mut layer).collect()).collect();
        assert!(rest.is_empty(), "five boxes a head");
        Self { begun: live.clone(), live, tokens: 0 }
    }

    /// One token: query, what keys and values are made from, and the static logits of step and decay.
    fn step(&mut self, hope: &HopeConfig, statics: &[f64], [q, xk, xv]: [&[f64]; 3], logits: [f64; 2]) -> Row {
        if self.tokens.is_multiple_of(hope.chunk) {
            self.begun = self.live.clone();
        }
        self.tokens += 1;
        let begun = &self.begun;
        let (k, v) = (unit(&say(&begun[KEYS], xk)), say(&begun[VALUES], xv));
        let [of_steps, of_decays] = [&statics[3..3 + HEAD], &statics[3 + HEAD..3 + 2 * HEAD]];
        let step = hope.max_step * sigmoid(logits[0] + statics[0] + dot(&say(&begun[STEPS], xk), of_steps));
        let decay = logits[1] + statics[2] + dot(&say(&begun[DECAYS], xk), of_decays);
        let decay = (-statics[1].exp() * decay.exp().ln_1p()).exp();
        for (n, live) in self.live.iter_mut().enumerate() {
            if n == MEMORY {
                learn(hope, &begun[n], live, [&k, &v], step, decay);
            } else if hope.adaptive && hope.targets == Targets::Live {
                let share = if hope.shares { sigmoid(statics[3 + 2 * HEAD + n]) } else { 1.0 };
                let steady = HopeConfig { targets: Targets::OwnUnit, ..hope.clone() };
                learn(&steady, &begun[n], live, [&k, &v], step * share, 1.0);
            } else if hope.adaptive {
                let share = if hope.shares { sigmoid(statics[3 + 2 * HEAD + n]) } else { 1.0 };
                learn(hope, &begun[n], live, [&k, &v], step * share, decay);
            }
        }
        let answer = say(&self.live[MEMORY], &unit(q));
        if hope.targets == Targets::Live && self.tokens.is_multiple_of(hope.chunk) {
            let rows = self.live[MEMORY][0].chunks(HEAD);
            self.live[MEMORY][0] = rows.flat_map(|row| short(row, LONGEST_ROW)).collect();
        }
        answer
    }
}

/// No longer than this.
fn short(x: &[f64], longest: f64) -> Row {
    x.iter().map(|of| of / (1.0 + dot(x, x) / (longest * longest)).sqrt()).collect()
}

/// One step of gradient descent with the delta rule, on what the box said when the chunk began.
fn learn(hope: &HopeConfig, begun: &Layers, live: &mut Layers, [k, v]: [&[f64]; 2], step: f64, decay: f64) {
    let target = match hope.targets {
        Targets::Own => say(begun, v),
        Targets::OwnUnit => unit(&say(begun, v)),
        Targets::Live => say(live, &short(v, LONGEST_VALUE)),
        Targets::Value => v.to_vec(),
    };
    let answer = match hope.objective {
        Objective::Distance => say(if hope.targets == Targets::Live { live } else { begun }, k),
        Objective::Alignment => vec![0.0; HEAD],
    };
    let error: Row = answer.iter().zip(&target).map(|(a, t)| a - t).collect();
    let [a, b] = begun.as_slice() else { return delta(&mut live[0], k, &error, step, decay) };
    let z = through(k, a);
    let h: Row = z.iter().map(|z| silu(*z)).collect();
    let slope = |z: f64| sigmoid(z) * (1.0 + z * (1.0 - sigmoid(z)));
    let inner: Row = z.iter().zip(b.chunks(HEAD)).map(|(z, row)| dot(row, &error) * slope(*z)).collect();
    delta(&mut live[0], k, &inner, step, decay);
    delta(&mut live[1], &h, &error, step / (1.0 + step * dot(&h, &h)), decay);
}

/// Hidden states after the last norm.
fn expected(config: &ModelConfig, all: &Tensors, ids: &[u32]) -> Row {
    let MixerConfig::Hope(hope) = &config.blocks[0].mixer else { unreachable!("the test's model is Hope") };
    let params = Params(all);
    let (embed, boxes, statics) = (params.get("embed"), params.mixer("boxes"), params.mixer("statics"));
    let mut heads: Vec<Head> = boxes.chunks(boxes.len() / HEADS).map(|row| Head::new(hope, row)).collect();
    let mut rows = Vec::new();
    let mut hidden = |id: &u32| {
        let residual = &embed[*id as usize * WIDTH..][..WIDTH];
        let x = params.norm(residual, "blocks.0.mixer_norm");
        rows.push(params.through(&x, "qkv"));
        let (qkv, gates) = (params.convolved(&rows), params.through(&x, "gates"));
        let head = |(h, head): (usize, &mut Head)| {
            let parts = [0, 1, 2].map(|n| &qkv[n * WIDTH + h * HEAD..][..HEAD]);
            head.step(hope, &statics[h * statics.len() / HEADS..], parts, [gates[h], gates[HEADS + h]])
        };
        let read: Row = heads.iter_mut().enumerate().flat_map(head).collect();
        params.norm(&plus(residual, &params.leave(&x, &read)), "norm")
    };
    ids.iter().flat_map(&mut hidden).collect()
}

#[test]
fn hope_is_what_its_definitions_say() {
    let perceptron = BoxKind::Perceptron { hidden: HIDDEN };
    let configs = [
        config(|_| ()),
        config(|hope| (hope.targets, hope.shares, hope.gate) = (Targets::Own, false, true)),
        config(|hope| (hope.objective, hope.targets) = (Objective::Alignment, Targets::Value)),
        config(|hope| (hope.adaptive, hope.shares, hope.targets) = (false, false, Targets::Live)),
        config(|hope| (hope.objective, hope.targets) = (Objective::Alignment, Targets::Live)),
        config(|hope| (hope.boxes, hope.max_step) = (perceptron, 0.8)),
    ];
    for (n, config) in configs.iter().enumerate() {
        let tensors = tensors_of(config);
        let expected = expected(config, &tensors, &ids());
        for (way, worst) in off(config, &tensors, &expected) {
            assert!(worst < 1e-4, "configuration {n}, {way:?}: off by {worst}");
        }
        let worst = off_in_double(config, &tensors, &expected);
        assert!(worst < 1e-10, "configuration {n} in double precision: off by {worst}");
    }
}
