//! The model as a burn module: embedding, blocks of mixer and Continuum Memory System, tied head.
//!
//! A block is `x + mixer(norm(x))`, then `x + cms(norm(x))`. The CMS sums its banks (the independent wiring of Nested Learning, Eq. 74 with unit
//! weights): a frozen perceptron, a slow perceptron whose output projection starts at zero, and, in some blocks, a fast linear memory.

use std::sync::{Arc, Mutex};

use burn::{
    module::{Module, Param, ParamGroup},
    tensor::{Device, Tensor, TensorData},
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::{
    config::{HopeConfig, MixerKind},
    host::{apply1, apply2, apply3, apply4},
    kernels::{
        attention::Attention,
        conv::ShortConv,
        delta::{DeltaMemory, Rule},
        embed::Embed,
        fast::FastBank,
        head::{HeadLoss, Tally, Targets},
        linear::Linear,
        mlp::{Activation, Mlp},
        norm::{EPSILON, RmsNorm},
        quiet::Quiet,
        rope::Rope,
    },
};

/// A perceptron bank: `[C, H]` and `[H, C]`.
#[derive(Module, Debug)]
pub struct Perceptron {
    /// Into the hidden layer.
    pub up: Param<Tensor<2>>,
    /// Out of it.
    pub down: Param<Tensor<2>>,
}

/// The in-session bank's fixed parts; what it writes lives in a session.
#[derive(Module, Debug)]
pub struct Fast {
    /// `[C, 3W]`: queries, keys, values.
    pub qkv: Param<Tensor<2>>,
    /// `[C, 1]`: write logits.
    pub gate: Param<Tensor<2>>,
    /// `[1]`: logit of the retention.
    pub retention: Param<Tensor<1>>,
    /// `[W, C]`: back into the stream.
    pub out: Param<Tensor<2>>,
}

/// The banks of one block.
#[derive(Module, Debug)]
pub struct Cms {
    /// Never changes after pre-training.
    pub frozen: Perceptron,
    /// Changes by night.
    pub slow: Perceptron,
    /// Changes in a session.
    pub fast: Option<Fast>,
}

/// What only the gated delta rule has.
#[derive(Module, Debug)]
pub struct DeltaGates {
    /// `[C, 2H]`: write and decay logits.
    pub gates: Param<Tensor<2>>,
    /// `[H]`: logarithm of the decay rate.
    pub a_log: Param<Tensor<1>>,
    /// `[H]`: bias of the decay logits.
    pub dt_bias: Param<Tensor<1>>,
    /// `[C / H]`: gain of the output's norm per head.
    pub norm: Param<Tensor<1>>,
}

/// A token mixer.
#[derive(Module, Debug)]
pub struct Mixer {
    /// `[C, 3C]`: queries, keys, values.
    pub qkv: Param<Tensor<2>>,
    /// `[J, 3C]`: short convolution.
    pub conv: Param<Tensor<2>>,
    /// `[C, C]`: output projection.
    pub out: Param<Tensor<2>>,
    /// The gated delta rule's parts; `None` for attention.
    pub delta: Option<DeltaGates>,
}

/// One block.
#[derive(Module, Debug)]
pub struct Block {
    /// `[C]`
    pub mixer_norm: Param<Tensor<1>>,
    /// The mixer.
    pub mixer: Mixer,
    /// `[C]`
    pub cms_norm: Param<Tensor<1>>,
    /// The banks.
    pub cms: Cms,
}

/// The model.
#[derive(Module, Debug)]
pub struct Hope {
    /// `[V, C]`, tied with the head.
    pub embed: Param<Tensor<2>>,
    /// The blocks.
    pub blocks: Vec<Block>,
    /// `[C]`
    pub norm: Param<Tensor<1>>,
    #[module(skip)]
    settings: Settings,
}

/// What the forward pass needs to know beside the weights.
#[derive(Debug, Clone, PartialEq)]
struct Settings {
    heads: usize,
    theta: f32,
    frozen: Activation,
    slow: Activation,
    fast_period: usize,
}

/// Whether the slow bank takes part: generation 0's is zero, so a teacher may skip it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlowBank {
    /// As trained.
    On,
    /// Left out, which is generation 0.
    Off,
}

struct Init<'a> {
    rng: ChaCha8Rng,
    device: &'a Device,
}

