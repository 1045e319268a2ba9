//! The Continuum Memory System of a block: banks, and how they are put together.

use burn::{
    module::{Module, Param},
    tensor::Tensor,
};
use nocturne_wire::manifest::Period;

use crate::{
    config::{BankConfig, BankShape, CmsConfig, Wiring},
    kernels::{
        gemm::{Factor, Write, product},
        math::simd,
        mlp::Activation,
        quiet::Quiet,
    },
    memory::fast::State,
    model::Init,
    ops::{self, Way, composed},
    optim::InputMoments,
    tensors::floats,
};

/// A perceptron bank.
#[derive(Module, Debug)]
pub struct Perceptron {
    /// `[C, H]`: the gate's projection, when there is one.
    pub gate: Option<Param<Tensor<2>>>,
    /// `[C, H]`: into the hidden layer.
    pub up: Param<Tensor<2>>,
    /// `[H, C]`: out of it.
    pub down: Param<Tensor<2>>,
    #[module(skip)]
    activation: Activation,
}

/// The in-session memory's fixed parts; what it writes lives in a session.
#[derive(Module, Debug)]
pub struct Memory {
    /// `[C, 3W]`: queries, keys, values.
    pub qkv: Param<Tensor<2>>,
    /// `[C, 1]`: write logits.
    pub gate: Param<Tensor<2>>,
    /// `[1]`: logit of the retention.
    pub retention: Param<Tensor<1>>,
    /// `[W, C]`: back into the stream.
    pub out: Param<Tensor<2>>,
    #[module(skip)]
    period: usize,
}

/// A bank.
#[derive(Module, Debug)]
pub enum Bank {
    /// A perceptron.
    Perceptron(Perceptron),
    /// A linear memory.
    Memory(Memory),
}

/// The banks of one block.
#[derive(Module, Debug)]
pub struct Cms {
    /// In the order of the configuration.
    pub banks: Vec<Bank>,
    /// `[C]` each: gains of the norms before every bank but the first, in a chain.
    pub norms: Vec<Param<Tensor<1>>>,
    #[module(skip)]
    wiring: Wiring,
    #[module(skip)]
    nightly: Vec<bool>,
    #[module(skip)]
    epsilon: f32,
}

/// Whether banks that nights change take part: where they were added to a model they are zero in generation 0, so that a teacher may skip them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlowBank {
    /// As trained.
    On,
    /// Left out.
    Off,
}

/// What a training pass does with nightly banks beside predicting, its rows those of the flattened `[B × T]`.
#[derive(Debug, Default)]
pub struct Beside<'a> {
    /// A penalty on what they add to the stream.
    pub quiet: Option<&'a Quiet>,
    /// Where second moments of their layers' inputs are gathered.
    pub moments: Option<Moments<'a>>,
}

/// See [`Beside::moments`].
#[derive(Debug)]
pub struct Moments<'a> {
    /// What is gathered.
    pub inputs: &'a InputMoments,
    /// Whether a row counts; padding does not.
    pub counted: Vec<bool>,
}

/// What a pass through the banks is told beside its input.
pub(crate) struct Pass<'a> {
    pub way: Way,
    pub slow: SlowBank,
    pub beside: &'a Beside<'a>,
    /// What goes into the loss without a value.
    pub hidden: Vec<Tensor<1>>,
}

/// The state of a block's in-session memories in a stream.
pub type Memories = Vec<Option<State<Tensor<3>>>>;

impl Init<'_> {
    fn bank(&mut self, bank: &BankConfig, width: usize) -> Bank {
        match bank.shape {
            BankShape::Perceptron { hidden, activation, gated } => {
                let gate = gated.then(|| self.weight(width, hidden));
                let up = self.weight(width, hidden);
                // What is added to a model must not change it before the first night.
                let down = if bank.period == Period::Night {
                    self.constant([hidden, width], 0.0)
                } else {
                    self.quiet_weight(hidden, width)
                };
                Bank::Perceptron(Perceptron { gate, up, down, activation })
            }
            BankShape::Memory { width: inner } => Bank::Memory(Memory {
                qkv: self.weight(width, 3 * inner),
                gate: self.constant([width, 1], 0.0),
                retention: self.constant([1], 4.0),
                out: self.normal([inner, width], 0.1 * (inner as f32).sqrt().recip()),
                period: bank.tokens().unwrap_or(1) as usize,
            }),
        }
    }
}

