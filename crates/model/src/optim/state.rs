//! What an optimizer remembers, by name, so that it outlives a process: as safetensors beside the banks.
//!
//! burn keys the state of an optimizer by the ids of parameters, which every process makes anew. Here a part of it is named `<parameter>/<part>`,
//! `blocks.0.cms.slow.up/velocity`. Matrices are kept in `f32` as they are: a night that goes on from them goes on exactly.

use std::collections::BTreeMap;

use burn::{
    module::{Module, ModuleVisitor, Param, ParamId},
    optim::ModuleOptimizer,
    store::RecordError,
    tensor::{Bytes, DType, Tensor},
};
use burn_pack::{Reader, Scalar, Writer};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use super::{
    OptimizerPlan, OptimizerSettings,
    dgd::Dgd,
    rule::{self, Matrix, Memory, Rule},
};
use crate::{
    error::ModelError,
    tensors::{self, Tensors, Values},
};

/// What an optimizer remembers.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct OptimizerState {
    /// Tensors by `<parameter>/<part>`.
    pub tensors: Tensors,
    /// Numbers of steps, named likewise.
    pub counts: BTreeMap<String, u64>,
}

/// What a state must look like: extents of tensors, and names of counts.
#[derive(Debug, Default, PartialEq)]
struct Layout {
    tensors: BTreeMap<String, Vec<usize>>,
    counts: Vec<String>,
}

impl OptimizerState {
    /// As safetensors, `F32` and, for numbers of steps, `U64` without extents; the same state always gives the same bytes.
    ///
    /// # Errors
    /// When safetensors refuses the layout.
    pub fn write(&self, what: &str) -> Result<Vec<u8>, ModelError> {
        let format = |source| ModelError::Format { what: what.to_owned(), source };
        let tensors = self.tensors.iter().map(|(name, v)| {
            let bytes: Vec<u8> = v.data.iter().flat_map(|x| x.to_le_bytes()).collect();
            (name, Dtype::F32, v.shape.clone(), bytes)
        });
        let counts = self.counts.iter().map(|(name, count)| (name, Dtype::U64, Vec::new(), count.to_le_bytes().to_vec()));
        let parts: Vec<_> = tensors.chain(counts).collect();
        let mut views = Vec::with_capacity(parts.len());
        for (name, dtype, shape, bytes) in &parts {
            views.push((name.as_str(), TensorView::new(*dtype, shape.clone(), bytes).map_err(format)?));
        }
        safetensors::serialize(views, None).map_err(format)
    }

    /// Reads what [`OptimizerState::write`] gave.
    ///
    /// # Errors
    /// When the file is malformed, holds another type or values that are not finite.
    pub fn read(what: &str, bytes: &[u8]) -> Result<Self, ModelError> {
        let file = SafeTensors::deserialize(bytes).map_err(|source| ModelError::Format { what: what.to_owned(), source })?;
        let mut state = Self::default();
        for (name, view) in file.iter() {
            match (view.dtype(), view.shape()) {
                (Dtype::F32, shape) => {
                    let data: Vec<f32> = view.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
                    if data.iter().any(|x| !x.is_finite()) {
                        return Err(ModelError::NotFinite { what: what.to_owned(), tensor: name.to_owned() });
                    }
                    state.tensors.insert(name.to_owned(), Values { shape: shape.to_vec(), data });
                }
                (Dtype::U64, []) => {
                    let count = view.data().as_chunks::<8>().0.first().map_or(0, |b| u64::from_le_bytes(*b));
                    state.counts.insert(name.to_owned(), count);
                }
                (dtype, shape) => {
                    return Err(ModelError::Mismatch {
                        what: what.to_owned(),
                        tensor: name.to_owned(),
                        found: format!("{dtype:?} of shape {shape:?}"),
                        expected: "F32, or one U64".to_owned(),
                    });
                }
            }
        }
        Ok(state)
    }

    /// The same under other names of parameters; what has no other keeps its own.
    pub(crate) fn renamed(&self, names: &BTreeMap<String, String>) -> Self {
        let rename = |name: &String| match name.rsplit_once('/') {
            Some((of, part)) => format!("{}/{part}", names.get(of).map_or(of, String::as_str)),
            None => name.clone(),
        };
        Self {
            tensors: self.tensors.iter().map(|(name, values)| (rename(name), values.clone())).collect(),
            counts: self.counts.iter().map(|(name, count)| (rename(name), *count)).collect(),
        }
    }

    /// What an optimizer of burn's remembers.
    pub(crate) fn of(optimizer: &ModuleOptimizer) -> Result<Self, ModelError> {
        Self::unpack(optimizer).map_err(ModelError::Record)
    }

    fn unpack(optimizer: &ModuleOptimizer) -> Result<Self, RecordError> {
        let record = Reader::from_bytes(optimizer.into_bytes()?)?;
        let (paths, scalars) = (record.metadata().clone(), record.scalars().clone());
        // A name is that of the part after the id; burn's own begin with two underscores.
        let named = |name: &str| {
            let (id, part) = name.split_once('.').filter(|(_, part)| !part.starts_with("__"))?;
            Some(format!("{}/{part}", paths.get(id)?))
        };
        let mut state = Self::default();
        for (name, scalar) in &scalars {
            if let (Some(name), Ok(count)) = (named(name), u64::try_from(*scalar)) {
                state.counts.insert(name, count);
            }
        }
        for tensor in record.into_tensors()? {
            let (name, dtype, shape, _, bytes) = tensor.into_parts()?;
            let Some(name) = named(&name).filter(|_| dtype == DType::F32) else {
                return Err(RecordError::Validation(format!("`{name}` is of type {dtype:?}, or of no known parameter")));
            };
            let data = bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
            state.tensors.insert(name, Values { shape: shape.to_vec(), data });
        }
        Ok(state)
    }

