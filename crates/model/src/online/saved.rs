//! A session as bytes, and back.

use std::collections::BTreeMap;

use burn::tensor::{Device, Tensor, TensorData};
use safetensors::SafeTensors;
use serde::{Deserialize, Serialize};

use super::{Online, Session};
use crate::{
    config::wrong,
    error::ModelError,
    memory::{fast, hope, titans},
    mixers::Past,
    model::Stream,
    params,
    tensors::{Precision, Tensors, Values},
};

/// What is no tensor.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Counts {
    /// The digest of the model.
    model: String,
    pub(super) tokens: Vec<u32>,
    pub(super) blocks: Vec<BlockCounts>,
    levels: Vec<LevelCounts>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BlockCounts {
    pub(super) position: usize,
    pub(super) filled: usize,
    pub(super) banks: Vec<Option<usize>>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LevelCounts {
    counted: usize,
    fired: u64,
    skipped: u64,
    last_move: f32,
}

/// The key of the counts in the file's metadata.
const COUNTS: &str = "session";
/// What the file is called in errors.
pub(super) const WHAT: &str = "the saved session";

fn kept<const D: usize>(tensors: &mut Tensors, name: String, tensor: &Tensor<D>) {
    let shape = tensor.dims().to_vec();
    let data = crate::tensors::floats(tensor.clone());
    tensors.insert(name, Values { shape, data });
}

/// Tensors of a stream under `stream.<block>.…`.
pub(super) fn keep(stream: &Stream) -> (Tensors, Vec<BlockCounts>) {
    let mut tensors = Tensors::new();
    let mut counts = Vec::new();
    for (n, (past, memories)) in stream.blocks.iter().enumerate() {
        let name = |part: &str| format!("stream.{n}.{part}");
        let all = |tensors: &mut Tensors, part: &str, list: &[Tensor<3>]| {
            list.iter().enumerate().for_each(|(i, t)| kept(tensors, name(&format!("{part}.{i}")), t));
        };
        if let Some(tail) = &past.tail {
            kept(&mut tensors, name("tail"), tail);
        }
        if let Some((keys, values)) = &past.seen {
            kept(&mut tensors, name("keys"), keys);
            kept(&mut tensors, name("values"), values);
        }
        if let Some(memory) = &past.linear {
            kept(&mut tensors, name("linear"), memory);
        }
        if let Some(state) = &past.titans {
            all(&mut tensors, "titans.weights", &state.weights);
            all(&mut tensors, "titans.snapshot", &state.snapshot);
            all(&mut tensors, "titans.momentum", state.momentum.as_deref().unwrap_or_default());
        }
        if let Some(state) = &past.hope {
            all(&mut tensors, "hope.live", &state.live.concat());
            all(&mut tensors, "hope.snapshot", &state.snapshot.concat());
        }
        for (i, memory) in memories.iter().enumerate() {
            if let Some(memory) = memory {
                kept(&mut tensors, name(&format!("bank.{i}.weights")), &memory.weights);
                if let Some(gathered) = &memory.gathered {
                    kept(&mut tensors, name(&format!("bank.{i}.gathered")), gathered);
                }
            }
        }
        let filled = past.titans.as_ref().map(|s| s.filled).or(past.hope.as_ref().map(|s| s.filled)).unwrap_or(0);
        let banks = memories.iter().map(|m| m.as_ref().map(|m| m.filled)).collect();
        counts.push(BlockCounts { position: past.position, filled, banks });
    }
    (tensors, counts)
}

/// Finds the tensors of one block again.
struct Found<'a> {
    tensors: &'a Tensors,
    block: usize,
    device: &'a Device,
}

impl Found<'_> {
    fn get<const D: usize>(&self, part: &str) -> Option<Tensor<D>> {
        let values = self.tensors.get(&format!("stream.{}.{part}", self.block)).filter(|v| v.shape.len() == D)?;
        Some(Tensor::from_data(TensorData::new(values.data.clone(), values.shape.clone()), self.device))
    }

    fn all(&self, part: &str) -> Vec<Tensor<3>> {
        (0..).map_while(|n| self.get(&format!("{part}.{n}"))).collect()
    }

    /// Tensors of boxes, which have one matrix or two each.
    fn boxes(&self, part: &str) -> Vec<Vec<Tensor<3>>> {
        let all = self.all(part);
        all.chunks((all.len() / hope::BOXES).max(1)).map(<[_]>::to_vec).collect()
    }

    fn block(&self, counts: &BlockCounts) -> (Past, Vec<Option<fast::State<Tensor<3>>>>) {
        let (weights, live) = (self.all("titans.weights"), self.boxes("hope.live"));
        let momentum = self.all("titans.momentum");
        let past = Past {
            position: counts.position,
            tail: self.get("tail"),
            seen: self.get("keys").zip(self.get("values")),
            linear: self.get("linear"),
            titans: (!weights.is_empty()).then(|| titans::State {
                weights,
                momentum: (!momentum.is_empty()).then_some(momentum),
                snapshot: self.all("titans.snapshot"),
                filled: counts.filled,
            }),
            hope: (!live.is_empty()).then(|| hope::State { live, snapshot: self.boxes("hope.snapshot"), filled: counts.filled }),
        };
        let bank = |(n, filled): (usize, &Option<usize>)| {
            let weights = self.get(&format!("bank.{n}.weights"))?;
            Some(fast::State { weights, gathered: self.get(&format!("bank.{n}.gathered")), filled: (*filled)? })
        };
        (past, counts.banks.iter().enumerate().map(bank).collect())
    }
}

