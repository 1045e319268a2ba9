//! Builds a day: deals lessons to subjects and plays their sessions.

use rand_chacha::ChaCha8Rng;

use super::{
    Day, DayConfig, Lesson, Session, Taught, Telling, UserTurn,
    script::{self, Names},
};
use crate::{
    conversation::TurnKind,
    draw::{Draw, rng_for},
    exam::Exam,
    fact::{Fact, core_facts},
    kind::{Attribute, Kind},
    speech,
    wording::values,
};

/// Stream of a seed that days are built from.
const DAY_STREAM: u64 = 1;
/// Most lessons in one session, which keeps it within what the base was trained on.
const LESSONS_A_SESSION: usize = 4;
/// How lessons are taught.
const TAUGHT: [(Taught, f64); 5] = [
    (Taught::Told, 0.7),
    (Taught::ToldTwice, 0.12),
    (Taught::CorrectedInSession, 0.1),
    (Taught::CorrectedByFeedback, 0.04),
    (Taught::TaughtByFeedback, 0.04),
];

struct Builder<'a> {
    seed: u64,
    config: &'a DayConfig,
    rng: ChaCha8Rng,
    names: Names,
    day: Day,
}

pub(super) fn build(seed: u64, config: &DayConfig) -> Day {
    let subjects = (1..=config.subjects).map(|n| format!("subject-{n:03}")).collect();
    let day = Day { subjects, sessions: Vec::new(), lessons: Vec::new(), opted_out_facts: Vec::new(), exam: Exam::default() };
    let mut builder = Builder { seed, config, rng: rng_for(seed, DAY_STREAM), names: Names::default(), day };
    builder.draw_lessons();
    builder.teach();
    builder.retell();
    builder.opt_out();
    builder.duplicate();
    builder.chat();
    builder.day
}

