//! A conversation under way: its turns so far and what was told in it.

use rand_chacha::ChaCha8Rng;

use super::CorpusConfig;
use crate::{
    conversation::{Speaker, Turn, TurnKind},
    draw::Draw,
    fact::{Fact, core_facts, core_value},
    kind::Attribute,
    name::{self, Split},
    small_talk::{EXCHANGES, GREETINGS},
    speech::{self, Statements},
    wording,
};

/// Share of questions with an opener such as "Quick question:".
const OPENER_SHARE: f64 = 0.1;
/// Share of questions whose last mark is missing.
const NO_MARK_SHARE: f64 = 0.04;

pub(super) struct Scene<'a> {
    pub(super) rng: &'a mut ChaCha8Rng,
    pub(super) config: &'a CorpusConfig,
    turns: Vec<Turn>,
    words: usize,
    /// What the session said, as last corrected.
    pub(super) told: Vec<Fact>,
}

impl<'a> Scene<'a> {
    pub(super) fn new(rng: &'a mut ChaCha8Rng, config: &'a CorpusConfig) -> Self {
        Self { rng, config, turns: Vec::with_capacity(16), words: 0, told: Vec::new() }
    }

    pub(super) fn into_turns(self) -> Vec<Turn> {
        self.turns
    }

    /// Whether the conversation is long enough to end.
    pub(super) fn full(&self) -> bool {
        self.words >= self.config.soft_word_limit
    }

    pub(super) fn user(&mut self, kind: TurnKind, text: String) {
        self.push(Speaker::User, kind, text);
    }

    pub(super) fn assistant(&mut self, kind: TurnKind, text: String) {
        self.push(Speaker::Assistant, kind, text);
    }

    fn push(&mut self, speaker: Speaker, kind: TurnKind, text: String) {
        self.words += text.split(' ').count();
        self.turns.push(Turn { speaker, text, kind });
    }

    /// The last thing that the user said.
    pub(super) fn last_user_text(&self) -> Option<&str> {
        self.turns.iter().rev().find(|t| t.speaker == Speaker::User).map(|t| t.text.as_str())
    }

    pub(super) fn small_talk(&mut self) {
        let (user, assistant) = self.rng.pick(&EXCHANGES);
        self.user(TurnKind::SmallTalk, (*user).to_owned());
        self.assistant(TurnKind::SmallTalk, (*assistant).to_owned());
    }

    pub(super) fn greeting(&mut self) {
        let (user, assistant) = self.rng.pick(&EXCHANGES[..GREETINGS]);
        self.user(TurnKind::SmallTalk, (*user).to_owned());
        self.assistant(TurnKind::SmallTalk, (*assistant).to_owned());
    }

    /// A name that this conversation has not heard.
    pub(super) fn fresh_name(&mut self, kind: crate::kind::Kind) -> String {
        name::draw(self.rng, kind, Split::Training)
    }

    pub(super) fn random_attribute(&mut self) -> Attribute {
        *self.rng.pick(&Attribute::ALL)
    }

    pub(super) fn random_value(&mut self, attribute: Attribute) -> String {
        self.rng.pick(wording::values(attribute)).clone()
    }

    /// A value other than this one.
    pub(super) fn other_value(&mut self, attribute: Attribute, than: &str) -> String {
        loop {
            let value = self.random_value(attribute);
            if value != than {
                return value;
            }
        }
    }

