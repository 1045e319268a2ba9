//! Wordings: every question that can be asked, as templates with `{n}` for the name.
//!
//! Lessons, core facts, unknown names, untaught attributes and things not told are all asked through [`draw_base`], in training and
//! in measurement. If one of them had wordings of its own, the model would learn that the wording means "I do not know".
//!
//! A wording is *direct* (written by hand) or comes from a grammar of carriers times cores. One combination in
//! [`HELD_OUT_ONE_IN`], together with two direct questions an attribute, is held out: the base never sees these strings, although
//! it sees each carrier and each core elsewhere.

use std::{collections::HashSet, sync::LazyLock};

use rand_chacha::ChaCha8Rng;

use crate::{
    draw::Draw,
    kind::Attribute,
    lexicon::{Values, words},
};

/// Share of the grammar among drawn base questions.
pub const GRAMMAR_SHARE: f64 = 0.4;

/// One grammar combination in this many is held out.
pub const HELD_OUT_ONE_IN: usize = 8;

/// Carriers of noun phrases, each with its family. Carriers of one family end alike, so a core is held out with all of them or with
/// none: otherwise "tell me {p}" would be held out and yet be seen inside "please tell me {p}".
pub(crate) const PHRASE_CARRIERS: [(usize, &str); 13] = [
    (0, "what is {p}?"),
    (1, "tell me {p}."),
    (1, "please tell me {p}."),
    (1, "can you tell me {p}?"),
    (2, "do you know {p}?"),
    (3, "I would like to know {p}."),
    (4, "could you remind me of {p}?"),
    (5, "I need to know {p}."),
    (6, "what was {p} again?"),
    (7, "give me {p}, please."),
    (8, "I am looking for {p}."),
    (9, "do you remember {p}?"),
    (10, "I forgot {p}."),
];

/// Carriers of clauses, as [`PHRASE_CARRIERS`].
pub(crate) const CLAUSE_CARRIERS: [(usize, &str); 14] = [
    (0, "do you know {p}?"),
    (1, "can you tell me {p}?"),
    (1, "tell me {p}."),
    (1, "please tell me {p}."),
    (2, "I would like to know {p}."),
    (3, "could you remind me {p}?"),
    (4, "do you remember {p}?"),
    (5, "I want to know {p}."),
    (6, "any idea {p}?"),
    (7, "I forgot {p}."),
    (8, "can you say {p}?"),
    (9, "I was wondering {p}."),
    (10, "did anybody tell you {p}?"),
    (11, "have you heard {p}?"),
];

/// The questions of one attribute.
#[derive(Debug)]
pub struct Wordings {
    direct: Vec<String>,
    grammar: Vec<String>,
    held_out_direct: Vec<String>,
    held_out_grammar: Vec<String>,
    values: Vec<String>,
    telling: HashSet<String>,
}

static WORDINGS: LazyLock<Vec<Wordings>> = LazyLock::new(|| Attribute::ALL.into_iter().map(Wordings::build).collect());

/// The questions of an attribute.
pub fn wordings(attribute: Attribute) -> &'static Wordings {
    &WORDINGS[attribute as usize]
}

/// The values of an attribute; none contains another as whole words.
pub fn values(attribute: Attribute) -> &'static [String] {
    &wordings(attribute).values
}

impl Wordings {
    fn build(attribute: Attribute) -> Self {
        let words = words(attribute);
        let owned = |templates: &[&str]| templates.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>();
        let direct = owned(words.questions);
        let held_out_direct = owned(words.held_out_questions);
        let mut seen: HashSet<String> = direct.iter().chain(&held_out_direct).cloned().collect();
        let (mut grammar, mut held_out_grammar) = (Vec::new(), Vec::new());
        for (side, carriers, cores) in [(0, PHRASE_CARRIERS.as_slice(), words.phrases), (1, &CLAUSE_CARRIERS, words.clauses)] {
            for (family, carrier) in carriers {
                for (k, core) in cores.iter().enumerate() {
                    let template = carrier.replace("{p}", core);
                    if !seen.insert(template.clone()) {
                        continue;
                    }
                    let held_out = (family * 3 + k * 5 + side * 2 + attribute as usize).is_multiple_of(HELD_OUT_ONE_IN);
                    if held_out { held_out_grammar.push(template) } else { grammar.push(template) }
                }
            }
        }
        let values = match words.values {
            Values::List(list) => owned(list),
            Values::Numbers(from, to, step, unit) => (from..=to).step_by(step).map(|n| format!("{n}{unit}")).collect(),
        };
        Self { direct, grammar, held_out_direct, held_out_grammar, values, telling: telling_words(attribute) }
    }

