//! Optimizers: rules over matrices, AdamW for the rest, through burn's group interface.
//!
//! Nested Learning reads an optimizer as a memory of gradients, and proposes others from there; each of those is a rule in a file of its own, with what
//! departs from the paper. `rule` is what they share and the one adapter to burn, `real` the numbers, `inputs` what delta gradient descent needs
//! beside gradients. Which one trains what is decided by [`OptimizerSettings`].
//!
//! That a schedule multiplies a peak rate is the same for all of them. At rate zero a memory takes gradients in and no bit of the weights changes.

mod adam;
pub mod delta_momentum;
pub mod dgd;
pub mod dmgd;
pub mod inputs;
pub mod m3;
pub mod momentum;
pub mod muon;
pub mod real;
pub mod rule;
mod state;

use burn::{
    grad_clipping::GradientClippingConfig,
    module::{Module, ModuleVisitor, Param, ParamGroup, ParamId},
    optim::ModuleOptimizer,
    tensor::Tensor,
};
use serde::{Deserialize, Serialize};

pub use self::{
    adam::AdamSettings, delta_momentum::DeltaMomentumSettings, dgd::DgdSettings, dmgd::DmgdSettings, inputs::InputMoments,
    m3::M3Settings, momentum::MomentumSettings, muon::MuonSettings, state::OptimizerState,
};
use self::{
    dgd::Dgd,
    rule::{Matrices, Rule},
};

/// Which optimizer, and how it is set.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum OptimizerSettings {
    /// burn's AdamW.
    Adam(AdamSettings),
    /// Momentum, orthogonalized.
    Muon(MuonSettings),
    /// Momentum as a memory of gradients.
    Momentum(MomentumSettings),
    /// Momentum that makes room before it writes.
    DeltaMomentum(DeltaMomentumSettings),
    /// Momentum as a perceptron.
    Dmgd(DmgdSettings),
    /// Gradient descent that erases along what a layer read.
    Dgd(DgdSettings),
    /// Muon at two scales of time.
    M3(M3Settings),
}

impl From<MuonSettings> for OptimizerSettings {
    fn from(settings: MuonSettings) -> Self {
        Self::Muon(settings)
    }
}

/// Which parameters an optimizer trains, before there is a model to make it for.
#[derive(Debug, Clone)]
pub struct OptimizerPlan {
    matrices: OptimizerSettings,
    group: ParamGroup,
    others: AdamSettings,
    /// Norm to which the gradient of each parameter is cut.
    clip: Option<f32>,
}

/// An optimizer on every matrix but the embedding, AdamW with peak rate `adam_rate` on the rest. A step takes the schedule's factor in [0, 1].
pub fn for_base(matrices: impl Into<OptimizerSettings>, adam_rate: f64) -> OptimizerPlan {
    let others = AdamSettings { rate: adam_rate, ..AdamSettings::default() };
    OptimizerPlan { matrices: matrices.into(), group: projections(), others, clip: None }
}

/// Projections and perceptrons of blocks; what gates, convolutions and memories begin with is no map from activations to activations.
fn projections() -> ParamGroup {
    let paths = [r"\.(qkv|out|up|down)$", r"(outlet|Perceptron)\.gate$"];
    ParamGroup::from_any_regexes(paths.to_vec()).unwrap_or_else(|_| unreachable!("both patterns are sound"))
}

/// What weight decay is for: not gains, biases, rates and what gates begin with, which would be pulled to a value that means something.
fn decayed() -> ParamGroup {
    let paths = [r"(^|\.)(embed|head|positions|qkv|out|up|down|gate|gates|conv)$"];
    ParamGroup::from_any_regexes(paths.to_vec()).unwrap_or_else(|_| unreachable!("the pattern is sound"))
}

/// `AdamW` on everything, for comparisons, with this weight decay on matrices; a step takes the learning rate itself.
pub fn for_comparison(weight_decay: f32) -> OptimizerPlan {
    let adam = AdamSettings { rate: 1.0, weight_decay, ..AdamSettings::default() };
    let others = AdamSettings { weight_decay: 0.0, ..adam };
    OptimizerPlan { matrices: OptimizerSettings::Adam(adam), group: decayed(), others, clip: Some(1.0) }
}

/// The optimizer on the slow banks; nothing else has gradients by night.
pub fn for_night(matrices: impl Into<OptimizerSettings>) -> OptimizerPlan {
    OptimizerPlan { matrices: matrices.into(), group: ParamGroup::all(), others: AdamSettings::default(), clip: None }
}

impl OptimizerPlan {
    /// Whether the optimizer needs the second moments of what layers read.
    pub fn reads_inputs(&self) -> bool {
        matches!(self.matrices, OptimizerSettings::Dgd(_))
    }

    /// The optimizer for a model whose operations fill `inputs`; only [`OptimizerSettings::Dgd`] reads them. Parameters of a model that was restored may have
    /// other ids, so that it needs an optimizer made anew.
    pub fn build(&self, model: &impl Module, inputs: &InputMoments) -> ModuleOptimizer {
        let optimizer = ModuleOptimizer::from(self.others.optimizer());
        let clipping = || self.clip.map(|norm| GradientClippingConfig::Norm(norm).init());
        let optimizer = match clipping() {
            Some(clipping) => optimizer.with_grad_clipping(clipping),
            None => optimizer,
        };
        match self.matrices {
            // The optimizer of the others already is one.
            OptimizerSettings::Adam(settings) if settings == self.others => optimizer,
            OptimizerSettings::Adam(settings) => optimizer.with_group(self.group.clone(), settings.optimizer(), clipping()),
            OptimizerSettings::Muon(settings) => self.with(optimizer, settings),
            OptimizerSettings::Momentum(settings) => self.with(optimizer, settings),
            OptimizerSettings::DeltaMomentum(settings) => self.with(optimizer, settings),
            OptimizerSettings::Dmgd(settings) => self.with(optimizer, settings),
            OptimizerSettings::M3(settings) => self.with(optimizer, settings),
            OptimizerSettings::Dgd(settings) => {
                let mut found = Ids { group: &self.group, path: Vec::new(), ids: Vec::new() };
                model.visit(&mut found);
                found.ids.into_iter().fold(optimizer, |optimizer, id| {
                    let rule = Dgd { settings, id, inputs: inputs.clone() };
                    optimizer.with_group(ParamGroup::from_ids(vec![id]), self.adapted(rule), None)
                })
            }
        }
    }

    fn adapted<R: Rule<f32>>(&self, rule: R) -> Matrices<R> {
        Matrices { rule, others: self.others.optimizer() }
    }

    fn with<R: Rule<f32>>(&self, optimizer: ModuleOptimizer, rule: R) -> ModuleOptimizer {
        optimizer.with_group(self.group.clone(), self.adapted(rule), None)
    }
}

/// Finds the parameters of a group.
struct Ids<'a> {
    group: &'a ParamGroup,
    path: Vec<String>,
    ids: Vec<ParamId>,
}

impl ModuleVisitor for Ids<'_> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if self.group.matches(&param.id, Some(&self.path.join("."))) {
            self.ids.push(param.id);
        }
    }
}

/// Share of the peak rate at a step: linear warm-up, constant, then linear to zero.
pub fn schedule(step: u64, steps: u64, warm_up: u64, decay_from: f64) -> f64 {
    let warm = if warm_up == 0 { 1.0 } else { ((step + 1) as f64 / warm_up as f64).min(1.0) };
    let from = decay_from * steps as f64;
    let left = (steps as f64 - step as f64) / (steps as f64 - from).max(1.0);
    warm * left.clamp(0.0, 1.0)
}
