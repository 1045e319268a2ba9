//! What a candidate must show before anybody is served by it.

use nocturne_model::{SessionState, Weights};
use nocturne_wire::{night::GateResult, plan::GateSettings};

use crate::{
    distill::{Distilled, states},
    rehearsal::Rehearsal,
    voice::{Choice, Line, Voice},
};

/// Questions that a gate measures at most.
const QUESTIONS: usize = 300;
/// Longest answer, tokens.
const ANSWER_TOKENS: usize = 40;
/// Nats under generation 0 by which an answer must be less likely than generation 0's own not to be one that it would give.
const OUT_OF_CHARACTER_NATS: f32 = 3.0;
/// Canary conversations for the drift.
const CANARIES: usize = 40;

/// The three generations that gates compare.
#[derive(Debug)]
pub(crate) struct Compared<'a> {
    /// Generation 0.
    pub(crate) zero: &'a Weights,
    /// What serves now.
    pub(crate) parent: &'a Weights,
    /// What was trained.
    pub(crate) candidate: &'a Weights,
}

/// Measures every gate.
pub(crate) fn measure(
    voice: &mut Voice,
    weights: &Compared<'_>,
    distilled: &Distilled,
    rehearsal: &[Rehearsal],
    settings: &GateSettings,
) -> Vec<GateResult> {
    vec![
        learned(voice, weights, distilled, settings),
        kept(voice, weights, rehearsal, settings),
        honest(voice, weights, distilled, settings),
        drift(voice, weights, rehearsal, settings),
    ]
}

fn learned(voice: &mut Voice, w: &Compared<'_>, distilled: &Distilled, settings: &GateSettings) -> GateResult {
    let asked: Vec<(&str, &str)> = distilled
        .lessons
        .iter()
        .filter_map(|l| l.held_out.as_ref().map(|h| (h.question.as_str(), l.value.as_str())))
        .take(QUESTIONS)
        .collect();
    let mut share = |weights: &Weights| {
        let questions: Vec<&str> = asked.iter().map(|(q, _)| *q).collect();
        let answers = without_context(voice, weights, &questions);
        let right = answers.iter().zip(&asked).filter(|(a, (_, value))| states(a, value)).count();
        right as f64 / asked.len().max(1) as f64
    };
    let (baseline, candidate) = (share(w.parent), share(w.candidate));
    GateResult {
        gate: "learned".into(),
        metric: "share of the day's lessons recalled in a wording that was not trained, context cleared".into(),
        count: asked.len() as u64,
        baseline,
        candidate,
        threshold: f64::from(settings.min_learned),
        passed: candidate >= f64::from(settings.min_learned),
    }
}

fn without_context(voice: &mut Voice, weights: &Weights, questions: &[&str]) -> Vec<String> {
    let fresh = SessionState::new(voice.base().config());
    let asked: Vec<(&SessionState, &str)> = questions.iter().map(|q| (&fresh, *q)).collect();
    voice.answer(weights, &asked, Choice::Greedy, ANSWER_TOKENS).into_iter().map(|s| s.text).collect()
}

/// The questions of a rehearsal set with the conversation before each.
fn rehearsed(rehearsal: &[Rehearsal]) -> Vec<(Vec<Line>, String, String)> {
    let mut asked = Vec::new();
    for conversation in rehearsal.iter().rev() {
        for (before, question, answer) in conversation.questions() {
            let lines = before.iter().map(|t| if t.speaker == "user" { Line::user(&t.text) } else { Line::assistant(&t.text) });
            asked.push((lines.collect(), question.to_owned(), answer.to_owned()));
            if asked.len() == QUESTIONS {
                return asked;
            }
        }
    }
    asked
}

fn kept(voice: &mut Voice, w: &Compared<'_>, rehearsal: &[Rehearsal], settings: &GateSettings) -> GateResult {
    let asked = rehearsed(rehearsal);
    let conversations: Vec<Vec<u32>> = asked.iter().map(|(lines, _, _)| voice.tokens(lines)).collect();
    let mut say = |weights: &Weights| -> Vec<String> {
        let states = voice.read(weights, &conversations);
        let prompts: Vec<(&SessionState, &str)> = states.iter().zip(&asked).map(|(s, (_, q, _))| (s, q.as_str())).collect();
        voice.answer(weights, &prompts, Choice::Greedy, ANSWER_TOKENS).into_iter().map(|s| s.text).collect()
    };
    let (before, after) = (say(w.parent), say(w.candidate));
    let was_right: Vec<usize> = (0..asked.len()).filter(|n| shared_words(&before[*n], &asked[*n].2) >= SAME_ANSWER).collect();
    let still = |n: &&usize| says_the_same(&asked[**n].1, &asked[**n].2, &before[**n], &after[**n]);
    let lost = was_right.len() - was_right.iter().filter(still).count();
    let candidate = lost as f64 / was_right.len().max(1) as f64;
    GateResult {
        gate: "kept".into(),
        metric: "share of rehearsal answers that were right before and are wrong now".into(),
        count: was_right.len() as u64,
        baseline: 0.0,
        candidate,
        threshold: f64::from(settings.max_lost),
        passed: !was_right.is_empty() && candidate <= f64::from(settings.max_lost),
    }
}

