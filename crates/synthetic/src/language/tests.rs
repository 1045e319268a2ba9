use std::collections::HashSet;

use super::*;
use crate::{draw::rng_for, task::Setup, task::Task, task::TaskSettings};

const ALL: [Language; 7] = [
    Language::Parity,
    Language::Aa,
    Language::Abab,
    Language::Anbn,
    Language::Anbncn,
    Language::Shuffle2,
    Language::Shuffle2Crossing,
];

fn task(language: Language) -> Task {
    let settings = TaskSettings::Language(LanguageSettings::published(language));
    Task::new("language", Setup { settings, train_examples: Some(10_000), test_examples: 2_000 }).expect("can be met")
}

/// Whether a string belongs to the language, by its definition.
fn belongs(language: Language, string: &[u32]) -> bool {
    let count = |symbol| string.iter().filter(|of| **of == symbol).count();
    let letters = language.symbols();
    match language {
        Language::Parity => count(1).is_multiple_of(2),
        Language::Aa => string.len().is_multiple_of(2),
        Language::Abab => {
            string.len().is_multiple_of(4) && string.iter().enumerate().all(|(at, symbol)| at as u32 % 2 == *symbol)
        }
        Language::Anbn | Language::Anbncn => string.is_sorted() && (1..letters).all(|letter| count(letter) == count(0)),
        Language::Shuffle2 | Language::Shuffle2Crossing => {
            let balance = |to: usize, open| {
                let of = |symbol| string[..to].iter().filter(|of| **of == symbol).count();
                of(open) as i64 - of(open + 1) as i64
            };
            [0, 2].into_iter().all(|open| balance(string.len(), open) == 0 && (0..string.len()).all(|to| balance(to, open) >= 0))
        }
    }
}

/// Whether some string of the language begins so.
fn begins_one(language: Language, prefix: &[u32]) -> bool {
    let count = |symbol| prefix.iter().filter(|of| **of == symbol).count();
    match language {
        Language::Anbn | Language::Anbncn => {
            let counts: Vec<_> = (0..language.symbols()).map(count).collect();
            let last = counts.iter().rposition(|count| *count > 0).unwrap_or(0);
            prefix.is_sorted() && counts[..last].iter().all(|of| *of == counts[0]) && counts[last] <= counts[0]
        }
        Language::Shuffle2 | Language::Shuffle2Crossing => {
            let open = |kind: u32| count(2 * kind) as i64 - count(2 * kind + 1) as i64;
            open(0) >= 0 && open(1) >= 0
        }
        Language::Parity | Language::Aa | Language::Abab => unreachable!("not asked"),
    }
}

/// Reads the prefix only and tries what may follow, by the language's definition.
fn oracle(language: Language, prefix: &[u32]) -> u32 {
    let follows = |symbol: u32| begins_one(language, &[prefix, &[symbol]].concat());
    match language {
        Language::Parity | Language::Aa | Language::Abab => u32::from(belongs(language, prefix)),
        Language::Anbn | Language::Anbncn => {
            let next: Vec<_> = (0..language.symbols()).filter(|symbol| follows(*symbol)).collect();
            match next.as_slice() {
                [0, 1] => 0,
                [only] => *only,
                [] => language.symbols(),
                other => panic!("{prefix:?} {other:?}"),
            }
        }
        Language::Shuffle2 | Language::Shuffle2Crossing => u32::from(follows(1)) + 2 * u32::from(follows(3)),
    }
}

#[test]
fn an_oracle_that_knows_the_definition_predicts_every_target() {
    for language in ALL {
        let task = task(language);
        for part in [Part::Train, Part::Validation, Part::Test(0), Part::Test(1)] {
            for Example { ids, aims } in task.examples(part, 7, 60) {
                assert!(belongs(language, &ids), "{language:?} {ids:?}");
                assert!(ids.iter().all(|id| *id < language.symbols()));
                assert!(aims.iter().map(|aim| aim.position).eq(0..ids.len() as u32), "something is said at every symbol");
                for aim in aims {
                    let said = aim.target - language.symbols();
                    assert_eq!(said, oracle(language, &ids[..=aim.position as usize]), "{language:?} {ids:?} {aim:?}");
                }
            }
        }
    }
}

