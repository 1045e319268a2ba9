//! Names: compositional and random, so that unseen ones never run out, and split by a stable hash of their text.
//!
//! Training text only ever uses training names; a demonstration day and everything that is measured only measuring names. The
//! syllables are shared, so that a measuring name looks like any other name.

use std::ops::Range;

use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::{draw::Draw, kind::Kind, syllables};

/// Which side of the experiment a name belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    /// Names that the base may see in training.
    Training,
    /// Names that only a day and its measurement use.
    Measuring,
}

/// One name in this many is for measuring.
const MEASURING_ONE_IN: u64 = 4;

/// The side that a name belongs to: a function of its text alone.
pub fn split_of(name: &str) -> Split {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in name.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    // FNV mixes the last bytes poorly; a finalizer makes the low bits depend on all of them.
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    if (hash ^ (hash >> 31)).is_multiple_of(MEASURING_ONE_IN) { Split::Measuring } else { Split::Training }
}

/// Draws a name of this kind and side.
pub fn draw(rng: &mut ChaCha8Rng, kind: Kind, split: Split) -> String {
    loop {
        let name = compose(rng, kind);
        if split_of(&name) == split {
            return name;
        }
    }
}

/// Draws a name that shares a part with another one of the same kind (a first or last name, a noun): the hard case of telling names
/// apart.
pub fn draw_near(rng: &mut ChaCha8Rng, kind: Kind, other: &str, split: Split) -> String {
    loop {
        let fresh = compose(rng, kind);
        let keep_last = rng.chance(0.5);
        let near = match (fresh.rsplit_once(' '), other.rsplit_once(' ')) {
            (Some((head, _)), Some((_, last))) if keep_last => format!("{head} {last}"),
            (Some((_, last)), Some((head, _))) => format!("{head} {last}"),
            _ => fresh,
        };
        if near != other && split_of(&near) == split {
            return near;
        }
    }
}

fn compose(rng: &mut ChaCha8Rng, kind: Kind) -> String {
    let mut name = String::with_capacity(24);
    let mut part = |rng: &mut ChaCha8Rng, inventory: &[&str]| name.push_str(rng.pick_text(inventory));
    match kind {
        Kind::Person => {
            part(rng, &syllables::FIRST_A);
            part(rng, &syllables::FIRST_B);
            part(rng, &[" "]);
            part(rng, &syllables::LAST_A);
            part(rng, &syllables::LAST_B);
        }
        Kind::Product => {
            part(rng, &["the "]);
            part(rng, &syllables::BRAND_A);
            part(rng, &syllables::BRAND_B);
            part(rng, &syllables::BRAND_C);
            part(rng, &[" "]);
            part(rng, &syllables::PRODUCT_NOUNS);
        }
        Kind::Place => {
            part(rng, &syllables::PLACE_PREFIXES);
            part(rng, &[" "]);
            part(rng, &syllables::PLACE_A);
            part(rng, &syllables::PLACE_B);
            part(rng, &syllables::PLACE_C);
        }
        Kind::Procedure => {
            part(rng, &["the "]);
            part(rng, &syllables::PROCEDURE_A);
            part(rng, &syllables::PROCEDURE_B);
            part(rng, &syllables::PROCEDURE_C);
            part(rng, &[" "]);
            part(rng, &syllables::PROCEDURE_NOUNS);
        }
    }
    name
}

/// Whether the word is one syllable of each inventory in turn.
fn is_composed(word: &str, inventories: &[&[&str]]) -> bool {
    match inventories.split_first() {
        None => word.is_empty(),
        Some((first, rest)) => first.iter().any(|s| word.strip_prefix(s).is_some_and(|tail| is_composed(tail, rest))),
    }
}

fn kind_of_words(words: &[&str]) -> Option<Kind> {
    use syllables as s;
    match words {
        [a, b, ..] if is_composed(a, &[&s::FIRST_A, &s::FIRST_B]) && is_composed(b, &[&s::LAST_A, &s::LAST_B]) => {
            Some(Kind::Person)
        }
        [a, b, ..] if s::PLACE_PREFIXES.contains(a) && is_composed(b, &[&s::PLACE_A, &s::PLACE_B, &s::PLACE_C]) => {
            Some(Kind::Place)
        }
        [the, a, b] if the.eq_ignore_ascii_case("the") => {
            if s::PRODUCT_NOUNS.contains(b) && is_composed(a, &[&s::BRAND_A, &s::BRAND_B, &s::BRAND_C]) {
                Some(Kind::Product)
            } else if s::PROCEDURE_NOUNS.contains(b) && is_composed(a, &[&s::PROCEDURE_A, &s::PROCEDURE_B, &s::PROCEDURE_C]) {
                Some(Kind::Procedure)
            } else {
                None
            }
        }
        _ => None,
    }
}

