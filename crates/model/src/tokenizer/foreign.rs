//! A tokenizer that came with somebody else's base.

use std::collections::BTreeMap;

use serde::Deserialize;
use tokenizers::{
    ModelWrapper, NormalizerWrapper, PreTokenizerWrapper,
    pre_tokenizers::{
        metaspace::{Metaspace, PrependScheme},
        sequence::Sequence,
    },
};

use super::{controls::Controls, decoder, refused};
use crate::{
    error::ModelError,
    import::{Files, ImportError, Settings},
};

pub(super) const TOKENIZER: &str = "tokenizer.json";

/// Three views of one tokenizer.
#[derive(Debug)]
pub(super) struct Foreign {
    /// Every added token is itself: reads what a chat template wrote, and decodes.
    pub(super) whole: tokenizers::Tokenizer,
    /// Control tokens are text: reads what people wrote.
    pub(super) text: tokenizers::Tokenizer,
    /// The same for text that does not begin a conversation, where that makes a difference.
    later: Option<tokenizers::Tokenizer>,
    /// What is not to be made of text.
    pub(super) controls: Controls,
    /// One more than the largest id.
    pub(super) vocab: usize,
}

impl Foreign {
    pub(super) fn new(whole: tokenizers::Tokenizer, template: &str) -> Result<Self, ModelError> {
        let ModelWrapper::BPE(bpe) = whole.get_model() else {
            let why = "its model is not BPE, which all supported families have; WordLevel, WordPiece and Unigram are not read";
            return Err(ModelError::Tokenizer(why.to_owned()));
        };
        let unknown = bpe.unk_token.clone();
        if let Some(unknown) = unknown.as_ref().filter(|token| whole.token_to_id(token).is_none()) {
            return Err(ModelError::Tokenizer(format!("its vocabulary lacks {unknown}, which stands for what is unknown")));
        }
        let controls = Controls::of(&whole, template)?;
        let mut text = whole.clone();
        // Tokens that are not special, but that the template writes, must not be made of text either; for the library they are special from here on.
        text.add_tokens(controls.tokens()).map_err(|e| refused(&e))?;
        text.set_encode_special_tokens(true);
        let later = text.get_pre_tokenizer().and_then(without_prefix).map(|pre| {
            let mut later = text.clone();
            later.with_pre_tokenizer(Some(pre));
            later
        });
        let largest = whole.get_vocab(true).into_values().max();
        let foreign = Self { vocab: largest.map_or(0, |id| id as usize + 1), whole, text, later, controls };
        foreign.check(unknown.as_deref())?;
        Ok(foreign)
    }

    /// The ids of a text, at the beginning of a conversation or later in it.
    pub(super) fn encode(&self, text: &str, first: bool) -> Result<Vec<u32>, ModelError> {
        let inner = if first { &self.text } else { self.later.as_ref().unwrap_or(&self.text) };
        Ok(inner.encode_fast(text, false).map_err(|e| refused(&e))?.get_ids().to_vec())
    }

    /// That no text becomes a control token: a vocabulary may hold a word that is spelled like one. Only what stands for the unknown comes of texts.
    fn check(&self, unknown: Option<&str>) -> Result<(), ModelError> {
        for (token, id) in self.controls.iter().filter(|(token, _)| Some(*token) != unknown) {
            for text in [token.to_owned(), format!("a {token} b")] {
                for first in [true, false] {
                    if self.encode(&text, first)?.contains(&id) {
                        return Err(ModelError::Tokenizer(format!(
                            "it makes the control token {token} of a text that only looks like it"
                        )));
                    }
                }
            }
        }
        Ok(())
    }
}

pub(super) fn absent() -> ModelError {
    let needed =
        "it holds the vocabulary (a `tokenizer.model` or `vocab.json` alone is not read; transformers writes the file from them)";
    ImportError::Absent { file: TOKENIZER.to_owned(), needed }.into()
}

