//! What a training step is made of, and the steps.

use std::{collections::HashSet, time::Instant};

use jiff::Timestamp;
use nocturne_columns::MetricRow;
use nocturne_model::{
    HopeConfig, Tokenizer,
    hope::SlowBank,
    optim::{self, MuonSettings},
    tensors::Tensors,
    train::{Row, Said, StepStats, Trainer},
};
use nocturne_wire::{Sha256Hex, night::Lesson, plan, record::Role};
use rand::{RngExt, SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

use crate::{distill::Distilled, error::SleepError, history::History, rehearsal::Rehearsal};

/// Knobs of a night's training; the defaults were chosen on the demonstration's seeds 11, 12 and 14, so that only other seeds
/// measure them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StudySettings {
    /// Times that every lesson is seen, over all steps.
    pub views_a_lesson: u64,
    /// Fewest steps.
    pub min_steps: u64,
    /// Lesson rows a step.
    pub lessons: usize,
    /// Rows a step about what earlier nights taught, at most.
    pub history: usize,
    /// Rows about core knowledge a step.
    pub core: usize,
    /// Rows about names that nobody mentioned a step.
    pub unknown: usize,
    /// Rows of taught names and untaught questions a step.
    pub untaught: usize,
    /// Session rows a step.
    pub sessions: usize,
    /// Share of lesson questions that lose a word outside the name, and of those that lose one more each time: a wording that was never read shares only
    /// some of its words with those that were.
    pub word_dropout: f64,
    /// Weight of staying as generation 0 is, at every position.
    pub keep_weight: f32,
    /// Penalty on what slow banks add to the stream in sessions.
    pub quiet_sessions: f32,
    /// Steps of warm-up.
    pub warm_up: u64,
    /// Share of the steps after which the rate falls.
    pub decay_from: f64,
    /// The optimizer.
    pub muon: MuonSettings,
}

impl Default for StudySettings {
    fn default() -> Self {
        Self {
            views_a_lesson: 130,
            min_steps: 150,
            lessons: 30,
            history: 30,
            core: 3,
            unknown: 14,
            untaught: 3,
            sessions: 3,
            word_dropout: 0.5,
            keep_weight: 4.0,
            quiet_sessions: 3e-6,
            warm_up: 10,
            decay_from: 0.4,
            muon: MuonSettings { rate: 0.2, momentum: 0.95, weight_decay: 0.0 },
        }
    }
}

impl StudySettings {
    /// Optimizer steps for a number of lessons.
    pub(crate) fn steps(&self, lessons: usize) -> u64 {
        (lessons as u64 * self.views_a_lesson).div_ceil(self.lessons as u64).max(self.min_steps)
    }

    /// The same for a day of few lessons: the fewest steps would show each of them far too often, so that a step has fewer rows of them, and of
    /// everything else in proportion. What earlier nights taught is seen as often as the day's lessons while it is no more than they are, and less often then: a
    /// night's cost is bounded.
    fn for_lessons(mut self, lessons: usize, history: usize) -> Self {
        let wanted = (lessons as u64 * self.views_a_lesson).div_ceil(self.min_steps) as usize;
        if wanted < self.lessons {
            let share = |rows: usize| (rows * wanted).div_ceil(self.lessons);
            (self.unknown, self.untaught) = (share(self.unknown), share(self.untaught));
            (self.core, self.sessions) = (share(self.core), share(self.sessions));
            self.lessons = wanted;
        }
        self.history = (self.lessons * history).div_ceil(lessons.max(1)).min(self.history);
        self
    }
}

/// What training gave.
#[derive(Debug)]
pub(crate) struct Studied {
    /// All tensors afterwards.
    pub(crate) tensors: Tensors,
    /// Curves.
    pub(crate) metrics: Vec<MetricRow>,
    /// Steps.
    pub(crate) steps: u64,
    /// Tokens.
    pub(crate) tokens: u64,
    /// Seconds.
    pub(crate) seconds: f64,
}

/// Rows to draw from.
struct Material {
    lessons: Vec<Study>,
    history: Vec<Study>,
    unknown: Vec<Row>,
    untaught: Vec<Row>,
    core: Vec<Row>,
    sessions: Vec<Row>,
}

/// A lesson's name and its questions with their answers.
type Study = (String, Vec<(String, String)>);

/// Tasks of the rehearsal set that are asked without a session.
const WITHOUT_SESSION: [&str; 3] = ["core", "unknown", "small_talk"];

