use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
    rc::Rc,
};

use clap::Parser;
use nocturne_synthetic::{Example, Side, Tally, side_of};

use super::{
    learner::{Learner, Score, Speed},
    *,
};
use crate::args::{Cli, Command};

/// One learner that was made.
#[derive(Debug, Clone, Default, PartialEq)]
struct Made {
    architecture: String,
    seed: u64,
    /// Rate of each step.
    rates: Vec<f64>,
    trained_on: BTreeSet<&'static str>,
    scored_on: Vec<BTreeSet<&'static str>>,
}

impl Made {
    fn highest_rate(&self) -> f64 {
        self.rates.iter().copied().fold(0.0, f64::max)
    }
}

/// Architectures that pretend: `steady` does best at a rate of 2.2e-3, `hasty` at 1e-2, `broken` fails with its second seed.
struct Pretended {
    names: Vec<String>,
    version: u32,
    made: Rc<RefCell<Vec<Made>>>,
    speeds: Cell<usize>,
}

struct Pretender {
    made: Rc<RefCell<Vec<Made>>>,
    /// Which of those it is.
    at: usize,
}

impl Pretender {
    fn skill(&self) -> f64 {
        let made = &self.made.borrow()[self.at];
        let best = if made.architecture == "hasty" { 1e-2 } else { 2.2e-3 };
        0.9 - 0.2 * (made.highest_rate() / best).log10().abs() - 0.01 * made.seed as f64
    }
}

fn sides(examples: &[Example]) -> impl Iterator<Item = &'static str> {
    examples.iter().map(|example| match side_of(&example.ids) {
        Side::Train => "train",
        Side::Validation => "validation",
        Side::Test => "test",
    })
}

impl Learner for Pretender {
    fn parameters(&self) -> u64 {
        12_345
    }

    fn step(&mut self, examples: &[Example], rate: f64) -> anyhow::Result<f64> {
        let made = &mut self.made.borrow_mut()[self.at];
        made.rates.push(rate);
        made.trained_on.extend(sides(examples));
        Ok(1.0 / made.rates.len() as f64)
    }

    fn score(&mut self, examples: &[Example]) -> anyhow::Result<Score> {
        self.made.borrow_mut()[self.at].scored_on.push(sides(examples).collect());
        let mut score = Score::default();
        for (at, example) in examples.iter().enumerate() {
            let right = (at as f64 + 0.5) / (examples.len() as f64) < self.skill();
            let answer = |target: u32| if right { target } else { target + 1 };
            let answers: Vec<_> = example.aims.iter().map(|aim| answer(aim.target)).collect();
            score.tally.add(example, &answers);
        }
        score.loss = score.tally.aims as f64 * (1.0 - self.skill());
        Ok(score)
    }
}

impl Architectures for Pretended {
    fn names(&self) -> Vec<String> {
        self.names.clone()
    }

    fn settings(&self, architecture: &str, _: &Task) -> serde_json::Value {
        serde_json::json!({ "name": architecture, "version": self.version })
    }

    fn learner(&self, architecture: &str, _: &Task, seed: u64) -> anyhow::Result<Box<dyn Learner>> {
        anyhow::ensure!(architecture != "broken" || seed != 2, "no memory");
        let mut made = self.made.borrow_mut();
        made.push(Made { architecture: architecture.to_owned(), seed, ..Made::default() });
        Ok(Box::new(Pretender { made: self.made.clone(), at: made.len() - 1 }))
    }

    fn speed_settings(&self, architecture: &str) -> serde_json::Value {
        serde_json::json!({ "name": architecture })
    }

    fn speed(&self, architecture: &str, context: usize) -> anyhow::Result<Speed> {
        anyhow::ensure!(architecture != "broken" || context < 10_000, "no memory");
        self.speeds.set(self.speeds.get() + 1);
        Ok(Speed { training: Some(1e6 / context as f64), reading: Some(5e4), generating: None })
    }
}

fn pretended(names: &[&str]) -> Pretended {
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    Pretended { names, version: 1, made: Rc::default(), speeds: Cell::new(0) }
}