/// What transformers changes of a `tokenizer.json` when it loads it.
pub(super) fn adapt(
    inner: tokenizers::Tokenizer,
    files: &Files,
    settings: &Settings,
) -> Result<tokenizers::Tokenizer, ModelError> {
    let json = files.get(TOKENIZER).ok_or_else(absent)?;
    let mut inner = verify(inner, json)?;
    let changed: Vec<_> = {
        let known = inner.get_added_tokens_decoder();
        settings.added.iter().filter(|(id, token)| known.get(id) != Some(token)).collect()
    };
    for (id, token) in changed {
        inner.add_tokens([token.clone()]).map_err(|e| refused(&e))?;
        if inner.token_to_id(&token.content) != Some(*id) {
            return Err(ModelError::Tokenizer(format!("the token {} cannot have the id {id}", token.content)));
        }
    }
    if settings.class.as_deref() == Some("LlamaTokenizer") && model_type(files)?.as_deref() == Some("llama") && !bytes(&inner) {
        like_llama(&mut inner, settings)?;
    }
    Ok(inner)
}

/// transformers' class `LlamaTokenizer` does not believe the file about spaces: a text before which nothing stands begins with one, one that follows a special token
/// only does when the tokenizer is a `legacy` one.
fn like_llama(inner: &mut tokenizers::Tokenizer, settings: &Settings) -> Result<(), ModelError> {
    let scheme = match settings {
        Settings { prefix_space: false, .. } => PrependScheme::Never,
        Settings { legacy: true, .. } => PrependScheme::Always,
        Settings { .. } => PrependScheme::First,
    };
    inner.with_normalizer(None::<NormalizerWrapper>).map_err(|e| refused(&e))?;
    inner.with_pre_tokenizer(Some(Metaspace::new('▁', scheme, false)));
    inner.with_decoder(Some(decoder(settings.prefix_space).map_err(|e| refused(&e))?));
    Ok(())
}

/// The family that a checkpoint's `config.json` names.
fn model_type(files: &Files) -> Result<Option<String>, ModelError> {
    #[derive(Deserialize)]
    struct Config {
        model_type: Option<String>,
    }
    let config: Option<Config> = crate::import::settings::read(files, "config.json")?;
    Ok(config.and_then(|config| config.model_type))
}

/// Whether a vocabulary is of bytes.
fn bytes(inner: &tokenizers::Tokenizer) -> bool {
    fn within(pre: &PreTokenizerWrapper) -> bool {
        match pre {
            PreTokenizerWrapper::ByteLevel(_) => true,
            PreTokenizerWrapper::Sequence(sequence) => sequence.as_ref().iter().any(within),
            _ => false,
        }
    }
    inner.get_pre_tokenizer().is_some_and(within)
}

/// The same steps without the space that is put before the first text; `None` where nothing is.
fn without_prefix(pre: &PreTokenizerWrapper) -> Option<PreTokenizerWrapper> {
    match pre {
        PreTokenizerWrapper::Metaspace(space) if space.prepend_scheme == PrependScheme::First => {
            let mut space = space.clone();
            space.set_prepend_scheme(PrependScheme::Never);
            Some(space.into())
        }
        PreTokenizerWrapper::Sequence(sequence) => {
            let steps = sequence.as_ref();
            let changed: Vec<_> = steps.iter().map(without_prefix).collect();
            let any = changed.iter().any(Option::is_some);
            let step = |(step, new): (&PreTokenizerWrapper, Option<PreTokenizerWrapper>)| new.unwrap_or_else(|| step.clone());
            any.then(|| Sequence::new(steps.iter().zip(changed).map(step).collect()).into())
        }
        _ => None,
    }
}

/// That added tokens have the ids that their file gives them, and that texts are neither cut nor filled up.
pub(super) fn verify(mut inner: tokenizers::Tokenizer, json: &[u8]) -> Result<tokenizers::Tokenizer, ModelError> {
    #[derive(Deserialize)]
    struct Added {
        id: u32,
        content: String,
    }
    #[derive(Deserialize)]
    struct Document {
        #[serde(default)]
        added_tokens: Vec<Added>,
    }
    let document: Document = serde_json::from_slice(json).map_err(|e| ModelError::Tokenizer(e.to_string()))?;
    let ids: BTreeMap<&str, u32> = document.added_tokens.iter().map(|added| (&*added.content, added.id)).collect();
    for (content, id) in ids {
        match inner.token_to_id(content) {
            Some(found) if found == id => {}
            // An empty token matches nothing, and the library leaves it out.
            None if content.is_empty() => {}
            found => {
                let found = found.map_or_else(|| "none".to_owned(), |id| id.to_string());
                return Err(ModelError::Tokenizer(format!(
                    "its file gives the token {content} the id {id}, its vocabulary {found}"
                )));
            }
        }
    }
    inner.with_truncation(None).map_err(|e| refused(&e))?;
    inner.with_padding(None);
    Ok(inner)
}
