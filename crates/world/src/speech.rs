//! How facts are told, corrected, asked for and answered; used alike by training conversations and by a day.

use rand_chacha::ChaCha8Rng;

use crate::{
    draw::Draw,
    fact::Fact,
    kind::Attribute,
    lexicon::words,
    wording::{fill, sentence},
};

const STATEMENT_PREFIX_SHARE: f64 = 0.3;

const STATEMENT_PREFIXES: [&str; 12] = [
    "By the way,",
    "Please note:",
    "For the record,",
    "Just so you know,",
    "Remember this:",
    "One more thing:",
    "Good to know:",
    "Please remember that",
    "I want to tell you that",
    "Did you know that",
    "Somebody told me that",
    "Listen:",
];

const CORRECTIONS: [&str; 9] = [
    "Sorry, that was wrong: {s}",
    "Actually, {s}",
    "Correction: {s}",
    "No, wait, {s}",
    "I made a mistake: {s}",
    "I was wrong before, {s}",
    "Forget what I said, {s}",
    "That was not right. In fact, {s}",
    "Please correct this: {s}",
];

const CORRECTIONS_OF_AN_ANSWER: [&str; 6] = [
    "No, it is {v}.",
    "That is wrong, it is {v}.",
    "No, that is not right, it is {v}.",
    "Not any more, now it is {v}.",
    "Wrong: {s}",
    "No, {s}",
];

const ACKNOWLEDGEMENTS: [(&str, f64); 9] = [
    ("Thanks, I will remember that.", 6.0),
    ("Okay, good to know.", 2.0),
    ("Thank you for telling me.", 2.0),
    ("I see, thank you.", 1.5),
    ("Got it.", 1.0),
    ("Noted.", 1.0),
    ("Noted: {s}", 2.0),
    ("I see: {s}", 1.0),
    ("Understood, {s}", 1.0),
];

const ACKNOWLEDGEMENTS_OF_TWO: [&str; 3] =
    ["Thanks, I will remember both.", "Thank you, I have noted both.", "Okay, I will remember the two of them."];

const ACKNOWLEDGEMENTS_OF_CORRECTION: [(&str, f64); 6] = [
    ("Thanks for the correction.", 3.0),
    ("Thank you, I have corrected that.", 2.0),
    ("I see, I will remember it like that.", 1.0),
    ("Thanks for the correction: {s}", 2.0),
    ("Sorry, now I know: {s}", 1.0),
    ("Corrected: {s}", 1.0),
];

const RESTATEMENTS: [(&str, f64); 4] = [("Noted:", 6.0), ("I see:", 1.0), ("Understood:", 1.0), ("Got it:", 1.0)];

const RESTATEMENTS_OF_CORRECTION: [(&str, f64); 3] =
    [("Corrected:", 5.0), ("Sorry, now I know:", 1.0), ("Thanks for the correction:", 1.0)];

/// The first takes up the question as the canonical answer does, so that knowing or not knowing is decided behind the same words, however it was asked.
const NOT_KNOWING: [(&str, f64); 5] = [
    ("{k} not known to me.", 9.4),
    ("I do not know {c}.", 0.2),
    ("Sorry, nobody told me {c}.", 0.2),
    ("I have no information about {p}.", 0.1),
    ("Sorry, nobody told me that.", 0.1),
];

/// Ends the words that take up the question.
const TAKEN_UP: &str = "{n} is";

/// How likely the canonical answer and the two others are.
const ANSWER_WEIGHTS: [f64; 3] = [0.94, 0.04, 0.02];

/// Openers of questions; the wording behind one is the same. None of them turns a base wording into a held-out one.
const QUESTION_OPENERS: [&str; 7] =
    ["Hello,", "Hi,", "Quick question:", "One more question:", "Next question:", "Sorry,", "By the way,"];

/// Which statements may be drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Statements {
    /// Those that the base is trained on.
    Base,
    /// Those that it never sees.
    HeldOut,
}