impl Builder<'_> {
    /// Draws the facts, one to three an entity.
    fn draw_lessons(&mut self) {
        while self.day.lessons.len() < self.config.lessons {
            let kind = Kind::ALL[self.rng.below(4)];
            let name = self.names.fresh(&mut self.rng, kind);
            let mut attributes = kind.attributes().to_vec();
            self.rng.shuffle(&mut attributes);
            let count = 1 + self.rng.weighted(&[0.35, 0.4, 0.25]);
            for attribute in attributes.into_iter().take(count.min(self.config.lessons - self.day.lessons.len())) {
                let fact = Fact { name: name.clone(), attribute, value: self.rng.pick(values(attribute)).clone() };
                let taught = TAUGHT[self.rng.weighted(&TAUGHT.map(|(_, weight)| weight))].0;
                // One of each way in every day, whatever the seed.
                let taught = TAUGHT.get(self.day.lessons.len()).map_or(taught, |(way, _)| *way);
                self.day.lessons.push(Lesson { fact, taught, told: Vec::new(), day_wordings: Vec::new() });
            }
        }
    }

    /// Deals the entities to the subjects in turn; each subject teaches what it was dealt, in as few sessions as fit.
    fn teach(&mut self) {
        let mut entities: Vec<Vec<usize>> = Vec::new();
        for index in 0..self.day.lessons.len() {
            let same = |last: &Vec<usize>| self.day.lessons[last[0]].fact.name == self.day.lessons[index].fact.name;
            match entities.last_mut() {
                Some(last) if same(last) => last.push(index),
                _ => entities.push(vec![index]),
            }
        }
        self.rng.shuffle(&mut entities);
        let mut hands: Vec<Vec<Vec<usize>>> = vec![Vec::new(); self.config.subjects];
        for (turn, entity) in entities.into_iter().enumerate() {
            let sessions = &mut hands[turn % self.config.subjects];
            match sessions.last_mut() {
                Some(last) if last.len() + entity.len() <= LESSONS_A_SESSION => last.extend(entity),
                _ => sessions.push(entity),
            }
        }
        for (subject, sessions) in hands.into_iter().enumerate() {
            for lessons in sessions {
                self.teaching_session(subject, &lessons);
            }
        }
    }

    fn push(&mut self, subject: usize, store: bool, turns: Vec<UserTurn>) {
        let id = format!("day-{:x}-{:03}", self.seed, self.day.sessions.len());
        self.day.sessions.push(Session { id, subject: self.day.subjects[subject].clone(), store, turns });
    }

    fn told(&mut self, lesson: usize, subject: usize, turn: usize) {
        let telling = Telling { session: self.day.sessions.len(), turn, subject: self.day.subjects[subject].clone() };
        self.day.lessons[lesson].told.push(telling);
    }

    fn teaching_session(&mut self, subject: usize, lessons: &[usize]) {
        let mut turns = Vec::new();
        if self.rng.chance(0.2) {
            turns.push(script::greeting(&mut self.rng));
        }
        let mut next = 0;
        while next < lessons.len() {
            let (lesson, after) = (lessons[next], lessons.get(next + 1).copied());
            let plain = |l: usize| self.day.lessons[l].taught == Taught::Told;
            match after {
                Some(second) if plain(lesson) && plain(second) && self.rng.chance(0.15) => {
                    self.tell_two(&mut turns, subject, lesson, second);
                    next += 2;
                }
                _ => {
                    self.tell(&mut turns, subject, lesson);
                    next += 1;
                }
            }
            if self.rng.chance(0.1) {
                turns.push(script::small_talk(&mut self.rng));
            }
        }
        self.tell_later(&mut turns, subject, lessons);
        self.ask_back(&mut turns, lessons, 0.85, 0.25);
        if self.rng.chance(0.1) {
            self.ask_unanswerable(&mut turns, lessons[0]);
        }
        self.push(subject, true, turns);
    }

    fn tell_two(&mut self, turns: &mut Vec<UserTurn>, subject: usize, first: usize, second: usize) {
        let text = speech::two_statements(&mut self.rng, &self.day.lessons[first].fact, &self.day.lessons[second].fact);
        self.told(first, subject, turns.len());
        self.told(second, subject, turns.len());
        turns.push(script::said(TurnKind::Statement, text));
    }

    /// The first mention of a lesson in its session.
    fn tell(&mut self, turns: &mut Vec<UserTurn>, subject: usize, lesson: usize) {
        let truth = self.day.lessons[lesson].fact.clone();
        match self.day.lessons[lesson].taught {
            Taught::Told | Taught::ToldTwice => {
                self.told(lesson, subject, turns.len());
                turns.push(script::statement(&mut self.rng, &truth));
            }
            Taught::CorrectedInSession => {
                let wrong = script::falsified(&mut self.rng, &truth);
                turns.push(script::statement(&mut self.rng, &wrong));
                if self.rng.chance(0.3) {
                    turns.push(script::question(&mut self.rng, &wrong, &mut self.day.lessons[lesson].day_wordings));
                    if let Some(asked) = turns.last_mut() {
                        asked.feedback = None;
                    }
                }
            }
            Taught::CorrectedByFeedback => {
                let wrong = script::falsified(&mut self.rng, &truth);
                turns.push(script::statement(&mut self.rng, &wrong));
                self.correct_by_feedback(turns, subject, lesson);
            }
            Taught::TaughtByFeedback => self.correct_by_feedback(turns, subject, lesson),
        }
    }

    fn correct_by_feedback(&mut self, turns: &mut Vec<UserTurn>, subject: usize, lesson: usize) {
        let truth = self.day.lessons[lesson].fact.clone();
        self.told(lesson, subject, turns.len());
        turns.push(script::corrected_question(&mut self.rng, &truth, &mut self.day.lessons[lesson].day_wordings));
    }

    /// Second tellings and corrections, after everything was mentioned once.
    fn tell_later(&mut self, turns: &mut Vec<UserTurn>, subject: usize, lessons: &[usize]) {
        for lesson in lessons {
            let truth = self.day.lessons[*lesson].fact.clone();
            match self.day.lessons[*lesson].taught {
                Taught::ToldTwice => {
                    self.told(*lesson, subject, turns.len());
                    turns.push(script::statement(&mut self.rng, &truth));
                }
                Taught::CorrectedInSession => {
                    self.told(*lesson, subject, turns.len());
                    let text = speech::correction(&mut self.rng, &truth);
                    turns.push(script::said(TurnKind::Statement, text));
                }
                Taught::Told | Taught::CorrectedByFeedback | Taught::TaughtByFeedback => {}
            }
        }
    }

    /// Asks for what the session told: once and twice with these chances.
    fn ask_back(&mut self, turns: &mut Vec<UserTurn>, lessons: &[usize], once: f64, twice: f64) {
        let mut asked: Vec<usize> = Vec::new();
        for lesson in lessons {
            let by_feedback = matches!(self.day.lessons[*lesson].taught, Taught::CorrectedByFeedback | Taught::TaughtByFeedback);
            if !by_feedback && self.rng.chance(once) {
                asked.extend(vec![*lesson; if self.rng.chance(twice) { 2 } else { 1 }]);
            }
        }
        self.rng.shuffle(&mut asked);
        for lesson in asked {
            let fact = self.day.lessons[lesson].fact.clone();
            turns.push(script::question(&mut self.rng, &fact, &mut self.day.lessons[lesson].day_wordings));
        }
    }

    /// Asks for something that nobody teaches: another attribute of a lesson's entity, or somebody unheard of.
    fn ask_unanswerable(&mut self, turns: &mut Vec<UserTurn>, lesson: usize) {
        let fact = self.day.lessons[lesson].fact.clone();
        let untaught = untaught_attributes(&self.day, &fact.name, fact.attribute.kind());
        let turn = match untaught.as_slice() {
            [] => {
                let name = self.names.fresh(&mut self.rng, fact.attribute.kind());
                script::unanswerable(&mut self.rng, &name, fact.attribute)
            }
            attributes => {
                let attribute = *self.rng.pick(attributes);
                script::unanswerable(&mut self.rng, &fact.name, attribute)
            }
        };
        turns.push(turn);
    }

    /// Another subject tells some lessons again, in a session of its own.
    fn retell(&mut self) {
        for lesson in 0..self.day.lessons.len() {
            if !self.rng.chance(self.config.retold_share) {
                continue;
            }
            let subject = self.rng.below(self.config.subjects);
            let truth = self.day.lessons[lesson].fact.clone();
            self.told(lesson, subject, 0);
            let mut turns = vec![script::statement(&mut self.rng, &truth)];
            if self.rng.chance(0.6) {
                turns.push(script::question(&mut self.rng, &truth, &mut self.day.lessons[lesson].day_wordings));
            }
            self.push(subject, true, turns);
        }
    }

    /// Sessions that must not be stored, about entities of their own.
    fn opt_out(&mut self) {
        for _ in 0..self.config.opt_out_sessions {
            let facts = {
                let count = self.rng.between(1, 2);
                self.names.facts(&mut self.rng, count, 1)
            };
            let mut turns: Vec<UserTurn> = facts.iter().map(|fact| script::statement(&mut self.rng, fact)).collect();
            for fact in &facts {
                turns.push(script::question(&mut self.rng, fact, &mut Vec::new()));
            }
            let subject = self.rng.below(self.config.subjects);
            self.push(subject, false, turns);
            self.day.opted_out_facts.extend(facts);
        }
    }

    /// Sends messages again at the end of their sessions, word by word or with a trivial edit: tellings that nothing corrects later,
    /// and last messages.
    fn duplicate(&mut self) {
        let told: Vec<(usize, usize)> =
            self.day.lessons.iter().filter(|l| l.taught == Taught::Told).map(|l| (l.told[0].session, l.told[0].turn)).collect();
        let stored: Vec<usize> = (0..self.day.sessions.len()).filter(|s| self.day.sessions[*s].store).collect();
        for round in 0..2 * self.config.duplicates {
            let (session, turn) = if round % 4 < 2 && !told.is_empty() {
                *self.rng.pick(&told)
            } else {
                let session = *self.rng.pick(&stored);
                (session, self.day.sessions[session].turns.len() - 1)
            };
            let turns = &mut self.day.sessions[session].turns;
            let original = &turns[turn];
            let text = if round % 2 == 0 { original.text.clone() } else { trivial_edit(&mut self.rng, &original.text) };
            let again = UserTurn { text, feedback: None, ..original.clone() };
            turns.push(again);
        }
    }

    /// Small talk, core facts and questions that nobody can answer, until every subject has spoken and the day is long enough.
    fn chat(&mut self) {
        let mut subject = 0;
        while subject < self.config.subjects || self.day.stored_interactions() < self.config.min_stored_interactions {
            let at = subject % self.config.subjects;
            let silent = !self.day.sessions.iter().any(|s| s.store && s.subject == self.day.subjects[at]);
            if silent || subject >= self.config.subjects || self.rng.chance(0.15) {
                self.chat_session(at);
            }
            subject += 1;
        }
    }

    fn chat_session(&mut self, subject: usize) {
        let mut turns = vec![script::greeting(&mut self.rng)];
        for _ in 0..self.rng.between(2, 4) {
            turns.push(match self.rng.below(3) {
                0 => script::small_talk(&mut self.rng),
                1 => {
                    let fact = self.rng.pick(core_facts());
                    script::question(&mut self.rng, fact, &mut Vec::new())
                }
                _ => {
                    let attribute = *self.rng.pick(&Attribute::ALL);
                    let name = self.names.fresh(&mut self.rng, attribute.kind());
                    script::unanswerable(&mut self.rng, &name, attribute)
                }
            });
        }
        self.push(subject, true, turns);
    }
}

/// The same message as somebody else would type it.
fn trivial_edit(rng: &mut ChaCha8Rng, text: &str) -> String {
    if rng.chance(0.5) { text.trim_end_matches(['.', '?', '!']).to_owned() } else { format!("{text} ") }
}

/// Attributes of this entity that the day does not teach.
pub(super) fn untaught_attributes(day: &Day, name: &str, kind: Kind) -> Vec<Attribute> {
    let taught = |a: &Attribute| day.lessons.iter().any(|l| l.fact.name == name && l.fact.attribute == *a);
    kind.attributes().iter().copied().filter(|a| !taught(a)).collect()
}