fn parsed(arguments: &[&str]) -> Result<ModelArgs, String> {
    let cli = Cli::try_parse_from(["nocturne", "bench", "model"].iter().chain(arguments)).map_err(|error| error.to_string())?;
    let Command::Bench(bench) = cli.command else { panic!("another command") };
    bench.model().ok_or_else(|| "not the model".to_owned())
}

/// Measures by a clock on which a step takes a second.
fn measured(args: &ModelArgs, architectures: &Pretended) -> anyhow::Result<Report> {
    let now = Cell::new(0.0);
    let clock = || now.replace(now.get() + 1.0);
    measure(args, architectures, &Surroundings { program: "test", clock: &clock, tell: &|_| () })
}

#[test]
fn a_group_stands_for_its_tasks_and_none_is_measured_twice() {
    let args = parsed(&["--task", "recall,mad,recall"]).expect("sound");
    let names: Vec<_> = args.tasks().expect("known").iter().map(|task| task.name().to_owned()).collect();
    assert_eq!(names, catalog::named("mad"));
}

#[test]
fn what_another_build_measured_is_measured_again() {
    let dir = tempfile::tempdir().expect("a folder");
    let out = dir.path().to_str().expect("UTF-8");
    let args = parsed(&["--task", "parity", "--mixer", "good", "--seeds", "1", "--steps", "60", "--out", out]).expect("sound");
    let architectures = pretended(&["good"]);
    let build = |program| {
        let now = Cell::new(0.0);
        let clock = || now.replace(now.get() + 1.0);
        measure(&args, &architectures, &Surroundings { program, clock: &clock, tell: &|_| () }).expect("measured");
        architectures.made.borrow().len()
    };
    let first = build("one");
    assert_eq!(build("one"), first);
    assert!(build("another") > first);
}

#[test]
fn mixers_in_the_help_are_as_they_are_read() {
    let file: String = EXAMPLES
        .lines()
        .skip_while(|line| *line != "  [mine]")
        .take_while(|line| !line.is_empty())
        .collect::<Vec<_>>()
        .join("\n");
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("mine.toml");
    std::fs::write(&path, file).expect("written");
    assert!(architectures::read_own(&path).expect("sound").contains_key("mine"));
}

/// A sweep of these arguments into the folder, of 60 steps a run unless they say otherwise: enough that the warm-up ends on a step.
fn sweep(out: &std::path::Path, architectures: &Pretended, arguments: &[&str]) -> Report {
    let mut args = parsed(arguments).expect("valid");
    args.out = out.to_owned();
    if !arguments.contains(&"--minutes") {
        args.minutes = 1.0;
    }
    measured(&args, architectures).expect("measured")
}

#[test]
fn a_sweep_tunes_once_and_then_runs_every_seed_with_the_best_rate() {
    let folder = tempfile::tempdir().expect("a folder");
    let architectures = pretended(&["steady", "hasty"]);
    let report = sweep(folder.path(), &architectures, &["--task", "mqar", "--seeds", "2", "--minutes", "2"]);
    let made = architectures.made.borrow();
    let rates = |name: &str, tuning: bool| -> Vec<f64> {
        let of = made.iter().filter(|made| made.architecture == name && (made.seed == policy::TUNING_SEED) == tuning);
        of.map(Made::highest_rate).collect()
    };
    for name in ["steady", "hasty"] {
        assert_eq!(rates(name, true), Policy::default().rates, "the same grid for every architecture");
    }
    assert_eq!((rates("steady", false), rates("hasty", false)), (vec![2.2e-3; 2], vec![1e-2; 2]));
    let rows = &report.tasks[0].rows;
    assert_eq!(rows.iter().map(|row| (row.rate, row.rate_at_the_edge)).collect::<Vec<_>>(), [(2.2e-3, false), (1e-2, true)]);
    assert_eq!(rows[0].tried.len(), 3);
}

