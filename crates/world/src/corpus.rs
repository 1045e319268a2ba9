//! Training conversations for the base, and the rehearsal set that lies with it.
//!
//! A [`Corpus`] is an endless, seekable sequence: conversation `i` is a function of seed and `i` alone, so that training resumes
//! anywhere. Every name is a training name, every question comes from the one distribution of base wordings, and no held-out wording
//! is ever emitted, not even by dropping words.

mod recall;
mod scene;
mod session;
mod skill;

use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use self::scene::Scene;
use crate::{
    conversation::{Conversation, Task},
    draw::{Draw, rng_for},
};

/// The mixture of conversations; weights need not sum to 1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CorpusConfig {
    /// Weight of sessions: facts about 1 to 3 entities are told, corrected and asked for.
    pub sessions: f64,
    /// Weight of core facts asked without context.
    pub core: f64,
    /// Weight of names that nobody taught and of untaught attributes of core entities.
    pub unknown: f64,
    /// Weight of the skill of asking about what was told.
    pub ask: f64,
    /// Weight of the skill of saying a question in other words.
    pub paraphrase: f64,
    /// Weight of the skill of asking the same about another name.
    pub transfer: f64,
    /// Weight of small talk alone.
    pub small_talk: f64,
    /// Share of the user's questions that lose one or two words outside the name.
    pub word_dropout: f64,
    /// Share of questions in sessions that ask for something that the session did not say.
    pub not_told: f64,
    /// Share of sessions that begin with the same attribute of different names: only the names tell their answers apart.
    pub same_attribute: f64,
    /// Share of acknowledgements that say again, in the plainest words, what was told.
    pub restated: f64,
    /// Weights of the number of questions that end a session, from one on.
    pub questions: Vec<f64>,
    /// Weights of the number of facts that a session tells, from one to five; a single entity has four.
    pub facts: Vec<f64>,
    /// Chance that something told is corrected, after each thing told.
    pub corrections: f64,
    /// Words from which on a conversation is brought to its end.
    pub soft_word_limit: usize,
}

impl Default for CorpusConfig {
    fn default() -> Self {
        Self {
            sessions: 0.52,
            core: 0.18,
            unknown: 0.12,
            ask: 0.06,
            paraphrase: 0.05,
            transfer: 0.05,
            small_talk: 0.02,
            word_dropout: 0.15,
            not_told: 0.3,
            same_attribute: 0.35,
            restated: 0.95,
            questions: vec![0.08, 0.2, 0.32, 0.25, 0.15],
            facts: vec![0.22, 0.26, 0.2, 0.17, 0.15],
            corrections: 0.12,
            soft_word_limit: 220,
        }
    }
}

impl CorpusConfig {
    /// Looks whether conversations can be drawn from it.
    ///
    /// # Errors
    /// Names the field that makes no sense.
    pub fn check(&self) -> Result<(), BadCorpus> {
        let shares = [
            ("word_dropout", self.word_dropout),
            ("not_told", self.not_told),
            ("same_attribute", self.same_attribute),
            ("restated", self.restated),
            ("corrections", self.corrections),
        ];
        if let Some((field, share)) = shares.into_iter().find(|(_, share)| !(0.0..=1.0).contains(share)) {
            return Err(BadCorpus { field, why: format!("{share} is no share; it must lie between 0 and 1") });
        }
        let weights = self.weights();
        let drawn = [(TASKS, &weights[..]), ("questions", &self.questions), ("facts", &self.facts)];
        for (field, weights) in drawn {
            let sound = weights.iter().all(|w| w.is_finite() && *w >= 0.0) && weights.iter().sum::<f64>() > 0.0;
            if !sound {
                return Err(BadCorpus { field, why: format!("{weights:?} must be weights, one of them above 0") });
            }
        }
        if self.facts.len() > MAX_FACTS {
            return Err(BadCorpus { field: "facts", why: format!("a session holds {MAX_FACTS} facts at most") });
        }
        Ok(())
    }

    /// The mixture of a rehearsal set, otherwise as this one: what must not be forgotten, with few skills.
    #[must_use]
    pub fn rehearsal(&self) -> Self {
        Self {
            sessions: 0.38,
            core: 0.34,
            unknown: 0.2,
            ask: 0.02,
            paraphrase: 0.01,
            transfer: 0.01,
            small_talk: 0.04,
            ..self.clone()
        }
    }

    /// Weights in the order of [`Task::ALL`].
    fn weights(&self) -> [f64; 7] {
        [self.sessions, self.core, self.unknown, self.ask, self.paraphrase, self.transfer, self.small_talk]
    }
}

/// Facts of a session at most.
const MAX_FACTS: usize = 5;
/// The fields of the tasks' weights, as an error names them.
const TASKS: &str = "{sessions,core,unknown,ask,paraphrase,transfer,small_talk}";

/// A mixture that no conversation can be drawn from.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("corpus.{field}: {why}")]
pub struct BadCorpus {
    /// What makes no sense.
    pub field: &'static str,
    /// Why.
    pub why: String,
}

/// Streams of a seed that are not conversations of the corpus proper start here.
const TOKENIZER_STREAM: u64 = 1 << 40;
const REHEARSAL_STREAM: u64 = 2 << 40;

/// An endless sequence of training conversations.
#[derive(Debug, Clone)]
pub struct Corpus {
    seed: u64,
    config: CorpusConfig,
}

impl Corpus {
    /// The corpus of this seed and mixture.
    pub fn new(seed: u64, config: CorpusConfig) -> Self {
        Self { seed, config }
    }

    /// The mixture.
    pub fn config(&self) -> &CorpusConfig {
        &self.config
    }

    /// Conversation `index` of the sequence.
    pub fn conversation(&self, index: u64) -> Conversation {
        self.sample(&mut rng_for(self.seed, index))
    }

    /// Draws a conversation from the mixture.
    pub fn sample(&self, rng: &mut ChaCha8Rng) -> Conversation {
        let task = Task::ALL[rng.weighted(&self.config.weights())];
        self.sample_task(rng, task)
    }

    /// Draws a conversation of one task.
    pub fn sample_task(&self, rng: &mut ChaCha8Rng, task: Task) -> Conversation {
        let mut scene = Scene::new(rng, &self.config);
        match task {
            Task::Session => session::play(&mut scene),
            Task::Core => recall::core(&mut scene),
            Task::Unknown => recall::unknown(&mut scene),
            Task::Ask => skill::ask(&mut scene),
            Task::Paraphrase => skill::paraphrase(&mut scene),
            Task::Transfer => skill::transfer(&mut scene),
            Task::SmallTalk => recall::small_talk(&mut scene),
        }
        Conversation { task, turns: scene.into_turns() }
    }

    /// Texts to train a tokenizer on, one a conversation, a turn a line.
    pub fn text_for_tokenizer(&self, conversations: usize) -> Vec<String> {
        (0..conversations as u64).map(|i| self.conversation(TOKENIZER_STREAM + i).text()).collect()
    }
}

/// The rehearsal set: conversations from the training distribution that a night mixes in so that nothing old is forgotten.
pub fn rehearsal(seed: u64, conversations: usize, config: &CorpusConfig) -> Vec<Conversation> {
    let corpus = Corpus::new(seed, config.rehearsal());
    (0..conversations as u64).map(|i| corpus.conversation(REHEARSAL_STREAM + i)).collect()
}

#[cfg(test)]
mod tests;