impl Init<'_> {
    fn normal<const D: usize>(&mut self, shape: [usize; D], std: f32) -> Param<Tensor<D>> {
        let n = shape.iter().product();
        let values: Vec<f32> = (0..n).map(|_| gaussian(&mut self.rng) * std).collect();
        self.values(values, shape)
    }

    fn constant<const D: usize>(&mut self, shape: [usize; D], value: f32) -> Param<Tensor<D>> {
        self.values(vec![value; shape.iter().product()], shape)
    }

    fn values<const D: usize>(&mut self, values: Vec<f32>, shape: [usize; D]) -> Param<Tensor<D>> {
        Param::from_tensor(Tensor::from_data(TensorData::new(values, shape.to_vec()), self.device))
    }

    fn weight(&mut self, inputs: usize, outputs: usize) -> Param<Tensor<2>> {
        self.normal([inputs, outputs], (inputs as f32).sqrt().recip())
    }

    fn perceptron(&mut self, width: usize, hidden: usize, zero: bool) -> Perceptron {
        let up = self.weight(width, hidden);
        let down = if zero {
            self.constant([hidden, width], 0.0)
        } else {
            self.normal([hidden, width], 0.5 * (hidden as f32).sqrt().recip())
        };
        Perceptron { up, down }
    }

    fn conv(&mut self, taps: usize, channels: usize) -> Param<Tensor<2>> {
        let mut values = vec![0.0; taps * channels];
        values[(taps - 1) * channels..].fill(1.0);
        for value in &mut values {
            *value += 0.05 * gaussian(&mut self.rng);
        }
        self.values(values, [taps, channels])
    }

    fn mixer(&mut self, c: &HopeConfig, kind: MixerKind) -> Mixer {
        let delta = match kind {
            MixerKind::Attention => None,
            MixerKind::GatedDelta => Some(self.delta(c)),
        };
        Mixer {
            qkv: self.weight(c.width, 3 * c.width),
            conv: self.conv(c.conv_taps, 3 * c.width),
            out: self.normal([c.width, c.width], 0.5 * (c.width as f32).sqrt().recip()),
            delta,
        }
    }

    /// Decay rates uniform in (0, 16), time steps log-uniform in [1e-3, 1e-1], as Gated DeltaNet starts them.
    fn delta(&mut self, c: &HopeConfig) -> DeltaGates {
        let rates = (0..c.heads).map(|_| self.rng.random_range(1.0_f32..16.0).ln()).collect();
        let steps = (0..c.heads).map(|_| {
            let dt = (self.rng.random_range(1e-3_f32.ln()..1e-1_f32.ln())).exp();
            dt + (-(-dt).exp_m1()).ln()
        });
        let steps = steps.collect();
        DeltaGates {
            gates: self.normal([c.width, 2 * c.heads], 0.02),
            a_log: self.values(rates, [c.heads]),
            dt_bias: self.values(steps, [c.heads]),
            norm: self.constant([c.head_width()], 1.0),
        }
    }

    fn fast(&mut self, c: &HopeConfig) -> Fast {
        Fast {
            qkv: self.weight(c.width, 3 * c.fast.width),
            gate: self.constant([c.width, 1], 0.0),
            retention: self.constant([1], 4.0),
            out: self.normal([c.fast.width, c.width], 0.1 * (c.fast.width as f32).sqrt().recip()),
        }
    }
}

fn gaussian(rng: &mut ChaCha8Rng) -> f32 {
    let (u, v): (f32, f32) = (rng.random_range(f32::EPSILON..1.0), rng.random());
    (-2.0 * u.ln()).sqrt() * (std::f32::consts::TAU * v).cos()
}

impl Hope {
    /// A freshly initialized model.
    pub fn new(config: &HopeConfig, seed: u64, device: &Device) -> Self {
        let mut init = Init { rng: ChaCha8Rng::seed_from_u64(seed), device };
        let embed = init.normal([config.vocab, config.width], (config.width as f32).sqrt().recip());
        let blocks = config.mixers.iter().enumerate().map(|(n, kind)| Block {
            mixer_norm: init.constant([config.width], 1.0),
            mixer: init.mixer(config, *kind),
            cms_norm: init.constant([config.width], 1.0),
            cms: Cms {
                frozen: init.perceptron(config.width, config.frozen.hidden, false),
                slow: init.perceptron(config.width, config.slow.hidden, true),
                fast: config.fast.blocks.contains(&n).then(|| init.fast(config)),
            },
        });
        let blocks = blocks.collect();
        let norm = init.constant([config.width], 1.0);
        let settings = Settings {
            heads: config.heads,
            theta: config.rope_theta,
            frozen: config.frozen.activation,
            slow: config.slow.activation,
            fast_period: config.fast.period_tokens as usize,
        };
        Self { embed, blocks, norm, settings }
    }

