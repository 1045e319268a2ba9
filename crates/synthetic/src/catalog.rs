//! Every task by name.
//!
//! [`TINY`] is for two cores and minutes: recall over numbers of pairs, state tracking, memorization and fuzzy recall at the sizes at which architectures
//! are known to part, the others reduced in length. [`PUBLISHED`] has the sizes of the papers.

use serde::Serialize;

use crate::{
    language::{Language, LanguageSettings},
    mad::{CompressionSettings, CopyingSettings, FuzzySettings, MemorizationSettings, RecallSettings},
    mqar::{MqarSettings, Shape},
    needle::{Haystack, NeedleSettings},
    task::{Setup, TaskSettings},
};

/// A task that has a name.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// The name.
    pub name: &'static str,
    /// What it asks for, in a few words.
    pub about: &'static str,
    setup: fn() -> Setup,
}

impl Entry {
    /// Its recipe, and how many examples of it there are.
    pub fn setup(&self) -> Setup {
        (self.setup)()
    }
}

const fn entry(name: &'static str, about: &'static str, setup: fn() -> Setup) -> Entry {
    Entry { name, about, setup }
}

/// Tasks for two cores and minutes.
pub const TINY: [Entry; 17] = [
    entry("mqar", "recall of 4, 8 or 16 pairs in 64 tokens", || endless(mqar(512, &[(64, 4), (64, 8), (64, 16)]))),
    entry("mqar-forgetting", "the same, half of the keys assigned anew", forgetting),
    entry("recall", "in-context recall, 16 tokens", || endless(recall(0, 64))),
    entry("noisy-recall", "in-context recall, a fifth of it noise", || endless(recall(16, 64))),
    entry("fuzzy-recall", "in-context recall of runs of tokens", || endless(fuzzy(16, 64))),
    entry("copying", "8 tokens from between blanks", || endless(copying(64, 8))),
    entry("memorization", "a map that is in no sequence", || endless(memorization(128))),
    entry("compression", "16 tokens from one state", || endless(compression(16))),
    entry("parity", "whether the number of 1 is even", || strings(Language::Parity)),
    entry("aa", "the language (aa)*", || strings(Language::Aa)),
    entry("abab", "the language (abab)*", || strings(Language::Abab)),
    entry("anbn", "the language a^n b^n", || strings(Language::Anbn)),
    entry("anbncn", "the language a^n b^n c^n", || strings(Language::Anbncn)),
    entry("shuffle2", "two kinds of brackets, nested", || strings(Language::Shuffle2)),
    entry("shuffle2-crossing", "two kinds of brackets that cross", || strings(Language::Shuffle2Crossing)),
    entry("niah", "a needle in noise", || endless(needle(Haystack::Noise, &[128], &[128, 256, 512, 1_024], 32))),
    entry("niah-needles", "a needle among needles", || endless(needle(Haystack::Needles, &[128], &[128, 256, 512, 1_024], 32))),
];

/// Tasks at the sizes of the papers.
pub const PUBLISHED: [Entry; 13] = [
    entry("mqar-zoology-64", "Zoology, 4 pairs in 64 tokens", || zoology(64, 4)),
    entry("mqar-zoology-128", "Zoology, 8 pairs in 128 tokens", || zoology(128, 8)),
    entry("mqar-zoology-256", "Zoology, 16 pairs in 256 tokens", || zoology(256, 16)),
    entry("mqar-zoology-512", "Zoology, 64 pairs in 512 tokens", || zoology(512, 64)),
    entry("mqar-mixture", "Zoology's later mixture, test up to 256 pairs in 1024 tokens", mixture),
    entry("recall-mad", "MAD, in-context recall", || mad(recall(0, 128))),
    entry("noisy-recall-mad", "MAD, noisy in-context recall", || mad(recall(16, 128))),
    entry("fuzzy-recall-mad", "MAD, fuzzy in-context recall", || mad(fuzzy(16, 128))),
    entry("copying-mad", "MAD, selective copying", || mad(copying(256, 16))),
    entry("memorization-mad", "MAD, memorization", || Setup { train_examples: Some(256), ..mad(memorization(256)) }),
    entry("compression-mad", "MAD, compression", || mad(compression(32))),
    entry("niah-ruler", "RULER niah_single_1, 4 to 16 thousand tokens", || ruler(Haystack::Noise)),
    entry("niah-needles-ruler", "RULER niah_multikey_2, 4 to 16 thousand tokens", || ruler(Haystack::Needles)),
];

