//! Tokenizers in Hugging Face's `tokenizer.json` format: our own, byte-fallback BPE, and those that come with imported bases.
//!
//! A control token is never made of a text that somebody wrote: whoever writes `<|end|>` writes five characters more than four. Our own bases put control
//! tokens around texts by id. An imported base's chat template writes both into one text, from which [`Tokenizer::written`] tells them apart.

use std::sync::Arc;

use tokenizers::{
    AddedToken, DecoderWrapper, PreTokenizerWrapper,
    decoders::{byte_fallback::ByteFallback, fuse::Fuse, sequence::Sequence as DecoderSequence, strip::Strip},
    models::{TrainerWrapper, bpe::BPE, bpe::BpeTrainer},
    normalizers::Replace,
    pre_tokenizers::{
        digits::Digits,
        metaspace::{Metaspace, PrependScheme},
        punctuation::Punctuation,
        sequence::Sequence as PreSequence,
    },
};

use crate::{
    error::ModelError,
    import::{Files, Settings},
};

mod controls;
mod foreign;
mod stream;
#[cfg(test)]
pub(crate) mod tests;

pub use stream::DecodeStream;

/// Tokens with a role; their ids are their positions.
pub const SPECIAL: [&str; 5] = ["<|pad|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"];

/// Turns text into token ids and back. A copy is cheap.
#[derive(Debug, Clone)]
pub struct Tokenizer(Kind);

#[derive(Debug, Clone)]
enum Kind {
    Own(Arc<tokenizers::Tokenizer>),
    Foreign(Arc<foreign::Foreign>),
}

fn refused(error: &tokenizers::Error) -> ModelError {
    ModelError::Tokenizer(error.to_string())
}

/// Parses a `tokenizer.json`.
fn parse(json: &[u8]) -> Result<tokenizers::Tokenizer, ModelError> {
    serde_json::from_slice::<serde::de::IgnoredAny>(json).map_err(|e| ModelError::Tokenizer(e.to_string()))?;
    // The library panics on some documents that are JSON and no tokenizer.
    let read = std::panic::catch_unwind(|| tokenizers::Tokenizer::from_bytes(json));
    let read = read.map_err(|_| ModelError::Tokenizer("its parts do not fit the format".to_owned()))?;
    read.map_err(|e| refused(&e))
}

impl Tokenizer {
    /// Reads the `tokenizer.json` of a base of our own.
    ///
    /// # Errors
    /// When it is malformed or lacks a special token.
    pub fn from_json(json: &[u8]) -> Result<Self, ModelError> {
        let mut inner = parse(json)?;
        // A user who writes `<|end|>` writes text, not a control token.
        inner.set_encode_special_tokens(true);
        for (id, token) in SPECIAL.iter().enumerate() {
            if inner.token_to_id(token) != Some(id as u32) {
                return Err(ModelError::Tokenizer(format!("the special token {token} does not have id {id}")));
            }
        }
        Ok(Self(Kind::Own(Arc::new(inner))))
    }

    /// Makes the tokenizer of a checkpoint, as transformers would: `tokenizer.json` with what `tokenizer_config.json` says otherwise. What
    /// [`Tokenizer::to_json`] then gives says all of it.
    ///
    /// # Errors
    /// When a file is absent or malformed, or when its ids cannot be told or a text could become a control token.
    pub fn import(files: &Files) -> Result<Self, ModelError> {
        let settings = Settings::read(files)?;
        let (_, source) = settings.template(files)?;
        let json = files.get(foreign::TOKENIZER).ok_or_else(foreign::absent)?;
        let inner = foreign::adapt(parse(json)?, files, &settings)?;
        Self::over(inner, &source.template)
    }

    /// Reads the `tokenizer.json` that an import kept; `template` is the chat template.
    ///
    /// # Errors
    /// When it is malformed, or when a text could become a control token.
    pub fn foreign(json: &[u8], template: &str) -> Result<Self, ModelError> {
        Self::over(foreign::verify(parse(json)?, json)?, template)
    }

    fn over(inner: tokenizers::Tokenizer, template: &str) -> Result<Self, ModelError> {
        Ok(Self(Kind::Foreign(Arc::new(foreign::Foreign::new(inner, template)?))))
    }