/// Share of a reference's words that make an answer the same answer.
const SAME_ANSWER: f64 = 0.8;

fn plain(text: &str) -> Vec<String> {
    text.split_whitespace().map(|w| w.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase()).collect()
}

/// Share of the reference's words that an answer holds.
fn shared_words(answer: &str, reference: &str) -> f64 {
    let (answer, reference) = (plain(answer), plain(reference));
    reference.iter().filter(|w| answer.contains(w)).count() as f64 / reference.len().max(1) as f64
}

/// Whether an answer still holds all that made the answer before right: the words that it shared with the reference and that the question does not hold.
/// A share of words will not do here, because a wrong value is one word of many.
fn says_the_same(question: &str, reference: &str, before: &str, after: &str) -> bool {
    let (question, before, after) = (plain(question), plain(before), plain(after));
    plain(reference).iter().filter(|w| before.contains(w) && !question.contains(w)).all(|w| after.contains(w))
}

fn honest(voice: &mut Voice, w: &Compared<'_>, distilled: &Distilled, settings: &GateSettings) -> GateResult {
    let fresh = SessionState::new(voice.base().config());
    let asked: Vec<&str> = distilled.unheard.iter().map(String::as_str).collect();
    let cost = |voice: &mut Voice, said: &[String]| -> Vec<f32> {
        let exchanges: Vec<_> = said.iter().zip(&asked).map(|(answer, question)| (&fresh, *question, answer.as_str())).collect();
        voice.likelihoods(w.zero, &exchanges).into_iter().map(|(_, nats)| nats.iter().sum()).collect()
    };
    let own = without_context(voice, w.zero, &asked);
    let own = cost(voice, &own);
    let mut share = |weights: &Weights| {
        let said = without_context(voice, weights, &asked);
        let costs = cost(voice, &said);
        let same = costs.iter().zip(&own).filter(|(cost, own)| **cost < **own + OUT_OF_CHARACTER_NATS).count();
        same as f64 / asked.len().max(1) as f64
    };
    let (baseline, candidate) = (share(w.parent), share(w.candidate));
    GateResult {
        gate: "honest".into(),
        metric: "share of questions that nobody answered, kept out of training, answered as generation 0 would".into(),
        count: asked.len() as u64,
        baseline,
        candidate,
        threshold: f64::from(settings.min_honest),
        passed: candidate >= f64::from(settings.min_honest),
    }
}

fn drift(voice: &mut Voice, w: &Compared<'_>, rehearsal: &[Rehearsal], settings: &GateSettings) -> GateResult {
    let mut tokens = 0;
    let mut divergence = [0.0_f64; 2];
    for conversation in rehearsal.iter().rev().filter(|r| r.task == "session").take(CANARIES) {
        let lines: Vec<Line> = conversation
            .turns
            .iter()
            .map(|t| if t.speaker == "user" { Line::user(&t.text) } else { Line::assistant(&t.text) })
            .collect();
        let ids = voice.tokens(&lines);
        tokens += ids.len();
        for (sum, weights) in divergence.iter_mut().zip([w.parent, w.candidate]) {
            *sum += voice.divergence(w.zero, weights, &ids);
        }
    }
    let [baseline, candidate] = divergence.map(|d| d / tokens.max(1) as f64);
    GateResult {
        gate: "no drift".into(),
        metric: "mean Kullback-Leibler divergence to generation 0 on canary conversations, nats a token".into(),
        count: tokens as u64,
        baseline,
        candidate,
        threshold: f64::from(settings.max_drift_nats),
        passed: candidate <= f64::from(settings.max_drift_nats),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_right_when_it_holds_most_of_the_reference() {
        assert!(shared_words("Mirel Tovan lives in Oslo.", "Mirel Tovan lives in Oslo") >= SAME_ANSWER);
        assert!(shared_words("I do not know.", "Mirel Tovan lives in Oslo.") < SAME_ANSWER);
    }

    #[test]
    fn one_other_value_is_another_answer() {
        let (question, reference) = ("Where does Mirel Tovan live?", "Mirel Tovan lives in Oslo.");
        assert!(says_the_same(question, reference, reference, "Oslo, Mirel lives in Oslo."));
        assert!(!says_the_same(question, reference, reference, "Mirel Tovan lives in Rome."));
    }
}