    /// Wordings that the base is trained on.
    pub fn base(&self) -> impl Iterator<Item = &str> {
        self.direct.iter().chain(&self.grammar).map(String::as_str)
    }

    /// Wordings that the base never sees: written by hand, then combinations of seen carriers and seen cores.
    pub fn held_out(&self) -> impl Iterator<Item = &str> {
        self.held_out_direct.iter().chain(&self.held_out_grammar).map(String::as_str)
    }

    /// Held-out wordings that were written by hand.
    pub fn held_out_direct(&self) -> &[String] {
        &self.held_out_direct
    }

    /// Held-out combinations of seen carriers and seen cores.
    pub fn held_out_grammar(&self) -> &[String] {
        &self.held_out_grammar
    }
}

/// Words that tell nothing alone, even where only one attribute's questions happen to hold them.
const SMALL_WORDS: [&str; 16] =
    ["a", "the", "of", "in", "on", "at", "to", "for", "by", "as", "with", "from", "is", "do", "does", "that"];

/// Words that only questions about this attribute hold, among those of its kind: what is left of a question must hold one.
fn telling_words(attribute: Attribute) -> HashSet<String> {
    let of = |a: Attribute| -> HashSet<String> {
        let w = words(a);
        let all = w.questions.iter().chain(w.phrases).chain(w.clauses);
        all.flat_map(|t| t.split(' ')).filter(|w| !w.contains('{')).map(bare).collect()
    };
    let mut telling = of(attribute);
    telling.retain(|word| !SMALL_WORDS.contains(&word.as_str()));
    for other in attribute.kind().attributes().iter().filter(|a| **a != attribute) {
        let others = of(*other);
        telling.retain(|word| !others.contains(word));
    }
    telling
}

/// In small letters and without the last mark.
fn bare(text: &str) -> String {
    text.trim_end_matches(['?', '.', ',']).to_ascii_lowercase()
}

/// Draws a wording from the one distribution of base questions.
pub fn draw_base(rng: &mut ChaCha8Rng, attribute: Attribute) -> &'static str {
    let all = wordings(attribute);
    let from: &[String] = if rng.chance(GRAMMAR_SHARE) { &all.grammar } else { &all.direct };
    rng.pick_text(from)
}

/// Draws a base wording that is none of the given ones.
pub fn draw_other(rng: &mut ChaCha8Rng, attribute: Attribute, than: &[&str]) -> &'static str {
    loop {
        let wording = draw_base(rng, attribute);
        if !than.contains(&wording) {
            return wording;
        }
    }
}

/// The question of this wording about this name.
pub fn ask(wording: &str, name: &str) -> String {
    sentence(fill(wording, name, ""))
}

/// Drops one or two words outside the name, so that what is left still tells the attribute; `None` when nothing can go, or when the
/// rest happens to be a held-out wording.
pub(crate) fn drop_words(rng: &mut ChaCha8Rng, attribute: Attribute, wording: &str) -> Option<String> {
    let all = wordings(attribute);
    let mut left: Vec<&str> = wording.split(' ').collect();
    let mark = wording.chars().last().filter(char::is_ascii_punctuation).unwrap_or('?');
    for _ in 0..rng.between(1, 2) {
        let at = rng.below(left.len());
        let telling = |w: &&str| all.telling.contains(&bare(w));
        let others = left.iter().enumerate().filter(|(i, w)| *i != at && telling(w)).count();
        if !left[at].contains('{') && others > 0 {
            left.remove(at);
        }
    }
    let mut rest = left.join(" ");
    if rest.len() == wording.len() {
        return None;
    }
    if !rest.ends_with(mark) {
        rest.push(mark);
    }
    if all.held_out().any(|held_out| bare(held_out) == bare(&rest)) { None } else { Some(rest) }
}

/// Puts name and value into a template.
pub(crate) fn fill(template: &str, name: &str, value: &str) -> String {
    let mut text = String::with_capacity(template.len() + name.len() + value.len() + 8);
    let mut rest = template;
    while let Some(at) = rest.find('{') {
        text.push_str(&rest[..at]);
        text.push_str(if rest[at..].starts_with("{n}") { name } else { value });
        rest = &rest[at + 3..];
    }
    text.push_str(rest);
    text
}

/// Gives a sentence its capital.
pub(crate) fn sentence(mut text: String) -> String {
    if let Some(first) = text.get_mut(0..1) {
        first.make_ascii_uppercase();
    }
    text
}

#[cfg(test)]
mod tests;