/// A name that was recognized in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// What it names.
    pub kind: Kind,
    /// The name as [`draw`] spells it.
    pub name: String,
    /// Where it stands.
    pub range: Range<usize>,
}

/// Recognizes the names in a text by their syllables.
pub fn names_in(text: &str) -> Vec<Found> {
    let words = word_ranges(text);
    let mut found = Vec::new();
    let mut at = 0;
    while at < words.len() {
        let window: Vec<&str> = words[at..words.len().min(at + 3)].iter().map(|r| &text[r.clone()]).collect();
        if let Some(kind) = kind_of_words(&window) {
            let length = if matches!(kind, Kind::Person | Kind::Place) { 2 } else { 3 };
            let range = words[at].start..words[at + length - 1].end;
            let mut name = text[range.clone()].to_owned();
            if length == 3 {
                name.replace_range(0..1, "t");
            }
            found.push(Found { kind, name, range });
            at += length;
        } else {
            at += 1;
        }
    }
    found
}

/// The text with every recognized name replaced by `{n}`.
pub fn mask_names(text: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    let mut from = 0;
    for found in names_in(text) {
        masked.push_str(&text[from..found.range.start]);
        masked.push_str("{n}");
        from = found.range.end;
    }
    masked.push_str(&text[from..]);
    masked
}

fn word_ranges(text: &str) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    let mut start = None;
    for (at, byte) in text.bytes().enumerate() {
        match (byte.is_ascii_alphanumeric(), start) {
            (true, None) => start = Some(at),
            (false, Some(from)) => {
                ranges.push(from..at);
                start = None;
            }
            _ => {}
        }
    }
    if let Some(from) = start {
        ranges.push(from..text.len());
    }
    ranges
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::draw::rng_for;

    #[test]
    fn each_kind_has_more_than_a_million_names() {
        use syllables as s;
        assert!(s::FIRST_A.len() * s::FIRST_B.len() * s::LAST_A.len() * s::LAST_B.len() >= 1_000_000);
        assert!(s::BRAND_A.len() * s::BRAND_B.len() * s::BRAND_C.len() * s::PRODUCT_NOUNS.len() >= 1_000_000);
        assert!(s::PLACE_PREFIXES.len() * s::PLACE_A.len() * s::PLACE_B.len() * s::PLACE_C.len() >= 1_000_000);
        assert!(s::PROCEDURE_A.len() * s::PROCEDURE_B.len() * s::PROCEDURE_C.len() * s::PROCEDURE_NOUNS.len() >= 1_000_000);
    }

    #[test]
    fn a_quarter_of_the_names_is_for_measuring_and_no_name_is_on_both_sides() {
        let mut rng = rng_for(1, 0);
        for kind in Kind::ALL {
            let measuring = (0..8000).filter(|_| split_of(&compose(&mut rng, kind)) == Split::Measuring).count();
            assert!((1800..2200).contains(&measuring), "{kind:?}: {measuring} of 8000");
            let training: HashSet<_> = (0..20_000).map(|_| draw(&mut rng, kind, Split::Training)).collect();
            assert!((0..20_000).all(|_| !training.contains(&draw(&mut rng, kind, Split::Measuring))), "{kind:?}");
            assert!(training.len() > 19_000, "{kind:?}: only {} distinct names of 20000", training.len());
        }
    }

    #[test]
    fn names_are_recognized_in_any_sentence() {
        let mut rng = rng_for(2, 0);
        for kind in Kind::ALL {
            for _ in 0..500 {
                let name = draw(&mut rng, kind, Split::Training);
                let text = format!("By the way, what is {name}'s home? The end of {name}.");
                let found = names_in(&text);
                assert_eq!(found.len(), 2, "{text}");
                assert!(found.iter().all(|f| f.name == name && f.kind == kind), "{text}");
                assert_eq!(mask_names(&text), "By the way, what is {n}'s home? The end of {n}.");
            }
        }
    }

    #[test]
    fn near_names_differ_in_one_part() {
        let mut rng = rng_for(3, 0);
        for kind in Kind::ALL {
            for _ in 0..100 {
                let name = draw(&mut rng, kind, Split::Training);
                let near = draw_near(&mut rng, kind, &name, Split::Training);
                assert_ne!(name, near);
                assert!(name.split(' ').zip(near.split(' ')).any(|(a, b)| a == b), "{name} / {near}");
            }
        }
    }
}
