use std::collections::HashSet;

use super::*;
use crate::{catalog, draw::rng_for, task::Task};

fn drawn(settings: &MqarSettings, part: Part, amount: u64) -> Vec<Example> {
    assert_eq!(settings.fault(), None);
    (0..amount).map(|at| settings.draw(&mut rng_for(3, at), 3, part).expect("always drawn")).collect()
}

fn tiny() -> MqarSettings {
    MqarSettings::over(512, &[(64, 4), (64, 8), (64, 16)])
}

fn forgetting() -> MqarSettings {
    MqarSettings { reassigned: 0.5, ..MqarSettings::over(512, &[(64, 8)]) }
}

/// Reads the sequence only: a key's value follows the first place that holds it.
fn first_value(ids: &[u32], position: u32) -> u32 {
    let key = ids[position as usize];
    let at = (0..ids.len()).step_by(2).find(|at| ids[*at] == key).expect("the key itself stands there");
    ids[at + 1]
}

/// Reads the sequence only: a key's value follows the last place that holds it before it is asked for.
fn last_value(ids: &[u32], position: u32) -> u32 {
    let key = ids[position as usize];
    let at = (0..position as usize).rev().find(|at| ids[*at] == key).expect("the key was assigned");
    ids[at + 1]
}

#[test]
fn an_oracle_that_reads_the_pairs_predicts_every_target() {
    for part in [Part::Train, Part::Validation, Part::Test(0), Part::Test(2)] {
        for example in drawn(&tiny(), part, 300) {
            assert!(example.aims.iter().all(|aim| first_value(&example.ids, aim.position) == aim.target), "{example:?}");
        }
    }
}

#[test]
fn after_keys_are_assigned_anew_the_last_value_is_the_right_one_and_the_first_is_not() {
    let (mut first_right, mut asked) = (0, 0);
    for example in drawn(&forgetting(), Part::Train, 500) {
        for aim in &example.aims {
            assert_eq!(last_value(&example.ids, aim.position), aim.target, "{example:?}");
            first_right += usize::from(first_value(&example.ids, aim.position) == aim.target);
            asked += 1;
        }
    }
    assert_eq!((asked, first_right), (4_000, 2_000), "half of the keys change, each to another value");
}

#[test]
fn the_sequence_has_the_published_layout() {
    for example in drawn(&tiny(), Part::Test(1), 300) {
        let (ids, aims) = (&example.ids, &example.aims);
        assert_eq!((ids.len(), aims.len()), (64, 8));
        let (keys, values): (Vec<_>, Vec<_>) = ids[..16].chunks_exact(2).map(|pair| (pair[0], pair[1])).unzip();
        assert!(keys.iter().all(|key| (1..256).contains(key)) && values.iter().all(|value| (256..512).contains(value)));
        assert_eq!((HashSet::<_>::from_iter(&keys).len(), HashSet::<_>::from_iter(&values).len()), (8, 8));
        assert!(aims.is_sorted_by(|a, b| a.position < b.position));
        assert!(aims.iter().all(|aim| aim.position >= 16 && aim.position.is_multiple_of(2)));
        let asked: HashSet<_> = aims.iter().map(|aim| ids[aim.position as usize]).collect();
        assert_eq!(asked, keys.into_iter().collect(), "each key is asked for once");
    }
}

#[test]
fn a_test_set_holds_one_shape_and_training_all_of_them() {
    let pairs = |part| drawn(&tiny(), part, 200).iter().map(|example| example.aims.len()).collect::<HashSet<_>>();
    assert_eq!(pairs(Part::Test(0)), HashSet::from([4]));
    assert_eq!(pairs(Part::Test(2)), HashSet::from([16]));
    assert_eq!(pairs(Part::Train), HashSet::from([4, 8, 16]));
}

