//! Titans with attention (2501.00663, section 4) against its definitions, written down once more in double precision: one token after another, with
//! softmax over the tokens that a query may see, and no chunks but those in which the memory learns.
#![allow(clippy::unwrap_used, reason = "a test that panics says what it found")]

mod common;

use nocturne_model::{
    ModelConfig,
    config::{MixerConfig, TitansConfig, TitansVariant},
    memory::{recurrent::TitansHead, titans::Titans},
    presets,
    tensors::Tensors,
};

use self::common::{
    plain::{HEAD, HEADS, Params, Row, WIDTH, dot, ids, off, off_in_double, plus, sigmoid, times},
    tensors_of,
};

const PERSISTENT: usize = 2;
const WINDOW: usize = 4;
const SEGMENT: usize = 5;

fn config(variant: TitansVariant) -> ModelConfig {
    let mixer = MixerConfig::Titans(TitansConfig {
        heads: HEADS,
        head_width: HEAD,
        hidden: vec![7],
        chunk: 3,
        max_step: 0.5,
        bound: Some(4.0),
        conv_taps: 3,
        gate: !matches!(variant, TitansVariant::Mag { .. }),
        variant,
    });
    presets::model("test", &mixer, 40, WIDTH, 1, 0)
}

/// Query, key or value of a head.
fn part(qkv: &[f64], which: usize, head: usize) -> &[f64] {
    &qkv[which * WIDTH + head * HEAD..][..HEAD]
}

/// The memory of all heads, and the rows before its convolution.
struct Memory<'a> {
    params: &'a Params<'a>,
    program: Titans,
    heads: Vec<TitansHead<f64>>,
    rows: Vec<Row>,
}

impl<'a> Memory<'a> {
    fn new(params: &'a Params<'a>, program: Titans) -> Self {
        let initial = params.mixer("memory");
        let heads = initial.chunks(initial.len() / HEADS).map(|row| TitansHead::new(&program, row)).collect();
        Self { params, program, heads, rows: Vec::new() }
    }

    /// Writes a token and reads it.
    fn step(&mut self, x: &[f64]) -> Row {
        self.rows.push(self.params.through(x, "qkv"));
        let qkv = self.params.convolved(&self.rows);
        let (gates, statics) = (self.params.through(x, "gates"), self.params.mixer("statics"));
        let mut out = vec![0.0; WIDTH];
        for (h, out) in out.chunks_mut(HEAD).enumerate() {
            let logits = [0, 1, 2].map(|n| gates[n * HEADS + h] + statics[h * 3 + n]);
            self.heads[h].step(&self.program, [0, 1, 2].map(|n| part(&qkv, n, h)), logits, out);
        }
        out
    }

    /// What the weights of the segment's start say about `x`, as a token.
    fn recall(&self, x: &[f64]) -> Row {
        let q = self.params.through(x, "branch.ask");
        let said: Row = (0..HEADS).flat_map(|h| self.heads[h].recall(&self.program, part(&q, 0, h))).collect();
        self.params.through(&said, "branch.answer")
    }
}

/// Channel `i` turns with channel `i + HEAD / 2`.
fn turned(x: &[f64], position: usize) -> Row {
    let half = HEAD / 2;
    let angle = |i: usize| position as f64 * 10_000_f64.powf(-2.0 * i as f64 / HEAD as f64);
    let (mut low, mut high) = (Row::new(), Row::new());
    for i in 0..half {
        let (sin, cos) = angle(i).sin_cos();
        low.push(x[i] * cos - x[i + half] * sin);
        high.push(x[i + half] * cos + x[i] * sin);
    }
    [low, high].concat()
}

/// What the last of `tokens` sees of those for which `seen` holds.
fn attend(params: &Params<'_>, tokens: &[Row], seen: impl Fn(usize) -> bool) -> Row {
    let qkv: Vec<Row> = tokens.iter().map(|x| params.through(x, "branch.qkv")).collect();
    let last = tokens.len() - 1;
    let head = |h: usize| -> Row {
        let q = turned(part(&qkv[last], 0, h), last);
        let scores = (0..tokens.len()).filter(|t| seen(*t)).map(|t| {
            let score = dot(&q, &turned(part(&qkv[t], 1, h), t)) / (HEAD as f64).sqrt();
            (score.exp(), part(&qkv[t], 2, h))
        });
        let (mut sum, mut out) = (0.0, vec![0.0; HEAD]);
        for (weight, value) in scores {
            sum += weight;
            out = plus(&out, &value.iter().map(|x| x * weight).collect::<Row>());
        }
        out.iter().map(|x| x / sum).collect()
    };
    (0..HEADS).flat_map(head).collect()
}

