use super::*;
use crate::{catalog, part::Side};

fn tiny() -> impl Iterator<Item = Task> {
    catalog::TINY.iter().map(|entry| Task::new(entry.name, entry.setup()).expect("can be met"))
}

fn task(name: &str) -> Task {
    Task::new(name, catalog::find(name).expect("in the catalog")).expect("can be met")
}

#[test]
fn the_same_settings_and_seed_give_the_same_examples_and_another_seed_others() {
    for task in tiny() {
        for part in [Part::Train, Part::Validation, Part::Test(0)] {
            assert_eq!(task.examples(part, 3, 20), task.examples(part, 3, 20), "{}", task.name());
        }
        assert_eq!(task.feed(3).take(40).collect::<Vec<_>>(), task.feed(3).take(40).collect::<Vec<_>>());
        assert_ne!(task.feed(3).take(40).collect::<Vec<_>>(), task.feed(4).take(40).collect::<Vec<_>>(), "{}", task.name());
    }
}

#[test]
fn training_validation_and_test_share_no_sequence_whatever_the_seed() {
    for task in tiny().filter(|task| task.separation() == Separation::BySequence) {
        let ids = |part, seed| task.examples(part, seed, 300).into_iter().map(|example| example.ids);
        for seed in [1, 2] {
            assert!(ids(Part::Train, seed).all(|ids| side_of(&ids) == Side::Train));
            assert!(ids(Part::Validation, seed).all(|ids| side_of(&ids) == Side::Validation));
            for set in 0..task.tests().len() {
                assert!(ids(Part::Test(set), seed).all(|ids| side_of(&ids) == Side::Test), "{}", task.name());
            }
        }
        assert!(task.feed(1).take(300).all(|example| side_of(&example.ids) == Side::Train), "{}", task.name());
    }
}

#[test]
fn languages_of_one_string_a_length_are_the_only_ones_apart_by_length() {
    let by_length: Vec<_> =
        tiny().filter(|task| task.separation() == Separation::ByLength).map(|t| t.name().to_owned()).collect();
    assert_eq!(by_length, ["aa", "abab", "anbn", "anbncn"]);
}

#[test]
fn every_example_stays_within_the_vocabulary_and_the_longest_length() {
    for task in tiny() {
        let parts = [Part::Train, Part::Validation].into_iter().chain((0..task.tests().len()).map(Part::Test));
        let mut longest = 0;
        for example in parts.flat_map(|part| task.examples(part, 1, 100)) {
            assert!(example.ids.iter().all(|id| (*id as usize) < task.vocab()), "{}", task.name());
            assert!(!example.aims.is_empty());
            assert!(example.aims.is_sorted_by(|a, b| a.position < b.position));
            for aim in &example.aims {
                assert!((aim.target as usize) < task.vocab() && (aim.position as usize) < example.ids.len(), "{}", task.name());
            }
            longest = longest.max(example.ids.len());
        }
        assert!((task.longest() - 8..=task.longest()).contains(&longest), "{}: {longest} of {}", task.name(), task.longest());
    }
}

#[test]
fn examples_of_a_set_are_different_ones() {
    for task in tiny() {
        let sets = [task.train(1, 500), task.validation(1, 500), task.test(0, 1)];
        for set in sets {
            let ids: HashSet<_> = set.iter().map(|example| &example.ids).collect();
            assert_eq!(ids.len(), set.len(), "{}", task.name());
        }
    }
}

#[test]
fn a_feed_of_a_fixed_amount_goes_over_it_round_by_round_in_new_orders() {
    let setup = Setup { train_examples: Some(50), ..catalog::find("mqar").expect("in the catalog") };
    let task = Task::new("mqar", setup).expect("can be met");
    let mut feed = task.feed(1);
    assert_eq!(feed.round(), Some(50));
    let rounds: Vec<Vec<_>> = (0..3).map(|_| feed.by_ref().take(50).map(|example| example.ids).collect()).collect();
    let sets: Vec<HashSet<_>> = rounds.iter().map(|round| round.iter().collect()).collect();
    assert!(sets.iter().all(|set| set.len() == 50 && set == &sets[0]));
    assert!(rounds[0] != rounds[1] && rounds[1] != rounds[2]);
}

#[test]
fn a_feed_without_an_amount_never_repeats() {
    let task = task("mqar");
    assert_eq!(task.feed(1).round(), None);
    let ids: Vec<_> = task.feed(1).take(1_000).map(|example| example.ids).collect();
    assert_eq!(ids.iter().collect::<HashSet<_>>().len(), 1_000);
}

#[test]
fn settings_that_cannot_be_met_are_refused_by_name() {
    let settings = TaskSettings::Copying(CopyingSettings { vocab: 16, length: 10, copies: 16 });
    let error = Task::new("copying", Setup { settings, train_examples: None, test_examples: 1 }).expect_err("refused");
    let expected = "the settings of copying cannot be met: 16 tokens to copy out of 16, in sequences of 10";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn settings_survive_json_and_unknown_keys_are_refused() {
    for entry in catalog::all() {
        let json = serde_json::to_string(&entry.setup()).expect("JSON");
        assert_eq!(serde_json::from_str::<Setup>(&json).expect("read again"), entry.setup(), "{json}");
    }
    let json = r#"{"settings":{"recipe":"copying","vocab":16,"length":40,"copies":4,"blanks":3},"train_examples":null,"test_examples":1}"#;
    assert!(serde_json::from_str::<Setup>(json).is_err());
}
