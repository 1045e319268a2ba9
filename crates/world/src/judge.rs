//! The judge: whether an answer is right.

use serde::{Deserialize, Serialize};

use crate::{kind::Attribute, wording::values};

/// What a right answer does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expected {
    /// It states this value and no other one of the attribute.
    Value {
        /// The value.
        value: String,
        /// The attribute, when it is one of this world's: then no other of its values may stand in the answer.
        attribute: Option<Attribute>,
    },
    /// It says that it does not know, and states no value of the attribute.
    NotKnown {
        /// The attribute that was asked for, when it is one of this world's.
        attribute: Option<Attribute>,
    },
}

/// Phrases of which one stands in every answer that does not know; lower case, without punctuation.
pub const NOT_KNOWN_MARKERS: [&str; 11] = [
    "not known to me",
    "do not know",
    "don t know",
    "nobody told me",
    "nobody has told me",
    "no one told me",
    "have not been told",
    "was not told",
    "no information",
    "no idea",
    "cannot say",
];

/// Whether an answer says that it does not know.
pub fn says_not_known(answer: &str) -> bool {
    let words = plain(answer);
    NOT_KNOWN_MARKERS.iter().any(|marker| contains(&words, marker))
}

/// Whether an answer is what was expected.
pub fn judge(answer: &str, expected: &Expected) -> bool {
    let words = plain(answer);
    let states = |value: &str| contains(&words, &plain(value));
    match expected {
        Expected::Value { value, attribute } => {
            let wanted = plain(value);
            let others = attribute.map_or(&[] as &[String], values);
            states(value) && !says_not_known(answer) && !others.iter().any(|other| plain(other) != wanted && states(other))
        }
        Expected::NotKnown { attribute } => {
            says_not_known(answer) && !attribute.map_or(&[] as &[String], values).iter().any(|value| states(value))
        }
    }
}

/// Words in lower case, joined by single spaces.
fn plain(text: &str) -> String {
    let mut words = String::with_capacity(text.len());
    for word in text.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty()) {
        if !words.is_empty() {
            words.push(' ');
        }
        words.extend(word.chars().flat_map(char::to_lowercase));
    }
    words
}

/// Whether plain text holds a plain phrase as whole words.
fn contains(text: &str, phrase: &str) -> bool {
    !phrase.is_empty()
        && text.match_indices(phrase).any(|(at, _)| {
            let end = at + phrase.len();
            (at == 0 || text.as_bytes()[at - 1] == b' ') && (end == text.len() || text.as_bytes()[end] == b' ')
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(value: &str, attribute: Attribute) -> Expected {
        Expected::Value { value: value.into(), attribute: Some(attribute) }
    }

    #[test]
    fn a_value_counts_in_any_sentence_and_case() {
        for answer in ["Mirel Tovan lives in Bergen.", "In Bergen.", "bergen", "That would be BERGEN!"] {
            assert!(judge(answer, &value("Bergen", Attribute::Home)), "{answer}");
        }
        assert!(judge("Green tea is the favorite drink of Mirel Tovan.", &value("green tea", Attribute::Drink)));
        assert!(judge("It costs 37 dollars.", &value("37 dollars", Attribute::Price)));
    }

    #[test]
    fn part_of_a_word_another_value_or_a_hedge_does_not_count() {
        for answer in ["", "In Bergenheim.", "In Bergen or Oslo.", "I do not know whether it is Bergen.", "In Oslo."] {
            assert!(!judge(answer, &value("Bergen", Attribute::Home)), "{answer}");
        }
        assert!(!judge("It costs 137 dollars.", &value("37 dollars", Attribute::Price)));
        assert!(!judge("It costs 37.", &value("37 dollars", Attribute::Price)));
    }

    #[test]
    fn not_knowing_is_recognized_and_must_not_guess() {
        let expected = Expected::NotKnown { attribute: Some(Attribute::Home) };
        for answer in ["I do not know where Mirel Tovan lives.", "Sorry, nobody told me that.", "I don't know."] {
            assert!(judge(answer, &expected), "{answer}");
        }
        for answer in ["Mirel Tovan lives in Bergen.", "I do not know, maybe Bergen.", "Hello.", ""] {
            assert!(!judge(answer, &expected), "{answer}");
        }
    }

    #[test]
    fn a_value_from_outside_the_world_is_judged_by_its_words() {
        let expected = Expected::Value { value: "Tuesday at noon".into(), attribute: None };
        assert!(judge("The meeting is on Tuesday at noon.", &expected));
        assert!(!judge("The meeting is on Tuesday.", &expected));
    }
}
