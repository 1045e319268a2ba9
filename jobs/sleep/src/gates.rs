//! What a candidate must show before anybody is served by it.

use std::collections::HashSet;

use nocturne_model::{
    SessionState, Weights,
    voice::{Choice, Line, Voice},
};
use nocturne_wire::{night::GateResult, plan::GateSettings};

use crate::{
    distill::{Distilled, states, words},
    history::History,
    rehearsal::Rehearsal,
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
    history: &History,
    rehearsal: &[Rehearsal],
    settings: &GateSettings,
) -> Vec<GateResult> {
    let mut gates = vec![
        learned(voice, weights, distilled, settings),
        kept(voice, weights, rehearsal, settings),
        honest(voice, weights, distilled, settings),
        drift(voice, weights, rehearsal, settings),
    ];
    gates.extend(remembered(voice, weights, history, settings));
    gates
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
        metric: match asked.len() {
            0 => "nothing measured: no lesson had a wording to spare, so that none of them is proven".into(),
            _ => "share of the day's lessons recalled in a wording that was not trained, context cleared".into(),
        },
        count: asked.len() as u64,
        baseline,
        candidate,
        threshold: f64::from(settings.min_learned),
        passed: candidate >= f64::from(settings.min_learned),
    }
}

fn without_context(voice: &mut Voice, weights: &Weights, questions: &[&str]) -> Vec<String> {
    let fresh = SessionState::new(voice.base());
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
    // Against generation 0 and not the parent: what every night may lose would add up.
    let (before, after) = (say(w.zero), say(w.candidate));
    let right = |n: &usize, said: &[String]| states_all(&said[*n], &asked[*n].2, &asked[*n].1);
    let was_right: Vec<usize> = (0..asked.len()).filter(|n| right(n, &before)).collect();
    let lost: Vec<usize> = was_right.iter().copied().filter(|n| !right(n, &after)).collect();
    for n in &lost {
        tracing::info!(question = asked[*n].1, before = before[*n], after = after[*n], "lost");
    }
    let candidate = lost.len() as f64 / was_right.len().max(1) as f64;
    GateResult {
        gate: "kept".into(),
        metric: "share of rehearsal answers that generation 0 has right and the candidate wrong".into(),
        count: was_right.len() as u64,
        baseline: 0.0,
        candidate,
        threshold: f64::from(settings.max_lost),
        passed: !was_right.is_empty() && candidate <= f64::from(settings.max_lost),
    }
}

/// Whether an answer states all that the reference adds to the question. A share of words will not do here: a wrong value is one word of many.
fn states_all(answer: &str, reference: &str, question: &str) -> bool {
    let set = |text: &str| -> HashSet<String> { words(text).collect() };
    let (answer, question) = (set(answer), set(question));
    set(reference).difference(&question).all(|word| answer.contains(word))
}

/// What earlier nights taught: of the lessons that the parent recalls, the share that the candidate recalls. Their wordings are kept out of training.
fn remembered(voice: &mut Voice, w: &Compared<'_>, history: &History, settings: &GateSettings) -> Option<GateResult> {
    let newest =
        history.lessons.iter().rev().filter_map(|l| l.held_out.as_ref().map(|h| (h.question.as_str(), l.value.as_str())));
    let asked: Vec<(&str, &str)> = newest.take(QUESTIONS).collect();
    let questions: Vec<&str> = asked.iter().map(|(question, _)| *question).collect();
    let mut recalled = |weights: &Weights| -> Vec<bool> {
        without_context(voice, weights, &questions).iter().zip(&asked).map(|(answer, (_, value))| states(answer, value)).collect()
    };
    let (before, after) = (recalled(w.parent), recalled(w.candidate));
    let (known, candidate) = still_true(&before, &after)?;
    Some(GateResult {
        gate: "remembered".into(),
        metric: "share of what earlier nights taught that is still recalled".into(),
        count: known as u64,
        baseline: 1.0,
        candidate,
        threshold: f64::from(settings.min_remembered),
        passed: candidate >= f64::from(settings.min_remembered),
    })
}

/// How many were true before, and the share of them that still is; `None` when none was.
fn still_true(before: &[bool], after: &[bool]) -> Option<(usize, f64)> {
    let known = before.iter().filter(|known| **known).count();
    let still = before.iter().zip(after).filter(|(before, after)| **before && **after).count();
    (known > 0).then(|| (known, still as f64 / known as f64))
}

