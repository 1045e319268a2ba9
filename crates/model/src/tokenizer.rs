//! Byte-fallback BPE in Hugging Face's `tokenizer.json` format.

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

use crate::error::ModelError;

/// Tokens with a role; their ids are their positions.
pub const SPECIAL: [&str; 5] = ["<|pad|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"];

/// Turns text into token ids and back.
#[derive(Debug, Clone)]
pub struct Tokenizer(tokenizers::Tokenizer);

fn refused(error: &tokenizers::Error) -> ModelError {
    ModelError::Tokenizer(error.to_string())
}

impl Tokenizer {
    /// Reads a `tokenizer.json`.
    ///
    /// # Errors
    /// When it is malformed or lacks a special token.
    pub fn from_json(json: &[u8]) -> Result<Self, ModelError> {
        serde_json::from_slice::<serde::de::IgnoredAny>(json).map_err(|e| ModelError::Tokenizer(e.to_string()))?;
        // The library panics on some documents that are JSON and no tokenizer.
        let read = std::panic::catch_unwind(|| tokenizers::Tokenizer::from_bytes(json));
        let read = read.map_err(|_| ModelError::Tokenizer("its parts do not fit the format".to_owned()))?;
        let mut inner = read.map_err(|e| refused(&e))?;
        // A user who writes `<|end|>` writes text, not a control token.
        inner.set_encode_special_tokens(true);
        for (id, token) in SPECIAL.iter().enumerate() {
            if inner.token_to_id(token) != Some(id as u32) {
                return Err(ModelError::Tokenizer(format!("the special token {token} does not have id {id}")));
            }
        }
        Ok(Self(inner))
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
        Ok(self.0.to_string(true).map_err(|e| refused(&e))?.into_bytes())
    }

    /// Token ids of a text; never special ones.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        self.0.encode(text, false).map(|e| e.get_ids().to_vec()).unwrap_or_default()
    }

    /// The text of token ids; special ones are left out.
    pub fn decode(&self, ids: &[u32]) -> String {
        self.0.decode(ids, true).unwrap_or_default()
    }

    /// Number of entries.
    pub fn vocab(&self) -> usize {
        self.0.get_vocab_size(true)
    }

    /// Starts decoding token by token.
    pub fn decode_stream(&self) -> DecodeStream<'_> {
        DecodeStream { tokenizer: self, ids: Vec::new(), sent: 0 }
    }
}

fn assemble(bpe: BPE) -> tokenizers::Result<tokenizers::Tokenizer> {
    let metaspace = Metaspace::new('▁', PrependScheme::Always, true);
    let pre: Vec<PreTokenizerWrapper> = vec![metaspace.into(), Digits::new(true).into(), Punctuation::default().into()];
    let decoders: Vec<DecoderWrapper> = vec![
        DecoderWrapper::Replace(Replace::new("▁", " ")?),
        DecoderWrapper::ByteFallback(ByteFallback::default()),
        DecoderWrapper::Fuse(Fuse::default()),
        DecoderWrapper::Strip(Strip::new(' ', 1, 0)),
    ];
    let mut tokenizer = tokenizers::Tokenizer::new(bpe);
    tokenizer.with_pre_tokenizer(Some(PreSequence::new(pre))).with_decoder(Some(DecoderSequence::new(decoders)));
    Ok(tokenizer)
}

/// Decodes token by token and gives text only when it is whole UTF-8.
#[derive(Debug)]
pub struct DecodeStream<'a> {
    tokenizer: &'a Tokenizer,
    ids: Vec<u32>,
    sent: usize,
}

impl DecodeStream<'_> {
    /// Adds a token; returns the text that it completes.
    pub fn push(&mut self, id: u32) -> Option<String> {
        self.ids.push(id);
        let text = self.tokenizer.decode(&self.ids);
        if text.ends_with('\u{fffd}') || text.len() <= self.sent || !text.is_char_boundary(self.sent) {
            return None;
        }
        let new = text[self.sent..].to_owned();
        self.sent = text.len();
        Some(new)
    }
}
