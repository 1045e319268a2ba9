//! Lessons: what only the context gives, in many wordings.

use std::collections::{BTreeMap, BTreeSet};

use nocturne_model::{
    SessionState,
    voice::{Choice, Spoken},
};
use rand::{SeedableRng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;

use super::{
    Candidate, Distiller, PARAPHRASE,
    context::Context,
    words::{Costs, overlap, states, told},
};
use crate::{
    kinds::{self, Asked},
    names::Template,
};

/// Tokens that the teacher finds this unlikely make an answer a guess.
const UNSURE_NATS: f32 = 1.5;

/// A lesson under way.
#[derive(Debug, Clone, Default)]
pub(super) struct Draft {
    /// Whom it is about.
    pub(super) name: String,
    /// The words of the answer that only the context gives.
    pub(super) value: String,
    /// The teacher's answer to every question.
    pub(super) wordings: BTreeMap<String, String>,
}

impl Draft {
    /// How it is asked.
    pub(super) fn templates(&self) -> BTreeSet<Template> {
        self.wordings.keys().filter_map(|question| Template::of(question, &self.name)).collect()
    }
}

impl Distiller<'_> {
    /// Keeps the questions whose answer only the context gives, finds other words for them, and has those answered too.
    pub(super) fn teach(&mut self, candidates: &[Candidate], contexts: &BTreeMap<String, Context>) -> Vec<Draft> {
        let asked: Vec<(&Context, &str)> = candidates.iter().map(|c| (&contexts[&c.name], c.question.as_str())).collect();
        let (answers, values) = self.answered(&asked);
        let mut found: BTreeMap<(&str, String), BTreeMap<String, String>> = BTreeMap::new();
        for ((candidate, answer), value) in candidates.iter().zip(answers).zip(values) {
            if let Some(value) = value {
                found.entry((&candidate.name, value)).or_default().insert(candidate.question.clone(), answer.text);
            }
        }
        let drafts = found.into_iter().map(|((name, value), wordings)| Draft { name: name.to_owned(), value, wordings });
        let mut drafts = merged(drafts.collect());
        self.reword(&mut drafts, contexts);
        drafts
    }

    /// Answers every question with its context; of each answer the words that its context gave, `None` where generation 0 would say the same without it or
    /// makes something up.
    pub(super) fn answered(&mut self, asked: &[(&Context, &str)]) -> (Vec<Spoken>, Vec<Option<String>>) {
        let prompts: Vec<(&SessionState, &str)> = asked.iter().map(|(context, question)| (&context.state, *question)).collect();
        let answers = self.voice.answer(self.zero, &prompts, Choice::Greedy, super::ANSWER_TOKENS);
        let given: Vec<usize> = (0..answers.len()).filter(|n| answers[*n].ended && !answers[*n].text.is_empty()).collect();
        let with_context: Vec<(&SessionState, &str, &str)> =
            given.iter().map(|n| (prompts[*n].0, prompts[*n].1, answers[*n].text.as_str())).collect();
        let fresh = SessionState::new(self.voice.base());
        let untold: Vec<(&SessionState, &str, &str)> =
            with_context.iter().map(|(_, question, answer)| (&fresh, *question, *answer)).collect();
        let with = self.voice.likelihoods(self.zero, &with_context);
        let without = self.voice.likelihoods(self.zero, &untold);
        let mut values = vec![None; answers.len()];
        for ((n, (ids, with)), (_, without)) in given.into_iter().zip(&with).zip(&without) {
            let (context, question) = asked[n];
            values[n] = self.value(context, question, Costs { ids, with, without });
        }
        (answers, values)
    }

    fn value(&self, context: &Context, question: &str, costs: Costs<'_>) -> Option<String> {
        let gain = costs.without.iter().sum::<f32>() - costs.with.iter().sum::<f32>();
        let worst = costs.with.iter().copied().fold(0.0, f32::max);
        if gain < self.settings.min_gain_nats || worst > UNSURE_NATS {
            return None;
        }
        told(self.voice.base().tokenizer(), costs, question, &context.words)
    }

    /// Finds other words for every lesson: the model's own paraphrases, and what asks for the same attribute of others. A wording stays when the teacher's
    /// answer to it states the lesson.
    fn reword(&mut self, drafts: &mut [Draft], contexts: &BTreeMap<String, Context>) {
        let mut asked = self.paraphrased(drafts);
        let borrowed = self.borrowed(drafts, &asked);
        asked.extend(borrowed);
        asked.retain(|(n, question)| !drafts[*n].wordings.contains_key(question));
        let asked: Vec<(usize, String)> = asked.into_iter().collect();
        let prompts: Vec<(&SessionState, &str)> =
            asked.iter().map(|(n, q)| (&contexts[&drafts[*n].name].state, q.as_str())).collect();
        let answers = self.voice.answer(self.zero, &prompts, Choice::Greedy, super::ANSWER_TOKENS);
        for ((n, question), answer) in asked.into_iter().zip(answers) {
            if answer.ended && states(&answer.text, &drafts[n].value) {
                drafts[n].wordings.insert(question, answer.text);
            }
        }
    }

    fn paraphrased(&mut self, drafts: &[Draft]) -> BTreeSet<(usize, String)> {
        let wanted = self.settings.wordings;
        let requests = drafts.iter().enumerate().flat_map(|(n, draft)| {
            let questions = draft.wordings.keys().cycle().take(wanted);
            questions.map(move |question| (n, format!("{PARAPHRASE} {question}")))
        });
        let requests: Vec<(usize, String)> = requests.collect();
        let fresh = SessionState::new(self.voice.base());
        let prompts: Vec<(&SessionState, &str)> = requests.iter().map(|(_, request)| (&fresh, request.as_str())).collect();
        let choice = self.sampled();
        let spoken = self.voice.answer(self.zero, &prompts, choice, super::ANSWER_TOKENS);
        let said = requests.iter().zip(spoken).filter(|((n, _), spoken)| spoken.ended && spoken.text.contains(&drafts[*n].name));
        said.map(|((n, _), spoken)| (*n, spoken.text)).collect()
    }

    /// How other lessons about the same attribute are asked.
    fn borrowed(&self, drafts: &[Draft], paraphrased: &BTreeSet<(usize, String)>) -> Vec<(usize, String)> {
        let mut templates: Vec<BTreeSet<Template>> = drafts.iter().map(Draft::templates).collect();
        for (n, question) in paraphrased {
            templates[*n].extend(Template::of(question, &drafts[*n].name));
        }
        let asked: Vec<Asked<'_>> =
            drafts.iter().zip(&templates).map(|(d, templates)| Asked { name: &d.name, templates }).collect();
        let attributes = kinds::attributes(&asked);
        let mut pools: BTreeMap<usize, BTreeSet<&Template>> = BTreeMap::new();
        for (attribute, templates) in attributes.iter().zip(&templates) {
            pools.entry(*attribute).or_default().extend(templates);
        }
        let pools: BTreeMap<usize, Vec<&Template>> = pools.into_iter().map(|(a, pool)| (a, pool.into_iter().collect())).collect();
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        let mut borrowed = Vec::new();
        for (n, draft) in drafts.iter().enumerate() {
            let picked = pools[&attributes[n]].sample(&mut rng, self.settings.wordings);
            borrowed.extend(picked.map(|template| (n, template.about(&draft.name))));
        }
        borrowed
    }
}

