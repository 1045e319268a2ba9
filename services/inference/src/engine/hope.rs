//! [`Engine`] over `nocturne-model`.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use nocturne_model::{Banks, Base, Chat, ChatTokens, Decoder, ModelError, SessionState, StepInput, Weights};
use nocturne_wire::{manifest::TensorEntry, record::Role};

use super::{Engine, LoadError, Prefilled, Step, TextStream, Unwritable};

/// Any base of this house, the shipped one or an imported one.
pub(crate) struct HopeEngine {
    base: Arc<Base>,
}

/// Loads a base from its files.
pub(crate) fn load_base(files: &BTreeMap<String, Bytes>) -> Result<Base, ModelError> {
    let base = Base::from_files(|name| files.get(name).map(|bytes| &bytes[..]))?;
    let blocks = base.config().blocks.iter().enumerate();
    if let Some((block, bank)) = blocks.flat_map(|(n, block)| block.cms.learning().into_iter().map(move |bank| (n, bank))).next()
    {
        let why = format!("bank `{}` of block {block} learns while a session goes on, which nothing serves yet", bank.name);
        return Err(ModelError::Inconsistent(why));
    }
    Ok(base)
}

/// What an error says, with what lies beneath it.
fn reason(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

impl HopeEngine {
    /// Loads a base.
    pub(crate) fn load(files: &BTreeMap<String, Bytes>) -> Result<Self, LoadError> {
        load_base(files).map(|base| Self { base: Arc::new(base.to_serve()) }).map_err(|error| LoadError(Box::new(error)))
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

    fn ends(&self) -> &[u32] {
        self.base.chat().ends()
    }

    fn open_answer(&self) -> Vec<u32> {
        self.base.chat().open_answer()
    }

    fn is_local(&self) -> bool {
        matches!(self.base.chat(), Chat::Own(_))
    }

    fn message(&self, role: Role, text: &str) -> Vec<u32> {
        ChatTokens.message(self.base.tokenizer(), role, text)
    }

    fn conversation(&self, messages: &[(Role, &str)], open: bool) -> Result<Vec<u32>, Unwritable> {
        let written = self.base.chat().conversation(self.base.tokenizer(), messages, open);
        written.map_err(|error| Unwritable(reason(&error)))
    }

    fn encode(&self, text: &str) -> Vec<u32> {
        self.base.tokenizer().encode(text)
    }

    fn decode(&self, tokens: &[u32]) -> String {
        self.base.tokenizer().decode(tokens)
    }

    fn text(&self) -> TextStream<'_> {
        let mut stream = self.base.tokenizer().decode_stream();
        Box::new(move |token| match token {
            Some(token) => stream.push(token),
            None => stream.finish(),
        })
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

#[cfg(test)]
mod tests {
    use nocturne_model::{
        Model, ModelConfig, Tokenizer,
        config::BankConfig,
        device::Device,
        kernels::mlp::Activation,
        params, presets,
        tensors::{self, SLOW},
    };
    use nocturne_wire::manifest::Period;

    use super::*;

    #[test]
    fn a_base_whose_banks_learn_in_a_session_is_refused_by_the_banks_name() {
        let tokenizer = Tokenizer::train(["a b c"; 2].into_iter(), 300).unwrap();
        let mixer = presets::mixer("attention", 16, 2).unwrap();
        let mut config: ModelConfig = presets::model("test", &mixer, 300, 16, 2, 12);
        let learns = BankConfig::perceptron("quick", Period::Tokens(8), 12, Activation::Silu);
        config.blocks[1].cms.banks.insert(0, learns);
        let all = params::collect(&config, &Model::new(&config, 1, &Device::flex()));
        let frozen = all.into_iter().filter(|(name, _)| !name.contains(SLOW)).collect();
        let files: BTreeMap<String, Bytes> = [
            ("config.json", serde_json::to_vec(&config).unwrap()),
            ("tokenizer.json", tokenizer.to_json().unwrap()),
            ("model.safetensors", tensors::write("test", &frozen).unwrap()),
        ]
        .map(|(name, bytes)| (name.to_owned(), bytes.into()))
        .into();
        let refused = HopeEngine::load(&files).map(|_| ()).expect_err("nothing serves it").0.to_string();
        assert!(refused.contains("`quick` of block 1 learns while a session goes on"), "{refused}");
    }
}
