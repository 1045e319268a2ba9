//! Decoding token by token.

use super::Tokenizer;

/// The longest character is four bytes, which may be a token each: more tokens than these that end in no whole character never will.
const UNFINISHED: usize = 8;

/// Decodes token by token and gives text only when it is whole UTF-8.
///
/// What a token says may depend on the one before it (a space that only a first word loses, the bytes of one character), not on those that were said long ago: only
/// the tokens of the newest text are decoded again with what comes.
#[derive(Debug)]
pub struct DecodeStream<'a> {
    tokenizer: &'a Tokenizer,
    /// Tokens of the text that was given last, and those that came after it.
    pub(super) ids: Vec<u32>,
    /// How many of them have been given.
    given: usize,
    /// How many tokens in a row have ended in no whole character.
    waited: usize,
}

impl<'a> DecodeStream<'a> {
    pub(super) fn new(tokenizer: &'a Tokenizer) -> Self {
        Self { tokenizer, ids: Vec::new(), given: 0, waited: 0 }
    }

    /// Adds a token; returns the text that it completes.
    pub fn push(&mut self, id: u32) -> Option<String> {
        self.ids.push(id);
        self.next(self.waited >= UNFINISHED)
    }

    /// What is left when no token comes any more: characters that were not completed.
    pub fn finish(&mut self) -> Option<String> {
        self.next(true)
    }

    fn next(&mut self, whatever: bool) -> Option<String> {
        let before = self.tokenizer.decode(&self.ids[..self.given]);
        let text = self.tokenizer.decode(&self.ids);
        let whole = !text.ends_with('\u{fffd}');
        self.waited = if whole { 0 } else { self.waited + 1 };
        if !(whole || whatever) || text.len() <= before.len() || !text.is_char_boundary(before.len()) {
            return None;
        }
        self.waited = 0;
        self.ids.drain(..self.given);
        self.given = self.ids.len();
        Some(text[before.len()..].to_owned())
    }
}