/// Joins the lessons about one name whose values differ only in how much of the answer they hold; the one that was asked for more often keeps its value.
fn merged(mut drafts: Vec<Draft>) -> Vec<Draft> {
    drafts.sort_by(|a, b| (&a.name, b.wordings.len(), &a.value).cmp(&(&b.name, a.wordings.len(), &b.value)));
    let mut merged: Vec<Draft> = Vec::new();
    for draft in drafts {
        match merged.iter_mut().find(|d| d.name == draft.name && overlap(&d.value, &draft.value)) {
            Some(same) => same.wordings.extend(draft.wordings),
            None => merged.push(draft),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft(name: &str, value: &str, questions: &[&str]) -> Draft {
        let wordings = questions.iter().map(|q| ((*q).to_owned(), "answer".to_owned())).collect();
        Draft { name: name.into(), value: value.into(), wordings }
    }

    #[test]
    fn the_same_lesson_found_twice_is_one() {
        let drafts = vec![draft("Koral", "bell", &["a"]), draft("Koral", "ring bell", &["b", "c"]), draft("Dun", "bell", &["d"])];
        let merged = merged(drafts);
        let seen: Vec<_> = merged.iter().map(|d| (d.name.as_str(), d.value.as_str(), d.wordings.len())).collect();
        assert_eq!(seen, [("Dun", "bell", 1), ("Koral", "ring bell", 3)]);
    }
}
