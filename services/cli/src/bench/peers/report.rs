//! Figures side by side.

use serde::{Deserialize, Serialize};

use super::{PeersArgs, Work};
use crate::{failure::refused, machine::Machine, output};

/// What one program did in one turn; none where it does not do a piece of work.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Measured {
    pub program: String,
    pub tokens_per_second: Vec<Option<f64>>,
    /// What models say from weights that all programs share: to the first sequence after its last token, or before the first step where they are trained.
    #[serde(default)]
    pub first_logits: Vec<Option<Vec<f32>>>,
    /// The relative error of its numbers.
    #[serde(default)]
    pub rounding: f64,
}

/// One program's turns.
#[derive(Debug, Clone, Serialize)]
struct Program {
    name: String,
    /// By turn, then by piece of work.
    turns: Vec<Vec<Option<f64>>>,
}

impl Program {
    /// Least, median and most of all turns.
    fn spread(&self, work: usize) -> Option<[f64; 3]> {
        let mut figures: Vec<f64> = self.turns.iter().filter_map(|turn| *turn.get(work)?).collect();
        figures.sort_by(f64::total_cmp);
        let middle = figures.len() / 2;
        let median = if figures.len() % 2 == 1 {
            figures[middle]
        } else {
            f64::midpoint(*figures.get(middle.checked_sub(1)?)?, figures[middle])
        };
        Some([*figures.first()?, median, *figures.last()?])
    }
}

/// How far apart logits may be of models whose equations are the same, in parts of the largest: at least so much, and so many roundings.
const SAME: f64 = 1e-3;
const ROUNDINGS: f64 = 12.0;

/// The largest difference, in parts of the largest value.
fn apart(ours: &[f32], theirs: &[f32]) -> f64 {
    if ours.len() != theirs.len() {
        return f64::INFINITY;
    }
    let largest = ours.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
    let off = ours.iter().zip(theirs).map(|(a, b)| f64::from((a - b).abs()));
    // Whatever is no number is as far apart as can be.
    off.map(|off| if off.is_nan() { f64::INFINITY } else { off }).fold(0.0, f64::max) / f64::from(largest)
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
    /// What models of the first program say.
    #[serde(skip)]
    first_logits: Vec<Option<Vec<f32>>>,
}

impl Report {
    pub(super) fn new(machine: Machine, args: &PeersArgs, works: &[Work]) -> Self {
        let (shape, rounds, seconds) = (args.shape.name(), args.rounds, args.seconds);
        Self { machine, shape, rounds, seconds, works: works.to_vec(), programs: Vec::new(), first_logits: Vec::new() }
    }

    /// Takes a turn.
    ///
    /// # Errors
    /// When a model of a program says something else than that of the first one: it does other work.
    pub(super) fn add(&mut self, measured: Measured) -> anyhow::Result<()> {
        if self.programs.is_empty() {
            self.first_logits.clone_from(&measured.first_logits);
        }
        for (n, (work, ours)) in self.works.iter().zip(&self.first_logits).enumerate() {
            let Some(ours) = ours else { continue };
            let does_it = measured.tokens_per_second.get(n).is_some_and(Option::is_some);
            let (program, theirs) = (&measured.program, measured.first_logits.get(n).and_then(Option::as_deref));
            let Some(theirs) = theirs else {
                if !does_it {
                    continue;
                }
                let what = format!("{}: {program} does not say which logits it came to", work.name());
                return Err(refused(what, "build it again from this repository"));
            };
            let apart = apart(ours, theirs);
            if apart > SAME.max(ROUNDINGS * measured.rounding) {
                let what = format!("{}: the logits of {program} are off by {apart:.1e} of the largest", work.name());
                return Err(refused(what, "its equations are others; correct them before its speed is compared"));
            }
        }
        match self.programs.iter_mut().find(|program| program.name == measured.program) {
            Some(program) => program.turns.push(measured.tokens_per_second),
            None => self.programs.push(Program { name: measured.program, turns: vec![measured.tokens_per_second] }),
        }
        Ok(())
    }
}

/// A row a piece of work, a column a program: median and range of tokens a second, and how many times as fast the first program is.
pub(super) fn describe(report: &Report) -> String {
    let title = format!("tokens/s, {}", report.shape);
    let names = report.programs.iter().map(|program| program.name.as_str());
    let mut table = output::table(std::iter::once(title.as_str()).chain(names));
    for (n, work) in report.works.iter().enumerate() {
        let ours = report.programs.first().and_then(|program| program.spread(n));
        let cell = |(place, program): (usize, &Program)| match (program.spread(n), ours) {
            (None, _) => "-".to_owned(),
            (Some([least, theirs, most]), Some([_, ours, _])) if place > 0 => {
                format!("{theirs:.0} ({least:.0} to {most:.0}), {:.2} x", ours / theirs)
            }
            (Some([least, figure, most]), _) => format!("{figure:.0} ({least:.0} to {most:.0})"),
        };
        table.add_row(std::iter::once(work.name()).chain(report.programs.iter().enumerate().map(cell)));
    }
    format!(
        "{}\n{table}\nMedians of {} turns, in parentheses the range; x: how many times as fast nocturne is. {} threads are there; each program takes those it takes by itself.",
        report.machine.describe(),
        report.rounds,
        report.machine.cores
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let works = vec![Work::Read { batch: 1, prompt: 8 }, Work::Read { batch: 2, prompt: 8 }];
        let (shape, programs) = ("tiny", Vec::new());
        Report { machine: Machine::this(), shape, rounds: 3, seconds: 1, works, programs, first_logits: Vec::new() }
    }

    fn turn(program: &str, figures: [Option<f64>; 2], logits: Option<[f32; 2]>) -> Measured {
        let first_logits = vec![None, logits.map(Vec::from)];
        Measured { program: program.into(), tokens_per_second: figures.into(), first_logits, rounding: 1e-7 }
    }

    #[test]
    fn the_median_of_each_program_counts_and_what_it_does_not_do_is_left_out() {
        let mut report = report();
        for (ours, others) in [(100.0, 40.0), (80.0, 50.0), (120.0, 20.0)] {
            report.add(turn("nocturne", [Some(ours), Some(ours + 1.0)], None)).expect("taken");
            report.add(turn("other", [Some(others), None], None)).expect("taken");
        }
        let said = describe(&report);
        assert!(said.contains("40 (20 to 50), 2.50 x"), "{said}");
        assert!(said.contains(" 101 (81 to 121) ") && said.contains(" - "), "{said}");
    }

    #[test]
    fn a_program_that_comes_to_other_logits_is_refused() {
        let mut report = report();
        let both = [Some(1.0); 2];
        report.add(turn("nocturne", both, Some([2.0, -4.0]))).expect("taken");
        report.add(turn("same", both, Some([2.001, -4.003]))).expect("the same, but for rounding");
        report.add(turn("decodes only", [Some(1.0), None], None)).expect("taken");
        let rounded = Measured { rounding: 8e-3, ..turn("rounds", both, Some([2.2, -4.0])) };
        report.add(rounded).expect("the same, as numbers of three digits are");
        for (other, why) in [
            (Some([2.01, -4.0]), "the logits of other are off"),
            (Some([f32::NAN, -4.0]), "the logits of other are off"),
            (None, "other does not say which logits"),
        ] {
            let refused = report.add(turn("other", both, other)).expect_err("other work");
            assert!(refused.chain().any(|cause| cause.to_string().contains(why)), "{refused:?}");
        }
    }
}