#[test]
fn every_architecture_has_the_same_budget_and_schedule() {
    let folder = tempfile::tempdir().expect("a folder");
    let architectures = pretended(&["steady", "hasty"]);
    sweep(folder.path(), &architectures, &["--task", "mqar", "--seeds", "1", "--minutes", "0.2"]);
    let steps = |from: usize| architectures.made.borrow()[from..].iter().map(|made| made.rates.len()).collect::<Vec<_>>();
    assert_eq!(steps(0), [6, 6, 6, 12, 6, 6, 6, 12], "a second each");
    sweep(folder.path(), &architectures, &["--task", "mqar", "--seeds", "1", "--minutes", "0.2", "--steps", "8"]);
    assert_eq!(steps(8), [4, 4, 4, 8, 4, 4, 4, 8], "whatever ends first");
    let made = architectures.made.borrow();
    let schedule = |made: &Made, rate: f64| made.rates.iter().map(|of| format!("{:.9}", of / rate)).collect::<Vec<_>>();
    assert_eq!(schedule(&made[0], 4.6e-4), schedule(&made[6], 1e-2));
}

#[test]
fn training_tuning_and_test_see_sequences_of_their_own_side_only() {
    let folder = tempfile::tempdir().expect("a folder");
    let architectures = pretended(&["steady"]);
    sweep(folder.path(), &architectures, &["--task", "mqar", "--seeds", "1"]);
    let made = architectures.made.borrow();
    assert!(made.iter().all(|made| made.trained_on == BTreeSet::from(["train"])), "{made:?}");
    assert!(made[..3].iter().all(|made| made.scored_on == [BTreeSet::from(["validation"])]), "{made:?}");
    assert_eq!(made[3].scored_on, vec![BTreeSet::from(["test"]); 3]);
}

#[test]
fn a_sweep_goes_on_where_it_was_and_measures_what_changed() {
    let folder = tempfile::tempdir().expect("a folder");
    let made = |architectures: &Pretended, arguments: &[&str]| {
        let before = architectures.made.borrow().len();
        let report = sweep(folder.path(), architectures, arguments);
        let rows = report.tasks[0].rows.iter().map(|row| row.seeds.len()).sum::<usize>();
        (architectures.made.borrow().len() - before, rows)
    };
    let mut architectures = pretended(&["steady", "hasty"]);
    assert_eq!(made(&architectures, &["--task", "mqar", "--seeds", "2"]), (2 * (3 + 2), 4));
    assert_eq!(made(&architectures, &["--task", "mqar", "--seeds", "2"]), (0, 4), "all is there");
    assert_eq!(made(&architectures, &["--task", "mqar", "--seeds", "3"]), (2, 6), "a seed more each");
    assert_eq!(made(&architectures, &["--task", "mqar", "--seeds", "2", "--minutes", "0.5"]), (10, 4), "another budget");
    assert_eq!(made(&architectures, &["--task", "mqar", "--seeds", "1", "--minutes", "0.5", "--again"]), (8, 2));
    architectures.version = 2;
    assert_eq!(made(&architectures, &["--task", "mqar", "--seeds", "1", "--minutes", "0.5"]), (8, 2), "another architecture");
    std::fs::remove_file(folder.path().join("cells/mqar--hasty--1--test.json")).expect("a cell");
    assert_eq!(made(&architectures, &["--task", "mqar", "--seeds", "1", "--minutes", "0.5"]), (1, 2), "a cell that is gone");
    std::fs::remove_file(folder.path().join("cells/mqar--hasty--tuning-1e-2--test.json")).expect("a try");
    assert_eq!(made(&architectures, &["--task", "mqar", "--seeds", "1", "--minutes", "0.5"]), (1, 2), "a try that is gone");
}

#[test]
fn what_fails_is_said_and_the_rest_is_measured() {
    let folder = tempfile::tempdir().expect("a folder");
    let report = sweep(folder.path(), &pretended(&["steady", "broken"]), &["--task", "parity", "--seeds", "3"]);
    assert_eq!(report.failures.len(), 1);
    assert_eq!((report.failures[0].what.as_str(), report.failures[0].why.as_str()), ("parity with broken, seed 2", "no memory"));
    assert_eq!(report.tasks[0].rows.iter().map(|row| row.seeds.clone()).collect::<Vec<_>>(), [vec![1, 2, 3], vec![1, 3]]);
    assert!(tables::report(&report).contains("failed: parity with broken, seed 2: no memory"));
}

