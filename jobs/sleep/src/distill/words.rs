//! Answers as words: which of them a context gave, and whether an answer states them.

use std::collections::HashSet;

use nocturne_model::Tokenizer;

/// Nats by which a context must raise a token for its word to come from the context.
const GAINED_NATS: f32 = 1.0;
/// Nats from which on a word must stand in the context: it was not to be expected, and whoever did not read it made it up.
const TOLD_NATS: f32 = 2.5;

/// The words of a text, lower case, without punctuation around them.
pub(crate) fn words(text: &str) -> impl Iterator<Item = String> {
    text.split_whitespace().map(plain).filter(|word| !word.is_empty())
}

fn plain(word: &str) -> String {
    word.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase()
}

/// Whether a text states every word of a value.
pub(crate) fn states(text: &str, value: &str) -> bool {
    let said: HashSet<String> = words(text).collect();
    !value.is_empty() && value.split(' ').all(|word| said.contains(word))
}

/// Whether the words of one value are all among those of the other.
pub(super) fn overlap(a: &str, b: &str) -> bool {
    let (a, b): (HashSet<&str>, HashSet<&str>) = (a.split(' ').collect(), b.split(' ').collect());
    a.is_subset(&b) || b.is_subset(&a)
}

/// What an answer's tokens cost with and without a context.
#[derive(Debug, Clone, Copy)]
pub(super) struct Costs<'a> {
    /// The answer's tokens, the end mark last.
    pub(super) ids: &'a [u32],
    /// Nats a token with the context.
    pub(super) with: &'a [f32],
    /// Nats a token without it.
    pub(super) without: &'a [f32],
}

/// What an answer says that only its context told it: the words that the context makes likelier and that stand in it. `None` when the answer holds a word
/// that is no more to be expected and does not stand in the context, or says nothing new.
///
/// The first such word is forgiven: it often only shows *that* there is an answer ("is **a** cat", not "is **not** known"). Behind it the words of the
/// context must have been unexpected themselves, or the forgiven word was the value and made up.
pub(super) fn told(tokenizer: &Tokenizer, costs: Costs<'_>, question: &str, context: &HashSet<String>) -> Option<String> {
    let asked: HashSet<String> = words(question).collect();
    let mut value = Vec::new();
    let (mut gained, mut forgiven) = (0.0, false);
    for (n, (word, gain)) in gains(tokenizer, costs).into_iter().enumerate() {
        if gain < GAINED_NATS || word.is_empty() || asked.contains(&word) {
            continue;
        }
        if context.contains(&word) && n > 0 {
            value.push(word);
            gained += gain;
        } else if gain > TOLD_NATS {
            if forgiven || !value.is_empty() {
                return None;
            }
            forgiven = true;
        }
    }
    (!value.is_empty() && (!forgiven || gained > TOLD_NATS)).then(|| value.join(" "))
}

/// The words of an answer with the most that the context gains on one of their tokens, nats.
fn gains(tokenizer: &Tokenizer, costs: Costs<'_>) -> Vec<(String, f32)> {
    let mut found: Vec<(String, f32)> = Vec::new();
    let mut stream = tokenizer.decode_stream();
    let text = &costs.ids[..costs.ids.len().saturating_sub(1)];
    for ((id, with), without) in text.iter().zip(costs.with).zip(costs.without) {
        let Some(piece) = stream.push(*id) else { continue };
        if piece.starts_with(' ') || found.is_empty() {
            found.push((String::new(), 0.0));
        }
        if let Some((word, gain)) = found.last_mut() {
            word.push_str(piece.trim_start());
            *gain = gain.max(without - with);
        }
    }
    found.into_iter().map(|(word, gain)| (plain(&word), gain)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_states_a_value_in_any_order_and_case() {
        assert!(states("The Koral lamp costs 46 Dollars.", "dollars 46"));
        assert!(!states("The Koral lamp costs 460 dollars.", "46"));
        assert!(!states("anything", ""));
    }

    fn value(gains: &[f32], context: &str) -> Option<String> {
        let tokenizer = Tokenizer::train(["Koral costs 46 coins now"; 20].into_iter(), 400).unwrap();
        let answer = "Koral costs 46 coins";
        let mut ids = Vec::new();
        let mut without = Vec::new();
        for (word, gain) in answer.split_inclusive(' ').map(str::trim_end).zip(gains) {
            let spaced = if ids.is_empty() { word.to_owned() } else { format!(" {word}") };
            let pieces = tokenizer.encode(&spaced);
            without.extend(std::iter::repeat_n(*gain, pieces.len()));
            ids.extend(pieces);
        }
        ids.push(0);
        without.push(0.0);
        let with = vec![0.0; ids.len()];
        let costs = Costs { ids: &ids, with: &with, without: &without };
        told(&tokenizer, costs, "What does Koral cost?", &words(context).collect())
    }

    #[test]
    fn a_value_is_what_the_context_told() {
        assert_eq!(value(&[9.0, 0.1, 4.0, 0.2], "They want 46 coins for Koral."), Some("46".into()));
    }

    #[test]
    fn what_no_context_holds_was_made_up() {
        assert_eq!(value(&[9.0, 0.1, 4.0, 1.5], "Koral costs many coins."), None, "the price is the word that is new");
        assert_eq!(value(&[0.1, 9.0, 4.0, 0.1], "Koral is worth many coins."), None, "two words that nobody said");
        assert_eq!(value(&[9.0, 0.1, 0.2, 0.2], "Koral costs 46 coins."), None, "nothing new");
    }

    #[test]
    fn a_word_that_only_begins_the_answer_may_stand_nowhere() {
        assert_eq!(value(&[0.1, 9.0, 4.0, 0.1], "46 coins for Koral."), Some("46".into()));
    }

    #[test]
    fn values_overlap_when_one_holds_the_other() {
        assert!(overlap("ring", "ring the bell"));
        assert!(!overlap("ring the bell", "ring twice"));
    }
}
