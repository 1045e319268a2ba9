//! Measuring: every architecture with the same examples, budget and grid of learning rates.

use std::collections::{BTreeMap, VecDeque};

use anyhow::Context;
use nocturne_synthetic::{Example, Part, Task};

use super::{
    cell::{Cell, Failure, Run, RunSettings, Scored, SpeedCell, SpeedSettings, Sweep, Tuning},
    learner::{Architectures, Budget, Learner, Score, Trained},
    memory,
    policy::{self, Policy, TUNING_SEED, Tried},
    store::{Kept, Store},
};
use crate::{failure::render, machine::Machine, output};

/// Lengths of strings that are drawn as one point.
const LENGTHS_A_POINT: u64 = 10;

/// Steps at the end of training whose mean loss is told.
const LAST_STEPS: usize = 20;

/// What a sweep is made with.
pub(super) struct Harness<'a> {
    pub(super) architectures: &'a dyn Architectures,
    pub(super) policy: &'a Policy,
    pub(super) budget: Budget,
    pub(super) store: &'a Store,
    /// The digest of the code that is measured.
    pub(super) program: &'a str,
    /// Seconds since any moment; it never goes back.
    pub(super) clock: &'a dyn Fn() -> f64,
    /// Hears what is being done.
    pub(super) tell: &'a dyn Fn(&str),
}

impl Harness<'_> {
    /// Every task with every architecture, one seed after the other, so that a sweep that is broken off has a whole table. What fails is noted and left out.
    pub(super) fn sweep(&self, tasks: &[Task], architectures: &[String], seeds: u64) -> Sweep {
        let mut sweep = Sweep::default();
        for seed in 1..=seeds {
            for task in tasks {
                for architecture in architectures {
                    match self.cell(task, architecture, seed) {
                        Ok(cell) => sweep.cells.push(cell),
                        Err(error) => sweep.failures.push(self.failure(&name(task, architecture, seed), &error)),
                    }
                }
            }
        }
        sweep
    }

    /// The speed of every architecture over these contexts.
    pub(super) fn speeds(&self, architectures: &[String], contexts: &[usize]) -> Sweep {
        let mut sweep = Sweep::default();
        for architecture in architectures {
            for context in contexts {
                match self.speed(architecture, *context) {
                    Ok(cell) => sweep.speeds.push(cell),
                    Err(error) => {
                        sweep.failures.push(self.failure(&format!("speed of {architecture} over {context} tokens"), &error));
                    }
                }
            }
        }
        sweep
    }

    /// What a cell's file is called: it stands beside those of other builds, which may have taken hours.
    fn file(&self, what: &str) -> String {
        format!("{what}--{}", self.program.chars().take(8).collect::<String>())
    }

    fn failure(&self, what: &str, error: &anyhow::Error) -> Failure {
        let failure = Failure { what: what.to_owned(), why: render(error) };
        (self.tell)(&format!("{what}: failed: {}", failure.why));
        failure
    }

    fn cell(&self, task: &Task, architecture: &str, seed: u64) -> anyhow::Result<Cell> {
        let settings = self.architectures.settings(architecture, task);
        let tuning = self.tune(task, architecture, &settings)?;
        let run = RunSettings { rate: tuning.rate, ..self.settings(task, architecture, &settings, seed) };
        let file = self.file(&format!("{}--{architecture}--{seed}", task.name()));
        let kept = self.store.keep(&file, &run, || self.run(task, architecture, seed, tuning.rate))?;
        (self.tell)(&told(&name(task, architecture, seed), &kept));
        Ok(Cell { task: task.name().to_owned(), architecture: architecture.to_owned(), seed, tuning, run: kept.result })
    }

    /// The learning rate of a task and architecture, for all seeds.
    fn tune(&self, task: &Task, architecture: &str, settings: &serde_json::Value) -> anyhow::Result<Tuning> {
        let amount = self.policy.scored(self.policy.validation_examples, length(task, Part::Validation, TUNING_SEED));
        let attempt = |rate: f64| -> anyhow::Result<Tried> {
            let settings = RunSettings { rate, ..self.settings(task, architecture, settings, TUNING_SEED) };
            let file = self.file(&format!("{}--{architecture}--tuning-{rate:e}", task.name()));
            Ok(self.store.keep(&file, &settings, || self.attempt(task, architecture, rate, amount))?.result)
        };
        let tried = self.policy.rates.iter().map(|rate| attempt(*rate)).collect::<anyhow::Result<Vec<_>>>()?;
        let rate = policy::best(&tried).context("the grid of learning rates is empty")?.rate;
        Ok(Tuning { tried, rate })
    }

    /// Tries a learning rate on so many examples of validation.
    fn attempt(&self, task: &Task, architecture: &str, rate: f64, examples: u64) -> anyhow::Result<Tried> {
        let mut learner = self.architectures.learner(architecture, task, TUNING_SEED)?;
        let trained = self.train(task, learner.as_mut(), TUNING_SEED, rate, self.budget.part(self.policy.tuning_share))?;
        let score = learner.score(&task.validation(TUNING_SEED, examples))?;
        let accuracy = score.tally.share(task.scored()).unwrap_or(0.0);
        let told = output::percent(accuracy);
        (self.tell)(&format!("{} with {architecture}, rate {rate:e}: {told} in validation", task.name()));
        Ok(Tried { rate, tally: score.tally, accuracy, loss: score.mean_loss(), steps: trained.steps })
    }

    /// What a run depends on, all but its learning rate.
    fn settings<'a>(
        &'a self,
        task: &'a Task,
        architecture: &'a str,
        architecture_settings: &'a serde_json::Value,
        seed: u64,
    ) -> RunSettings<'a> {
        RunSettings {
            program: self.program,
            task: task.name(),
            setup: task.setup(),
            architecture,
            architecture_settings,
            seed,
            rate: 0.0,
            policy: self.policy,
            budget: self.budget,
        }
    }

    fn run(&self, task: &Task, architecture: &str, seed: u64, rate: f64) -> anyhow::Result<Run> {
        let watched = memory::watch();
        let mut learner = self.architectures.learner(architecture, task, seed)?;
        let trained = self.train(task, learner.as_mut(), seed, rate, self.budget)?;
        let (mut sets, mut curve) = (Vec::new(), Vec::new());
        for (at, set) in task.tests().iter().enumerate() {
            let amount = self.policy.scored(task.setup().test_examples, length(task, Part::Test(at), seed));
            let mut whole = Score::default();
            for (place, examples) in places(task, set.at, task.examples(Part::Test(at), seed, amount)) {
                let score = learner.score(&examples)?;
                whole.merge(&score);
                curve.extend(place.map(|place| scored(task, &set.name, Some(place), &score)));
            }
            sets.push(scored(task, &set.name, set.at, &whole));
        }
        let (machine, parameters) = (Machine::this().describe(), learner.parameters());
        Ok(Run { machine, parameters, trained, sets, curve, peak_bytes: watched.peak_bytes() })
    }

    /// Trains until the budget is spent. Drawing examples does not count: it is the same for all.
    fn train(&self, task: &Task, learner: &mut dyn Learner, seed: u64, rate: f64, budget: Budget) -> anyhow::Result<Trained> {
        let (mut feed, batch) = (task.feed(seed), self.batch(task));
        let (mut steps, mut tokens, mut seconds) = (0, 0, 0.0);
        let mut losses = VecDeque::new();
        while budget.spent(seconds, steps) < 1.0 {
            let examples: Vec<_> = feed.by_ref().take(batch).collect();
            let rate = self.policy.rate(rate, budget.spent(seconds, steps));
            let begun = (self.clock)();
            losses.push_back(learner.step(&examples, rate).with_context(|| format!("training step {steps}"))?);
            seconds += (self.clock)() - begun;
            losses.drain(..losses.len().saturating_sub(LAST_STEPS));
            tokens += examples.iter().map(|example| example.ids.len() as u64).sum::<u64>();
            steps += 1;
        }
        let loss = Some(losses.iter().sum::<f64>() / losses.len() as f64).filter(|loss| loss.is_finite());
        Ok(Trained { steps, tokens, seconds, loss })
    }

    /// Examples of a batch. Every architecture has the same, and the longest string of training bounds it, not of test.
    fn batch(&self, task: &Task) -> usize {
        self.policy.batch(length(task, Part::Train, TUNING_SEED))
    }

    fn speed(&self, architecture: &str, context: usize) -> anyhow::Result<SpeedCell> {
        let architecture_settings = &self.architectures.speed_settings(architecture);
        let settings = SpeedSettings { program: self.program, architecture, architecture_settings, context };
        let kept = self.store.keep(&self.file(&format!("speed--{architecture}--{context}")), &settings, || {
            let watched = memory::watch();
            Ok((self.architectures.speed(architecture, context)?, watched.peak_bytes()))
        })?;
        let (speed, peak_bytes) = kept.result;
        (self.tell)(&format!("speed of {architecture} over {context} tokens: done"));
        Ok(SpeedCell { architecture: architecture.to_owned(), context, speed, peak_bytes })
    }
}