#[test]
fn places_without_a_pair_or_a_query_hold_any_token_or_zero() {
    let rest = |settings: &MqarSettings| -> Vec<u32> {
        let rest = |example: Example| {
            let asked: HashSet<_> = example.aims.iter().map(|aim| aim.position).collect();
            (16..64).filter(|at| !asked.contains(at)).map(|at| example.ids[at as usize]).collect::<Vec<_>>()
        };
        drawn(settings, Part::Test(1), 300).into_iter().flat_map(rest).collect()
    };
    let random = rest(&tiny());
    let mean = random.iter().map(|id| f64::from(*id)).sum::<f64>() / random.len() as f64;
    assert!((mean - 255.5).abs() < 6.0, "{mean}");
    assert!(random.contains(&0) && random.contains(&511));
    assert!(rest(&MqarSettings { random_fillers: false, ..tiny() }).iter().all(|id| *id == 0));
}

#[test]
fn slots_follow_the_power_law() {
    let (space, amount) = (28, 40_000_u64);
    for power in [0.01, 1.0] {
        let mut counts = vec![0_u64; space];
        for at in 0..amount {
            counts[slots(&mut rng_for(at, 0), space, 1, power)[0]] += 1;
        }
        let weights: Vec<_> = (1..=space).map(|slot| power * (slot as f64).powf(power - 1.0)).collect();
        let total: f64 = weights.iter().sum();
        for (slot, (count, weight)) in counts.iter().zip(&weights).enumerate() {
            let expected = amount as f64 * weight / total;
            let off = (*count as f64 - expected).abs() / expected.sqrt();
            assert!(off < 4.5, "slot {slot}: {count} of {expected:.0}, power {power}");
        }
    }
}

#[test]
fn the_second_slot_is_drawn_by_the_power_law_among_those_left() {
    let (space, amount) = (6, 40_000_u64);
    let weights: Vec<_> = (1..=space).map(|slot| (slot as f64).powf(-0.99)).collect();
    let total: f64 = weights.iter().sum();
    let mut counts = vec![vec![0_u64; space]; space];
    for at in 0..amount {
        let slots = slots(&mut rng_for(at, 0), space, 2, 0.01);
        counts[slots[0]][slots[1]] += 1;
    }
    for first in 0..space {
        for second in 0..space {
            let left = if first == second { 0.0 } else { weights[second] / (total - weights[first]) };
            let expected = amount as f64 * weights[first] / total * left;
            let off = (counts[first][second] as f64 - expected).abs() / expected.max(1.0).sqrt();
            assert!(off < 4.5, "{first} then {second}: {} of {expected:.0}", counts[first][second]);
        }
    }
}

#[test]
fn several_passes_show_the_pairs_again() {
    let settings = MqarSettings { passes: 2, ..MqarSettings::over(512, &[(64, 8)]) };
    for example in drawn(&settings, Part::Train, 50) {
        assert_eq!(example.ids[..16], example.ids[16..32]);
        assert!(example.aims.iter().all(|aim| aim.position >= 32));
    }
}

#[test]
fn settings_that_cannot_be_met_are_refused_with_their_numbers() {
    let fault = |settings: MqarSettings| settings.fault().expect("refused");
    assert!(fault(MqarSettings::over(512, &[(64, 17)])).contains("68 tokens, not 64"));
    assert!(fault(MqarSettings::over(64, &[(64, 4)])).contains("vocabulary of 64"));
    assert!(fault(MqarSettings::over(512, &[(63, 4)])).contains("even"));
    assert!(fault(MqarSettings { reassigned: 1.5, ..tiny() }).contains("1.5"));
    assert!(fault(MqarSettings { test: Vec::new(), ..tiny() }).contains("nothing to test on"));
    assert!(fault(MqarSettings { reassigned: 0.5, ..MqarSettings::over(512, &[(64, 16)]) }).contains("80 tokens"));
}

#[test]
fn the_sizes_of_the_papers_can_be_drawn() {
    for name in ["mqar-zoology-64", "mqar-zoology-128", "mqar-zoology-256", "mqar-zoology-512", "mqar-mixture"] {
        let task = Task::new(name, catalog::find(name).expect("in the catalog")).expect("can be met");
        for set in 0..task.tests().len() {
            let example = task.example(Part::Test(set), 1, 0);
            assert!(example.aims.iter().all(|aim| first_value(&example.ids, aim.position) == aim.target));
        }
    }
}