#[test]
fn strings_are_scored_by_their_lengths_and_add_up_to_their_bins() {
    let folder = tempfile::tempdir().expect("a folder");
    let report = sweep(folder.path(), &pretended(&["steady"]), &["--task", "parity", "--seeds", "1"]);
    let cell = std::fs::read(folder.path().join("cells/parity--steady--1--test.json")).expect("written");
    let cell: serde_json::Value = serde_json::from_slice(&cell).expect("JSON");
    let run: cell::Run = serde_json::from_value(cell["result"].clone()).expect("a run");
    for set in &run.sets {
        let mut sum = Tally::default();
        run.curve.iter().filter(|point| point.set == set.set).for_each(|point| sum.merge(&point.tally));
        assert_eq!(sum, set.tally, "{}", set.set);
    }
    let places: Vec<_> = report.tasks[0].rows[0].curve.iter().map(|point| point.at).collect();
    assert_eq!(places, [10, 20, 30, 40, 50, 60, 70, 80, 90, 100]);
}

#[test]
fn the_report_holds_each_seed_their_summary_and_how_they_were_treated() {
    let folder = tempfile::tempdir().expect("a folder");
    let report = sweep(folder.path(), &pretended(&["steady", "hasty"]), &["--task", "mqar,aa", "--seeds", "3", "--speed"]);
    let set = &report.tasks[0].rows[0].sets[0];
    let summary = set.accuracy.expect("measured");
    assert_eq!((set.runs.len(), summary.runs), (3, 3));
    assert!(
        (summary.mean - 0.88).abs() < 1e-3 && summary.interval.is_some_and(|half| (0.02..0.03).contains(&half)),
        "{summary:?}"
    );
    let text = tables::report(&report);
    for word in [
        "mqar: recall of 4, 8 or 16 pairs",
        "steady (3 seeds)",
        "12345",
        "1e-2*",
        "88.0 ± 2.5",
        "only longer ones measure more than fit",
        "50000 tokens/s",
    ] {
        assert!(text.contains(word), "{word} in\n{text}");
    }
    for file in ["report.json", "mqar.svg", "mqar-over.svg", "aa.svg", "aa-over.svg", "speed-training.svg", "speed-reading.svg"] {
        assert!(folder.path().join(file).exists(), "{file}");
    }
    assert!(!folder.path().join("speed-generating.svg").exists(), "nothing was measured");
    let json = std::fs::read(folder.path().join("report.json")).expect("written");
    let json: serde_json::Value = serde_json::from_slice(&json).expect("JSON");
    assert_eq!(json["tasks"][0]["rows"][0]["rate"], 2.2e-3);
    assert!(json["machine"]["processor"].is_string());
}

#[test]
fn speed_alone_measures_no_task_and_resumes() {
    let folder = tempfile::tempdir().expect("a folder");
    let architectures = pretended(&["steady", "broken"]);
    let report = sweep(folder.path(), &architectures, &["--speed"]);
    assert!(report.tasks.is_empty() && architectures.made.borrow().is_empty());
    assert_eq!((report.speeds.len(), report.failures.len(), architectures.speeds.get()), (10, 2, 10));
    sweep(folder.path(), &architectures, &["--speed"]);
    assert_eq!(architectures.speeds.get(), 10);
}

#[test]
fn a_name_that_is_not_known_is_refused_with_those_that_are() {
    assert!(parsed(&["--task", "mqar,sorting"]).expect_err("refused").contains("sorting"));
    assert!(parsed(&["--minutes", "0"]).is_err() && parsed(&["--seeds", "0"]).is_err());
    let args = parsed(&["--mixer", "titans"]).expect("valid");
    let error = measured(&args, &pretended(&["steady", "hasty"])).expect_err("refused");
    assert_eq!(crate::failure::render(&error), "there is no architecture titans; hint: give some of steady, hasty");
}

#[test]
fn the_default_tasks_are_in_the_catalog_and_other_benches_keep_their_words() {
    let args = parsed(&[]).expect("valid");
    assert_eq!(args.tasks().expect("all known").iter().map(Task::name).collect::<Vec<_>>(), TASKS);
    for words in [&["nocturne", "bench"][..], &["nocturne", "bench", "decode", "--json", "x"]] {
        let Command::Bench(bench) = Cli::try_parse_from(words).expect("valid").command else { panic!("another command") };
        assert!(bench.model().is_none());
    }
}
