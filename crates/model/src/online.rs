//! Learning while reading: in-session banks by Nested Learning's Eq. 71.
//!
//! A perceptron whose period is C tokens keeps its weights for C tokens and is then moved by the sum of their gradients,
//! `θ_{i+1} = θ_i - η Σ_{t in chunk} ∇ L(θ_i; x_t)`, L being the loss of predicting each token from those before it. A token's gradient is counted once its
//! successor is known, and exactly C are counted (the printed lower limit of the sum would count boundary tokens twice). Because weights are constant within the
//! chunk of the fastest bank, all its gradients come from one backward pass, from the state in which the stream entered the chunk: it makes no
//! difference how a stream is cut. Gradients do not reach back beyond the chunk. Slower banks, whose periods are multiples, sum over several chunks.
//!
//! Nested levels (Eq. 72) are one perceptron on several time scales: the fastest is read; each moves by the gradients of its own period, which were taken at
//! the faster level's weights (first order, as MAML's short form), and then every faster level begins again where it is.

mod fits;
mod level;
mod saved;

use std::{collections::BTreeMap, sync::Arc};

use burn::{
    module::{Module, ParamGroup, ParamId},
    optim::GradientsParams,
    tensor::{Device, Tensor},
};
use nocturne_wire::Sha256Hex;
use serde::{Deserialize, Serialize};

use self::level::Level;
use crate::{
    config::{ModelConfig, wrong},
    error::ModelError,
    kernels::head::{Goal, Target, Targets, Teacher},
    model::{Model, Stream},
    params,
    tensors::{self, Tensors, Values},
};

/// How in-session banks learn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OnlineSettings {
    /// η of every bank that `rates` does not name, for the sum of gradients over its period (Eq. 71): a bank of twice the period steps about twice as far.
    pub rate: f32,
    /// η of banks by their names in the configuration.
    #[serde(default)]
    pub rates: BTreeMap<String, f32>,
    /// Norm to which the sum of one bank is cut, if any.
    #[serde(default)]
    pub clip: Option<f32>,
}

impl OnlineSettings {
    fn check(&self, config: &ModelConfig) -> Result<(), ModelError> {
        let learns = |name: &str| config.blocks.iter().flat_map(|block| block.cms.learning()).any(|bank| bank.name == name);
        if let Some(name) = self.rates.keys().find(|name| !learns(name)) {
            return wrong(format!("a rate is named for the bank {name:?}, which does not learn in a session"));
        }
        let numbers = self.rates.values().chain([&self.rate]);
        if let Some(rate) = numbers.into_iter().find(|rate| !(**rate >= 0.0 && rate.is_finite())) {
            return wrong(format!("a rate of {rate}; it must be zero or above"));
        }
        match self.clip.filter(|clip| !(*clip > 0.0 && clip.is_finite())) {
            Some(clip) => wrong(format!("a clip of {clip}; it must be above zero")),
            None => Ok(()),
        }
    }
}

/// A model whose sessions learn.
#[derive(Debug)]
pub struct Online {
    config: ModelConfig,
    model: Model,
    device: Device,
    settings: OnlineSettings,
    /// Tokens of a chunk: the fastest period.
    chunk: usize,
    /// The digest of configuration and tensors.
    of: String,
}

/// One stream: what was read, and the banks that it has made its own.
#[derive(Debug, Clone)]
pub struct Session {
    /// The model with this session's banks in their places.
    model: Model,
    levels: Vec<Level>,
    /// The state at the chunk's start.
    stream: Stream,
    /// Tokens since the chunk's start; the last one has no successor yet.
    tokens: Vec<u32>,
    /// The digest of the model that it began with.
    of: String,
}

impl Online {
    /// A model with all its tensors.
    ///
    /// # Errors
    /// When a tensor is missing, foreign or of other extents, no bank learns in a session, or a rate is no number or that of a bank which does not learn.
    pub fn new(config: &ModelConfig, tensors: &Tensors, settings: OnlineSettings, device: &Device) -> Result<Self, ModelError> {
        let device = device.clone().autodiff();
        let periods = config.blocks.iter().flat_map(|block| block.cms.learning()).filter_map(|bank| bank.tokens());
        let Some(chunk) = periods.clone().min() else {
            return Err(ModelError::Inconsistent(
                "no bank is a perceptron with a period in tokens: nothing learns in a session".into(),
            ));
        };
        if let Some(odd) = periods.clone().find(|period| !period.is_multiple_of(chunk)) {
            let why = format!("a period of {odd} tokens is no multiple of {chunk}, the fastest one's in any block");
            return Err(ModelError::Inconsistent(why));
        }
        settings.check(config)?;
        let model = params::load(config, "the model of a session", tensors, &device)?;
        let model = model.freeze_group(ParamGroup::all()).unfreeze_group(params::learning(config));
        let of = digest(config, tensors)?;
        Ok(Self { config: config.clone(), model, device, settings, chunk: chunk as usize, of })
    }

