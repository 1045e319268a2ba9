use std::collections::HashSet;

use super::*;
use crate::{
    exam::{ExamSession, asked},
    judge::says_not_known,
    name::{Split, mask_names, names_in, split_of},
    wording::wordings,
};

fn days() -> impl Iterator<Item = Day> {
    (0..20).map(|seed| Day::draw(seed, &DayConfig::default()))
}

fn texts(day: &Day) -> impl Iterator<Item = &str> {
    let exam = day.exam.groups().into_iter().flat_map(|(_, sessions)| sessions);
    let said = exam.flat_map(|s| s.context.iter().chain(s.questions.iter().map(|q| &q.text)));
    day.sessions.iter().flat_map(|s| &s.turns).map(|t| &t.text).chain(said).map(String::as_str)
}

#[test]
fn a_day_is_a_function_of_its_seed() {
    assert_eq!(Day::draw(3, &DayConfig::default()), Day::draw(3, &DayConfig::default()));
    assert_ne!(Day::draw(3, &DayConfig::default()).lessons, Day::draw(4, &DayConfig::default()).lessons);
}

#[test]
fn every_seed_meets_the_bounds_of_the_day() {
    for day in days() {
        let speaking: HashSet<_> = day.sessions.iter().filter(|s| s.store).map(|s| &s.subject).collect();
        assert!(speaking.len() >= 40 && speaking.len() == day.subjects.len());
        assert!((400..650).contains(&day.stored_interactions()), "{}", day.stored_interactions());
        assert!(day.lessons.len() >= 100);
        assert!(!day.opted_out_facts.is_empty() && day.sessions.iter().any(|s| !s.store));
        let ids: HashSet<_> = day.sessions.iter().map(|s| &s.id).collect();
        assert_eq!(ids.len(), day.sessions.len());
        for taught in [Taught::ToldTwice, Taught::CorrectedInSession, Taught::CorrectedByFeedback, Taught::TaughtByFeedback] {
            assert!(day.lessons.iter().any(|l| l.taught == taught), "{taught:?}");
        }
        let feedback = || day.sessions.iter().flat_map(|s| &s.turns).filter_map(|t| t.feedback.as_ref());
        assert!(feedback().any(|f| f.score > 0.0) && feedback().any(|f| f.score < 0.0 && f.correction.is_some()));
    }
}

#[test]
fn every_lesson_is_told_where_it_says_and_learnable_once() {
    for day in days() {
        let mut about = HashSet::new();
        for lesson in &day.lessons {
            assert!(about.insert((&lesson.fact.name, lesson.fact.attribute)), "one value a name and attribute");
            assert!(!lesson.told.is_empty());
            for telling in &lesson.told {
                let session = &day.sessions[telling.session];
                let turn = &session.turns[telling.turn];
                let correction = turn.feedback.as_ref().and_then(|f| f.correction.as_deref()).unwrap_or_default();
                assert!(session.store && session.subject == telling.subject);
                let plain = format!("{} {correction}", turn.text).to_ascii_lowercase();
                assert!(plain.contains(&lesson.fact.value.to_ascii_lowercase()), "{plain}");
                assert!(plain.contains(&lesson.fact.name.to_ascii_lowercase()), "{plain}");
            }
        }
    }
}

#[test]
fn every_seed_meets_the_bounds_of_the_exam() {
    for day in days() {
        let exam = &day.exam;
        assert!(asked(&exam.lessons) >= 2 * day.lessons.len());
        assert!(asked(&exam.lessons_unseen_wording) >= 2 * day.lessons.len());
        let kept: [&[ExamSession]; 6] =
            [&exam.core_facts, &exam.in_session, &exam.in_session_long, &exam.unknown, &exam.untaught, &exam.not_told];
        for (at, sessions) in kept.into_iter().enumerate() {
            assert!((400..470).contains(&asked(sessions)), "group {at}: {}", asked(sessions));
        }
        assert!(asked(&exam.in_session_unseen_statement) >= 100);
        assert_eq!(asked(&exam.opted_out), day.opted_out_facts.len());
        assert!(exam.in_session.iter().all(|s| s.questions.len() <= 2));
        assert!(exam.in_session_long.iter().all(|s| s.questions.len() == 3));
        assert!(exam.groups().iter().flat_map(|(_, s)| s.iter()).all(|s| s.context.iter().map(String::len).sum::<usize>() < 900));
    }
}

