//! The module's parameters by name, both ways.

use std::collections::BTreeMap;

use burn::{
    module::{Module, ModuleMapper, ModuleVisitor, Param},
    tensor::{Device, Tensor, TensorData},
};

use crate::{
    config::HopeConfig,
    error::ModelError,
    hope::Hope,
    tensors::{self, Tensors, Values},
};

#[derive(Default)]
struct Collect {
    path: Vec<String>,
    tensors: Tensors,
}

impl ModuleVisitor for Collect {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let tensor = param.val();
        let shape = tensor.dims().to_vec();
        let data = tensor.into_data().try_to_vec().unwrap_or_default();
        self.tensors.insert(self.path.join("."), Values { shape, data });
    }
}

struct Replace<'a> {
    path: Vec<String>,
    tensors: &'a Tensors,
    device: &'a Device,
}

impl ModuleMapper for Replace<'_> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        match self.tensors.get(&self.path.join(".")) {
            None => param,
            Some(values) => param.map(|_| {
                let tensor = Tensor::from_data(TensorData::new(values.data.clone(), values.shape.clone()), self.device);
                // Only a device that records operations knows gradients; to decode, none is asked for.
                if self.device.is_autodiff() { tensor.require_grad() } else { tensor }
            }),
        }
    }
}

/// All parameters by name.
pub fn collect(model: &Hope) -> Tensors {
    let mut collect = Collect::default();
    model.visit(&mut collect);
    collect.tensors
}

/// Names and extents of every parameter of a model with this configuration.
pub fn layout(config: &HopeConfig) -> BTreeMap<String, Vec<usize>> {
    let model = Hope::new(config, 0, &Device::flex());
    collect(&model).into_iter().map(|(name, values)| (name, values.shape)).collect()
}

/// A model with the given parameters on a device.
///
/// # Errors
/// When a parameter is missing, foreign or of other extents.
pub fn load(config: &HopeConfig, what: &str, given: &Tensors, device: &Device) -> Result<Hope, ModelError> {
    let model = Hope::new(config, 0, device);
    let expected = collect(&model).into_iter().map(|(name, values)| (name, values.shape)).collect();
    tensors::check_layout(what, given, &expected)?;
    Ok(model.map(&mut Replace { path: Vec::new(), tensors: given, device }))
}