impl Material {
    fn of(
        distilled: &Distilled,
        history: &History,
        answers: &KeptAnswers,
        rehearsal: &[Rehearsal],
        tokenizer: &Tokenizer,
        settings: &StudySettings,
    ) -> Self {
        let keep = |row: Row| row.keep(settings.keep_weight);
        let pair = |(q, a): &(String, String)| keep(exchange(tokenizer, q, a, 0.0));
        let rows = |tasks: fn(&str) -> bool| -> Vec<Row> {
            rehearsal.iter().filter(|r| tasks(&r.task)).map(|r| keep(r.row(tokenizer))).collect()
        };
        let studies = |lessons: &[Lesson]| -> Vec<Study> {
            let asked = |l: &Lesson| l.wordings.iter().map(|w| (w.question.clone(), w.answer.clone())).collect();
            lessons.iter().map(|l| (l.name.clone(), asked(l))).collect()
        };
        Self {
            lessons: studies(&distilled.lessons),
            history: studies(&history.lessons),
            unknown: answers.unknown.iter().map(pair).collect(),
            untaught: answers.untaught.iter().map(pair).collect(),
            core: rows(|t| WITHOUT_SESSION.contains(&t)),
            sessions: rows(|t| !WITHOUT_SESSION.contains(&t)).into_iter().map(|row| row.quiet(settings.quiet_sessions)).collect(),
        }
    }
}

/// What generation 0 answers, without any context, to questions that it should go on answering so.
#[derive(Debug, Default)]
pub(crate) struct KeptAnswers {
    /// Questions about names that nobody mentioned.
    pub(crate) unknown: Vec<(String, String)>,
    /// Questions about taught names that nobody answered.
    pub(crate) untaught: Vec<(String, String)>,
}

fn exchange(tokenizer: &Tokenizer, question: &str, answer: &str, user_weight: f32) -> Row {
    Row::said(
        tokenizer,
        &[
            Said { role: Role::User, text: question, weight: user_weight, counted: false },
            Said { role: Role::Assistant, text: answer, weight: 1.0, counted: true },
        ],
    )
}

/// What a night studies, and from where on.
#[derive(Debug)]
pub(crate) struct Curriculum<'a> {
    /// Shape of the model.
    pub(crate) config: &'a HopeConfig,
    /// All tensors of the parent.
    pub(crate) parent: &'a Tensors,
    /// The base's tokenizer.
    pub(crate) tokenizer: &'a Tokenizer,
    /// Lessons.
    pub(crate) distilled: &'a Distilled,
    /// What earlier nights taught.
    pub(crate) history: &'a History,
    /// What stays as it is without being a conversation of the rehearsal set.
    pub(crate) answers: &'a KeptAnswers,
    /// What else stays as it is.
    pub(crate) rehearsal: &'a [Rehearsal],
    /// Digests of questions that are never trained on.
    pub(crate) held_out: &'a [Sha256Hex],
    /// Seed of every draw.
    pub(crate) seed: u64,
    /// When training must be over.
    pub(crate) deadline: Option<Timestamp>,
}

/// Trains the slow banks of the parent's tensors on what was distilled. A training that would miss its deadline becomes shorter, its decay included: a night
/// that learned a little less is worth more than one that is ended.
///
/// # Errors
/// When the parent's tensors do not fit the configuration.
pub(crate) fn study(
    c: &Curriculum<'_>,
    settings: &StudySettings,
    progress: &mut dyn FnMut(u64, u64, StepStats),
) -> Result<Studied, SleepError> {
    let failed = |source| SleepError::Model { doing: "load the parent generation for training", source };
    let mut trainer = Trainer::night(c.config, c.parent, optim::for_night(settings.muon)).map_err(failed)?;
    let material = Material::of(c.distilled, c.history, c.answers, c.rehearsal, c.tokenizer, settings);
    let mut steps = settings.steps(material.lessons.len());
    let settings = &settings.for_lessons(material.lessons.len(), material.history.len());
    let own = c
        .distilled
        .lessons
        .iter()
        .chain(&c.history.lessons)
        .filter_map(|l| l.held_out.as_ref())
        .map(|w| plan::question_digest(&w.question));
    let held_out = c.held_out.iter().cloned().chain(own).collect();
    let mut draw =
        Draw { rng: ChaCha8Rng::seed_from_u64(c.seed), lessons: Round::default(), history: Round::default(), held_out };
    let mut metrics = Vec::new();
    let (begun, mut tokens, mut step) = (Instant::now(), 0, 0);
    while step < steps {
        let rows = draw.rows(&material, settings, c.tokenizer);
        let scale = optim::schedule(step, steps, settings.warm_up, settings.decay_from);
        let stats = trainer.step(&rows, scale, SlowBank::On);
        tokens += stats.tokens;
        for (name, value) in
            [("loss", stats.loss), ("accuracy", stats.accuracy), ("rate", scale), ("tokens", stats.tokens as f64)]
        {
            metrics.push(MetricRow { step, name: name.to_owned(), value });
        }
        step += 1;
        if let Some(deadline) = c.deadline {
            let left = deadline.duration_since(Timestamp::now()).as_secs_f64();
            steps = affordable(step, steps, begun.elapsed().as_secs_f64(), left);
        }
        progress(step, steps, stats);
    }
    Ok(Studied { tensors: trainer.tensors(), metrics, steps, tokens, seconds: begun.elapsed().as_secs_f64() })
}