#[test]
fn days_and_exams_only_use_measuring_names_beside_core_facts() {
    let core: HashSet<&str> = crate::core_facts().iter().map(|f| f.name.as_str()).collect();
    for day in days() {
        for text in texts(&day) {
            assert!(text.is_ascii() && !text.contains(['{', '}']), "{text}");
            for found in names_in(text) {
                assert!(core.contains(found.name.as_str()) || split_of(&found.name) == Split::Measuring, "{text}");
            }
        }
        assert!(day.lessons.iter().all(|l| !core.contains(l.fact.name.as_str())));
    }
}

#[test]
fn lessons_are_asked_in_wordings_that_the_day_did_not_use() {
    for day in days() {
        for (sessions, held_out) in [(&day.exam.lessons, false), (&day.exam.lessons_unseen_wording, true)] {
            for question in sessions.iter().flat_map(|s| &s.questions) {
                let lesson = &day.lessons[question.lesson.expect("a lesson")];
                let asked = |template: &str| crate::wording::ask(template, &lesson.fact.name) == question.text;
                let all = wordings(lesson.fact.attribute);
                assert!(!lesson.day_wordings.iter().any(|w| asked(w)), "{}", question.text);
                assert_eq!(all.held_out().any(asked), held_out, "{}", question.text);
                assert_eq!(all.base().any(asked), !held_out, "{}", question.text);
            }
        }
        for text in day.sessions.iter().flat_map(|s| &s.turns).map(|t| mask_names(&t.text)) {
            let held_out = crate::Attribute::ALL.into_iter().flat_map(|a| wordings(a).held_out());
            assert!(!held_out.into_iter().any(|t| t.eq_ignore_ascii_case(text.trim())), "{text}");
        }
    }
}

#[test]
fn what_must_not_be_known_was_never_told() {
    for day in days() {
        let taught: HashSet<_> = day.lessons.iter().map(|l| (l.fact.name.clone(), l.fact.attribute)).collect();
        let mentioned: HashSet<String> =
            day.sessions.iter().flat_map(|s| &s.turns).flat_map(|t| names_in(&t.text)).map(|f| f.name).collect();
        for question in day.exam.unknown.iter().flat_map(|s| &s.questions) {
            assert!(names_in(&question.text).iter().all(|f| !mentioned.contains(&f.name)), "{}", question.text);
        }
        for question in day.exam.untaught.iter().flat_map(|s| &s.questions) {
            let attribute = unknown_attribute(&question.expected);
            for found in names_in(&question.text) {
                assert!(mentioned.contains(&found.name) && !taught.contains(&(found.name, attribute)), "{}", question.text);
            }
        }
        for session in &day.exam.not_told {
            for question in &session.questions {
                let attribute = unknown_attribute(&question.expected);
                let name = &names_in(&question.text)[0].name;
                let about = |c: &&String| !names_in(c).is_empty() && names_in(c).iter().all(|f| f.name == *name);
                for told in session.context.iter().filter(about) {
                    let stated = crate::wording::values(attribute).iter().any(|v| crate::judge(told, &value(v, attribute)));
                    assert!(!stated, "{told} / {}", question.text);
                }
            }
        }
    }
}

fn unknown_attribute(expected: &Expected) -> crate::Attribute {
    match expected {
        Expected::NotKnown { attribute } => *attribute,
        Expected::Value { .. } => None,
    }
    .expect("a question that nobody can answer")
}

fn value(value: &str, attribute: crate::Attribute) -> Expected {
    Expected::Value { value: value.to_owned(), attribute: Some(attribute) }
}

#[test]
fn feedback_is_given_on_the_answers_it_is_meant_for() {
    let turn = |condition| UserTurn {
        text: String::new(),
        kind: TurnKind::Question,
        expected: Some(value("Oslo", crate::Attribute::Home)),
        feedback: Some(FeedbackSpec { score: 1.0, correction: None, condition }),
    };
    assert!(says_not_known("I do not know that."));
    for (answer, right) in [("In Oslo.", true), ("In Riga.", false), ("I do not know that.", false)] {
        assert!(turn(Condition::Always).feedback_on(answer).is_some());
        assert_eq!(turn(Condition::AnswerRight).feedback_on(answer).is_some(), right);
        assert_eq!(turn(Condition::AnswerWrong).feedback_on(answer).is_some(), !right);
    }
}
