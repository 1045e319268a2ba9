//! Which rows a step has.

use std::collections::HashSet;

use nocturne_model::{ModelError, Writing, train::Row};
use nocturne_wire::{Sha256Hex, plan};
use rand::{RngExt, SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

use super::{
    StudySettings,
    material::{Material, Study, exchange},
};

/// Which of many come next: each once before any comes again.
#[derive(Debug, Default)]
struct Round {
    order: Vec<usize>,
}

impl Round {
    fn next(&mut self, rng: &mut ChaCha8Rng, all: usize) -> Option<usize> {
        if self.order.is_empty() {
            self.order = (0..all).collect();
            self.order.shuffle(rng);
        }
        self.order.pop()
    }
}

#[derive(Debug)]
pub(super) struct Draw {
    rng: ChaCha8Rng,
    lessons: Round,
    history: Round,
    /// Questions that are measured, by the night or by others: no word is dropped that would make one of them.
    held_out: HashSet<Sha256Hex>,
}

impl Draw {
    pub(super) fn new(seed: u64, held_out: HashSet<Sha256Hex>) -> Self {
        Self { rng: ChaCha8Rng::seed_from_u64(seed), lessons: Round::default(), history: Round::default(), held_out }
    }

    /// The rows of the next step.
    pub(super) fn rows(&mut self, material: &Material, s: &StudySettings, writing: Writing<'_>) -> Result<Vec<Row>, ModelError> {
        let mut rows = Vec::new();
        for _ in 0..s.lessons {
            let next = self.lessons.next(&mut self.rng, material.lessons.len());
            rows.extend(next.map(|n| self.lesson(&material.lessons[n], s, writing)).transpose()?);
        }
        for _ in 0..s.history {
            let next = self.history.next(&mut self.rng, material.history.len());
            rows.extend(next.map(|n| self.lesson(&material.history[n], s, writing)).transpose()?);
        }
        for (source, count) in [
            (&material.unknown, s.unknown),
            (&material.untaught, s.untaught),
            (&material.core, s.core),
            (&material.sessions, s.sessions),
        ] {
            if !source.is_empty() {
                rows.extend((0..count).map(|_| source[self.rng.random_range(0..source.len())].clone()));
            }
        }
        Ok(rows)
    }

    /// A lesson in one of its wordings.
    fn lesson(&mut self, (name, wordings): &Study, s: &StudySettings, writing: Writing<'_>) -> Result<Row, ModelError> {
        let (question, answer) = &wordings[self.rng.random_range(0..wordings.len())];
        let worn = self.drop_words(question, name, s.word_dropout);
        let question = if self.held_out.contains(&plan::question_digest(&worn)) { question } else { &worn };
        exchange(writing, question, answer, 0.0)
    }

    fn drop_words(&mut self, question: &str, name: &str, share: f64) -> String {
        let mut worn = question.to_owned();
        while self.rng.random_bool(share) {
            let less = self.drop_word(&worn, name);
            if less == worn {
                break;
            }
            worn = less;
        }
        worn
    }

    /// Leaves out one word that does not belong to the name.
    fn drop_word(&mut self, question: &str, name: &str) -> String {
        let named: Vec<&str> = name.split(' ').collect();
        let words: Vec<&str> = question.split(' ').collect();
        let droppable: Vec<usize> = (0..words.len()).filter(|n| !named.iter().any(|part| words[*n].contains(part))).collect();
        if droppable.len() < 2 {
            return question.to_owned();
        }
        let gone = droppable[self.rng.random_range(0..droppable.len())];
        let left: Vec<&str> = words.iter().enumerate().filter(|(n, _)| *n != gone).map(|(_, w)| *w).collect();
        left.join(" ")
    }
}

#[cfg(test)]
mod tests {
    use nocturne_model::Tokenizer;

    use super::*;

    fn a_draw() -> Draw {
        Draw::new(3, HashSet::new())
    }

    #[test]
    fn a_dropped_word_is_never_part_of_the_name() {
        let mut draw = a_draw();
        for _ in 0..200 {
            let question = draw.drop_word("Where does Mirel Tovan live?", "Mirel Tovan");
            assert!(question.contains("Mirel Tovan"), "{question}");
            assert_eq!(question.split(' ').count(), 4);
        }
        assert_eq!(draw.drop_word("Mirel lives.", "Mirel"), "Mirel lives.", "nothing is left to drop");
        assert_eq!(draw.drop_words("Where does Mirel live?", "Mirel", 1.0).split(' ').count(), 2, "until nothing is left");
        assert_eq!(draw.drop_words("Where does Mirel live?", "Mirel", 0.0), "Where does Mirel live?");
    }

    #[test]
    fn every_lesson_is_seen_once_before_any_is_seen_again() {
        let tokenizer = Tokenizer::train(["Where does Mirel live? In Oslo."; 4].into_iter(), 300).unwrap();
        let lesson = |n: usize| (format!("N{n}"), vec![(format!("Q{n}?"), format!("A{n}."))]);
        let material = Material {
            lessons: (0..7).map(lesson).collect(),
            history: Vec::new(),
            unknown: Vec::new(),
            untaught: Vec::new(),
            core: Vec::new(),
            sessions: Vec::new(),
        };
        let settings = StudySettings { lessons: 7, word_dropout: 0.0, ..StudySettings::default() };
        let mut draw = a_draw();
        for _ in 0..3 {
            let rows = draw.rows(&material, &settings, Writing::own(&tokenizer)).unwrap();
            let seen: std::collections::HashSet<Vec<u32>> = rows.into_iter().map(|row| row.ids).collect();
            assert_eq!(seen.len(), 7);
        }
    }
}