/// Persistent tokens, and the window before the last of `count`.
fn in_window(count: usize) -> impl Fn(usize) -> bool {
    move |t| t < PERSISTENT || t + WINDOW >= count
}

/// Memory as gate: `attention · σ(norm(memory))`.
fn mag(params: &Params<'_>, memory: &mut Memory<'_>, tokens: &mut Vec<Row>, x: &[f64]) -> Row {
    tokens.push(x.to_vec());
    let read = params.norm(&memory.step(x), "blocks.0.mixer.norm");
    let seen = params.norm(&attend(params, tokens, in_window(tokens.len())), "blocks.0.mixer.branch.norm");
    let open: Row = read.into_iter().map(sigmoid).collect();
    params.through(&times(&seen, &open), "out")
}

/// Memory as layer: attention reads the stream after the memory has added to it.
fn mal(params: &Params<'_>, memory: &mut Memory<'_>, tokens: &mut Vec<Row>, x: &[f64]) -> Row {
    let read = memory.step(x);
    let said = memory.params.leave(x, &read);
    tokens.push(params.norm(&plus(x, &said), "blocks.0.mixer.branch.norm"));
    let seen = attend(params, tokens, in_window(tokens.len()));
    plus(&said, &params.through(&seen, "branch.out"))
}

/// Memory as context: every segment begins with the persistent tokens; before each token stands what the memory said about it when the segment began.
fn mac(params: &Params<'_>, memory: &mut Memory<'_>, tokens: &mut Vec<Row>, x: &[f64]) -> Row {
    if memory.rows.len().is_multiple_of(SEGMENT) {
        tokens.truncate(PERSISTENT);
    }
    tokens.extend([memory.recall(x), x.to_vec()]);
    let y = params.through(&attend(params, tokens, |_| true), "branch.out");
    let read = memory.step(&y);
    let factor: Row = memory.params.leave(&y, &read).iter().map(|m| 1.0 + m).collect();
    times(&y, &factor)
}

/// Hidden states after the last norm.
fn expected(config: &ModelConfig, all: &Tensors, ids: &[u32]) -> Row {
    let MixerConfig::Titans(titans) = &config.blocks[0].mixer else { unreachable!("the test's model is of Titans") };
    let params = Params(all);
    let mut memory = Memory::new(&params, titans.program());
    let mut tokens: Vec<Row> = params.mixer("branch.persistent").chunks(WIDTH).map(<[_]>::to_vec).collect();
    let embed = params.get("embed");
    let step = match titans.variant {
        TitansVariant::Mag { .. } => mag,
        TitansVariant::Mal { .. } => mal,
        _ => mac,
    };
    let mut hidden = |id: &u32| {
        let x = &embed[*id as usize * WIDTH..][..WIDTH];
        let said = step(&params, &mut memory, &mut tokens, &params.norm(x, "blocks.0.mixer_norm"));
        params.norm(&plus(x, &said), "norm")
    };
    ids.iter().flat_map(&mut hidden).collect()
}

#[test]
fn titans_with_attention_is_what_its_definitions_say() {
    let variants = [
        TitansVariant::Mac { segment: SEGMENT, persistent: PERSISTENT },
        TitansVariant::Mag { window: WINDOW, persistent: PERSISTENT },
        TitansVariant::Mal { window: WINDOW, persistent: PERSISTENT },
    ];
    for config in variants.map(config) {
        let tensors = tensors_of(&config);
        let (name, expected) = (config.blocks[0].mixer.name(), expected(&config, &tensors, &ids()));
        for (way, worst) in off(&config, &tensors, &expected) {
            assert!(worst < 1e-4, "{name} {way:?}: off by {worst}");
        }
        let worst = off_in_double(&config, &tensors, &expected);
        assert!(worst < 1e-10, "{name} in double precision: off by {worst}");
    }
}