    /// A session before its first token.
    pub fn begin(&self) -> Session {
        let initial = params::collect(&self.config, &self.model);
        let levels = Level::all(&self.config, &initial);
        Session { model: self.model.clone(), levels, stream: Stream::default(), tokens: Vec::new(), of: self.of.clone() }
    }

    /// Reads tokens; gives the logits after the last one, `[V]`.
    ///
    /// # Panics
    /// When `tokens` is empty or holds an id outside the vocabulary.
    pub fn read(&self, session: &mut Session, tokens: &[u32]) -> Vec<f32> {
        for token in tokens {
            session.tokens.push(*token);
            if session.tokens.len() > self.chunk {
                self.learn(session);
            }
        }
        let mut ahead = session.stream.clone();
        let hidden = session.model.follow(&Arc::new(session.tokens.clone()), &mut ahead).states;
        let [_, time, width] = hidden.dims();
        let last: Tensor<2> = hidden.narrow(1, time - 1, 1).reshape([1, width]);
        tensors::floats(last.matmul(session.model.head_matrix().transpose()))
    }

    /// The chunk is full and its last token has a successor: counts its gradients and moves what is due.
    fn learn(&self, session: &mut Session) {
        let (chunk, rest) = session.tokens.split_at(self.chunk);
        let next = rest[0];
        let goals = chunk[1..].iter().copied().chain([next]);
        let rows = goals.enumerate().map(|(row, token)| Target {
            row: row as u32,
            goal: Goal::Token(token),
            weight: 1.0,
            counted: false,
        });
        let targets = Arc::new(Targets { rows: rows.collect(), teacher: Teacher::default() });
        let mut stream = session.stream.clone();
        let hidden = session.model.follow(&Arc::new(chunk.to_vec()), &mut stream);
        let (loss, _) = session.model.clone().by(crate::ops::Way::Composed).loss(hidden, targets, 1.0);
        let gradients = GradientsParams::from_grads(loss.backward(), &session.model);
        let gradients = params::gather(&self.config, &session.model, &|id| gradient(&gradients, id));
        for level in &mut session.levels {
            level.count(&gradients, self.chunk);
        }
        let moved = Level::move_due(&mut session.levels, &self.settings);
        if !moved.is_empty() {
            session.model = params::replace(&self.config, session.model.clone(), &moved, &self.device);
        }
        session.stream = stream.detached();
        session.tokens.drain(..self.chunk);
    }
}

/// What tells a model from every other, a generation from the next.
fn digest(config: &ModelConfig, tensors: &Tensors) -> Result<String, ModelError> {
    let mut parts = serde_json::to_vec(config).map_err(ModelError::Config)?;
    for (name, values) in tensors {
        let bytes: Vec<u8> = values.data.iter().flat_map(|x| x.to_le_bytes()).collect();
        parts.extend([name.as_bytes(), Sha256Hex::of(&bytes).as_str().as_bytes()].concat());
    }
    Ok(Sha256Hex::of(&parts).to_string())
}

/// A parameter's gradient; banks have matrices only.
fn gradient(gradients: &GradientsParams, id: ParamId) -> Option<Values> {
    let gradient = gradients.get::<2>(id)?;
    let shape = gradient.dims().to_vec();
    Some(Values { shape, data: tensors::floats(gradient) })
}

impl Session {
    /// The tensors that this session has changed, or will, by bank: `blocks.1.cms.session` and their parts.
    pub fn banks(&self) -> Vec<(String, &Tensors)> {
        self.levels.iter().map(|level| (level.bank(), level.weights())).collect()
    }

    /// Chunks that were left out of each bank, because their gradients were no numbers.
    pub fn skipped(&self) -> Vec<(String, u64)> {
        self.levels.iter().map(|level| (level.bank(), level.skipped)).collect()
    }

    /// How often each bank has moved, and the norm of its last move.
    pub fn moves(&self) -> Vec<(String, u64, f32)> {
        self.levels.iter().map(|level| (level.bank(), level.fired, level.last_move)).collect()
    }
}
