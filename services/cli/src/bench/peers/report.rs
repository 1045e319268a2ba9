//! Figures side by side.

use serde::{Deserialize, Serialize};

use super::{PeersArgs, Work};
use crate::{machine::Machine, output};

/// What one program did in one turn; none where it does not do a piece of work.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Measured {
    pub program: String,
    pub tokens_per_second: Vec<Option<f64>>,
}

/// One program's turns.
#[derive(Debug, Clone, Serialize)]
struct Program {
    name: String,
    /// By turn, then by piece of work.
    turns: Vec<Vec<Option<f64>>>,
}

impl Program {
    /// The best of all turns.
    fn best(&self, work: usize) -> Option<f64> {
        self.turns.iter().filter_map(|turn| *turn.get(work)?).reduce(f64::max)
    }
}

/// All figures.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    machine: Machine,
    shape: &'static str,
    /// Turns of each program, and seconds of each piece of work in a turn.
    rounds: u32,
    seconds: u64,
    works: Vec<Work>,
    programs: Vec<Program>,
}

impl Report {
    pub(super) fn new(machine: Machine, args: &PeersArgs, works: &[Work]) -> Self {
        let (shape, rounds, seconds) = (args.shape.name(), args.rounds, args.seconds);
        Self { machine, shape, rounds, seconds, works: works.to_vec(), programs: Vec::new() }
    }

    pub(super) fn add(&mut self, measured: Measured) {
        match self.programs.iter_mut().find(|program| program.name == measured.program) {
            Some(program) => program.turns.push(measured.tokens_per_second),
            None => self.programs.push(Program { name: measured.program, turns: vec![measured.tokens_per_second] }),
        }
    }
}

/// A row a piece of work, a column a program: tokens a second, and how many times as fast the first program is.
pub(super) fn describe(report: &Report) -> String {
    let title = format!("tokens/s, {}", report.shape);
    let names = report.programs.iter().map(|program| program.name.as_str());
    let mut table = output::table(std::iter::once(title.as_str()).chain(names));
    for (n, work) in report.works.iter().enumerate() {
        let ours = report.programs.first().and_then(|program| program.best(n));
        let cell = |(place, program): (usize, &Program)| match (program.best(n), ours) {
            (None, _) => "-".to_owned(),
            (Some(theirs), Some(ours)) if place > 0 => format!("{theirs:.0} ({:.2} x)", ours / theirs),
            (Some(figure), _) => format!("{figure:.0}"),
        };
        table.add_row(std::iter::once(work.name()).chain(report.programs.iter().enumerate().map(cell)));
    }
    format!("{}\n{table}\nIn parentheses: how many times as fast nocturne is.", report.machine.describe())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_turn_of_each_program_counts_and_what_it_does_not_do_is_left_out() {
        let works = [Work::Read { batch: 1, prompt: 8 }, Work::Read { batch: 2, prompt: 8 }];
        let (shape, programs) = ("tiny", Vec::new());
        let mut report = Report { machine: Machine::this(), shape, rounds: 2, seconds: 1, works: works.to_vec(), programs };
        let turn =
            |program: &str, figures: [Option<f64>; 2]| Measured { program: program.into(), tokens_per_second: figures.into() };
        report.add(turn("nocturne", [Some(100.0), Some(50.0)]));
        report.add(turn("other", [Some(40.0), None]));
        report.add(turn("nocturne", [Some(80.0), Some(60.0)]));
        report.add(turn("other", [Some(50.0), None]));
        let said = describe(&report);
        assert!(said.contains("50 (2.00 x)"), "{said}");
        assert!(said.contains(" 60 ") && said.contains(" - "), "{said}");
    }
}