impl Cms {
    pub(crate) fn new(config: &CmsConfig, width: usize, epsilon: f32, init: &mut Init<'_>) -> Self {
        let chained = config.wiring == Wiring::Sequential;
        let stored = config.stored();
        let nightly = |bank: &BankConfig| bank.period == Period::Night;
        Self {
            banks: stored.iter().map(|bank| init.within(nightly(bank), |init| init.bank(bank, width))).collect(),
            norms: (1..stored.len()).filter(|_| chained).map(|_| init.constant([width], 1.0)).collect(),
            wiring: config.wiring,
            nightly: stored.iter().map(nightly).collect(),
            epsilon,
        }
    }

    /// What the banks add to the stream `x`, whose norm is `normed`.
    pub(crate) fn remember(
        &self,
        x: &Tensor<3>,
        normed: Tensor<3>,
        pass: &mut Pass<'_>,
        memories: Option<&mut Memories>,
    ) -> Tensor<3> {
        let mut none = Memories::new();
        let stream = memories.is_some();
        let memories = memories.unwrap_or(&mut none);
        memories.resize(self.banks.len(), None);
        match self.wiring {
            // Nested levels are one bank here: what a session reads is put in its place.
            Wiring::Independent | Wiring::Nested => {
                let said = (0..self.banks.len()).filter_map(|n| self.bank(n, normed.clone(), pass, stream, &mut memories[n]));
                said.reduce(|a, b| a + b).unwrap_or_else(|| x.zeros_like())
            }
            Wiring::Sequential => {
                let mut at = x.clone();
                for (n, memory) in memories.iter_mut().enumerate() {
                    let input = match n.checked_sub(1) {
                        None => normed.clone(),
                        Some(before) => pass.way.norm(at.clone(), self.norms[before].val(), self.epsilon),
                    };
                    if let Some(said) = self.bank(n, input, pass, stream, memory) {
                        at = at + said;
                    }
                }
                at - x.clone()
            }
        }
    }

    /// What one bank says; nothing when it is left out.
    fn bank(
        &self,
        n: usize,
        x: Tensor<3>,
        pass: &mut Pass<'_>,
        stream: bool,
        memory: &mut Option<State<Tensor<3>>>,
    ) -> Option<Tensor<3>> {
        if self.nightly[n] && pass.slow == SlowBank::Off {
            return None;
        }
        if let (Some(moments), Bank::Perceptron(bank), true) = (&pass.beside.moments, &self.banks[n], self.nightly[n]) {
            bank.observe(&x, moments);
        }
        let said = match &self.banks[n] {
            Bank::Perceptron(bank) => bank.say(pass.way, x),
            Bank::Memory(bank) => bank.say(pass.way, x, stream, memory),
        };
        match pass.beside.quiet {
            Some(penalty) if self.nightly[n] => Some(pass.way.quiet(said, penalty, &mut pass.hidden)),
            _ => Some(said),
        }
    }
}

impl Perceptron {
    fn say(&self, way: Way, x: Tensor<3>) -> Tensor<3> {
        let (up, down) = (self.up.val(), self.down.val());
        match &self.gate {
            Some(gate) => way.gated_mlp(x, [gate.val(), up, down], self.activation),
            None => way.mlp(x, up, down, self.activation),
        }
    }
}

