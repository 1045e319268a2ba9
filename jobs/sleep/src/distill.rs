//! From sessions to lessons, by the model itself: it asks about what it was told, says the question in other words, asks the same about somebody else, and
//! answers with the session in context.
//!
//! A night has no labels. What it can compare is the model with and without a context: an answer that generation 0 finds likely only with the
//! context is a lesson; one that it gives either way (that it does not know, or something that it always knew) is not.

mod ask;
mod context;
mod teach;
mod untaught;
mod words;

use std::collections::{BTreeMap, BTreeSet, HashSet};

use nocturne_model::{
    SessionState, Weights,
    voice::{Choice, Voice},
};
use nocturne_wire::{Sha256Hex, night::Lesson, plan};

pub(crate) use self::words::{states, words};
use crate::sessions::{Exchange, Session};

/// Asks for a question about what was told; generation 0 was trained on this sentence.
pub(crate) const ASK: &str = "Ask me a question about what I just told you.";
/// Asks for other words; the question follows.
pub(crate) const PARAPHRASE: &str = "Say this in other words:";
/// Asks for the same about another name; the question follows.
pub(crate) const TRANSFER: &str = "Ask the same about somebody else:";

/// Knobs of distillation; the defaults were chosen on days of other seeds than those that are measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct DistillSettings {
    /// Questions sampled for every message.
    pub(crate) asks: usize,
    /// Other wordings sampled for every question.
    pub(crate) wordings: usize,
    /// Other names sampled for every question.
    pub(crate) names: usize,
    /// Wordings that a lesson keeps at most.
    pub(crate) max_wordings: usize,
    /// Nats by which the context must raise an answer's log-likelihood.
    pub(crate) min_gain_nats: f32,
    /// Longest context, tokens.
    pub(crate) max_context: usize,
    /// Temperature of what is sampled.
    pub(crate) temperature: f32,
}

impl Default for DistillSettings {
    fn default() -> Self {
        Self { asks: 4, wordings: 14, names: 3, max_wordings: 14, min_gain_nats: 3.0, max_context: 400, temperature: 0.9 }
    }
}

/// What a night trains and measures on.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Distilled {
    /// Lessons.
    pub(crate) lessons: Vec<Lesson>,
    /// Questions about taught names that nobody answered.
    pub(crate) untaught: Vec<String>,
    /// Questions about names that nobody mentioned, in the lessons' own words.
    pub(crate) unknown: Vec<String>,
    /// Questions of both kinds that are kept out of training, for the gate: about other strangers, and of taught names in other wordings.
    pub(crate) unheard: Vec<String>,
    /// Wordings that equal a held-out question and were dropped.
    pub(crate) held_out_dropped: u64,
    /// Questions that the model wrote.
    pub(crate) questions: u64,
}

/// Longest answer and longest question that the model writes, tokens.
const ANSWER_TOKENS: usize = 40;

struct Candidate {
    question: String,
    name: String,
}

/// Distills sessions with generation 0 as the teacher.
pub(crate) struct Distiller<'a> {
    voice: &'a mut Voice,
    zero: &'a Weights,
    settings: DistillSettings,
    held_out: HashSet<Sha256Hex>,
    seed: u64,
    /// Names that nobody mentioned, by the taught name in whose place they were asked about.
    strangers: BTreeMap<String, BTreeSet<String>>,
    out: Distilled,
}

impl Distilled {
    /// Settles questions that were found twice. What a lesson answers is nowhere denied; then what is kept for the gates is trained on nowhere, for two
    /// lessons may have found the same question, and two kinds the same stranger.
    fn keep_apart(&mut self) {
        let digest = |question: &String| plan::question_digest(question);
        let all = self.lessons.iter().flat_map(|lesson| lesson.wordings.iter().chain(&lesson.held_out));
        let answered: HashSet<Sha256Hex> = all.map(|wording| digest(&wording.question)).collect();
        self.unheard.retain(|question| !answered.contains(&digest(question)));
        let own = self.lessons.iter().filter_map(|lesson| lesson.held_out.as_ref()).map(|wording| digest(&wording.question));
        let own: HashSet<Sha256Hex> = own.collect();
        for lesson in &mut self.lessons {
            lesson.wordings.retain(|wording| !own.contains(&digest(&wording.question)));
        }
        self.lessons.retain(|lesson| !lesson.wordings.is_empty());
        let unheard: HashSet<Sha256Hex> = self.unheard.iter().map(digest).collect();
        let denied = |question: &String| {
            let digest = digest(question);
            !answered.contains(&digest) && !unheard.contains(&digest)
        };
        self.untaught.retain(denied);
        self.unknown.retain(denied);
    }
}

