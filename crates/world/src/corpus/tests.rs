use std::collections::HashSet;

use super::*;
use crate::{
    conversation::{Speaker, TurnKind},
    judge::says_not_known,
    kind::Attribute,
    name::{Split, mask_names, names_in, split_of},
    wording::wordings,
};

fn sample(count: u64) -> impl Iterator<Item = Conversation> {
    let corpus = Corpus::new(11, CorpusConfig::default());
    (0..count).map(move |i| corpus.conversation(i))
}

#[test]
fn the_same_seed_and_index_give_the_same_conversation() {
    let (a, b) = (Corpus::new(7, CorpusConfig::default()), Corpus::new(7, CorpusConfig::default()));
    assert!((0..500).all(|i| a.conversation(i) == b.conversation(i)));
    let config = CorpusConfig::default();
    assert!(rehearsal(7, 50, &config) == rehearsal(7, 50, &config));
    assert!((0..500).any(|i| Corpus::new(8, CorpusConfig::default()).conversation(i) != a.conversation(i)));
}

#[test]
fn training_text_only_uses_training_names() {
    let mut names = HashSet::new();
    for conversation in sample(50_000) {
        for turn in &conversation.turns {
            names.extend(names_in(&turn.text).into_iter().map(|found| found.name));
        }
    }
    let measuring: Vec<_> = names.iter().filter(|n| split_of(n) == Split::Measuring).collect();
    assert!(measuring.is_empty(), "{measuring:?}");
    assert!(names.len() > 50_000, "only {} names", names.len());
}

#[test]
fn no_held_out_wording_is_ever_emitted() {
    let held_out: HashSet<String> = Attribute::ALL.into_iter().flat_map(|a| wordings(a).held_out()).map(normal).collect();
    let base: HashSet<String> = Attribute::ALL.into_iter().flat_map(|a| wordings(a).base()).map(normal).collect();
    let mut seen_base = HashSet::new();
    for conversation in sample(50_000) {
        for turn in &conversation.turns {
            let masked = mask_names(&turn.text);
            for part in masked.split_inclusive(['?', ':', '.', ',']).chain([masked.as_str()]) {
                assert!(!held_out.contains(&normal(part)), "{}", turn.text);
            }
            let whole = normal(&masked);
            for (at, _) in whole.match_indices(' ').chain([(0, "")]) {
                assert!(!held_out.contains(whole[at..].trim()), "{}", turn.text);
            }
            seen_base.extend(base.get(&whole).cloned());
        }
    }
    assert_eq!(seen_base.len(), base.len(), "every base wording occurs");
}

fn normal(text: &str) -> String {
    text.trim().trim_end_matches(['?', '.', ':', ',']).to_ascii_lowercase()
}

#[test]
fn conversations_are_short_plain_and_take_turns() {
    let mut words = 0;
    let mut tasks = [0_usize; 7];
    for conversation in sample(20_000) {
        let count = conversation.words();
        words += count;
        tasks[conversation.task as usize] += 1;
        assert!(count <= 330, "{count} words: {}", conversation.text());
        assert!(!conversation.turns.is_empty());
        for (i, turn) in conversation.turns.iter().enumerate() {
            assert!(turn.text.is_ascii() && !turn.text.contains(['{', '}', '\n']) && !turn.text.contains("  "), "{}", turn.text);
            assert_eq!(turn.speaker == Speaker::User, i % 2 == 0, "{}", conversation.text());
            if turn.speaker == Speaker::Assistant {
                assert_eq!(says_not_known(&turn.text), turn.kind == TurnKind::NotKnowing, "{}", turn.text);
            }
        }
    }
    let mean = words / 20_000;
    assert!((90..=150).contains(&mean), "{mean} words on average");
    assert!(tasks.iter().all(|n| *n > 200), "{tasks:?}");
}

#[test]
fn about_three_in_ten_questions_of_a_session_are_not_told() {
    let (mut asked, mut not_known) = (0, 0);
    for conversation in sample(20_000).filter(|c| c.task == Task::Session) {
        asked += conversation.turns.iter().filter(|t| t.kind == TurnKind::Question).count();
        not_known += conversation.turns.iter().filter(|t| t.kind == TurnKind::NotKnowing).count();
    }
    let share = not_known as f64 / asked as f64;
    assert!((0.24..0.36).contains(&share), "{share}");
}

#[test]
fn known_and_unknown_are_asked_in_the_same_distribution_of_wordings() {
    let direct: HashSet<String> =
        Attribute::ALL.into_iter().flat_map(|a| crate::lexicon::words(a).questions).map(|t| normal(t)).collect();
    let mut shares = [[0_f64; 2]; 2];
    for conversation in sample(30_000) {
        for pair in conversation.turns.windows(2).filter(|p| p[0].kind == TurnKind::Question) {
            let known = usize::from(pair[1].kind == TurnKind::Answer);
            let is_direct = usize::from(direct.contains(&normal(&mask_names(&pair[0].text))));
            shares[known][is_direct] += 1.0;
        }
    }
    let of = |row: [f64; 2]| row[1] / (row[0] + row[1]);
    assert!((of(shares[0]) - of(shares[1])).abs() < 0.02, "{shares:?}");
}

#[test]
fn a_skill_answers_with_the_right_question() {
    for conversation in sample(20_000) {
        for pair in conversation.turns.windows(2) {
            let (before, after) = (mask_names(&pair[0].text), mask_names(&pair[1].text));
            let (asked, names) = (names_in(&pair[0].text), names_in(&pair[1].text));
            match pair[1].kind {
                TurnKind::Paraphrase => {
                    assert!(!pair[0].text.ends_with(&pair[1].text), "{}", pair[0].text);
                    assert_eq!(asked[0].name, names[0].name);
                }
                TurnKind::Transfer => {
                    assert!(normal(&before).ends_with(&normal(&after)), "{before} / {after}");
                    assert!(asked[0].name != names[0].name && asked[0].kind == names[0].kind);
                }
                TurnKind::SelfQuestion => {
                    assert!(after.contains("{n}") || after == crate::skills::NOTHING_TO_ASK, "{after}");
                }
                _ => {}
            }
        }
    }
}

#[test]
fn a_mixture_that_nothing_can_be_drawn_from_is_refused_by_its_field() {
    let refused = |change: fn(&mut CorpusConfig)| {
        let mut config = CorpusConfig::default();
        change(&mut config);
        config.check().expect_err("refused").field
    };
    assert_eq!(CorpusConfig::default().check(), Ok(()));
    assert_eq!(refused(|c| c.facts = Vec::new()), "facts");
    assert_eq!(refused(|c| c.facts = vec![1.0; 6]), "facts");
    assert_eq!(refused(|c| c.questions = vec![0.0, -1.0]), "questions");
    assert_eq!(refused(|c| c.corrections = f64::NAN), "corrections");
    assert_eq!(refused(|c| (c.sessions, c.core) = (f64::INFINITY, 0.0)), TASKS);
}