    /// The group of parameters that nights change.
    pub fn slow_banks() -> ParamGroup {
        ParamGroup::from_predicate("cms.slow.")
    }

    /// Hidden states after the last norm, `[B, T, C]`, of token ids `[B, T]` (row-major).
    pub fn hidden(&self, ids: &Arc<Vec<u32>>, batch: usize, slow: SlowBank) -> Tensor<3> {
        self.hidden_quiet(ids, batch, slow, None)
    }

    /// The same for training, with a penalty on what every slow bank adds to the stream, its rows those of the flattened `[B × T]`.
    pub fn hidden_quiet(&self, ids: &Arc<Vec<u32>>, batch: usize, slow: SlowBank, quiet: Option<&Quiet>) -> Tensor<3> {
        let mut x: Tensor<3> = apply1(self.embed.val(), Arc::new(Embed { ids: Arc::clone(ids), batch }));
        for block in &self.blocks {
            let normed = norm(x.clone(), &block.mixer_norm);
            x = x + self.mix(&block.mixer, normed);
            let normed = norm(x.clone(), &block.cms_norm);
            x = x + self.remember(&block.cms, normed, slow, quiet);
        }
        norm(x, &self.norm)
    }

    fn mix(&self, mixer: &Mixer, x: Tensor<3>) -> Tensor<3> {
        let qkv: Tensor<3> = linear(x.clone(), &mixer.qkv);
        let silu = mixer.delta.is_some();
        let qkv: Tensor<3> = apply2(qkv, mixer.conv.val(), Arc::new(ShortConv { silu }));
        let heads = self.settings.heads;
        let mixed: Tensor<3> = match &mixer.delta {
            None => apply1(
                qkv,
                Arc::new(Attention { heads, kv_heads: heads, rope: Some(Rope::new(self.settings.theta)), window: None }),
            ),
            Some(d) => {
                let gates: Tensor<3> = linear(x, &d.gates);
                let read: Tensor<3> = apply4(
                    qkv,
                    gates,
                    d.a_log.val(),
                    d.dt_bias.val(),
                    Arc::new(DeltaMemory { heads, key: mixer.out.dims()[0] / heads, rule: Rule::Gated }),
                );
                norm(read, &d.norm)
            }
        };
        linear(mixed, &mixer.out)
    }

    fn remember(&self, cms: &Cms, x: Tensor<3>, slow: SlowBank, quiet: Option<&Quiet>) -> Tensor<3> {
        let mut y = perceptron(x.clone(), &cms.frozen, self.settings.frozen);
        if slow == SlowBank::On {
            let added = perceptron(x.clone(), &cms.slow, self.settings.slow);
            y = y + match quiet {
                Some(penalty) => apply1(added, Arc::new(penalty.clone())),
                None => added,
            };
        }
        if let Some(fast) = &cms.fast {
            let qkv: Tensor<3> = linear(x.clone(), &fast.qkv);
            let gate: Tensor<3> = linear(x, &fast.gate);
            let op = FastBank { period: self.settings.fast_period };
            let read: Tensor<3> = apply3(qkv, gate, fast.retention.val(), Arc::new(op));
            y = y + linear(read, &fast.out);
        }
        y
    }

    /// The weighted loss of hidden states against targets, divided by `normalizer`.
    pub fn loss(&self, hidden: Tensor<3>, targets: Arc<Targets>, normalizer: f32) -> (Tensor<1>, Arc<Mutex<Tally>>) {
        let tally = Arc::new(Mutex::new(Tally::default()));
        let op = HeadLoss { targets, normalizer, tally: Arc::clone(&tally) };
        (apply2(hidden, self.embed.val(), Arc::new(op)), tally)
    }
}

fn norm(x: Tensor<3>, gain: &Param<Tensor<1>>) -> Tensor<3> {
    apply2(x, gain.val(), Arc::new(RmsNorm { epsilon: EPSILON }))
}

fn linear(x: Tensor<3>, w: &Param<Tensor<2>>) -> Tensor<3> {
    apply2(x, w.val(), Arc::new(Linear))
}

fn perceptron(x: Tensor<3>, bank: &Perceptron, activation: Activation) -> Tensor<3> {
    apply3(x, bank.up.val(), bank.down.val(), Arc::new(Mlp { activation }))
}
