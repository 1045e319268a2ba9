//! The module's parameters by name, both ways.
//!
//! A name is the path through the module, less what says nothing about the parameter: which kind a mixer or a bank is, and its way in or out. Banks
//! are called as in the configuration: `blocks.2.cms.slow.up`.

use std::collections::BTreeMap;

use burn::{
    module::{Module, ModuleMapper, ModuleVisitor, Param, ParamGroup, ParamId},
    tensor::{Device, Tensor, TensorData},
};
use nocturne_wire::manifest::Period;

use crate::{
    config::{BankConfig, CmsConfig, ModelConfig, Wiring},
    error::ModelError,
    model::Model,
    tensors::{self, Tensors, Values},
};

/// Where a walk through the module is.
#[derive(Default)]
struct Path {
    /// Names of modules, and the kinds of those that contain others.
    steps: Vec<(String, String)>,
    /// Names of banks, block by block.
    banks: Vec<Vec<String>>,
}

/// Modules that only group parameters.
const GROUPS: [&str; 3] = ["inlet", "outlet", "banks"];

impl Path {
    fn of(config: &ModelConfig) -> Self {
        let names = |cms: &CmsConfig| cms.stored().iter().map(|bank| bank.name.clone()).collect();
        Self { steps: Vec::new(), banks: config.blocks.iter().map(|block| names(&block.cms)).collect() }
    }

    fn enter(&mut self, name: &str, kind: &str) {
        self.steps.push((name.to_owned(), kind.to_owned()));
    }

    fn leave(&mut self) {
        self.steps.pop();
    }

    fn name(&self) -> String {
        let block = self.steps.get(1).and_then(|(name, _)| name.parse::<usize>().ok());
        let mut parts: Vec<&str> = Vec::new();
        for (n, (name, kind)) in self.steps.iter().enumerate() {
            let in_banks = n > 0 && self.steps[n - 1].0 == "banks";
            let bank = block.zip(name.parse::<usize>().ok()).filter(|_| in_banks);
            if let Some(name) = bank.and_then(|(block, bank)| self.banks.get(block)?.get(bank)) {
                parts.push(name);
            } else if !GROUPS.contains(&name.as_str()) && !kind.starts_with("Enum:") {
                parts.push(name);
            }
        }
        parts.join(".")
    }
}

struct Collect<'a> {
    path: Path,
    wanted: &'a dyn Fn(&str) -> bool,
    tensors: Tensors,
}

impl ModuleVisitor for Collect<'_> {
    fn enter_module(&mut self, name: &str, kind: &str) {
        self.path.enter(name, kind);
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.leave();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let name = self.path.name();
        if !(self.wanted)(&name) {
            return;
        }
        let tensor = param.val();
        let shape = tensor.dims().to_vec();
        let data = tensors::floats(tensor);
        self.tensors.insert(name, Values { shape, data });
    }
}

struct Replace<'a> {
    path: Path,
    tensors: &'a Tensors,
    device: &'a Device,
}

impl ModuleMapper for Replace<'_> {
    fn enter_module(&mut self, name: &str, kind: &str) {
        self.path.enter(name, kind);
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.leave();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        match self.tensors.get(&self.path.name()) {
            None => param,
            // Whatever the parameter held is dropped unread: an outline's was never made.
            Some(values) => Param::initialized(param.id, self.tensor(values)),
        }
    }
}

impl Replace<'_> {
    fn tensor<const D: usize>(&self, values: &Values) -> Tensor<D> {
        let tensor = Tensor::from_data(TensorData::new(values.data.clone(), values.shape.clone()), self.device);
        // Only a device that records operations knows gradients; to decode, none is asked for.
        if self.device.is_autodiff() { tensor.require_grad() } else { tensor }
    }
}

/// The same model with some parameters replaced; the others stay what they are.
pub(crate) fn replace(config: &ModelConfig, model: Model, given: &Tensors, device: &Device) -> Model {
    model.map(&mut Replace { path: Path::of(config), tensors: given, device })
}

/// What `of` gives for every parameter, by name.
pub(crate) fn gather(config: &ModelConfig, model: &Model, of: &dyn Fn(ParamId) -> Option<Values>) -> Tensors {
    let mut visitor = Pick { path: Path::of(config), of, tensors: Tensors::new() };
    model.visit(&mut visitor);
    visitor.tensors
}

