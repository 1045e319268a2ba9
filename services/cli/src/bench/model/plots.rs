//! The plots of a report.

use std::{error::Error, path::Path};

use nocturne_synthetic::Axis;

use super::{
    learner::Speed,
    picture::{self, Bar, Scale, Series, Words},
    report::{Report, Row, TaskReport},
    statistics::Summary,
};

/// One kind of speed.
type Kind = (&'static str, &'static str, fn(&Speed) -> Option<f64>);

const KINDS: [Kind; 3] = [
    ("speed-training.svg", "Tokens learned a second", |speed| speed.training),
    ("speed-reading.svg", "Tokens read a second", |speed| speed.reading),
    ("speed-generating.svg", "Tokens generated a second", |speed| speed.generating),
];

/// Draws `TASK.svg` for each task, `TASK-over.svg` for those with an axis, and speeds.
///
/// # Errors
/// When a file cannot be written.
pub(super) fn draw(out: &Path, report: &Report) -> anyhow::Result<()> {
    let told = |error: Box<dyn Error>| anyhow::anyhow!("drawing into {}: {error}", out.display());
    for task in report.tasks.iter().filter(|task| !task.rows.is_empty()) {
        bars(out, task).map_err(told)?;
        if let Some(axis) = task.axis
            && task.rows.iter().any(|row| row.curve.len() > 1)
        {
            curve(out, task, axis).map_err(told)?;
        }
    }
    for kind in KINDS {
        speed(out, report, kind).map_err(told)?;
    }
    Ok(())
}

const fn bar(summary: &Summary) -> Bar {
    Bar { value: summary.mean, interval: summary.interval }
}

fn seeds(task: &TaskReport) -> String {
    let most = task.rows.iter().map(|row| row.seeds.len()).max().unwrap_or(0);
    crate::output::counted(most, "seed")
}

fn bars(out: &Path, task: &TaskReport) -> Result<(), Box<dyn Error>> {
    let series = |row: &Row| {
        let values = row.sets.iter().map(|set| set.accuracy.as_ref().map(bar)).collect();
        Series { name: row.architecture.clone(), values }
    };
    let caption = format!("{}: {} ({}, 95 % intervals)", task.task, task.about, seeds(task));
    let words = Words { caption: &caption, x: "", y: "accuracy" };
    picture::bars(&out.join(format!("{}.svg", task.task)), words, &task.sets, &task.rows.iter().map(series).collect::<Vec<_>>())
}

fn curve(out: &Path, task: &TaskReport, axis: Axis) -> Result<(), Box<dyn Error>> {
    // Lengths of strings lie in bins of ten; other places double from one to the next.
    let by_length = task.rows.iter().flat_map(|row| &row.curve).any(|point| !point.at.is_power_of_two());
    let scale = if by_length && axis == Axis::Tokens { Scale::Plain } else { Scale::Logarithmic };
    let words = match axis {
        Axis::Pairs => ("over the number of pairs", "pairs"),
        Axis::Tokens => ("over the length", "tokens"),
    };
    let series = |row: &Row| {
        let values = row.curve.iter().map(|point| (point.at as f64, bar(&point.accuracy))).collect();
        Series { name: row.architecture.clone(), values }
    };
    let caption = format!("{} {} ({}, 95 % intervals)", task.task, words.0, seeds(task));
    let words = Words { caption: &caption, x: words.1, y: "accuracy" };
    let series: Vec<_> = task.rows.iter().map(series).collect();
    picture::lines(&out.join(format!("{}-over.svg", task.task)), words, (scale, Scale::Share), &series)
}

fn speed(out: &Path, report: &Report, (file, caption, of): Kind) -> Result<(), Box<dyn Error>> {
    let mut series: Vec<Series<(f64, Bar)>> = Vec::new();
    for cell in &report.speeds {
        let Some(value) = of(&cell.speed).filter(|value| *value > 0.0) else { continue };
        if series.last().is_none_or(|last| last.name != cell.architecture) {
            series.push(Series { name: cell.architecture.clone(), values: Vec::new() });
        }
        let point = (cell.context as f64, Bar { value, interval: None });
        series.iter_mut().last().into_iter().for_each(|last| last.values.push(point));
    }
    if series.is_empty() {
        return Ok(());
    }
    let words = Words { caption, x: "tokens of context", y: "tokens a second" };
    picture::lines(&out.join(file), words, (Scale::Logarithmic, Scale::Logarithmic), &series)
}