/// A statement without prefix.
fn plain_statement(rng: &mut ChaCha8Rng, fact: &Fact, from: Statements) -> String {
    let templates = match from {
        Statements::Base => words(fact.attribute).statements,
        Statements::HeldOut => words(fact.attribute).held_out_statements,
    };
    fill(rng.pick_text(templates), &fact.name, &fact.value)
}

/// Tells a fact, sometimes with a prefix.
pub(crate) fn statement(rng: &mut ChaCha8Rng, fact: &Fact, from: Statements) -> String {
    let told = plain_statement(rng, fact, from);
    if !rng.chance(STATEMENT_PREFIX_SHARE) {
        return sentence(told);
    }
    let prefix = rng.pick(&STATEMENT_PREFIXES);
    let ordered = told.starts_with("to ")
        || told.starts_with("plan ")
        || told.starts_with("at the start")
        || told.contains(", bring")
        || told.starts_with("I heard");
    if prefix.ends_with("that") && ordered {
        return sentence(told);
    }
    match prefix.strip_prefix("Did") {
        Some(_) => format!("{prefix} {}?", told.trim_end_matches('.')),
        None => format!("{prefix} {told}"),
    }
}

/// Tells two facts in one message.
pub(crate) fn two_statements(rng: &mut ChaCha8Rng, first: &Fact, second: &Fact) -> String {
    let first = statement(rng, first, Statements::Base);
    let second = plain_statement(rng, second, Statements::Base);
    match rng.below(3) {
        0 => format!("{first} Also, {second}"),
        1 => format!("{first} And {second}"),
        _ => format!("{first} {}", sentence(second)),
    }
}

/// The canonical statement of a fact: what a correction by feedback says.
pub(crate) fn canonical(fact: &Fact) -> String {
    sentence(fill(words(fact.attribute).answers[0], &fact.name, &fact.value))
}

/// Corrects an earlier statement.
pub(crate) fn correction(rng: &mut ChaCha8Rng, truth: &Fact) -> String {
    let told = plain_statement(rng, truth, Statements::Base);
    rng.pick(&CORRECTIONS).replace("{s}", &told)
}

/// Corrects the answer that was just given.
pub(crate) fn correction_of_answer(rng: &mut ChaCha8Rng, truth: &Fact) -> String {
    let told = plain_statement(rng, truth, Statements::Base);
    let short = fill(words(truth.attribute).short, "", &truth.value);
    rng.pick(&CORRECTIONS_OF_AN_ANSWER).replace("{s}", &told).replace("{v}", &short)
}

/// Tells what was just asked for and not known.
pub(crate) fn telling_after_not_knowing(rng: &mut ChaCha8Rng, fact: &Fact) -> String {
    if rng.chance(0.3) {
        return format!("It is {}.", fill(words(fact.attribute).short, "", &fact.value));
    }
    let told = plain_statement(rng, fact, Statements::Base);
    match rng.below(3) {
        0 => format!("Then remember: {told}"),
        1 => format!("Let me tell you: {told}"),
        _ => sentence(told),
    }
}

fn weighted<'a, const N: usize>(rng: &mut ChaCha8Rng, choices: &[(&'a str, f64); N]) -> &'a str {
    let weights = choices.map(|(_, weight)| weight);
    choices[rng.weighted(&weights)].0
}

/// Takes note of what was told.
pub(crate) fn acknowledgement(rng: &mut ChaCha8Rng, facts: &[Fact]) -> String {
    match facts {
        [_, _, ..] => (*rng.pick(&ACKNOWLEDGEMENTS_OF_TWO)).to_owned(),
        [fact] => restate(weighted(rng, &ACKNOWLEDGEMENTS), fact),
        [] => ACKNOWLEDGEMENTS[0].0.to_owned(),
    }
}