/// Tokens of the longest of the first few examples.
fn length(task: &Task, part: Part, seed: u64) -> usize {
    (0..16).map(|index| task.example(part, seed, index).ids.len()).max().unwrap_or(1)
}

/// The examples of a set by their place on the task's axis: all in one, or strings by their lengths.
fn places(task: &Task, at: Option<u64>, examples: Vec<Example>) -> BTreeMap<Option<u64>, Vec<Example>> {
    let mut places: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for example in examples {
        let length = || (example.ids.len() as u64).next_multiple_of(LENGTHS_A_POINT);
        let place = at.or_else(|| task.axis().map(|_| length()));
        places.entry(place).or_default().push(example);
    }
    places
}

fn scored(task: &Task, set: &str, at: Option<u64>, score: &Score) -> Scored {
    let accuracy = score.tally.share(task.scored()).unwrap_or(0.0);
    Scored { set: set.to_owned(), at, tally: score.tally, accuracy, loss: score.mean_loss() }
}

fn name(task: &Task, architecture: &str, seed: u64) -> String {
    format!("{} with {architecture}, seed {seed}", task.name())
}

fn told(name: &str, kept: &Kept<Run>) -> String {
    let sets: Vec<_> = kept.result.sets.iter().map(|set| output::percent(set.accuracy)).collect();
    let earlier = if kept.earlier { " (measured earlier)" } else { "" };
    format!("{name}: {} after {}{earlier}", sets.join(", "), output::counted(kept.result.trained.steps as usize, "step"))
}