impl Session {
    /// The session as a safetensors file of single precision.
    ///
    /// # Errors
    /// When it holds values that are not finite, which nothing could restore.
    pub fn to_bytes(&self) -> Result<Vec<u8>, ModelError> {
        let (mut tensors, blocks) = keep(&self.stream);
        let mut counts = Counts { model: self.of.clone(), tokens: self.tokens.clone(), blocks, levels: Vec::new() };
        for (n, level) in self.levels.iter().enumerate() {
            let under = |part: &str, name: &String| format!("level.{n}.{part}.{name}");
            tensors.extend(level.weights().iter().map(|(name, v)| (under("weights", name), v.clone())));
            tensors.extend(level.gathered.iter().map(|(name, v)| (under("gathered", name), v.clone())));
            let (counted, fired, skipped, last_move) = (level.counted, level.fired, level.skipped, level.last_move);
            counts.levels.push(LevelCounts { counted, fired, skipped, last_move });
        }
        if let Some((name, _)) = tensors.iter().find(|(_, v)| v.data.iter().any(|x| !x.is_finite())) {
            return Err(ModelError::NotFinite { what: "the session".to_owned(), tensor: name.clone() });
        }
        let counts = serde_json::to_string(&counts).map_err(ModelError::Config)?;
        crate::tensors::write_with(WHAT, &tensors, Precision::Single, [(COUNTS.to_owned(), counts)].into())
    }
}

impl Online {
    /// A session that was saved from the same model goes on: the same configuration and the same tensors, so that none crosses a night.
    ///
    /// # Errors
    /// When the file is malformed, contradicts itself, or was saved from a session of another model.
    pub fn restore(&self, bytes: &[u8]) -> Result<Session, ModelError> {
        let format = |source| ModelError::Format { what: WHAT.to_owned(), source };
        let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(format)?;
        let counts = metadata.metadata().as_ref().and_then(|all| all.get(COUNTS));
        let missing = || ModelError::Inconsistent(format!("{WHAT} lacks its counts: it is another kind of file"));
        let counts: Counts = serde_json::from_str(counts.ok_or_else(missing)?).map_err(ModelError::Config)?;
        let tensors = crate::tensors::read(WHAT, bytes)?;
        let mut session = self.begin();
        if counts.model != session.of || counts.levels.len() != session.levels.len() {
            return wrong(format!("{WHAT} is of another model"));
        }
        let position = self.check_stream(&counts, &tensors)?;
        for (n, (level, counts)) in session.levels.iter_mut().zip(&counts.levels).enumerate() {
            let part = |part: &str| -> Tensors {
                let under = format!("level.{n}.{part}.");
                let own = tensors.iter().filter_map(|(name, v)| Some((name.strip_prefix(&under)?.to_owned(), v.clone())));
                own.collect()
            };
            let weights = part("weights");
            let expected = level.weights().iter().map(|(name, v)| (name.clone(), v.shape.clone())).collect();
            crate::tensors::check_layout(WHAT, &weights, &expected)?;
            let gathered = part("gathered");
            let none = BTreeMap::new();
            crate::tensors::check_layout(WHAT, &gathered, if counts.counted == 0 { &none } else { &expected })?;
            if !level.is_after([position, self.chunk], counts.counted, [counts.fired, counts.skipped]) {
                return wrong(format!("{WHAT} contradicts itself: {} is not where {position} tokens lead", level.bank()));
            }
            level.set_weights(weights);
            level.gathered = gathered;
            (level.counted, level.fired, level.skipped) = (counts.counted, counts.fired, counts.skipped);
            level.last_move = counts.last_move;
        }
        let read = super::level::Level::read(&session.levels);
        session.model = params::replace(&self.config, session.model, &read, &self.device);
        let blocks = counts.blocks.iter().enumerate();
        session.stream.blocks =
            blocks.map(|(block, counts)| Found { tensors: &tensors, block, device: &self.device }.block(counts)).collect();
        session.tokens = counts.tokens;
        Ok(session)
    }
}
