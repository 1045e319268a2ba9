//! What a subject says in one session.

use std::collections::HashSet;

use rand_chacha::ChaCha8Rng;

use super::{Condition, FeedbackSpec, UserTurn};
use crate::{
    conversation::TurnKind,
    draw::Draw,
    fact::Fact,
    judge::Expected,
    kind::{Attribute, Kind},
    name::{self, Split},
    small_talk::{EXCHANGES, GREETINGS},
    speech::{self, Statements},
    wording::{self, values},
};

/// Share of questions by day that are judged when the answer is right.
const PRAISE_SHARE: f64 = 0.15;
/// Share of questions by day that are corrected when the answer is wrong.
const OBJECTION_SHARE: f64 = 0.25;

pub(super) fn statement(rng: &mut ChaCha8Rng, fact: &Fact) -> UserTurn {
    said(TurnKind::Statement, speech::statement(rng, fact, Statements::Base))
}

pub(super) fn said(kind: TurnKind, text: String) -> UserTurn {
    UserTurn { text, kind, expected: None, feedback: None }
}

pub(super) fn small_talk(rng: &mut ChaCha8Rng) -> UserTurn {
    said(TurnKind::SmallTalk, rng.pick(&EXCHANGES).0.to_owned())
}

pub(super) fn greeting(rng: &mut ChaCha8Rng) -> UserTurn {
    said(TurnKind::SmallTalk, rng.pick(&EXCHANGES[..GREETINGS]).0.to_owned())
}

/// A question whose answer is known from what was told; keeps the wording in `used` and does not repeat one.
pub(super) fn question(rng: &mut ChaCha8Rng, fact: &Fact, used: &mut Vec<String>) -> UserTurn {
    let before: Vec<&str> = used.iter().map(String::as_str).collect();
    let wording = wording::draw_other(rng, fact.attribute, &before);
    used.push(wording.to_owned());
    let feedback = if rng.chance(PRAISE_SHARE) {
        Some(FeedbackSpec { score: 1.0, correction: None, condition: Condition::AnswerRight })
    } else if rng.chance(OBJECTION_SHARE) {
        Some(FeedbackSpec { score: -1.0, correction: Some(speech::canonical(fact)), condition: Condition::AnswerWrong })
    } else {
        None
    };
    UserTurn { text: wording::ask(wording, &fact.name), kind: TurnKind::Question, expected: Some(value_of(fact)), feedback }
}

/// A question whose answer the subject corrects by feedback, whatever the model says.
pub(super) fn corrected_question(rng: &mut ChaCha8Rng, truth: &Fact, used: &mut Vec<String>) -> UserTurn {
    let correction = Some(speech::canonical(truth));
    UserTurn {
        feedback: Some(FeedbackSpec { score: -1.0, correction, condition: Condition::Always }),
        ..question(rng, truth, used)
    }
}

/// A question that nobody can answer.
pub(super) fn unanswerable(rng: &mut ChaCha8Rng, name: &str, attribute: Attribute) -> UserTurn {
    let wording = wording::draw_base(rng, attribute);
    let expected = Some(Expected::NotKnown { attribute: Some(attribute) });
    UserTurn { text: wording::ask(wording, name), kind: TurnKind::Question, expected, feedback: None }
}

/// What a right answer about this fact does.
pub(super) fn value_of(fact: &Fact) -> Expected {
    Expected::Value { value: fact.value.clone(), attribute: Some(fact.attribute) }
}

/// The fact with another value.
pub(super) fn falsified(rng: &mut ChaCha8Rng, truth: &Fact) -> Fact {
    loop {
        let value = rng.pick(values(truth.attribute)).clone();
        if value != truth.value {
            return Fact { value, ..truth.clone() };
        }
    }
}

/// Measuring names, each handed out once.
#[derive(Debug, Default)]
pub(super) struct Names {
    taken: HashSet<String>,
}

impl Names {
    pub(super) fn reserve<'a>(&mut self, names: impl Iterator<Item = &'a str>) {
        self.taken.extend(names.map(str::to_owned));
    }

    pub(super) fn fresh(&mut self, rng: &mut ChaCha8Rng, kind: Kind) -> String {
        loop {
            let name = name::draw(rng, kind, Split::Measuring);
            if self.taken.insert(name.clone()) {
                return name;
            }
        }
    }

    /// Facts about this many fresh entities, at most four each.
    pub(super) fn facts(&mut self, rng: &mut ChaCha8Rng, count: usize, entities: usize) -> Vec<Fact> {
        let one_kind = rng.chance(0.5).then(|| *rng.pick(&Kind::ALL));
        let names: Vec<(Kind, String)> = (0..entities)
            .map(|_| {
                let kind = one_kind.unwrap_or_else(|| *rng.pick(&Kind::ALL));
                (kind, self.fresh(rng, kind))
            })
            .collect();
        let mut facts: Vec<Fact> = Vec::with_capacity(count);
        while facts.len() < count {
            let (kind, name) = if facts.len() < entities { &names[facts.len()] } else { rng.pick(&names) };
            let attribute = *rng.pick(kind.attributes());
            if !facts.iter().any(|f| f.name == *name && f.attribute == attribute) {
                facts.push(Fact { name: name.clone(), attribute, value: rng.pick(values(attribute)).clone() });
            }
        }
        facts
    }
}