#[test]
fn bins_hold_their_lengths_and_all_of_them() {
    for language in ALL {
        for (part, low, high) in
            [(Part::Train, 2, 50), (Part::Validation, 2, 50), (Part::Test(0), 2, 50), (Part::Test(1), 52, 100)]
        {
            let lengths: HashSet<_> = task(language).examples(part, 7, 400).iter().map(|example| example.ids.len()).collect();
            assert!(lengths.iter().all(|length| (low..=high).contains(length)), "{language:?} {part:?} {lengths:?}");
            let (least, most) = (lengths.iter().min().expect("some"), lengths.iter().max().expect("some"));
            assert!(*least <= low + 8 && *most + 8 >= high, "{language:?} {part:?} {least} {most}");
        }
    }
}

#[test]
fn a_language_of_one_string_a_length_has_every_string_once() {
    for (language, expected) in
        [(Language::Aa, [25, 25]), (Language::Abab, [12, 13]), (Language::Anbn, [25, 25]), (Language::Anbncn, [16, 16])]
    {
        let task = task(language);
        assert_eq!(task.separation(), Separation::ByLength);
        let strings = |part| task.examples(part, 7, 2_000).into_iter().map(|example| example.ids).collect::<Vec<_>>();
        for (bin, expected) in expected.into_iter().enumerate() {
            let strings = strings(Part::Test(bin));
            assert_eq!((strings.len(), strings.iter().collect::<HashSet<_>>().len()), (expected, expected), "{language:?}");
        }
        assert_eq!(strings(Part::Train).len(), expected[0]);
    }
}

#[test]
fn languages_of_many_strings_share_none_between_training_and_test() {
    for language in [Language::Parity, Language::Shuffle2, Language::Shuffle2Crossing] {
        let task = task(language);
        assert_eq!(task.separation(), Separation::BySequence);
        let strings =
            |part, seed| task.examples(part, seed, 2_000).into_iter().map(|example| example.ids).collect::<HashSet<_>>();
        let (train, test) = (strings(Part::Train, 1), strings(Part::Test(0), 2));
        assert_eq!((train.len(), test.len()), (2_000, 2_000), "distinct");
        assert!(train.is_disjoint(&test));
    }
}

#[test]
fn symbols_of_parity_are_even_and_strings_cross_only_where_they_are_said_to() {
    let parity = task(Language::Parity).examples(Part::Train, 3, 500);
    let (ones, symbols) = parity.iter().fold((0, 0), |sum, e| (sum.0 + e.ids.iter().sum::<u32>(), sum.1 + e.ids.len()));
    let share = f64::from(ones) / symbols as f64;
    assert!((0.48..0.54).contains(&share), "{share}");
    let crosses = |language: Language| {
        let crosses = |string: &[u32]| {
            let mut open = Vec::new();
            string.iter().any(|symbol| match symbol % 2 {
                0 => {
                    open.push(symbol / 2);
                    false
                }
                _ => open.pop() != Some(symbol / 2),
            })
        };
        task(language).examples(Part::Train, 3, 300).iter().filter(|example| crosses(&example.ids)).count()
    };
    assert_eq!(crosses(Language::Shuffle2), 0);
    assert!(crosses(Language::Shuffle2Crossing) > 200);
}

#[test]
fn balanced_strings_are_drawn_as_often_as_each_other() {
    let mut counts = std::collections::HashMap::new();
    for at in 0..14_000 {
        *counts.entry(strings::balanced(&mut rng_for(4, at), 4)).or_insert(0) += 1;
    }
    assert_eq!(counts.len(), 14, "there are as many strings of four pairs");
    assert!(counts.values().all(|count| (870..1_130).contains(count)), "{counts:?}");
    assert!(strings::balanced(&mut rng_for(4, 0), 0).is_empty());
}

#[test]
fn settings_that_cannot_be_met_are_refused() {
    let fault = |language, shortest, longest| {
        let train = Bin { shortest, longest };
        LanguageSettings { train, ..LanguageSettings::published(language) }.fault()
    };
    assert!(fault(Language::Abab, 5, 7).is_some_and(|why| why.contains("multiples of 4")));
    assert!(fault(Language::Parity, 2, 10).is_some_and(|why| why.contains("too few")));
    assert!(fault(Language::Aa, 8, 4).is_some());
    assert!(LanguageSettings { bins: Vec::new(), ..LanguageSettings::published(Language::Aa) }.fault().is_some());
}

#[test]
fn strings_are_drawn_in_bounded_time_and_rarely_missed() {
    for language in ALL {
        let bin = Bin { shortest: 52, longest: 100 };
        let found = (0..4_000).filter(|at| strings::draw(&mut rng_for(9, *at), language, bin).is_some()).count();
        assert!(found > 60, "{language:?}: {found} of 4000");
    }
}