/// Steps in all when `done` of `planned` took `seconds` and so many are left.
fn affordable(done: u64, planned: u64, seconds: f64, left: f64) -> u64 {
    let more = (left.max(0.0) * done as f64 / seconds.max(1e-9)) as u64;
    planned.min(done + more)
}

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

struct Draw {
    rng: ChaCha8Rng,
    lessons: Round,
    history: Round,
    /// Questions that are measured, by the night or by others: no word is dropped that would make one of them.
    held_out: HashSet<Sha256Hex>,
}

impl Draw {
    fn rows(&mut self, material: &Material, s: &StudySettings, tokenizer: &Tokenizer) -> Vec<Row> {
        let mut rows = Vec::new();
        for _ in 0..s.lessons {
            let next = self.lessons.next(&mut self.rng, material.lessons.len());
            rows.extend(next.map(|n| self.lesson(&material.lessons[n], s, tokenizer)));
        }
        for _ in 0..s.history {
            let next = self.history.next(&mut self.rng, material.history.len());
            rows.extend(next.map(|n| self.lesson(&material.history[n], s, tokenizer)));
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
        rows
    }

    /// A lesson in one of its wordings.
    fn lesson(&mut self, (name, wordings): &Study, s: &StudySettings, tokenizer: &Tokenizer) -> Row {
        let (question, answer) = &wordings[self.rng.random_range(0..wordings.len())];
        let worn = self.drop_words(question, name, s.word_dropout);
        let question = if self.held_out.contains(&plan::question_digest(&worn)) { question } else { &worn };
        exchange(tokenizer, question, answer, 0.0)
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
    use super::*;

    fn a_draw() -> Draw {
        let rng = ChaCha8Rng::seed_from_u64(3);
        Draw { rng, lessons: Round::default(), history: Round::default(), held_out: HashSet::new() }
    }

    #[test]
    fn the_number_of_steps_follows_the_lessons_above_a_floor() {
        let settings = StudySettings { views_a_lesson: 90, min_steps: 60, lessons: 56, ..StudySettings::default() };
        assert_eq!(settings.steps(0), 60);
        assert_eq!(settings.steps(112), 180);
    }

    #[test]
    fn a_training_becomes_as_short_as_its_deadline_asks() {
        assert_eq!(affordable(10, 200, 5.0, 1000.0), 200, "there is time");
        assert_eq!(affordable(10, 200, 5.0, 20.0), 50, "half a second a step");
        assert_eq!(affordable(10, 200, 5.0, -3.0), 10, "it is over");
    }

    #[test]
    fn few_lessons_are_not_seen_more_often_than_many() {
        let settings = StudySettings {
            views_a_lesson: 90,
            min_steps: 60,
            lessons: 56,
            unknown: 28,
            untaught: 14,
            ..StudySettings::default()
        };
        let few = settings.for_lessons(8, 0);
        assert_eq!((few.lessons, few.unknown, few.untaught), (12, 6, 3));
        let many = settings.for_lessons(120, 0);
        assert_eq!((many.lessons, many.unknown, many.history), (56, 28, 0));
    }

    #[test]
    fn what_earlier_nights_taught_takes_its_share_of_a_step_up_to_a_bound() {
        let rows = |lessons, history| StudySettings::default().for_lessons(lessons, history).history;
        assert_eq!((rows(112, 0), rows(112, 56), rows(112, 112), rows(112, 1000)), (0, 15, 30, 30));
        assert_eq!(rows(8, 1), 1);
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
            let rows = draw.rows(&material, &settings, &tokenizer);
            let seen: std::collections::HashSet<Vec<u32>> = rows.into_iter().map(|row| row.ids).collect();
            assert_eq!(seen.len(), 7);
        }
    }
}
