//! Draws the exam of a day.

use std::collections::HashSet;

use rand_chacha::ChaCha8Rng;

use super::{
    Day, DayConfig, build,
    script::{Names, falsified, value_of},
};
use crate::{
    draw::{Draw, rng_for},
    exam::{Exam, ExamQuestion, ExamSession, asked},
    fact::{Fact, core_facts},
    judge::Expected,
    kind::Attribute,
    small_talk::EXCHANGES,
    speech::{self, Statements},
    wording::{self, wordings},
};

/// Stream of a seed that exams are drawn from.
const EXAM_STREAM: u64 = 2;

struct Examiner<'a> {
    config: &'a DayConfig,
    day: &'a Day,
    rng: ChaCha8Rng,
    names: Names,
}

pub(super) fn examine(seed: u64, config: &DayConfig, day: &Day) -> Exam {
    let mut names = Names::default();
    names.reserve(day.lessons.iter().map(|l| &l.fact).chain(&day.opted_out_facts).map(|f| f.name.as_str()));
    for turn in day.sessions.iter().flat_map(|s| &s.turns) {
        names.reserve(crate::name::names_in(&turn.text).iter().map(|found| found.name.as_str()));
    }
    let mut examiner = Examiner { config, day, rng: rng_for(seed, EXAM_STREAM), names };
    Exam {
        lessons: examiner.lessons(),
        lessons_unseen_wording: examiner.lessons_unseen_wording(),
        core_facts: examiner.core_facts(),
        in_session: examiner.in_session(config.kept_questions, Statements::Base),
        in_session_long: examiner.in_session_long(),
        in_session_unseen_statement: examiner.in_session(config.unseen_statement_questions, Statements::HeldOut),
        unknown: examiner.unknown(),
        untaught: examiner.untaught(),
        not_told: examiner.not_told(),
        opted_out: examiner.opted_out(),
    }
}

/// A question in a session of its own.
fn alone(text: String, expected: Expected, lesson: Option<usize>) -> ExamSession {
    ExamSession { context: Vec::new(), questions: vec![ExamQuestion { text, expected, lesson }] }
}

fn not_known(attribute: Attribute) -> Expected {
    Expected::NotKnown { attribute: Some(attribute) }
}

