//! Conversations with an imported base, written by its own chat template.

use jiff::civil::DateTime;
use nocturne_wire::record::Role;
use serde::{Deserialize, Serialize};

use super::Turn;
use crate::{
    error::ModelError,
    import::{ChatTemplate, Files, ImportError, Settings, TemplateSource, config},
    tokenizer::Tokenizer,
};

/// What an import keeps of how conversations are written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChatLayout {
    /// The template.
    pub written: TemplateSource,
    /// The tokens with which the model may end an answer.
    pub ends: Vec<u32>,
}

impl ChatLayout {
    /// Reads a checkpoint's. Answers end with what `generation_config.json` says, or `config.json` where it says nothing, and with the tokenizer's `eos_token`.
    ///
    /// # Errors
    /// When there is no template, or nothing that ends an answer.
    pub fn import(files: &Files, tokenizer: &Tokenizer) -> Result<Self, ModelError> {
        let (_, written) = Settings::read(files)?.template(files)?;
        let mut ends = config::ends(files)?;
        ends.extend(written.tokens.get("eos_token").and_then(|token| tokenizer.id(token)));
        let mut seen = Vec::new();
        ends.retain(|id| {
            (*id as usize) < tokenizer.vocab() && !seen.contains(id) && {
                seen.push(*id);
                true
            }
        });
        if ends.is_empty() {
            let needed = "its `eos_token_id` says what ends an answer, and neither config.json nor tokenizer_config.json does";
            return Err(ImportError::Absent { file: "generation_config.json".into(), needed }.into());
        }
        Ok(Self { written, ends })
    }

    /// Reads what [`ChatLayout::to_json`] wrote.
    ///
    /// # Errors
    /// When it is something else.
    pub fn parse(json: &[u8]) -> Result<Self, ModelError> {
        let parsed = serde_json::from_slice(json);
        let parsed: Self = parsed.map_err(|source| ImportError::Json { file: "chat.json".into(), source })?;
        if parsed.ends.is_empty() {
            return Err(ModelError::Inconsistent("nothing ends an answer in the base's chat.json".into()));
        }
        Ok(parsed)
    }

    /// As it is kept beside a base.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn to_json(&self) -> Result<Vec<u8>, ModelError> {
        serde_json::to_vec_pretty(self).map_err(ModelError::Config)
    }
}

/// A base's template at work.
#[derive(Debug, Clone)]
pub struct ImportedChat {
    template: ChatTemplate,
    layout: ChatLayout,
    open: Vec<u32>,
    end: u32,
}

impl ImportedChat {
    /// Compiles the template and tries it.
    pub(super) fn new(layout: ChatLayout, tokenizer: &Tokenizer) -> Result<Self, ModelError> {
        let template = ChatTemplate::new("the base", layout.written.clone())?;
        let first = layout.ends.first().copied().unwrap_or_default();
        let mut chat = Self { template, layout, open: Vec::new(), end: first };
        let question = [(Role::User, "a")];
        let asked = chat.conversation(tokenizer, &question, false)?;
        let opened = chat.conversation(tokenizer, &question, true)?;
        chat.open = opened[common(&opened, &asked)..].to_vec();
        let answered = chat.conversation(tokenizer, &[question[0], (Role::Assistant, "b")], false)?;
        let after = common(&asked, &answered);
        let ended = answered[after..].iter().rev().find(|id| chat.layout.ends.contains(id));
        chat.end = ended.copied().unwrap_or(first);
        Ok(chat)
    }

    /// The same at a time that stands still.
    pub(super) fn at(self, now: DateTime) -> Self {
        Self { template: self.template.at(now), ..self }
    }

    /// What it was made from.
    pub fn layout(&self) -> &ChatLayout {
        &self.layout
    }

    pub(super) fn open(&self) -> &[u32] {
        &self.open
    }

    pub(super) fn end(&self) -> u32 {
        self.end
    }

    pub(super) fn ends(&self) -> &[u32] {
        &self.layout.ends
    }

    pub(super) fn conversation(
        &self,
        tokenizer: &Tokenizer,
        messages: &[(Role, &str)],
        open: bool,
    ) -> Result<Vec<u32>, ModelError> {
        tokenizer.written(&self.layout.written.template, messages, |messages| self.template.render(messages, open))
    }

    /// An answer begins where the conversation before it ends when it opens one, and ends with the first token that may end it. What lies between answers
    /// belongs to the last of the messages there: a template may put several into one.
    pub(super) fn turns(&self, tokenizer: &Tokenizer, messages: &[(Role, &str)]) -> Result<Vec<Turn>, ModelError> {
        let whole = self.conversation(tokenizer, messages, false)?;
        let mut turns = vec![Turn::default(); messages.len()];
        let mut from = 0;
        for (n, (role, _)) in messages.iter().enumerate() {
            if *role != Role::Assistant {
                continue;
            }
            let opened = if n == 0 { Ok(Vec::new()) } else { self.conversation(tokenizer, &messages[..n], true) };
            let Some(start) = opened.ok().filter(|opened| whole.starts_with(opened)).map(|opened| opened.len().max(from)) else {
                continue;
            };
            let Some(length) = whole[start..].iter().position(|id| self.layout.ends.contains(id)) else { continue };
            let opening = if whole[from..start].ends_with(&self.open) { self.open.len() } else { 0 };
            if let Some(before) = n.checked_sub(1) {
                turns[before].said.extend_from_slice(&whole[from..start - opening]);
            }
            turns[n] = Turn { opening: whole[start - opening..start].to_vec(), said: whole[start..=start + length].to_vec() };
            from = start + length + 1;
        }
        if let Some(last) = turns.last_mut() {
            last.said.extend_from_slice(&whole[from..]);
        }
        Ok(turns)
    }
}

/// How many tokens two conversations begin with alike.
fn common(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}