impl<'a> Distiller<'a> {
    /// A distiller; questions whose digest is in `held_out` are never trained on.
    pub(crate) fn new(
        voice: &'a mut Voice,
        zero: &'a Weights,
        settings: DistillSettings,
        held_out: &[Sha256Hex],
        seed: u64,
    ) -> Self {
        Self {
            voice,
            zero,
            settings,
            held_out: held_out.iter().cloned().collect(),
            seed,
            strangers: BTreeMap::new(),
            out: Distilled::default(),
        }
    }

    /// All steps; `progress` is told how many of them are done.
    pub(crate) fn run(mut self, sessions: &[Session], progress: &mut dyn FnMut(u64, u64, &str)) -> Distilled {
        let sessions = &self.readable(sessions);
        progress(0, 4, "asking about what was told");
        let asked = self.ask(sessions);
        progress(1, 4, "finding whom the questions are about");
        let candidates = self.name(sessions, &asked);
        progress(2, 4, "answering with the sessions in context");
        let contexts = self.contexts(sessions, &candidates);
        let lessons = self.teach(&candidates, &contexts);
        progress(3, 4, "finding what nobody taught");
        self.never_taught(lessons, &contexts);
        progress(4, 4, "distilled");
        self.out
    }

    /// The sessions without the exchanges that are longer than a context may be: nothing could be asked about them.
    fn readable(&mut self, sessions: &[Session]) -> Vec<Session> {
        let mut readable = sessions.to_vec();
        let mut too_long = 0;
        for session in &mut readable {
            let all = session.exchanges.len();
            session.exchanges.retain(|exchange| self.length(exchange) <= self.settings.max_context);
            too_long += all - session.exchanges.len();
        }
        if too_long > 0 {
            tracing::warn!(
                exchanges = too_long,
                limit_tokens = self.settings.max_context,
                "exchanges are too long to learn from"
            );
        }
        readable.retain(|session| !session.exchanges.is_empty());
        self.answer_unanswered(&mut readable);
        readable
    }

    /// What was never answered by day, or answered wrongly, gets the answer that generation 0 gives to it alone: a correction is taken note of in the words
    /// in which the model finds it again.
    fn answer_unanswered(&mut self, sessions: &mut [Session]) {
        let mut open: Vec<&mut Exchange> =
            sessions.iter_mut().flat_map(|s| &mut s.exchanges).filter(|exchange| exchange.answer.is_none()).collect();
        let fresh = SessionState::new(self.voice.base());
        let asked: Vec<(&SessionState, &str)> = open.iter().map(|exchange| (&fresh, exchange.user.as_str())).collect();
        let answers = self.voice.answer(self.zero, &asked, Choice::Greedy, ANSWER_TOKENS);
        for (exchange, answer) in open.iter_mut().zip(answers) {
            exchange.answer = Some(answer.text).filter(|_| answer.ended);
        }
    }

    fn sampled(&mut self) -> Choice {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        Choice::Sampled { temperature: self.settings.temperature, seed: self.seed }
    }

    fn is_held_out(&self, question: &str) -> bool {
        self.held_out.contains(&plan::question_digest(question))
    }
}

#[cfg(test)]
mod tests {
    use nocturne_wire::night::Wording;

    use super::*;

    fn lesson(questions: &[&str], held_out: &str) -> Lesson {
        let wording = |question: &&str| Wording { question: (*question).to_owned(), answer: "46 dollars.".to_owned() };
        let wordings = questions.iter().map(wording).collect();
        Lesson { name: "Koral".into(), value: "46".into(), wordings, held_out: Some(wording(&held_out)) }
    }

    #[test]
    fn what_is_measured_is_not_trained_and_what_is_taught_is_not_denied() {
        let questions = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let mut distilled = Distilled {
            lessons: vec![lesson(&["A?", "B?", "D?"], "C?"), lesson(&["c", "E?"], "F?"), lesson(&["f?"], "G?")],
            unheard: questions(&["B", "X?"]),
            untaught: questions(&["a?", "G?", "x?", "Y?"]),
            unknown: questions(&["X?", "Z?"]),
            ..Distilled::default()
        };
        distilled.keep_apart();
        let asked = |lesson: &Lesson| lesson.wordings.iter().map(|wording| wording.question.clone()).collect::<Vec<_>>();
        assert_eq!(distilled.lessons.iter().map(asked).collect::<Vec<_>>(), [vec!["A?", "B?", "D?"], vec!["E?"]]);
        assert_eq!(distilled.unheard, ["X?"], "a lesson answers B");
        assert_eq!((distilled.untaught, distilled.unknown), (questions(&["Y?"]), questions(&["Z?"])));
    }
}
