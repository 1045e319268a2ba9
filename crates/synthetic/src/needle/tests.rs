use std::collections::{HashMap, HashSet};

use super::*;
use crate::draw::rng_for;

fn settings(haystack: Haystack) -> NeedleSettings {
    NeedleSettings { haystack, train: vec![128], test: vec![128, 256, 1_000], id_length: 2, id_alphabet: 32, digits: 7 }
}

fn drawn(settings: &NeedleSettings, part: Part, amount: u64) -> impl Iterator<Item = Example> {
    assert_eq!(settings.fault(), None);
    (0..amount).map(move |at| settings.draw(&mut rng_for(5, at), 5, part).expect("always drawn"))
}

/// Reads the sequence only: every needle's id with its digits.
fn needles(ids: &[u32]) -> HashMap<Vec<u32>, Vec<u32>> {
    let mut found = HashMap::new();
    for at in (0..ids.len()).filter(|at| ids[*at] == KEY) {
        let before = found.insert(ids[at + 1..at + 3].to_vec(), ids[at + 3..at + 10].to_vec());
        assert_eq!(before, None, "ids are different");
        assert_eq!(ids[at + 10], STOP);
    }
    found
}

#[test]
fn an_oracle_that_reads_the_needles_predicts_every_digit() {
    for haystack in [Haystack::Noise, Haystack::Needles] {
        for part in [Part::Train, Part::Validation, Part::Test(0), Part::Test(1), Part::Test(2)] {
            for Example { ids, aims } in drawn(&settings(haystack), part, 100) {
                let asked = ids.iter().position(|id| *id == ASK).expect("something is asked");
                let value = &needles(&ids)[&ids[asked + 1..asked + 3]];
                assert!(aims.iter().map(|aim| aim.target).eq(value.iter().copied()), "{ids:?}");
                assert!(aims.iter().map(|aim| aim.position as usize).eq(asked + 2..asked + 9));
                assert_eq!(ids[asked + 3..], value[..6], "each digit is read before the next is asked for");
            }
        }
    }
}

#[test]
fn sequences_have_their_lengths_and_test_sets_one_each() {
    for haystack in [Haystack::Noise, Haystack::Needles] {
        let settings = settings(haystack);
        for (set, length) in [128, 256, 1_000].into_iter().enumerate() {
            assert!(drawn(&settings, Part::Test(set), 50).all(|example| example.ids.len() == length));
        }
        assert_eq!(settings.tests()[2], TestSet { name: "1000 tokens".to_owned(), at: Some(1_000) });
        let all = drawn(&settings, Part::Test(2), 50).flat_map(|example| example.ids).collect::<HashSet<_>>();
        assert!(all.iter().all(|id| (*id as usize) < settings.vocab()));
    }
}

#[test]
fn one_needle_lies_anywhere_in_noise_that_repeats() {
    let mut places = Vec::new();
    for Example { ids, .. } in drawn(&settings(Haystack::Noise), Part::Test(2), 2_000) {
        let at = ids.iter().position(|id| *id == KEY).expect("a needle");
        assert!(at == 0 || ids[at - 1] == STOP, "between sentences");
        places.push(at as f64 / 980.0);
        let hay: Vec<_> = ids[..at].iter().chain(&ids[at + 11..991]).copied().collect();
        assert_eq!(hay.len(), 980);
        assert!(hay.iter().all(|id| *id == STOP || *id >= 45));
        assert!(hay.windows(25).all(|window| window[0] == window[24]), "24 tokens are one round of sentences");
    }
    let mean = places.iter().sum::<f64>() / places.len() as f64;
    assert!((mean - 0.5).abs() < 0.02, "{mean}");
    let at = |share: f64| places.iter().filter(|place| **place < share).count();
    assert!((140..260).contains(&at(0.1)) && (1_740..1_860).contains(&at(0.9)), "{} {}", at(0.1), at(0.9));
}

#[test]
fn a_haystack_of_needles_holds_as_many_as_fit_and_asks_for_any() {
    let mut asked = HashSet::new();
    for Example { ids, .. } in drawn(&settings(Haystack::Needles), Part::Test(1), 400) {
        let keys: Vec<_> = (0..ids.len()).filter(|at| ids[*at] == KEY).collect();
        assert_eq!(keys.len(), 22);
        let end = ids.len() - 8;
        asked.insert(keys.iter().position(|at| ids[at + 1..at + 3] == ids[end..end + 2]));
    }
    assert_eq!(asked.len(), 22);
}

#[test]
fn values_are_numbers_of_seven_digits() {
    let firsts: HashSet<_> =
        drawn(&settings(Haystack::Noise), Part::Train, 300).map(|example| example.aims[0].target - 3).collect();
    assert_eq!(firsts, (1..10).collect());
}

#[test]
fn settings_that_cannot_be_met_are_refused_with_their_numbers() {
    let fault = |settings: NeedleSettings| settings.fault().expect("refused");
    assert!(fault(NeedleSettings { train: vec![16], ..settings(Haystack::Noise) }).contains("20 tokens, not 16"));
    assert!(fault(NeedleSettings { id_length: 1, ..settings(Haystack::Needles) }).contains("only 32 ids"));
    assert!(fault(NeedleSettings { digits: 3, ..settings(Haystack::Noise) }).contains("too few"));
    assert!(fault(NeedleSettings { test: Vec::new(), ..settings(Haystack::Noise) }).contains("nothing to test on"));
}