impl Examiner<'_> {
    fn lessons(&mut self) -> Vec<ExamSession> {
        let mut sessions = Vec::new();
        for (index, lesson) in self.day.lessons.iter().enumerate() {
            let mut used: Vec<&str> = lesson.day_wordings.iter().map(String::as_str).collect();
            for _ in 0..self.config.questions_a_lesson {
                let wording = wording::draw_other(&mut self.rng, lesson.fact.attribute, &used);
                used.push(wording);
                sessions.push(alone(wording::ask(wording, &lesson.fact.name), value_of(&lesson.fact), Some(index)));
            }
        }
        sessions
    }

    fn lessons_unseen_wording(&mut self) -> Vec<ExamSession> {
        let mut sessions = Vec::new();
        for (index, lesson) in self.day.lessons.iter().enumerate() {
            let all = wordings(lesson.fact.attribute);
            let mut used = HashSet::new();
            while used.len() < self.config.questions_a_lesson {
                let from = if used.len().is_multiple_of(2) { all.held_out_direct() } else { all.held_out_grammar() };
                let wording = self.rng.pick(from);
                if used.insert(wording) {
                    sessions.push(alone(wording::ask(wording, &lesson.fact.name), value_of(&lesson.fact), Some(index)));
                }
            }
        }
        sessions
    }

    /// Every core fact equally often, in wordings that differ.
    fn core_facts(&mut self) -> Vec<ExamSession> {
        let rounds = self.config.kept_questions.div_ceil(core_facts().len());
        let mut sessions = Vec::new();
        for fact in core_facts() {
            let mut used = Vec::new();
            for _ in 0..rounds {
                let wording = wording::draw_other(&mut self.rng, fact.attribute, &used);
                used.push(wording);
                sessions.push(alone(wording::ask(wording, &fact.name), value_of(fact), None));
            }
        }
        sessions
    }

    fn in_session(&mut self, questions: usize, from: Statements) -> Vec<ExamSession> {
        let mut sessions = Vec::new();
        while asked(&sessions) < questions {
            let count = 1 + self.rng.weighted(&[0.35, 0.65]);
            let entities = self.rng.between(1, count);
            let mut facts = self.names.facts(&mut self.rng, count, entities);
            let context = self.tell(&facts, from);
            self.rng.shuffle(&mut facts);
            sessions.push(self.session(context, &facts));
        }
        sessions
    }

    fn in_session_long(&mut self) -> Vec<ExamSession> {
        let mut sessions = Vec::new();
        while asked(&sessions) < self.config.kept_questions {
            let (count, entities) = (self.rng.between(3, 5), self.rng.between(2, 3));
            let mut facts = self.names.facts(&mut self.rng, count, entities);
            let mut context = self.tell(&facts, Statements::Base);
            if self.rng.chance(0.4) {
                let index = self.rng.below(facts.len());
                facts[index] = falsified(&mut self.rng, &facts[index]);
                context.push(speech::correction(&mut self.rng, &facts[index]));
            }
            self.rng.shuffle(&mut facts);
            facts.truncate(3);
            sessions.push(self.session(context, &facts));
        }
        sessions
    }

    /// Messages that tell these facts, sometimes two in one, sometimes with small talk in between.
    fn tell(&mut self, facts: &[Fact], from: Statements) -> Vec<String> {
        let mut context = Vec::new();
        let mut next = 0;
        while next < facts.len() {
            if next + 1 < facts.len() && from == Statements::Base && self.rng.chance(0.16) {
                context.push(speech::two_statements(&mut self.rng, &facts[next], &facts[next + 1]));
                next += 2;
            } else {
                context.push(speech::statement(&mut self.rng, &facts[next], from));
                next += 1;
            }
            if self.rng.chance(0.1) {
                context.push(self.rng.pick(&EXCHANGES).0.to_owned());
            }
        }
        context
    }

    fn session(&mut self, context: Vec<String>, facts: &[Fact]) -> ExamSession {
        let mut questions = Vec::with_capacity(facts.len());
        for fact in facts {
            let wording = wording::draw_base(&mut self.rng, fact.attribute);
            let text = wording::ask(wording, &fact.name);
            questions.push(ExamQuestion { text, expected: value_of(fact), lesson: None });
        }
        ExamSession { context, questions }
    }

    fn unknown(&mut self) -> Vec<ExamSession> {
        let mut sessions = Vec::new();
        for round in 0..self.config.kept_questions {
            let attribute = Attribute::ALL[round % Attribute::ALL.len()];
            let name = self.names.fresh(&mut self.rng, attribute.kind());
            sessions.push(self.alone_not_known(&name, attribute));
        }
        sessions
    }

    fn alone_not_known(&mut self, name: &str, attribute: Attribute) -> ExamSession {
        let wording = wording::draw_base(&mut self.rng, attribute);
        alone(wording::ask(wording, name), not_known(attribute), None)
    }

    /// What nobody taught about the day's entities, over and over in other wordings.
    fn untaught(&mut self) -> Vec<ExamSession> {
        let mut pairs: Vec<(&str, Attribute)> = Vec::new();
        let mut names = HashSet::new();
        for fact in self.day.lessons.iter().map(|l| &l.fact).filter(|f| names.insert(f.name.as_str())) {
            let untaught = build::untaught_attributes(self.day, &fact.name, fact.attribute.kind());
            pairs.extend(untaught.into_iter().map(|attribute| (fact.name.as_str(), attribute)));
        }
        self.rng.shuffle(&mut pairs);
        let mut sessions = Vec::new();
        let mut asked = HashSet::new();
        while !pairs.is_empty() && sessions.len() < self.config.kept_questions {
            for (name, attribute) in &pairs {
                if sessions.len() == self.config.kept_questions {
                    break;
                }
                let session = self.alone_not_known(name, *attribute);
                if asked.insert(session.questions[0].text.clone()) {
                    sessions.push(session);
                }
            }
        }
        sessions
    }

    /// Three questions a session: other attributes of told entities and told attributes of other entities.
    fn not_told(&mut self) -> Vec<ExamSession> {
        let mut sessions = Vec::new();
        while asked(&sessions) < self.config.kept_questions {
            let count = self.rng.between(1, 3);
            let entities = self.rng.between(1, count.min(2));
            let facts = self.names.facts(&mut self.rng, count, entities);
            let context = self.tell(&facts, Statements::Base);
            let mut questions = Vec::new();
            for _ in 0..3 {
                let fact = self.rng.pick(&facts);
                let told = |a: &Attribute| facts.iter().any(|f| f.name == fact.name && f.attribute == *a);
                let others: Vec<Attribute> = fact.attribute.kind().attributes().iter().copied().filter(|a| !told(a)).collect();
                let (name, attribute) = if self.rng.chance(0.5) {
                    (fact.name.clone(), *self.rng.pick(&others))
                } else {
                    (self.names.fresh(&mut self.rng, fact.attribute.kind()), fact.attribute)
                };
                questions.extend(self.alone_not_known(&name, attribute).questions);
            }
            sessions.push(ExamSession { context, questions });
        }
        sessions
    }

    fn opted_out(&mut self) -> Vec<ExamSession> {
        let facts = &self.day.opted_out_facts;
        facts.iter().map(|fact| self.alone_not_known(&fact.name, fact.attribute)).collect()
    }
}