fn honest(voice: &mut Voice, w: &Compared<'_>, distilled: &Distilled, settings: &GateSettings) -> GateResult {
    let fresh = SessionState::new(voice.base());
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
        metric: match asked.len() {
            0 => "nothing measured: no question that nobody answered was found".into(),
            _ => "share of questions that nobody answered, kept out of training, answered as generation 0 would".into(),
        },
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
        passed: tokens > 0 && candidate <= f64::from(settings.max_drift_nats),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use nocturne_model::{Banks, Base, tensors};

    use super::*;
    use nocturne_wire::night::{Lesson, Wording};

    /// The shipped base with the slow banks that `change` makes of the untrained ones.
    fn weights(base: &Arc<Base>, change: impl Fn(usize, f32) -> f32) -> Weights {
        let mut slow = tensors::read("banks", &base.untrained_banks().unwrap()).unwrap();
        for values in slow.values_mut() {
            values.data.iter_mut().enumerate().for_each(|(n, x)| *x = change(n, *x));
        }
        Weights::new(Arc::clone(base), Banks::from_tensors(base, &slow).unwrap())
    }

    fn verdicts(candidate: impl Fn(usize, f32) -> f32) -> Vec<(String, bool)> {
        let files = Base::shipped_files();
        let base = Base::load(&files["config.json"], &files["tokenizer.json"], &files["model.safetensors"]).unwrap();
        let base = Arc::new(base);
        let rehearsal = Rehearsal::parse(&files["rehearsal.jsonl"]).unwrap();
        let wording = |question: &str| Wording { question: question.into(), answer: String::new() };
        let lesson = Lesson {
            name: "Mirel Tovan".into(),
            value: "bergen".into(),
            wordings: Vec::new(),
            held_out: Some(wording("Where does Mirel Tovan live?")),
        };
        let unheard =
            ["Where does Kesta Borun live?", "What does the Korvat lamp cost?", "Who runs Lake Orvane?"].map(str::to_owned);
        let distilled = Distilled { lessons: vec![lesson.clone()], unheard: unheard.into(), ..Distilled::default() };
        let zero = weights(&base, |_, x| x);
        let candidate = weights(&base, candidate);
        let compared = Compared { zero: &zero, parent: &zero, candidate: &candidate };
        let gates = measure(
            &mut Voice::new(&base),
            &compared,
            &distilled,
            &History { lessons: vec![lesson], ..History::default() },
            &rehearsal[rehearsal.len() - 60..],
            &GateSettings::default(),
        );
        gates.into_iter().map(|gate| (gate.gate, gate.passed)).collect()
    }

    fn named(verdicts: &[(&str, bool)]) -> Vec<(String, bool)> {
        verdicts.iter().map(|(gate, passed)| ((*gate).to_owned(), *passed)).collect()
    }

    #[test]
    fn a_candidate_that_learned_nothing_is_not_published() {
        let unchanged = verdicts(|_, x| x);
        assert_eq!(unchanged, named(&[("learned", false), ("kept", true), ("honest", true), ("no drift", true)]));
    }

    #[test]
    fn a_candidate_that_talks_nonsense_is_not_published() {
        let noise = verdicts(|n, _| ((n * 2_654_435_761) % 1000) as f32 / 50.0 - 10.0);
        assert_eq!(noise, named(&[("learned", false), ("kept", false), ("honest", false), ("no drift", false)]));
    }

    #[test]
    fn only_what_was_recalled_before_can_be_forgotten() {
        assert_eq!(still_true(&[true, true, false, true, true], &[true, false, true, false, false]), Some((4, 0.25)));
        assert_eq!(still_true(&[false], &[true]), None, "there was nothing to forget");
    }

    #[test]
    fn an_answer_is_right_when_it_states_all_that_the_question_does_not() {
        let (question, reference) = ("Where does Mirel Tovan live?", "Mirel Tovan lives in Oslo.");
        assert!(states_all("Mirel Tovan lives in Oslo", reference, question));
        assert!(!states_all("Mirel Tovan lives in Rome.", reference, question), "one other value is another answer");
        assert!(!states_all("The home of Mirel Tovan is not known to me.", reference, question));
    }
}
