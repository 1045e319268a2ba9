//! Telling control tokens that a chat template wrote from text that looks like them.
//!
//! A template puts control tokens and texts into one text, which the tokenizer then cuts at every control token: a user who writes `<|im_end|>` would end
//! the own message. Encoding every text alone would keep them apart, but give other tokens than the model was trained on, because words are cut across
//! the borders of a text ("\n\n" before it, its own last word and a "\n" after it). So texts are rendered as they are, except that whatever looks like a control token in them stands
//! between two marks: characters of Unicode's private planes that occur in no text of the conversation. Between marks a control token is text; everywhere else the template wrote
//! it. What is written is then cut at the control tokens that the template wrote, the marks are taken out, and every piece is encoded as one text in which
//! control tokens are not looked for.
//!
//! A text that ends with the beginning of a control token, or begins with the end of one, is marked there, too: what a template puts beside it cannot complete it. Where that
//! turns out to have prevented nothing, what counts is what the template writes without marks, for a template may count characters. A
//! conversation without any of this has no marks, and what is written is encoded as transformers does it, in one piece.
//!
//! Control tokens are the special ones, and those others that the template's source names (`<tool_call>`, `<think>`). An assistant's text may hold the others:
//! the model itself wrote them. Rejected: `sanitize_control_tokens` of transformers 5, which encodes what stands between two of them piece by piece.

use std::{
    collections::{BTreeMap, HashSet},
    ops::Range,
};

use aho_corasick::{AhoCorasick, MatchKind};
use nocturne_wire::record::Role;
use tokenizers::AddedToken;

use super::{Kind, Tokenizer, foreign::Foreign, refused};
use crate::{
    error::ModelError,
    import::{ImportError, template::is_space},
};

/// Bytes of a control token, at most: all its beginnings and endings are kept, and looked for at both ends of every text.
const LONGEST: usize = 256;

/// The tokens that only a chat template may write.
#[derive(Debug)]
pub(super) struct Controls {
    finder: AhoCorasick,
    list: Vec<Control>,
    /// Texts that a control token begins or ends with, shorter than it.
    beginnings: HashSet<String>,
    endings: HashSet<String>,
    /// Bytes of the longest control token.
    longest: usize,
}

#[derive(Debug, Clone)]
struct Control {
    id: u32,
    token: AddedToken,
    /// Whether it is one only because the template writes it.
    written: bool,
}

impl Controls {
    /// The control tokens of a tokenizer whose conversations are written by this template.
    pub(super) fn of(whole: &tokenizers::Tokenizer, template: &str) -> Result<Self, ModelError> {
        let added: BTreeMap<u32, AddedToken> = whole.get_added_tokens_decoder().into_iter().collect();
        let named = |token: &AddedToken| template.contains(&token.content) && !token.content.chars().all(is_space);
        let list: Vec<Control> = added
            .into_iter()
            .filter(|(_, token)| !token.content.is_empty() && (token.special || named(token)))
            .map(|(id, token)| Control { id, written: !token.special, token })
            .collect();
        if let Some(control) = list.iter().find(|control| control.token.content.len() > LONGEST) {
            let start: String = control.token.content.chars().take(20).collect();
            let why = format!("its control token {} (`{start}…`) is longer than {LONGEST} bytes", control.id);
            return Err(ModelError::Tokenizer(why));
        }
        let finder = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(list.iter().map(|c| &c.token.content));
        let finder =
            finder.map_err(|error| ModelError::Tokenizer(format!("its special tokens cannot be searched for: {error}")))?;
        let parts = |of: fn(&str, usize) -> &str| {
            let cuts = |text: &str| text.char_indices().map(|(at, _)| at).skip(1).collect::<Vec<_>>();
            let of = |text: &str| cuts(text).into_iter().map(|at| of(text, at).to_owned()).collect::<Vec<_>>();
            list.iter().flat_map(|control| of(&control.token.content)).collect()
        };
        let longest = list.iter().map(|control| control.token.content.len()).max().unwrap_or(0);
        Ok(Self { finder, beginnings: parts(|text, at| &text[..at]), endings: parts(|text, at| &text[at..]), longest, list })
    }

    /// Every control token, as one that the library takes for special.
    pub(super) fn tokens(&self) -> Vec<AddedToken> {
        self.list.iter().map(|control| control.token.clone().special(true)).collect()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, u32)> {
        self.list.iter().map(|control| (&*control.token.content, control.id))
    }

    /// The control tokens in what a template wrote that do not stand between marks.
    fn written<'a>(&'a self, text: &'a str, [before, after]: [char; 2]) -> impl Iterator<Item = (&'a Control, Range<usize>)> {
        let word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        self.finder.find_iter(text).map(|found| (&self.list[found.pattern().as_usize()], found.range())).filter(
            move |(control, range)| {
                let (left, right) = (&text[..range.start], &text[range.end..]);
                let within = control.token.single_word && (word(left.chars().next_back()) || word(right.chars().next()));
                !(within || left.ends_with(before) && right.starts_with(after))
            },
        )
    }

    /// Where in a text of this role something looks like a control token, and whether its ends might become one.
    fn places(&self, role: Role, text: &str) -> Places {
        let counts = |control: &Control| !(role == Role::Assistant && control.written);
        let found = self.finder.find_iter(text).filter(|found| counts(&self.list[found.pattern().as_usize()]));
        let start = text.len() - text.trim_start_matches(is_space).len();
        let end = text.trim_end_matches(is_space).len();
        let near = |from: usize, to: usize| (from..to).filter(|at| text.is_char_boundary(*at));
        let begins = near(start + 1, (start + self.longest).min(end + 1)).any(|at| self.endings.contains(&text[start..at]));
        let ends = near(end.saturating_sub(self.longest).max(start), end).any(|at| self.beginnings.contains(&text[at..end]));
        Places { found: found.map(|found| found.range()).collect(), begins: begins.then_some(start), ends: ends.then_some(end) }
    }
}