/// Tasks of [`TINY`] that are named together.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Group {
    /// The name.
    pub name: &'static str,
    /// What they are, in a few words.
    pub about: &'static str,
    /// Their names.
    pub tasks: &'static [&'static str],
}

/// Groups, none of which has the name of a task.
pub const GROUPS: [Group; 3] = [
    Group {
        name: "mad",
        about: "the six of MAD, shorter for two cores; at their published sizes they end in -mad",
        tasks: &["recall", "noisy-recall", "fuzzy-recall", "copying", "memorization", "compression"],
    },
    Group {
        name: "languages",
        about: "the formal languages",
        tasks: &["parity", "aa", "abab", "anbn", "anbncn", "shuffle2", "shuffle2-crossing"],
    },
    Group {
        name: "suite",
        about: "recall of pairs, the six of MAD, parity, counters and a needle in noise",
        tasks: &[
            "mqar",
            "recall",
            "noisy-recall",
            "fuzzy-recall",
            "copying",
            "memorization",
            "compression",
            "parity",
            "anbn",
            "anbncn",
            "niah",
        ],
    },
];

/// The tasks that a name stands for: those of a group, or the one of that name, which there may not be.
pub fn named(name: &str) -> Vec<&str> {
    GROUPS.iter().find(|group| group.name == name).map_or_else(|| vec![name], |group| group.tasks.to_vec())
}

/// All of them.
pub fn all() -> impl Iterator<Item = &'static Entry> {
    TINY.iter().chain(&PUBLISHED)
}

/// The task of a name.
pub fn find(name: &str) -> Option<Setup> {
    all().find(|entry| entry.name == name).map(Entry::setup)
}

fn endless(settings: TaskSettings) -> Setup {
    Setup { settings, train_examples: None, test_examples: 1_000 }
}

/// The amounts of the published languages, which the reduced ones keep: their strings are short anyhow.
fn strings(language: Language) -> Setup {
    let settings = TaskSettings::Language(LanguageSettings::published(language));
    Setup { settings, train_examples: Some(10_000), test_examples: 2_000 }
}

fn mad(settings: TaskSettings) -> Setup {
    Setup { settings, train_examples: Some(12_800), test_examples: 1_280 }
}

fn mqar(vocab: usize, shapes: &[(usize, usize)]) -> TaskSettings {
    TaskSettings::Mqar(MqarSettings::over(vocab, shapes))
}

/// Sixteen pairs and their updates do not fit into 64 tokens; twelve do.
fn forgetting() -> Setup {
    endless(TaskSettings::Mqar(MqarSettings { reassigned: 0.5, ..MqarSettings::over(512, &[(64, 4), (64, 8), (64, 12)]) }))
}

fn zoology(length: usize, pairs: usize) -> Setup {
    Setup { settings: mqar(8_192, &[(length, pairs)]), train_examples: Some(100_000), test_examples: 3_000 }
}

fn mixture() -> Setup {
    let shape = |length, pairs, weight| Shape { length, pairs, weight };
    let train = vec![shape(64, 4, 100.0), shape(128, 8, 20.0), shape(256, 16, 20.0), shape(256, 32, 20.0), shape(256, 64, 20.0)];
    let test = [(64, 4), (64, 8), (64, 16), (128, 32), (256, 64), (512, 128), (1_024, 256)];
    let settings = TaskSettings::Mqar(MqarSettings { train, ..MqarSettings::over(8_192, &test) });
    Setup { settings, train_examples: Some(180_000), test_examples: 1_000 }
}

