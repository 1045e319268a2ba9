use super::*;
use crate::{draw::rng_for, kind::Kind};

fn tokens(text: &str) -> Vec<String> {
    text.split(' ').map(bare).collect()
}

#[test]
fn every_attribute_has_enough_of_everything() {
    for attribute in Attribute::ALL {
        let w = words(attribute);
        assert!(w.statements.len() >= 8 && w.held_out_statements.len() >= 2, "{attribute:?}");
        assert!(w.questions.len() >= 10 && w.held_out_questions.len() >= 2, "{attribute:?}");
        assert!(w.phrases.len() >= 4 && w.clauses.len() >= 4, "{attribute:?}");
        assert!(wordings(attribute).held_out_grammar.len() >= 8, "{attribute:?}");
        assert!(wordings(attribute).grammar.len() >= 80, "{attribute:?}");
        for (_, carrier) in PHRASE_CARRIERS.iter().chain(&CLAUSE_CARRIERS) {
            let opening = carrier.split('{').next().unwrap_or_default();
            assert!(wordings(attribute).base().any(|t| t.starts_with(opening)), "{attribute:?} never hears {carrier}");
        }
        assert!(values(attribute).len() >= 30, "{attribute:?}");
    }
}

#[test]
fn templates_hold_their_placeholders_once() {
    for attribute in Attribute::ALL {
        let w = words(attribute);
        for t in w.statements.iter().chain(w.held_out_statements) {
            assert!(t.matches("{n}").count() == 1 && t.matches("{v}").count() == 1, "{t}");
        }
        for t in w.questions.iter().chain(w.held_out_questions).chain(w.phrases).chain(w.clauses) {
            assert!(t.matches("{n}").count() == 1 && !t.contains("{v}"), "{t}");
        }
        assert!(w.answers[0].starts_with("the ") && w.answers[0].contains("{n} is ") && w.answers[0].ends_with("{v}."));
        assert!(w.answers.iter().all(|t| t.matches("{v}").count() == 1));
        assert!(w.short.contains("{v}"));
    }
}

#[test]
fn no_value_contains_another_or_hides_in_a_sentence_or_a_name() {
    for attribute in Attribute::ALL {
        let all = values(attribute);
        for (i, a) in all.iter().enumerate() {
            let words_of_a = tokens(a);
            let inside = |text: &str| tokens(text).windows(words_of_a.len()).any(|w| w == words_of_a.as_slice());
            for (j, b) in all.iter().enumerate() {
                assert!(i == j || !inside(b), "{attribute:?}: {b} contains {a}");
            }
            for other in attribute.kind().attributes() {
                let w = words(*other);
                let texts = w.questions.iter().chain(w.held_out_questions).chain(w.statements).chain(w.phrases).chain(w.clauses);
                assert!(!texts.clone().any(|t| inside(t)), "{attribute:?}: {a} stands in a sentence");
            }
        }
    }
    let nouns = crate::syllables::PRODUCT_NOUNS.iter().chain(&crate::syllables::PROCEDURE_NOUNS);
    for word in nouns.chain(&crate::syllables::PLACE_PREFIXES) {
        for attribute in Attribute::ALL {
            assert!(values(attribute).iter().all(|v| !v.eq_ignore_ascii_case(word)), "{word}");
        }
    }
}

#[test]
fn base_and_held_out_wordings_are_disjoint_and_unique() {
    for attribute in Attribute::ALL {
        let w = wordings(attribute);
        let base: HashSet<_> = w.base().collect();
        let held_out: HashSet<_> = w.held_out().collect();
        assert!(base.is_disjoint(&held_out), "{attribute:?}");
        assert_eq!(base.len(), w.base().count());
        assert_eq!(held_out.len(), w.held_out().count());
        for core in words(attribute).phrases.iter().chain(words(attribute).clauses) {
            assert!(w.grammar.iter().any(|t| t.contains(core)), "{core} is never seen");
        }
    }
}

#[test]
fn a_question_means_one_attribute_of_a_kind() {
    for kind in Kind::ALL {
        let mut seen = HashSet::new();
        for attribute in kind.attributes() {
            let w = wordings(*attribute);
            for template in w.base().chain(w.held_out()) {
                assert!(seen.insert(template), "{template} asks for two attributes");
            }
        }
    }
}

#[test]
fn held_out_sentences_use_words_that_the_base_knows() {
    let mut known: HashSet<String> = HashSet::new();
    for attribute in Attribute::ALL {
        let w = words(attribute);
        let all = w.questions.iter().chain(w.phrases).chain(w.clauses).chain(w.statements).chain(&w.answers);
        known.extend(all.flat_map(|t| tokens(t)));
    }
    known.extend(PHRASE_CARRIERS.iter().chain(&CLAUSE_CARRIERS).flat_map(|(_, t)| tokens(t)));
    known.extend(crate::small_talk::EXCHANGES.iter().flat_map(|(a, b)| [tokens(a), tokens(b)].concat()));
    let mut missing = Vec::new();
    for attribute in Attribute::ALL {
        let w = words(attribute);
        for template in w.held_out_questions.iter().chain(w.held_out_statements) {
            missing.extend(tokens(template).into_iter().filter(|word| !known.contains(word)));
        }
    }
    missing.sort();
    missing.dedup();
    assert!(missing.is_empty(), "never seen: {missing:?}");
}

#[test]
fn dropping_words_keeps_the_name_and_the_attribute() {
    let mut rng = rng_for(4, 0);
    let mut dropped = 0;
    for round in 0..4000 {
        let attribute = Attribute::ALL[round % 16];
        let wording = draw_base(&mut rng, attribute);
        let Some(rest) = drop_words(&mut rng, attribute, wording) else { continue };
        dropped += 1;
        assert!(rest.contains("{n}") && rest.len() < wording.len(), "{wording} -> {rest}");
        assert!(tokens(&rest).iter().any(|w| wordings(attribute).telling.contains(w)), "{wording} -> {rest}");
        assert!(wordings(attribute).held_out().all(|h| h != rest), "{rest}");
    }
    assert!(dropped > 2000, "only {dropped}");
}
