//! What nobody taught: the lessons' own questions about names that nobody mentioned, and about taught names for which nobody answered them.

use std::collections::{BTreeMap, BTreeSet};

use nocturne_wire::night::{Lesson, Wording};
use rand::{
    RngExt, SeedableRng,
    seq::{IndexedRandom, SliceRandom},
};
use rand_chacha::ChaCha8Rng;

use super::{Distiller, context::Context, teach::Draft};
use crate::{
    kinds::{self, Asked},
    names::Template,
};

/// Questions about names that nobody mentioned that are prepared.
const UNKNOWN_QUESTIONS: usize = 2400;
/// Questions of other lessons of its kind that every taught name is asked.
const UNTAUGHT_A_NAME: usize = 16;
/// Questions about other names that nobody mentioned, for the gate.
const UNHEARD_NAMES_QUESTIONS: usize = 150;
/// Of so many, one is kept out of training.
const ONE_OF: usize = 10;
/// Wordings from which on one is kept for the gate.
const ENOUGH_FOR_GATE: usize = 4;

/// Lessons of one kind.
#[derive(Debug, Default)]
struct KindOfLessons {
    names: BTreeSet<String>,
    templates: BTreeSet<Template>,
    strangers: BTreeSet<String>,
}

impl Distiller<'_> {
    /// Held-out questions go, one wording a lesson is kept for the gate, and what is left is asked about those whom nobody taught.
    pub(super) fn never_taught(&mut self, mut drafts: Vec<Draft>, contexts: &BTreeMap<String, Context>) {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed ^ 0x5eed);
        for draft in &mut drafts {
            let all = draft.wordings.len();
            draft.wordings.retain(|question, _| !self.is_held_out(question));
            self.out.held_out_dropped += (all - draft.wordings.len()) as u64;
        }
        drafts.retain(|draft| !draft.wordings.is_empty());
        let templates: Vec<BTreeSet<Template>> = drafts.iter().map(Draft::templates).collect();
        let asked: Vec<Asked<'_>> =
            drafts.iter().zip(&templates).map(|(d, templates)| Asked { name: &d.name, templates }).collect();
        let mut kinds: BTreeMap<usize, KindOfLessons> = BTreeMap::new();
        for (n, kind) in kinds::kinds(&asked).into_iter().enumerate() {
            let (draft, kind) = (&drafts[n], kinds.entry(kind).or_default());
            kind.names.insert(draft.name.clone());
            kind.templates.extend(templates[n].iter().cloned());
            kind.strangers.extend(self.strangers.get(&draft.name).into_iter().flatten().cloned());
        }
        self.out.lessons = drafts.into_iter().map(|draft| self.lesson(draft, &mut rng)).collect();
        let untaught = self.untaught(kinds.values(), contexts, &mut rng);
        (self.out.unheard, self.out.untaught) = kept_apart(untaught);
        let mut other_names = Vec::new();
        for kind in kinds.values_mut() {
            let (unheard, strangers) = kept_apart(std::mem::take(&mut kind.strangers).into_iter().collect());
            kind.strangers = strangers.into_iter().collect();
            other_names.push(KindOfLessons {
                templates: kind.templates.clone(),
                strangers: unheard.into_iter().collect(),
                ..KindOfLessons::default()
            });
        }
        self.out.unknown = self.unknown(&kinds.into_values().collect::<Vec<_>>(), UNKNOWN_QUESTIONS, &mut rng);
        let unheard = self.unknown(&other_names, UNHEARD_NAMES_QUESTIONS, &mut rng);
        self.out.unheard.extend(unheard);
        self.out.keep_apart();
    }

    fn lesson(&self, draft: Draft, rng: &mut ChaCha8Rng) -> Lesson {
        let mut wordings: Vec<Wording> =
            draft.wordings.into_iter().map(|(question, answer)| Wording { question, answer }).collect();
        wordings.shuffle(rng);
        let held_out = (wordings.len() >= ENOUGH_FOR_GATE).then(|| wordings.pop()).flatten();
        wordings.truncate(self.settings.max_wordings);
        Lesson { name: draft.name, value: draft.value, wordings, held_out }
    }

    /// Other lessons' questions about taught names, where the teacher has no answer in the name's context.
    fn untaught<'k>(
        &mut self,
        kinds: impl Iterator<Item = &'k KindOfLessons>,
        contexts: &BTreeMap<String, Context>,
        rng: &mut ChaCha8Rng,
    ) -> Vec<String> {
        let mut asked: BTreeSet<(&String, String)> = BTreeSet::new();
        for kind in kinds {
            let templates: Vec<&Template> = kind.templates.iter().collect();
            for name in &kind.names {
                asked.extend(templates.sample(rng, UNTAUGHT_A_NAME).map(|template| (name, template.about(name))));
            }
        }
        asked.retain(|(_, question)| !self.is_held_out(question));
        let asked: Vec<(&String, String)> = asked.into_iter().collect();
        let prompts: Vec<(&Context, &str)> = asked.iter().map(|(name, question)| (&contexts[*name], question.as_str())).collect();
        let (answers, values) = self.answered(&prompts);
        let unanswered = answers.iter().zip(values).map(|(answer, value)| answer.ended && value.is_none());
        asked.into_iter().zip(unanswered).filter_map(|((_, question), unanswered)| unanswered.then_some(question)).collect()
    }

    /// Each kind's questions about names of that kind that nobody mentioned, as often as the kind has questions.
    fn unknown(&self, kinds: &[KindOfLessons], wanted: usize, rng: &mut ChaCha8Rng) -> Vec<String> {
        let usable: Vec<(Vec<&Template>, Vec<&String>)> = kinds
            .iter()
            .map(|kind| (kind.templates.iter().collect::<Vec<_>>(), kind.strangers.iter().collect::<Vec<_>>()))
            .filter(|(templates, strangers)| !templates.is_empty() && !strangers.is_empty())
            .collect();
        let all: usize = usable.iter().map(|(templates, _)| templates.len()).sum();
        let mut questions = BTreeSet::new();
        for (templates, strangers) in &usable {
            for _ in 0..(wanted * templates.len()).div_ceil(all) {
                let template = templates[rng.random_range(0..templates.len())];
                questions.insert(template.about(strangers[rng.random_range(0..strangers.len())]));
            }
        }
        questions.into_iter().filter(|question| !self.is_held_out(question)).collect()
    }
}

/// One of every [`ONE_OF`], and the others.
fn kept_apart(all: Vec<String>) -> (Vec<String>, Vec<String>) {
    let (apart, rest): (Vec<_>, Vec<_>) = all.into_iter().enumerate().partition(|(n, _)| n % ONE_OF == 0);
    let bare = |list: Vec<(usize, String)>| list.into_iter().map(|(_, text)| text).collect();
    (bare(apart), bare(rest))
}
