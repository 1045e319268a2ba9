//! What a question is about, found by comparing it with the same question about somebody else.

use std::collections::{BTreeMap, BTreeSet};

/// A question split around the words that name its subject.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Template {
    before: String,
    after: String,
}

impl Template {
    /// The question about a name.
    pub(crate) fn about(&self, name: &str) -> String {
        format!("{}{name}{}", self.before, self.after)
    }

    /// Splits a question around a name that it holds once.
    pub(crate) fn of(question: &str, name: &str) -> Option<Self> {
        let (before, after) = question.split_once(name)?;
        if after.contains(name) {
            return None;
        }
        Some(Self { before: before.to_owned(), after: after.to_owned() })
    }
}

/// Longest name, in words.
const LONGEST_NAME: usize = 5;

/// Marks that end a word without belonging to it.
const MARKS: &[char] = &['.', ',', '?', '!', ':', ';'];

/// The names in which two wordings of the same question differ: the only run of words that is not shared.
pub(crate) fn differing(question: &str, other: &str) -> Option<(String, String)> {
    let (a, b): (Vec<&str>, Vec<&str>) = (question.split(' ').collect(), other.split(' ').collect());
    let front = a.iter().zip(&b).take_while(|(x, y)| x == y).count();
    let back = a[front..].iter().rev().zip(b[front..].iter().rev()).take_while(|(x, y)| x == y).count();
    let (a, b) = (&a[front..a.len() - back], &b[front..b.len() - back]);
    if a.is_empty() || b.is_empty() || a.len() > LONGEST_NAME || b.len() > LONGEST_NAME {
        return None;
    }
    let (a, b) = (a.join(" "), b.join(" "));
    let (x, y) = shared_end(&a, &b);
    let (x, y) = (bare(x), bare(y));
    (!x.is_empty() && !y.is_empty() && x != y).then(|| (x.to_owned(), y.to_owned()))
}

/// A name without the small words before its first capital letter: "of the Koral lamp" is the Koral lamp.
fn bare(name: &str) -> &str {
    let starts = |at: usize| at == 0 || name[..at].ends_with(' ');
    let capital = name.char_indices().find(|(at, c)| starts(*at) && !c.is_lowercase());
    capital.map_or(name, |(at, _)| &name[at..])
}

/// Cuts a possessive ending or a closing mark that both share.
fn shared_end<'a>(a: &'a str, b: &'a str) -> (&'a str, &'a str) {
    for end in ["'s", "'"] {
        if let (Some(x), Some(y)) = (a.trim_end_matches(MARKS).strip_suffix(end), b.trim_end_matches(MARKS).strip_suffix(end)) {
            return (x, y);
        }
    }
    (a.trim_end_matches(MARKS), b.trim_end_matches(MARKS))
}

/// Share of a name's occurrences inside a longer one from which the longer one is meant.
const ALWAYS: f64 = 0.8;
/// Share of a shorter name's occurrences that a longer one must cover to be more than the shorter one and the words that happened to follow it.
const SELDOM: f64 = 0.5;

/// The names that are meant, for names as they were found: comparing two questions cuts some too short ("Aldtemere" out of "Cape Aldtemere") and some too
/// long ("lamp costs"). What decides is how the texts use them.
pub(crate) fn settle(found: &BTreeSet<String>, texts: &[&str]) -> BTreeMap<String, String> {
    let count: BTreeMap<&str, f64> = found
        .iter()
        .map(|name| (name.as_str(), texts.iter().map(|text| occurrences(text, name)).sum::<usize>() as f64))
        .collect();
    let share = |long: &str, short: &str| count[long] / count[short].max(1.0);
    let meant = |name: &str| -> String {
        let parts =
            found.iter().filter(|part| part.len() < name.len() && occurrences(name, part) > 0 && share(name, part) < SELDOM);
        let name = parts.max_by_key(|part| part.len()).map_or(name, String::as_str);
        let wholes =
            found.iter().filter(|whole| whole.len() > name.len() && occurrences(whole, name) > 0 && share(whole, name) >= ALWAYS);
        wholes.max_by_key(|whole| whole.len()).map_or(name, String::as_str).to_owned()
    };
    found.iter().map(|name| (name.clone(), meant(name))).collect()
}

/// Whether a text holds a name as whole words: "Ann" is not named by what is said about Anna.
pub(crate) fn mentions(text: &str, name: &str) -> bool {
    occurrences(text, name) > 0
}

/// How often a text holds a name as whole words.
fn occurrences(text: &str, name: &str) -> usize {
    let outside = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric());
    let whole =
        |(at, _): &(usize, &str)| outside(text[..*at].chars().next_back()) && outside(text[at + name.len()..].chars().next());
    text.match_indices(name).filter(whole).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transferred_question_shows_both_names() {
        let names = differing("Where does Mirel Tovan live?", "Where does Kara Sol live?");
        assert_eq!(names, Some(("Mirel Tovan".into(), "Kara Sol".into())));
        let names = differing("What is Mirel Tovan's home?", "What is Kara Sol's home?");
        assert_eq!(names, Some(("Mirel Tovan".into(), "Kara Sol".into())));
        let names = differing("Who owns the Koral check?", "Who owns the Dun check?");
        assert_eq!(names, Some(("Koral".into(), "Dun".into())));
    }

    #[test]
    fn small_words_before_a_name_do_not_belong_to_it() {
        let names = differing("Who pays for the Koral check?", "Who pays for Dun?");
        assert_eq!(names, Some(("Koral check".into(), "Dun".into())));
        assert_eq!(bare("of the Koral lamp"), "Koral lamp");
        assert_eq!(bare("iron lamp"), "iron lamp");
    }

    #[test]
    fn other_sentences_show_no_names() {
        assert_eq!(differing("Where does Mirel Tovan live?", "Where does Mirel Tovan live?"), None);
        assert_eq!(differing("a b c d e f g", "h i j k l m n"), None);
    }

    #[test]
    fn a_template_moves_a_question_to_another_name() {
        let template = Template::of("Where does Mirel Tovan live?", "Mirel Tovan").unwrap();
        assert_eq!(template.about("Kara Sol"), "Where does Kara Sol live?");
        assert_eq!(Template::of("A and A", "A"), None);
    }

    #[test]
    fn names_are_settled_by_how_the_texts_use_them() {
        let found = ["Aldtemere", "Cape Aldtemere", "Koral lamp", "Koral lamp costs", "Mirel"].map(str::to_owned);
        let texts = [
            "Cape Aldtemere was founded in 1615.",
            "The Koral lamp costs 46 dollars.",
            "Who makes the Koral lamp?",
            "What is the Koral lamp made of?",
            "Where does Mirel live?",
        ];
        let settled = settle(&found.into_iter().collect(), &texts);
        assert_eq!(settled["Aldtemere"], "Cape Aldtemere");
        assert_eq!(settled["Koral lamp costs"], "Koral lamp");
        assert_eq!(settled["Koral lamp"], "Koral lamp");
        assert_eq!(settled["Mirel"], "Mirel");
    }

    #[test]
    fn a_name_is_found_as_whole_words_only() {
        assert_eq!(occurrences("Ann met Anna and Ann's dog", "Ann"), 2);
    }
}
