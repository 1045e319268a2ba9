//! [`Engine`] over `nocturne-model`.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use nocturne_model::{Banks, Base, Decoder, ModelError, SessionState, StepInput, Weights};
use nocturne_wire::{manifest::TensorEntry, record::Role};

use super::{Engine, LoadError, Prefilled, Step, TextStream};

/// The files of a base that decoding needs.
pub(crate) const BASE_FILES: [&str; 3] = ["config.json", "tokenizer.json", "model.safetensors"];

/// The shipped architecture.
pub(crate) struct HopeEngine {
    base: Arc<Base>,
}

/// Loads a base from its files, which must hold [`BASE_FILES`].
pub(crate) fn load_base(files: &BTreeMap<String, Bytes>) -> Result<Base, ModelError> {
    if files.contains_key("chat.json") {
        let why = "an imported base is served by no release yet: sessions are cut by messages, and its chat template writes conversations as a whole";
        return Err(ModelError::Inconsistent(why.into()));
    }
    let [config, tokenizer, weights] = BASE_FILES.map(|name| files.get(name).map_or(&[][..], |bytes| &bytes[..]));
    Base::load(config, tokenizer, weights)
}

impl HopeEngine {
    /// Loads a base.
    pub(crate) fn load(files: &BTreeMap<String, Bytes>) -> Result<Self, LoadError> {
        load_base(files).map(|base| Self { base: Arc::new(base) }).map_err(|error| LoadError(Box::new(error)))
    }
}

impl Engine for HopeEngine {
    type Weights = Weights;
    type State = SessionState;
    type Scratch = Decoder;

    fn max_context(&self) -> usize {
        self.base.max_context()
    }

    fn end(&self) -> u32 {
        self.base.chat().end()
    }

    fn open_answer(&self) -> Vec<u32> {
        self.base.chat().open_answer()
    }

    fn message(&self, role: Role, text: &str) -> Vec<u32> {
        self.base.chat().message(self.base.tokenizer(), role, text)
    }

    fn encode(&self, text: &str) -> Vec<u32> {
        self.base.tokenizer().encode(text)
    }

    fn text(&self) -> TextStream<'_> {
        let mut stream = self.base.tokenizer().decode_stream();
        Box::new(move |token| stream.push(token))
    }

    fn load(&self, slow: &[u8]) -> Result<Weights, LoadError> {
        let banks = Banks::load(&self.base, slow).map_err(|error| LoadError(Box::new(error)))?;
        Ok(Weights::new(Arc::clone(&self.base), banks))
    }

    fn tensors(&self, file: &[u8], bank: &str) -> Result<Vec<TensorEntry>, LoadError> {
        nocturne_model::tensors::entries(file, bank).map_err(|error| LoadError(Box::new(error)))
    }

    fn scratch(&self) -> Decoder {
        Decoder::new(&self.base)
    }

    fn state(&self) -> SessionState {
        SessionState::new(&self.base)
    }

    fn state_bytes(&self, state: &SessionState) -> usize {
        state.bytes()
    }

    fn prefill(&self, scratch: &mut Decoder, weights: &Weights, state: &mut SessionState, tokens: &[u32]) -> Prefilled {
        let prefill = scratch.prefill(weights, state, tokens);
        Prefilled { logits: prefill.logits, nll: prefill.nll }
    }

    fn step<'s>(&self, scratch: &'s mut Decoder, weights: &Weights, batch: &mut [Step<'_, SessionState>]) -> &'s [f32] {
        let mut inputs: Vec<_> = batch.iter_mut().map(|step| StepInput { state: step.state, token: step.token }).collect();
        scratch.step(weights, &mut inputs)
    }
}