impl Perceptron {
    /// Gathers what both layers read.
    fn observe(&self, x: &Tensor<3>, moments: &Moments<'_>) {
        let values = |tensor: Tensor<2>| floats(tensor.detach());
        let [batch, time, width] = x.dims();
        let rows = batch * time;
        let x = values(x.clone().reshape([rows, width]));
        let through = |layer: &Param<Tensor<2>>| {
            let (w, hidden) = (values(layer.val()), layer.val().dims()[1]);
            let mut out = vec![0.0; rows * hidden];
            product(&mut out, Write::Set, Factor::new(&x, rows, width), Factor::new(&w, width, hidden));
            out
        };
        let first = self.gate.as_ref().unwrap_or(&self.up);
        let mut hidden = through(first);
        simd(|| self.activation.apply(&mut hidden));
        if self.gate.is_some() {
            hidden.iter_mut().zip(through(&self.up)).for_each(|(h, l)| *h *= l);
        }
        let gather = |id, x: &[f32], width| moments.inputs.add(id, x, width, Some(&moments.counted));
        self.gate.iter().chain([&self.up]).for_each(|layer| gather(layer.id, &x, width));
        gather(self.down.id, &hidden, self.down.val().dims()[0]);
    }
}

impl Memory {
    fn say(&self, way: Way, x: Tensor<3>, stream: bool, memory: &mut Option<State<Tensor<3>>>) -> Tensor<3> {
        let qkv = way.linear(x.clone(), self.qkv.val());
        let gate = way.linear(x, self.gate.val());
        let read = if stream {
            composed::fast(qkv, gate, self.retention.val(), self.period, memory)
        } else {
            ops::fast(way, qkv, gate, self.retention.val(), self.period)
        };
        way.linear(read, self.out.val())
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};

    use super::*;
    use crate::optim::inputs::Moment;

    fn silu(z: f32) -> f32 {
        z / (1.0 + (-z).exp())
    }

    /// `x W` of one row.
    fn through(x: &[f32], w: &Param<Tensor<2>>) -> Vec<f32> {
        let w: Vec<f32> = w.val().into_data().try_to_vec().expect("numbers");
        let width = w.len() / x.len();
        (0..width).map(|c| x.iter().enumerate().map(|(r, x)| x * w[r * width + c]).sum()).collect()
    }

    #[test]
    fn moments_are_those_of_what_each_layer_reads_where_it_counts() {
        for gated in [false, true] {
            let device = Device::flex();
            let shape = BankShape::Perceptron { hidden: 5, activation: Activation::Silu, gated };
            let bank = BankConfig { name: "slow".into(), period: Period::Night, shape };
            let Bank::Perceptron(bank) = Init::new(3, &device).bank(&bank, 4) else { panic!("a perceptron") };
            let x: Vec<f32> = (0..2 * 3 * 4).map(|n| (n as f32 * 0.7).sin()).collect();
            let counted = vec![true, true, false, true, false, false];
            let inputs = InputMoments::default();
            let tensor = Tensor::from_data(TensorData::new(x.clone(), [2, 3, 4]), &device);
            bank.observe(&tensor, &Moments { inputs: &inputs, counted: counted.clone() });

            let read: Vec<&[f32]> =
                x.chunks_exact(4).zip(&counted).filter(|(_, counted)| **counted).map(|(row, _)| row).collect();
            let hidden = |row: &&[f32]| -> Vec<f32> {
                let up = through(row, &bank.up);
                match &bank.gate {
                    Some(gate) => through(row, gate).into_iter().zip(up).map(|(g, u)| silu(g) * u).collect(),
                    None => up.into_iter().map(silu).collect(),
                }
            };
            let hidden: Vec<f32> = read.iter().flat_map(hidden).collect();
            let (outer, inner) = (Moment::of(&read.concat(), 4), Moment::of(&hidden, 5));
            let same = |found: Moment, expected: &Moment| {
                let worst = found.sum.iter().zip(&expected.sum).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(found.inputs == 3 && found.width == expected.width && worst < 1e-5, "gated {gated}: off by {worst}");
            };
            for layer in bank.gate.iter().chain([&bank.up]) {
                same(inputs.take(layer.id).expect("observed"), &outer);
            }
            same(inputs.take(bank.down.id).expect("observed"), &inner);
        }
    }
}