/// The path of every parameter through the module, as burn's optimizers know it, and its name.
pub(crate) fn paths(config: &ModelConfig, model: &Model) -> Vec<(String, String)> {
    let mut visitor = Paths { path: Path::of(config), found: Vec::new() };
    model.visit(&mut visitor);
    visitor.found
}

struct Paths {
    path: Path,
    found: Vec<(String, String)>,
}

impl ModuleVisitor for Paths {
    fn enter_module(&mut self, name: &str, kind: &str) {
        self.path.enter(name, kind);
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.leave();
    }

    fn visit_float<const D: usize>(&mut self, _: &Param<Tensor<D>>) {
        let steps: Vec<&str> = self.path.steps.iter().map(|(name, _)| name.as_str()).collect();
        self.found.push((steps.join("."), self.path.name()));
    }
}

struct Pick<'a> {
    path: Path,
    of: &'a dyn Fn(ParamId) -> Option<Values>,
    tensors: Tensors,
}

impl ModuleVisitor for Pick<'_> {
    fn enter_module(&mut self, name: &str, kind: &str) {
        self.path.enter(name, kind);
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.leave();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(values) = (self.of)(param.id) {
            self.tensors.insert(self.path.name(), values);
        }
    }
}

/// All parameters by name.
pub fn collect(config: &ModelConfig, model: &Model) -> Tensors {
    collect_some(config, model, &|_| true)
}

/// The parameters whose names are wanted.
pub(crate) fn collect_some(config: &ModelConfig, model: &Model, wanted: &dyn Fn(&str) -> bool) -> Tensors {
    let mut collect = Collect { path: Path::of(config), wanted, tensors: Tensors::new() };
    model.visit(&mut collect);
    collect.tensors
}

/// Names and extents of every parameter of a model with this configuration.
pub fn layout(config: &ModelConfig) -> BTreeMap<String, Vec<usize>> {
    outlined(config, &Model::outline(config, &Device::flex()))
}

fn outlined(config: &ModelConfig, model: &Model) -> BTreeMap<String, Vec<usize>> {
    let mut outline = Outline { path: Path::of(config), extents: BTreeMap::new() };
    model.visit(&mut outline);
    outline.extents
}

struct Outline {
    path: Path,
    extents: BTreeMap<String, Vec<usize>>,
}

impl ModuleVisitor for Outline {
    fn enter_module(&mut self, name: &str, kind: &str) {
        self.path.enter(name, kind);
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.leave();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.extents.insert(self.path.name(), param.lazy_shape().to_vec());
    }
}

/// A model with the given parameters on a device.
///
/// # Errors
/// When a parameter is missing, foreign or of other extents.
pub fn load(config: &ModelConfig, what: &str, given: &Tensors, device: &Device) -> Result<Model, ModelError> {
    let model = Model::outline(config, device);
    tensors::check_layout(what, given, &outlined(config, &model))?;
    Ok(model.map(&mut Replace { path: Path::of(config), tensors: given, device }))
}

/// The group of parameters of banks that change by night.
pub fn nightly(config: &ModelConfig) -> ParamGroup {
    group(config, |_, bank| bank.period == Period::Night)
}

/// The group of parameters of perceptrons that a session changes, or that such levels begin with.
pub fn learning(config: &ModelConfig) -> ParamGroup {
    group(config, |cms, bank| match cms.wiring {
        Wiring::Nested => !cms.learning().is_empty(),
        Wiring::Independent | Wiring::Sequential => cms.learning().iter().any(|learning| learning.name == bank.name),
    })
}

fn group(config: &ModelConfig, wanted: impl Fn(&CmsConfig, &BankConfig) -> bool) -> ParamGroup {
    let banks = config.banks().filter(|(block, _, bank)| wanted(&config.blocks[*block].cms, bank));
    // A predicate is looked for in paths through the module; without a bank there must be one that none has.
    let paths: Vec<String> = banks.map(|(block, n, _)| format!("blocks.{block}.cms.banks.{n}.")).collect();
    if paths.is_empty() { ParamGroup::from_predicate("no such bank") } else { ParamGroup::from_any_predicates(paths) }
}