    /// Learns a vocabulary of `vocab` entries from texts.
    ///
    /// # Errors
    /// When the trainer fails.
    pub fn train<'a>(texts: impl Iterator<Item = &'a str> + Send, vocab: usize) -> Result<Self, ModelError> {
        let bpe = BPE::builder().byte_fallback(true).fuse_unk(true).build().map_err(|e| refused(&e))?;
        let mut special: Vec<AddedToken> = SPECIAL.iter().map(|t| AddedToken::from(*t, true)).collect();
        special.extend((0..=255_u8).map(|b| AddedToken::from(format!("<0x{b:02X}>"), false)));
        let mut trainer: TrainerWrapper =
            BpeTrainer::builder().vocab_size(vocab).min_frequency(2).show_progress(false).special_tokens(special).build().into();
        let mut inner = assemble(bpe).map_err(|e| refused(&e))?;
        inner.train(&mut trainer, texts).map_err(|e| refused(&e))?;
        // The bytes were special only for the trainer, which would otherwise not give them ids.
        let mut json: serde_json::Value =
            serde_json::from_str(&inner.to_string(false).map_err(|e| refused(&e))?).map_err(ModelError::Config)?;
        if let Some(added) = json["added_tokens"].as_array_mut() {
            added.truncate(SPECIAL.len());
        }
        Self::from_json(json.to_string().as_bytes())
    }

    /// The `tokenizer.json`.
    ///
    /// # Errors
    /// When the tokenizer cannot be written.
    pub fn to_json(&self) -> Result<Vec<u8>, ModelError> {
        // A hundred thousand merges are not for reading.
        let pretty = matches!(self.0, Kind::Own(_));
        Ok(self.whole().to_string(pretty).map_err(|e| refused(&e))?.into_bytes())
    }

    /// The one that knows every token for what it is.
    fn whole(&self) -> &tokenizers::Tokenizer {
        match &self.0 {
            Kind::Own(inner) => inner,
            Kind::Foreign(foreign) => &foreign.whole,
        }
    }

    /// Token ids of a text; never control tokens.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        let inner = match &self.0 {
            Kind::Own(inner) => inner,
            Kind::Foreign(foreign) => &foreign.text,
        };
        match inner.encode_fast(text, false) {
            Ok(encoded) => encoded.get_ids().to_vec(),
            Err(error) => {
                // Models are checked for what could fail when they are loaded; what is left is the library's.
                tracing::error!(error = %error, bytes = text.len(), "a text has no tokens: the tokenizer fails on it");
                Vec::new()
            }
        }
    }

    /// The text of token ids; special ones are left out.
    pub fn decode(&self, ids: &[u32]) -> String {
        self.whole().decode(ids, true).unwrap_or_default()
    }

    /// The id of a token by its name, of an added or of a learned one.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.whole().token_to_id(token)
    }

    /// Number of entries.
    pub fn vocab(&self) -> usize {
        match &self.0 {
            Kind::Own(inner) => inner.get_vocab_size(true),
            Kind::Foreign(foreign) => foreign.vocab,
        }
    }

    /// Starts decoding token by token.
    pub fn decode_stream(&self) -> DecodeStream<'_> {
        DecodeStream::new(self)
    }
}

fn assemble(bpe: BPE) -> tokenizers::Result<tokenizers::Tokenizer> {
    let metaspace = Metaspace::new('▁', PrependScheme::Always, true);
    let pre: Vec<PreTokenizerWrapper> = vec![metaspace.into(), Digits::new(true).into(), Punctuation::default().into()];
    let mut tokenizer = tokenizers::Tokenizer::new(bpe);
    tokenizer.with_pre_tokenizer(Some(PreSequence::new(pre))).with_decoder(Some(decoder(true)?));
    Ok(tokenizer)
}

/// The decoder of tokenizers that write a space as `▁` and fall back on bytes; `prefix` takes the space before the first word away.
fn decoder(prefix: bool) -> tokenizers::Result<DecoderSequence> {
    let mut decoders: Vec<DecoderWrapper> = vec![
        DecoderWrapper::Replace(Replace::new("▁", " ")?),
        DecoderWrapper::ByteFallback(ByteFallback::default()),
        DecoderWrapper::Fuse(Fuse::default()),
    ];
    if prefix {
        decoders.push(DecoderWrapper::Strip(Strip::new(' ', 1, 0)));
    }
    Ok(DecoderSequence::new(decoders))
}