/// Where marks belong, in bytes of a text.
struct Places {
    found: Vec<Range<usize>>,
    begins: Option<usize>,
    ends: Option<usize>,
}

impl Places {
    fn is_empty(&self) -> bool {
        self.found.is_empty() && self.begins.is_none() && self.ends.is_none()
    }

    fn mark(&self, text: &str, [before, after]: [char; 2]) -> String {
        let inner = self.found.iter().flat_map(|range| [(range.start, before), (range.end, after)]);
        // A mark at an end comes before one of a place that begins or ends there.
        let all = self.begins.map(|at| (at, before)).into_iter().chain(inner).chain(self.ends.map(|at| (at, after)));
        let mut all: Vec<(usize, char)> = all.collect();
        all.sort_by_key(|(at, _)| *at);
        let mut marked = String::with_capacity(text.len() + 4 * all.len());
        let mut from = 0;
        for (at, mark) in all {
            marked.push_str(&text[from..at]);
            marked.push(mark);
            from = at;
        }
        marked.push_str(&text[from..]);
        marked
    }
}

/// Two characters that occur in none of these texts.
fn unused<'a>(texts: impl Iterator<Item = &'a str>) -> Option<[char; 2]> {
    let used: HashSet<char> = texts.flat_map(str::chars).filter(|c| *c >= '\u{f0000}').collect();
    let mut free = ('\u{f0000}'..='\u{ffffd}').chain('\u{100000}'..='\u{10fffd}').filter(|c| !used.contains(c));
    Some([free.next()?, free.next()?])
}

impl Tokenizer {
    /// The ids of a conversation that an imported base's chat template writes; `template` is its source, and `write` runs it.
    ///
    /// # Errors
    /// When the template refuses the conversation, when its texts hold every private character of Unicode, and for a tokenizer of our own.
    pub fn written<F>(&self, template: &str, messages: &[(Role, &str)], write: F) -> Result<Vec<u32>, ModelError>
    where
        F: Fn(&[(Role, &str)]) -> Result<String, ImportError>,
    {
        let Kind::Foreign(foreign) = &self.0 else {
            return Err(ModelError::Tokenizer("one of our own knows no chat templates".to_owned()));
        };
        let places: Vec<Places> = messages.iter().map(|(role, text)| foreign.controls.places(*role, text)).collect();
        if places.iter().all(Places::is_empty) {
            return foreign.read(&write(messages)?);
        }
        let marks = unused(messages.iter().map(|(_, text)| *text).chain([template]));
        let marks = marks.ok_or_else(|| ModelError::Tokenizer("a conversation holds every private character".to_owned()))?;
        let marked: Vec<String> = messages.iter().zip(&places).map(|((_, text), places)| places.mark(text, marks)).collect();
        let marked: Vec<(Role, &str)> = messages.iter().zip(&marked).map(|((role, _), text)| (*role, &**text)).collect();
        let written = write(&marked)?;
        if places.iter().all(|places| places.found.is_empty()) {
            let bare = write(messages)?;
            let ids = |text: &str| foreign.controls.written(text, marks).map(|(control, _)| control.id).collect::<Vec<_>>();
            if ids(&bare) == ids(&written) {
                return foreign.read(&bare);
            }
        }
        foreign.read_marked(&written, marks)
    }
}

impl Foreign {
    /// What a template wrote, every control token in it being one.
    fn read(&self, written: &str) -> Result<Vec<u32>, ModelError> {
        Ok(self.whole.encode_fast(written, false).map_err(|e| refused(&e))?.get_ids().to_vec())
    }

    /// The same where marks say what is none: cut at those that the template wrote.
    pub(super) fn read_marked(&self, written: &str, marks: [char; 2]) -> Result<Vec<u32>, ModelError> {
        let mut ids = Vec::new();
        let mut from = 0;
        let mut strip = false;
        let piece = |ids: &mut Vec<u32>, range: Range<usize>, [left, right]: [bool; 2]| {
            let text = written[range.clone()].replace(marks, "");
            let text = if left { text.trim_start() } else { &text };
            let text = if right { text.trim_end() } else { text };
            if !text.is_empty() {
                ids.extend(self.encode(text, range.start == 0)?);
            }
            Ok::<(), ModelError>(())
        };
        for (control, range) in self.controls.written(written, marks) {
            piece(&mut ids, from..range.start, [strip, control.token.lstrip])?;
            ids.push(control.id);
            (from, strip) = (range.end, control.token.rstrip);
        }
        piece(&mut ids, from..written.len(), [strip, false])?;
        Ok(ids)
    }
}