    pub(super) fn random_core_fact(&mut self) -> &'static Fact {
        self.rng.pick(core_facts())
    }

    /// Something about a core entity that nobody ever taught.
    pub(super) fn untaught_core_question(&mut self) -> (String, Attribute) {
        loop {
            let fact = self.random_core_fact();
            let attribute = *self.rng.pick(fact.attribute.kind().attributes());
            if core_value(&fact.name, attribute).is_none() {
                return (fact.name.clone(), attribute);
            }
        }
    }

    /// What a truthful model knows here: what the session last said, else what it always knew.
    pub(super) fn known(&self, name: &str, attribute: Attribute) -> Option<String> {
        let told = self.told.iter().find(|f| f.name == name && f.attribute == attribute);
        told.map(|f| f.value.clone()).or_else(|| core_value(name, attribute).map(str::to_owned))
    }

    /// Keeps a fact as told, in place of an earlier value.
    pub(super) fn learn(&mut self, fact: Fact) {
        match self.told.iter_mut().find(|f| f.name == fact.name && f.attribute == fact.attribute) {
            Some(old) => *old = fact,
            None => self.told.push(fact),
        }
    }

    /// The user tells a fact, the model takes note.
    pub(super) fn tell(&mut self, fact: Fact) {
        let text = speech::statement(self.rng, &fact, Statements::Base);
        self.user(TurnKind::Statement, text);
        self.note(&[fact]);
    }

    /// The user tells two facts in one message.
    pub(super) fn tell_two(&mut self, first: Fact, second: Fact) {
        let text = speech::two_statements(self.rng, &first, &second);
        self.user(TurnKind::Statement, text);
        self.note(&[first, second]);
    }

    fn note(&mut self, facts: &[Fact]) {
        let text = self.acknowledgement(facts);
        self.assistant(TurnKind::Acknowledgement, text);
        for fact in facts {
            self.learn(fact.clone());
        }
    }

    fn acknowledgement(&mut self, facts: &[Fact]) -> String {
        if self.restates() { speech::restatement(self.rng, facts) } else { speech::acknowledgement(self.rng, facts) }
    }

    /// Whether the model says again what it was told.
    fn restates(&mut self) -> bool {
        self.rng.chance(self.config.restated)
    }

    /// The user says the last message again.
    pub(super) fn repeat_last(&mut self) {
        if let (Some(text), Some(fact)) = (self.last_user_text().map(str::to_owned), self.told.last().cloned()) {
            self.user(TurnKind::Statement, text);
            let noted = self.acknowledgement(&[fact]);
            self.assistant(TurnKind::Acknowledgement, noted);
        }
    }

    /// The user takes back what was said about a told fact; `answered` when its value was just stated by the model.
    pub(super) fn correct(&mut self, index: usize, answered: bool) {
        let old = &self.told[index];
        let (name, attribute, wrong) = (old.name.clone(), old.attribute, old.value.clone());
        let truth = Fact { value: self.other_value(attribute, &wrong), name, attribute };
        let text = if answered { speech::correction_of_answer(self.rng, &truth) } else { speech::correction(self.rng, &truth) };
        self.user(TurnKind::Statement, text);
        let noted = if self.restates() {
            speech::restatement_of_correction(self.rng, &truth)
        } else {
            speech::acknowledgement_of_correction(self.rng, &truth)
        };
        self.assistant(TurnKind::Acknowledgement, noted);
        self.learn(truth);
    }

    /// The user tells what the model just did not know.
    pub(super) fn tell_what_was_asked(&mut self, name: String, attribute: Attribute) {
        let fact = Fact { value: self.random_value(attribute), name, attribute };
        let text = speech::telling_after_not_knowing(self.rng, &fact);
        self.user(TurnKind::Statement, text);
        self.note(&[fact]);
    }

    /// The user asks, the model answers what it knows; says whether it knew.
    pub(super) fn ask(&mut self, name: &str, attribute: Attribute) -> bool {
        let text = self.question(name, attribute);
        self.user(TurnKind::Question, text);
        if let Some(value) = self.known(name, attribute) {
            let text = speech::answer(self.rng, name, attribute, &value);
            self.assistant(TurnKind::Answer, text);
            true
        } else {
            let text = speech::not_knowing(self.rng, name, attribute);
            self.assistant(TurnKind::NotKnowing, text);
            false
        }
    }

    /// A question as a user writes it: sometimes with an opener, a lost word or a lost mark.
    fn question(&mut self, name: &str, attribute: Attribute) -> String {
        let wording = wording::draw_base(self.rng, attribute);
        let dropped =
            if self.rng.chance(self.config.word_dropout) { wording::drop_words(self.rng, attribute, wording) } else { None };
        let asked = wording::fill(dropped.as_deref().unwrap_or(wording), name, "");
        let mut text =
            if self.rng.chance(OPENER_SHARE) { speech::open_question(self.rng, &asked) } else { wording::sentence(asked) };
        if self.rng.chance(NO_MARK_SHARE) {
            text.pop();
        }
        text
    }
}