    /// Gives this to an optimizer that remembers nothing, made by `plan` for `model`.
    ///
    /// # Errors
    /// When this is not what such an optimizer remembers about the parameters of the model that are trained.
    pub(crate) fn restore(
        &self,
        what: &str,
        plan: &OptimizerPlan,
        model: &impl Module,
        optimizer: ModuleOptimizer,
    ) -> Result<ModuleOptimizer, ModelError> {
        let mut expected = Expected { plan, path: Vec::new(), layout: Layout::default(), ids: BTreeMap::new() };
        model.visit(&mut expected);
        self.check(what, &expected.layout)?;
        let record = self.pack(&expected.ids).map_err(|error| ModelError::Record(error.into()))?;
        let optimizer = optimizer.from_bytes(record).map_err(ModelError::Record)?;
        // burn passes over what it does not understand.
        if Self::of(&optimizer)? == *self {
            Ok(optimizer)
        } else {
            Err(ModelError::Record(RecordError::Validation(format!("burn did not take all of {what}"))))
        }
    }

    fn check(&self, what: &str, layout: &Layout) -> Result<(), ModelError> {
        tensors::check_layout(what, &self.tensors, &layout.tensors)?;
        let what = what.to_owned();
        match layout.counts.iter().find(|name| !self.counts.contains_key(*name)) {
            Some(name) => Err(ModelError::Missing { what, tensor: name.clone() }),
            None => match self.counts.keys().find(|name| !layout.counts.contains(name)) {
                Some(name) => Err(ModelError::Foreign { what, tensor: name.clone() }),
                None => Ok(()),
            },
        }
    }

    /// A record of burn's. It takes the rank of a parameter from that of its tensors.
    fn pack(&self, ids: &BTreeMap<String, ParamId>) -> Result<Bytes, burn_pack::Error> {
        let keyed = |name: &str| {
            let (path, part) = name.rsplit_once('/')?;
            let id = ids.get(path)?.val();
            Some((id, format!("{id}.{part}")))
        };
        let tensors = self.tensors.iter().filter_map(|(name, v)| {
            let (id, name) = keyed(name)?;
            let bytes = v.data.iter().flat_map(|x| x.to_le_bytes()).collect();
            Some(burn_pack::Tensor::new(name, DType::F32, v.shape.clone(), Some(id), Bytes::from_bytes_vec(bytes)))
        });
        let mut writer = Writer::new(tensors.collect());
        for (name, count) in &self.counts {
            if let Some((_, name)) = keyed(name) {
                writer = writer.with_scalar(&name, Scalar::from(*count));
            }
        }
        for (path, id) in ids {
            writer = writer.with_metadata(&id.val().to_string(), path);
        }
        writer.into_bytes()
    }
}

/// Finds out what a plan's optimizer remembers about the parameters of a model that are trained.
struct Expected<'a> {
    plan: &'a OptimizerPlan,
    path: Vec<String>,
    layout: Layout,
    ids: BTreeMap<String, ParamId>,
}

impl Expected<'_> {
    fn adam(&mut self, path: &str, shape: &[usize]) {
        for part in ["moment_1", "moment_2"] {
            self.layout.tensors.insert(format!("{path}/momentum.{part}"), shape.to_vec());
        }
        self.layout.counts.push(format!("{path}/momentum.time"));
    }

    fn rule<R: Rule<f32>>(&mut self, path: &str, shape: &[usize], rule: &R) {
        let &[rows, cols] = shape else { return self.adam(path, shape) };
        let mut memory = rule.begin(rows, cols);
        let matrices = rule::layout(&mut memory).into_iter();
        self.layout.tensors.extend(matrices.map(|(part, extents)| (format!("{path}/{part}"), extents.to_vec())));
        memory.visit(&mut Counts { path, counts: &mut self.layout.counts });
    }
}

impl ModuleVisitor for Expected<'_> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if !param.is_require_grad() {
            return;
        }
        let (path, shape) = (self.path.join("."), param.shape().to_vec());
        self.ids.insert(path.clone(), param.id);
        if !self.plan.group.matches(&param.id, Some(&path)) {
            return self.adam(&path, &shape);
        }
        match self.plan.matrices {
            OptimizerSettings::Adam(_) => self.adam(&path, &shape),
            OptimizerSettings::Muon(settings) => self.rule(&path, &shape, &settings),
            OptimizerSettings::Momentum(settings) => self.rule(&path, &shape, &settings),
            OptimizerSettings::DeltaMomentum(settings) => self.rule(&path, &shape, &settings),
            OptimizerSettings::Dmgd(settings) => self.rule(&path, &shape, &settings),
            OptimizerSettings::M3(settings) => self.rule(&path, &shape, &settings),
            OptimizerSettings::Dgd(settings) => {
                self.rule(&path, &shape, &Dgd { settings, id: param.id, inputs: super::InputMoments::default() });
            }
        }
    }
}

struct Counts<'a> {
    path: &'a str,
    counts: &'a mut Vec<String>,
}

impl rule::Visitor<f32> for Counts<'_> {
    fn matrix(&mut self, _: &'static str, _: &mut Matrix<f32>) {}

    fn count(&mut self, name: &'static str, _: &mut u64) {
        self.counts.push(format!("{}/{name}", self.path));
    }
}