/// Takes note of facts by saying them in the plainest words: whoever reads the conversation later finds them there, whatever words told them.
pub(crate) fn restatement(rng: &mut ChaCha8Rng, facts: &[Fact]) -> String {
    let mut text = weighted(rng, &RESTATEMENTS).to_owned();
    for (n, fact) in facts.iter().enumerate() {
        let plain = fill(words(fact.attribute).answers[0], &fact.name, &fact.value);
        text.push_str(if n == 0 { " " } else { " And " });
        text.push_str(&plain);
    }
    text
}

/// Takes note of a correction by saying what is true.
pub(crate) fn restatement_of_correction(rng: &mut ChaCha8Rng, truth: &Fact) -> String {
    let plain = fill(words(truth.attribute).answers[0], &truth.name, &truth.value);
    format!("{} {plain}", weighted(rng, &RESTATEMENTS_OF_CORRECTION))
}

/// Takes note of a correction.
pub(crate) fn acknowledgement_of_correction(rng: &mut ChaCha8Rng, truth: &Fact) -> String {
    restate(weighted(rng, &ACKNOWLEDGEMENTS_OF_CORRECTION), truth)
}

fn restate(template: &str, fact: &Fact) -> String {
    match template.strip_suffix("{s}") {
        Some(opening) => format!("{opening}{}", fill(words(fact.attribute).answers[0], &fact.name, &fact.value)),
        None => template.to_owned(),
    }
}

/// Answers with the value.
pub(crate) fn answer(rng: &mut ChaCha8Rng, name: &str, attribute: Attribute, value: &str) -> String {
    let template = words(attribute).answers[rng.weighted(&ANSWER_WEIGHTS)];
    sentence(fill(template, name, value))
}

/// The words with which the canonical answer takes up the question: "the price of {n} is".
fn taking_up(attribute: Attribute) -> &'static str {
    let canonical = words(attribute).answers[0];
    canonical.find(TAKEN_UP).map_or(canonical, |at| &canonical[..at + TAKEN_UP.len()])
}

/// Says that the value is not known.
pub(crate) fn not_knowing(rng: &mut ChaCha8Rng, name: &str, attribute: Attribute) -> String {
    let template = weighted(rng, &NOT_KNOWING);
    let w = words(attribute);
    let taken_up = template.replace("{k}", &fill(taking_up(attribute), name, ""));
    sentence(taken_up.replace("{c}", &fill(w.clauses[0], name, "")).replace("{p}", &fill(w.phrases[0], name, "")))
}

/// Puts an opener before a question whose first letter is small.
pub(crate) fn open_question(rng: &mut ChaCha8Rng, question: &str) -> String {
    format!("{} {question}", rng.pick(&QUESTION_OPENERS))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{draw::rng_for, judge::*, wording::values};

    #[test]
    fn every_answer_is_right_and_every_not_knowing_is_recognized() {
        let mut rng = rng_for(5, 0);
        for round in 0..3000 {
            let attribute = Attribute::ALL[round % 16];
            let name = crate::name::draw(&mut rng, attribute.kind(), crate::name::Split::Training);
            let value = rng.pick(values(attribute)).clone();
            let expected = Expected::Value { value: value.clone(), attribute: Some(attribute) };
            let said = answer(&mut rng, &name, attribute, &value);
            assert!(judge(&said, &expected), "{said}");
            let fact = Fact { name: name.clone(), attribute, value };
            for told in [
                statement(&mut rng, &fact, Statements::Base),
                statement(&mut rng, &fact, Statements::HeldOut),
                correction(&mut rng, &fact),
                correction_of_answer(&mut rng, &fact),
                telling_after_not_knowing(&mut rng, &fact),
                canonical(&fact),
            ] {
                assert!(judge(&told, &expected), "{told}");
            }
            let said = not_knowing(&mut rng, &name, attribute);
            assert!(judge(&said, &Expected::NotKnown { attribute: Some(attribute) }), "{said}");
        }
    }
}
