//! Every sentence of the world that is about an attribute.
//!
//! Templates are written with a small first letter (sentences are capitalized when they are filled) and hold `{n}` for the name and
//! `{v}` for the value, bare: articles stand in the template, so that a value is always found verbatim in an answer.

mod people;
mod places;
mod procedures;
mod products;

use crate::kind::Attribute;

/// The sentences and values of one attribute.
pub(crate) struct Words {
    /// Ways to tell a value.
    pub(crate) statements: &'static [&'static str],
    /// Ways to tell a value that the base never sees.
    pub(crate) held_out_statements: &'static [&'static str],
    /// Direct questions that the base is trained on.
    pub(crate) questions: &'static [&'static str],
    /// Direct questions that the base never sees.
    pub(crate) held_out_questions: &'static [&'static str],
    /// Noun phrases for what is asked, as in "What is {..}?"; the first one also serves not knowing.
    pub(crate) phrases: &'static [&'static str],
    /// Clauses for what is asked, as in "Do you know {..}?"; the first one also serves not knowing.
    pub(crate) clauses: &'static [&'static str],
    /// Answers; the first is the canonical one: it takes up the question ("the price of {n} is"), and the value comes last.
    pub(crate) answers: [&'static str; 3],
    /// The value as it follows "it is".
    pub(crate) short: &'static str,
    /// The values.
    pub(crate) values: Values,
}

/// The values of one attribute.
pub(crate) enum Values {
    /// These.
    List(&'static [&'static str]),
    /// Numbers from the first to the second, by the third, followed by a unit.
    Numbers(usize, usize, usize, &'static str),
}

/// The words of an attribute.
pub(crate) fn words(attribute: Attribute) -> &'static Words {
    match attribute {
        Attribute::Home => &people::HOME,
        Attribute::Job => &people::JOB,
        Attribute::Drink => &people::DRINK,
        Attribute::Pet => &people::PET,
        Attribute::Color => &products::COLOR,
        Attribute::Price => &products::PRICE,
        Attribute::Maker => &products::MAKER,
        Attribute::Material => &products::MATERIAL,
        Attribute::KnownFor => &places::KNOWN_FOR,
        Attribute::River => &places::RIVER,
        Attribute::Mayor => &places::MAYOR,
        Attribute::Founded => &places::FOUNDED,
        Attribute::Tool => &procedures::TOOL,
        Attribute::Duration => &procedures::DURATION,
        Attribute::Owner => &procedures::OWNER,
        Attribute::FirstStep => &procedures::FIRST_STEP,
    }
}