/// Of 16 tokens, and with noise of 16 more.
fn recall(noise_vocab: usize, length: usize) -> TaskSettings {
    let noise = if noise_vocab > 0 { 0.2 } else { 0.0 };
    TaskSettings::Recall(RecallSettings { vocab: 16 + noise_vocab, noise_vocab, noise, length, every_token: true })
}

/// A larger vocabulary has so many keys that hardly one occurs again but the probe.
fn fuzzy(vocab: usize, length: usize) -> TaskSettings {
    TaskSettings::FuzzyRecall(FuzzySettings { vocab, length, key_motif: 3, value_motif: 3, every_token: true })
}

fn copying(length: usize, copies: usize) -> TaskSettings {
    TaskSettings::Copying(CopyingSettings { vocab: 16, length, copies })
}

fn memorization(vocab: usize) -> TaskSettings {
    TaskSettings::Memorization(MemorizationSettings { vocab, length: 32 })
}

fn compression(length: usize) -> TaskSettings {
    TaskSettings::Compression(CompressionSettings { vocab: 16, length })
}

fn needle(haystack: Haystack, train: &[usize], test: &[usize], id_alphabet: usize) -> TaskSettings {
    let (train, test) = (train.to_vec(), test.to_vec());
    TaskSettings::Needle(NeedleSettings { haystack, train, test, id_length: 2, id_alphabet, digits: 7 })
}

/// The papers train on text; here it is the task's own text of the shortest length that they test.
fn ruler(haystack: Haystack) -> Setup {
    let settings = needle(haystack, &[4_096], &[4_096, 8_192, 16_384], 64);
    Setup { settings, train_examples: None, test_examples: 500 }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::{part::Part, task::Task};

    #[test]
    fn every_name_stands_for_one_task_whose_settings_can_be_met() {
        let names: HashSet<_> = all().map(|entry| entry.name).collect();
        assert_eq!(names.len(), TINY.len() + PUBLISHED.len());
        for entry in all() {
            let task = Task::new(entry.name, entry.setup()).expect("can be met");
            assert!(!task.tests().is_empty() && !entry.about.is_empty());
            assert!(!task.example(Part::Test(0), 1, 0).aims.is_empty());
        }
        assert_eq!(find("no such task"), None);
    }

    #[test]
    fn groups_consist_of_tasks_and_are_none() {
        for group in GROUPS {
            let tiny = |task: &&str| TINY.iter().any(|entry| entry.name == *task);
            assert!(find(group.name).is_none() && group.tasks.iter().all(tiny), "{}", group.name);
            assert_eq!(named(group.name), group.tasks);
        }
        let names: HashSet<_> = GROUPS.iter().map(|group| group.name).collect();
        assert_eq!(names.len(), GROUPS.len());
        let languages = TINY.iter().filter(|entry| matches!(entry.setup().settings, TaskSettings::Language(_)));
        assert_eq!(named("languages"), languages.map(|entry| entry.name).collect::<Vec<_>>());
        assert_eq!(named("mqar"), ["mqar"]);
    }

    #[test]
    fn the_published_sizes_are_those_of_the_papers() {
        let task = |name: &str| Task::new(name, find(name).expect("in the catalog")).expect("can be met");
        let size = |name: &str| (task(name).vocab(), task(name).longest(), find(name).and_then(|setup| setup.train_examples));
        assert_eq!(size("mqar-zoology-512"), (8_192, 512, Some(100_000)));
        assert_eq!(size("mqar-mixture"), (8_192, 1_024, Some(180_000)));
        assert_eq!(size("recall-mad"), (16, 127, Some(12_800)));
        assert_eq!(size("noisy-recall-mad"), (32, 127, Some(12_800)));
        assert_eq!(size("fuzzy-recall-mad"), (16, 128, Some(12_800)));
        assert_eq!(size("copying-mad"), (16, 256, Some(12_800)));
        assert_eq!(size("memorization-mad"), (256, 32, Some(256)));
        assert_eq!(size("compression-mad"), (16, 32, Some(12_800)));
        assert_eq!(size("parity"), (4, 100, Some(10_000)));
        assert_eq!(size("niah-ruler").1, 16_384);
    }
}
